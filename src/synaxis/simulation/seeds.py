"""How a run is named: a world and a number, from which everything else follows.

``17`` is a cluster with locks, ``q17`` one with queues; the two have nothing in common. In a batch
every second number is a world of queues: 1, q2, 3, q4.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["LOCKS", "QUEUES", "Seed", "mixed"]

LOCKS = "locks"
QUEUES = "queues"
_PREFIXES = {LOCKS: "", QUEUES: "q"}


class Seed(NamedTuple):
    """See the module."""

    number: int
    world: str = LOCKS

    def __str__(self) -> str:
        return f"{_PREFIXES[self.world]}{self.number}"

    @classmethod
    def parse(cls, name: str) -> "Seed":
        """Return the seed with this name.

        Raises:
            ValueError: it is none.
        """
        if name.startswith(_PREFIXES[QUEUES]):
            return cls(int(name[1:]), QUEUES)
        return cls(int(name))


def mixed(numbers: Iterable[int]) -> Iterator[Seed]:
    """Yield one seed for each number, from both worlds in turn."""
    for number in numbers:
        yield Seed(number, LOCKS if number % 2 else QUEUES)
