"""Why a lock alone is not enough, and what the fencing token does about it.

A holder that was paused for longer than its lease writes after somebody else has taken over. Only
the resource can refuse that write, because only the resource sees both tokens.
Run it against ``synaxis up``.
"""

import asyncio

import synaxis


class Account:
    """A guarded resource: it remembers the highest token it has seen."""

    def __init__(self) -> None:
        self.balance = 100
        self._highest_token = 0

    def write(self, balance: int, token: int) -> None:
        """Set the balance, unless a later holder of the lock has been here."""
        if token < self._highest_token:
            raise synaxis.StaleFencingToken(f"{token} is older than {self._highest_token}")
        self._highest_token = token
        self.balance = balance


async def main() -> None:
    """Lose a lock without noticing, as a paused process would."""
    account = Account()
    async with synaxis.connect() as one, synaxis.connect() as other:
        slow = await one.acquire("account/7", max_hold=0.5, on_loss="event")
        read_by_slow = account.balance
        await slow.lost.wait()  # a paused process would not even hear of it

        async with other.lock("account/7", wait=5) as held:
            account.write(account.balance - 30, held.token)
            print(f"the new holder wrote {account.balance} with token {held.token}")

        try:
            account.write(read_by_slow - 50, slow.token)
        except synaxis.StaleFencingToken as refusal:
            print(f"the old holder's write was refused: {refusal}")
    print(f"balance: {account.balance}")


if __name__ == "__main__":
    asyncio.run(main())
