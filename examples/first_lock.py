"""Two tasks want the same lock; it is held by one at a time, and each grant has a higher token.

Start a cluster with ``synaxis up`` and run ``python examples/first_lock.py``.
"""

import asyncio

import synaxis


async def place_order(cluster: synaxis.AsyncSynaxis, customer: str) -> int:
    """Do something that must never run twice at once."""
    async with cluster.lock("orders/42", wait=10) as held:
        print(f"{customer} holds {held.name} with token {held.token}")
        await asyncio.sleep(0.1)  # the work; if the lock were lost, it would be cancelled here
        held.ensure()  # no network: raises LockLost unless the lock is still held
        return held.token


async def main() -> None:
    """Compete for the lock, then try it without waiting."""
    async with synaxis.connect() as cluster:  # SYNAXIS_URL, else http://127.0.0.1:7400
        first, second = await asyncio.gather(
            place_order(cluster, "Ada"), place_order(cluster, "Grace")
        )
        print(f"tokens grow: {min(first, second)} < {max(first, second)}")

        grant = await cluster.try_lock("orders/42")
        if grant is not None:
            print("nobody held it, so try_lock took it at once")
            await grant.release()


if __name__ == "__main__":
    asyncio.run(main())
