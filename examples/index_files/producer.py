"""Fills the topic with what is to be indexed, good and bad, as far as it is allowed to go.

Every message has an id: when the cluster leaves a publication in doubt, the same message is
published again, and stored once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from poison import POISONS

import synaxis

__all__ = ["Order", "Producer", "orders_of"]

_PAUSE_S = 0.03
_TROUBLE_PAUSE_S = 0.1
_POISON_FROM_PERCENT = 5
_POISON_EVERY_PERCENT = 4
"""Poison comes early: it takes many seconds until a message has failed often enough."""


@dataclass(frozen=True)
class Order:
    """One message: index these files."""

    batch: int
    files: list[str]


def orders_of(batches: Sequence[list[str]]) -> list[Order]:
    """Return one order for each batch, with the poisoned ones in between.

    The good batches are numbered as they are, the poisoned ones go on behind them.
    """
    orders = [Order(number, files) for number, files in enumerate(batches)]
    for number, poison in enumerate(POISONS):
        percent = _POISON_FROM_PERCENT + number * _POISON_EVERY_PERCENT
        place = number + percent * len(batches) // 100
        orders.insert(place, Order(len(batches) + number, [poison.file]))
    return orders


class Producer:
    """Publishes orders one by one."""

    def __init__(self, topic: synaxis.Topic, orders: Sequence[Order]) -> None:
        self._topic = topic
        self._orders = orders
        self._allowed = 0
        self._news = asyncio.Event()
        self.receipts: list[synaxis.Receipt] = []

    async def run(self) -> None:
        """Publish everything, each order as soon as it is allowed."""
        for number, order in enumerate(self._orders):
            while number >= self._allowed:
                self._news.clear()
                await self._news.wait()
            self.receipts.append(await self._publish(order))
            await asyncio.sleep(_PAUSE_S)

    async def _publish(self, order: Order) -> synaxis.Receipt:
        value = {"batch": order.batch, "files": order.files}
        while True:
            try:
                return await self._topic.publish(value, message_id=f"batch-{order.batch}")
            except synaxis.ClusterError:
                await asyncio.sleep(_TROUBLE_PAUSE_S)

    def allow(self, percent: int) -> None:
        """Let this part of the orders be published."""
        self._allowed = -(-percent * len(self._orders) // 100)
        self._news.set()

    def allow_one_more(self) -> None:
        """Let one more order be published."""
        self._allowed += 1
        self._news.set()

    @property
    def held_back(self) -> bool:
        """Whether everything allowed has been stored, and there is more."""
        return self._allowed <= len(self.receipts) < len(self._orders)

    @property
    def done(self) -> bool:
        """Whether everything has been stored."""
        return len(self.receipts) == len(self._orders)

    @property
    def stored(self) -> int:
        """Number of different messages that the receipts speak of."""
        return len({(each.partition, each.offset) for each in self.receipts})
