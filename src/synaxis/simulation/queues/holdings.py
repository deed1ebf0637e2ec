"""What a simulated member has in hand, and in which order it may work on it."""

from collections.abc import Iterable
from dataclasses import dataclass

from synaxis.queues.commands import GroupMode, Part
from synaxis.simulation.queues.messages import Place, Text, parts_of

__all__ = ["Held", "Holdings"]

Order = int | tuple[int, str] | Place
"""What must stay in order with what: a partition, a key in it, or a message with itself only."""


@dataclass(slots=True)
class Held:
    """A message in hand."""

    failures: int
    text: Text
    done_at_us: int = 0
    """When the work on it is done; 0: nobody has begun."""
    fate: str = ""
    """What was decided, and is not confirmed yet."""
    begun: bool = True
    """Whether the leader knows all that it must know before we work on it."""


class Holdings(dict[Place, Held]):
    """See the module."""

    def __init__(self, mode: GroupMode) -> None:
        super().__init__()
        self._mode = mode

    def at_hand(self, blocked: set[int]) -> list[Place]:
        """Return what may be worked on: in the ordered modes the first message of each key.

        Args:
            blocked: partitions of which nothing new is begun.
        """
        if self._mode is GroupMode.SHARED:
            return [place for place, held in self.items() if not held.fate]
        first: dict[Order, Place] = {}
        for place in sorted(self):
            first.setdefault(self._order_of(place), place)
        return [
            place
            for place in first.values()
            if not self[place].fate and (place.partition not in blocked or self[place].done_at_us)
        ]

    def followers(self, places: Iterable[Place]) -> list[Place]:
        """Return what is held behind these and must not overtake them."""
        if self._mode is GroupMode.SHARED:
            return []
        heads = {self._order_of(place): place for place in places}
        return [
            place
            for place, held in self.items()
            if not held.fate and heads.get(self._order_of(place), place) < place
        ]

    def _order_of(self, place: Place) -> Order:
        if self._mode is GroupMode.EXCLUSIVE:
            return place.partition
        key = self[place].text.key
        return (place.partition, key) if key else place

    def idle_in(self, partition: int) -> list[Place]:
        """Return what is held of a partition that nobody works on."""
        return [
            place
            for place, held in self.items()
            if place.partition == partition and not held.fate and not held.done_at_us
        ]

    def parts(self, places: Iterable[Place]) -> tuple[Part, ...]:
        """Return the ranges that hold exactly these messages."""
        return parts_of({place: self[place].failures for place in places})

    def lose(self, parts: Iterable[Part]) -> int:
        """Forget what is not ours any more; returns how many messages that was."""
        lost = 0
        for part in parts:
            for offset in range(part.first, part.last + 1):
                place = Place(part.partition, offset)
                held = self.get(place)
                if held is not None and held.failures == part.failures and not held.fate:
                    del self[place]
                    lost += 1
        return lost
