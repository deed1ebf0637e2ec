"""A message that fails too often becomes a dead letter: kept, explained, and sent again once fixed.

Run it against ``synaxis up``.
"""

import asyncio

import synaxis


async def handle(payments: synaxis.Topic, rates: dict[str, float], count: int) -> None:
    """Handle so many deliveries."""
    async with payments.consume("bookkeeping") as consumer:
        for _ in range(count):
            message = await anext(consumer)
            try:
                async with message:  # an exception counts a failure, and its text is kept
                    amount, currency = message.value
                    print(f"booked {amount * rates[currency]:.2f}, delivery {message.deliveries}")
            except KeyError as error:
                print(f"failed: no rate for {error}, delivery {message.deliveries}")


async def main() -> None:
    """Let a message fail, look at it, mend the cause, and try again."""
    rates = {"EUR": 1.0}
    async with synaxis.connect() as cluster:
        backoff = synaxis.Backoff(first=0.1, longest=1)
        await cluster.topics.create("payments", partitions=1, max_deliveries=3, backoff=backoff)
        payments = cluster.topic("payments")
        await payments.publish_many([[10, "EUR"], [20, "CHF"], [30, "EUR"]])
        await handle(payments, rates, count=5)  # two succeed, one fails three times

        dead_letters = payments.dead_letters("bookkeeping")
        async for dead in dead_letters.browse():  # consumes nothing
            print(f"dead letter {dead.value}: {dead.reason}, {dead.error}")

        rates["CHF"] = 1.05
        print(f"sent again: {await dead_letters.redrive()}")
        await handle(payments, rates, count=1)
        print(f"dead letters left: {await dead_letters.count()}")


if __name__ == "__main__":
    asyncio.run(main())
