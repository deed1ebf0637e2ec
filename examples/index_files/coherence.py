"""The proof that nobody has read a dictionary that was older than it could be.

All processes run on one machine and stamp what they do with its monotonic clock. A write is known
to the world from the moment of its acknowledgement on; a number that somebody has read, from the
moment on at which that read ended. Whoever begins to read after such a moment must see that number,
or a higher one. That is what linearizability says of one writer and any number of readers, and no
reader going back is part of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Look", "Write", "violations"]


@dataclass(frozen=True)
class Write:
    """Dictionary ``key`` was at ``number`` at the latest at ``acked_ns``."""

    key: str
    number: int
    begun_ns: int
    acked_ns: int


@dataclass(frozen=True)
class Look:
    """A reader saw ``number``, or 0 for nothing at all."""

    reader: str
    key: str
    number: int
    begun_ns: int
    ended_ns: int


def violations(writes: Iterable[Write], looks: Iterable[Look]) -> list[str]:
    """Return one sentence for each read that saw less than it should, or what nobody wrote."""
    writes_by_key: dict[str, list[Write]] = {}
    looks_by_key: dict[str, list[Look]] = {}
    for write in writes:
        writes_by_key.setdefault(write.key, []).append(write)
    for look in looks:
        looks_by_key.setdefault(look.key, []).append(look)
    found: list[str] = []
    for key, seen in sorted(looks_by_key.items()):
        written = writes_by_key.get(key, [])
        found += _too_old(written, seen)
        found += _from_nowhere(written, seen)
    return found


def _too_old(writes: Sequence[Write], looks: Sequence[Look]) -> Iterator[str]:
    """Go through both in the order of time; what is known never gets less."""
    news = [(write.acked_ns, write.number, "was acknowledged") for write in writes]
    news += [(look.ended_ns, look.number, f"was read by {look.reader}") for look in looks]
    news.sort(reverse=True)
    newest, why, since_ns = 0, "", 0
    for look in sorted(looks, key=lambda each: each.begun_ns):
        while news and news[-1][0] < look.begun_ns:
            at_ns, number, how = news.pop()
            if number > newest:
                newest, why, since_ns = number, how, at_ns
        if look.number < newest:
            late_ms = (look.begun_ns - since_ns) / 1e6
            yield (
                f"{look.reader} read number {look.number} of {look.key}; number {newest} {why} "
                f"{late_ms:.1f} ms before"
            )


def _from_nowhere(writes: Sequence[Write], looks: Sequence[Look]) -> Iterator[str]:
    begun = {write.number: write.begun_ns for write in writes}
    for look in looks:
        at_ns = begun.get(look.number)
        if look.number and (at_ns is None or at_ns > look.ended_ns):
            yield f"{look.reader} read number {look.number} of {look.key} before it was written"
