"""``topic.process``: a handler, called for messages in many tasks."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from synaxis.client.queues.intake import Intake
from synaxis.client.queues.message import Message, describe
from synaxis.client.queues.shelf import Shelf
from synaxis.errors import LeaseLost, SynaxisError

__all__ = ["Handler", "process"]

log = logging.getLogger(__name__)

Handler = Callable[[Message], Awaitable[object]]


async def process(intake: Intake, handler: Handler) -> None:
    """Call ``handler`` for messages, as many at a time as the plan allows, until ``intake`` ends.

    Raises:
        SynaxisError: the group cannot be joined, or the topic is gone.
    """
    create_task, workers = intake.loop.create_task, []
    try:
        await intake.start()
        for number in range(intake.plan.concurrency):
            name = f"synaxis-worker {intake.group} {number}"
            workers.append(create_task(_work(intake.shelf, handler), name=name))
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        await intake.close()


async def _work(shelf: Shelf, handler: Handler) -> None:
    while (message := await shelf.take()) is not None:
        try:
            await handler(message)
        except asyncio.CancelledError:
            _settle(message, message.keeper.release)
            raise
        except Exception as error:  # the user's code; the message comes again
            log.warning("the handler failed for %r", message, exc_info=error)
            _settle(message, partial(Message.nack, error=describe(error)))
        else:
            # Not awaited: the next message need not wait for the disks. Who loses is logged.
            _settle(message, Message.ack)


def _settle(message: Message, how: Callable[[Message], object]) -> None:
    if message.fate:
        return
    try:
        how(message)
    except LeaseLost as loss:
        log.warning("%r: %s", message, loss)
    except SynaxisError as error:
        log.warning("%r was not settled: %s", message, error)
