"""How a run is named: a world and a number, from which everything else follows.

``17`` is a cluster with locks, ``q17`` one with queues, ``v17`` one with a volatile group, ``c17``
one with caches; they have nothing in common. In a batch the worlds take turns: 1, q2, c3, 4, q5,
v6, ...
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["CACHES", "LOCKS", "QUEUES", "VOLATILE", "WORLDS", "Seed", "mixed"]

CACHES = "caches"
LOCKS = "locks"
QUEUES = "queues"
VOLATILE = "volatile"
_PREFIXES = {LOCKS: "", QUEUES: "q", CACHES: "c", VOLATILE: "v"}
WORLDS = tuple(_PREFIXES)
_TURNS = (LOCKS, QUEUES, CACHES, LOCKS, QUEUES, VOLATILE)


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
        for world, prefix in _PREFIXES.items():
            if prefix and name.startswith(prefix):
                return cls(int(name.removeprefix(prefix)), world)
        return cls(int(name))


def mixed(numbers: Iterable[int]) -> Iterator[Seed]:
    """Yield one seed for each number, from all worlds in turn."""
    for number in numbers:
        yield Seed(number, _TURNS[(number - 1) % len(_TURNS)])
