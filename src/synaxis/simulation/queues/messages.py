"""The messages that simulated producers write: who they are can be read from their bytes."""

from random import Random
from typing import NamedTuple

from synaxis.queues.commands import Part
from synaxis.queues.placement import hash_of_key

__all__ = ["Place", "Text", "parts_of", "record", "text_of"]

POISON = "poison"
PLAIN = "plain"
PADDING_MAX = 40


class Place(NamedTuple):
    """Where a message is."""

    partition: int
    offset: int


class Text(NamedTuple):
    """What a message says."""

    name: str
    key: str
    """Empty: none."""
    kind: str

    @property
    def key_hash(self) -> int:
        """The number of the key; 0 without one."""
        return hash_of_key(self.key.encode()) if self.key else 0


def record(text: Text, random: Random) -> bytes:
    """Return the bytes of a message."""
    padding = "." * random.randrange(PADDING_MAX)
    return " ".join((*text, padding)).encode()


def text_of(data: bytes) -> Text:
    """Return what the bytes of a message say."""
    return Text(*data.decode().split(" ")[:3])


def parts_of(held: dict[Place, int]) -> tuple[Part, ...]:
    """Return the ranges that hold exactly these messages with their numbers of failures."""
    parts: list[Part] = []
    for place, failures in sorted(held.items()):
        last = parts[-1] if parts else None
        follows = last is not None and (last.partition, last.last + 1) == place
        if last is not None and follows and last.failures == failures:
            parts[-1] = Part(place.partition, last.first, place.offset, failures)
        else:
            parts.append(Part(place.partition, place.offset, place.offset, failures))
    return tuple(parts)
