"""In a ``keyed`` group, messages of one key are handled in order, whatever happens to one of them.

Other keys go on meanwhile, on as many members as there are. Run it against ``synaxis up``.
"""

import asyncio
from collections import defaultdict

import synaxis

ACCOUNTS = ("ada", "grace", "edsger")
STEPS = ("open", "deposit", "withdraw", "close")


class Bank:
    """What was done to which account, in which order."""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = defaultdict(list)
        self.closed: list[str] = []
        self.all_closed = asyncio.Event()

    async def handle(self, message: synaxis.Message) -> None:
        """Carry out one step; ada's deposit does not succeed at once."""
        account, step = message.value
        await asyncio.sleep(0.01)  # the work
        if (account, step) == ("ada", "deposit") and message.deliveries == 1:
            print("ada's deposit failed: her withdrawal waits for it, other accounts do not")
            await message.nack(error="the vault is jammed")
            return
        self.done[account].append(step)
        if step == "close":
            self.closed.append(account)
        if len(self.closed) == len(ACCOUNTS):
            self.all_closed.set()


async def teller(cluster: synaxis.AsyncSynaxis, bank: Bank) -> None:
    """Work on messages, at most one of each account at a time, until cancelled.

    Each is acknowledged when the handler returns, unless the handler said something else.
    """
    await cluster.topic("accounts").process(
        bank.handle, group="tellers", mode="keyed", concurrency=4
    )


async def main() -> None:
    """Publish the life of three accounts, and let two tellers at it."""
    bank = Bank()
    async with synaxis.connect() as cluster:
        backoff = synaxis.Backoff(first=0.2, longest=1)
        await cluster.topics.create("accounts", partitions=4, backoff=backoff)
        accounts = cluster.topic("accounts")
        for step in STEPS:
            await asyncio.gather(
                *(accounts.publish([account, step], key=account) for account in ACCOUNTS)
            )

        async with asyncio.TaskGroup() as tellers:
            tasks = [tellers.create_task(teller(cluster, bank)) for _ in range(2)]
            await bank.all_closed.wait()
            for task in tasks:
                task.cancel()
    for account in ACCOUNTS:
        print(f"{account}: {', '.join(bank.done[account])}")
    print(f"nobody waited for ada: {bank.closed[-1] == 'ada'}")
    in_order = all(tuple(steps) == STEPS for steps in bank.done.values())
    print(f"every account in order: {in_order}")


if __name__ == "__main__":
    asyncio.run(main())
