"""Orders are published to a topic; two clerks of one group share them, and each goes to one clerk.

Start a cluster with ``synaxis up`` and run ``python examples/first_topic.py``.
"""

import asyncio

import synaxis


async def clerk(cluster: synaxis.AsyncSynaxis, name: str, billed: asyncio.Queue[str]) -> None:
    """Bill orders until cancelled."""
    async with cluster.topic("orders").consume("billing", concurrency=2) as consumer:
        async for message in consumer:
            async with message:  # success acknowledges; an exception would bring it back later
                customer, item = message.value
                await asyncio.sleep(0.02)  # the work
            billed.put_nowait(f"{name} billed {item} to {customer}")


async def main() -> None:
    """Publish some orders, and let two clerks at them."""
    async with synaxis.connect() as cluster:  # SYNAXIS_URL, else http://127.0.0.1:7400
        await cluster.topics.create("orders", partitions=4)  # once more changes nothing
        orders = cluster.topic("orders")
        receipt = await orders.publish(["Ada", "tea"])
        print(f"on a majority of disks: partition {receipt.partition}, offset {receipt.offset}")
        await orders.publish_many([["Ada", "ink"], ["Grace", "paper"], ["Barbara", "cake"]])

        billed: asyncio.Queue[str] = asyncio.Queue()
        async with asyncio.TaskGroup() as clerks:
            tasks = [clerks.create_task(clerk(cluster, name, billed)) for name in ("Tom", "Ann")]
            for _ in range(4):
                print(await billed.get())
            for task in tasks:
                task.cancel()

        await orders.publish(["Edsger", "soap"])
        [message] = await orders.fetch("billing", max_messages=1)
        await message.ack()  # awaited: a majority knows that it is done
        state = await orders.groups.info("billing")
        print(f"acknowledged: {state.acked}, left: {state.lag}")


if __name__ == "__main__":
    asyncio.run(main())
