"""A consumer in a process of its own, to be frozen and killed by tests.

    python -m support.queue_consumer URL TOPIC hold | "die of poison"

``hold`` takes messages and never settles them. ``die of poison`` acknowledges everything but
``poison``, which ends the process on the spot.
"""

import asyncio
import os
import sys

import synaxis

IDLE_S = 2.0
SESSION_TTL_S = 3.0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def main(url: str, topic: str, what: str) -> None:
    """Consume until killed, or until nothing has come for a while."""
    async with synaxis.connect(url, session_ttl=SESSION_TTL_S) as client:
        many = 3 if what == "hold" else 16
        consumer = client.topic(topic).consume("workers", concurrency=many, prefetch=many)
        while True:
            try:
                async with asyncio.timeout(IDLE_S):
                    message = await anext(consumer)
            except TimeoutError:
                _say("idle")
                if what == "hold":
                    await asyncio.sleep(3600)
                return
            _say(f"got {message.payload.decode()}")
            if what == "hold":
                continue
            if message.payload == b"poison":
                os._exit(1)
            await message.ack()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
