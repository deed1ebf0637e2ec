"""Three candidates, one leader; when it leaves, the next takes over, and observers are told.

Run it against ``synaxis up``.
"""

import asyncio

import synaxis

CANDIDATES = ("anna", "ben", "carla")


async def candidate(name: str) -> None:
    """Wait to become the leader, do the leader's work, leave."""
    async with synaxis.connect() as cluster:
        async with cluster.election("scheduler").campaign(value=name.encode()) as leadership:
            print(f"{name} leads with token {leadership.token}")
            await asyncio.sleep(0.2)  # the leader's work; it is cancelled if leadership is lost
        print(f"{name} has stepped down")


async def observe(watching: asyncio.Event) -> list[str]:
    """Return the leaders in the order in which they were seen, until each had its turn."""
    seen: list[str] = []
    async with synaxis.connect() as cluster:
        watching.set()
        async for leader in cluster.election("scheduler").observe():
            if leader is not None and leader.value.decode() not in seen:
                seen.append(leader.value.decode())
                print(f"observed: {seen[-1]} leads")
            if len(seen) == len(CANDIDATES):
                break
    return seen


async def main() -> None:
    """Start an observer, then the candidates."""
    watching = asyncio.Event()
    async with asyncio.TaskGroup() as everybody:
        observer = everybody.create_task(observe(watching))
        await watching.wait()
        for name in CANDIDATES:
            everybody.create_task(candidate(name))
    print(f"everybody led once: {sorted(observer.result()) == sorted(CANDIDATES)}")


if __name__ == "__main__":
    asyncio.run(main())
