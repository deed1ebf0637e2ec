"""Is a history of a register linearizable, if every value is written once? In n log n steps.

A write and the reads that return its value are a *cluster*; its *zone* lies between the earliest
return and the latest call among them. A cluster comes before another if one of its operations
returned before one of the other's was called. That is a contradiction only if it holds both ways:
then two zones that run forward (the earliest return before the latest call) overlap, or one that
runs backward lies within one that runs forward. No longer circle has to be looked for.

Source: Gibbons and Korach, "Testing shared memories" (SIAM J. Comput. 26, 1997), 4.2.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from synaxis.simulation.wgl import Interval

__all__ = ["Access", "contradiction"]

NEVER = float("inf")


@dataclass(slots=True, frozen=True)
class Access:
    """What an ``Interval`` is about: a value that was written, or returned by a read."""

    value: Hashable
    writes: bool


@dataclass(slots=True)
class _Cluster:
    """A value's write and its reads; without a call of the write nobody wrote it."""

    value: Hashable
    called: float = NEVER
    """When the write was called."""
    first_return: float = NEVER
    last_call: float = -NEVER
    read_returns: list[float] = field(default_factory=list)

    @property
    def runs_forward(self) -> bool:
        return self.first_return < self.last_call


def contradiction(intervals: Iterable[Interval], initial: Hashable) -> str | None:
    """Return why there is no order that respects real time, or None if there is one.

    Args:
        intervals: of ``Access`` operations. A read whose outcome is unknown is left out; a write
            whose outcome is unknown counts if its value was read.
        initial: what reads return before the first write.
    """
    clusters: dict[Hashable, _Cluster] = {}
    start = clusters[initial] = _Cluster(initial)
    start.called = start.first_return = start.last_call = -NEVER
    for interval in intervals:
        access: Access = interval.operation
        cluster = clusters.setdefault(access.value, _Cluster(access.value))
        if access.writes:
            if cluster.called != NEVER:
                return f"{access.value!r} is written twice: this check cannot tell"
            cluster.called = interval.called
        elif interval.returned is None:
            continue
        else:
            cluster.read_returns.append(interval.returned)
        returned = NEVER if interval.returned is None else interval.returned
        cluster.first_return = min(cluster.first_return, returned)
        cluster.last_call = max(cluster.last_call, interval.called)
    found = list(clusters.values())
    return _within(found) or _between(found)


def _within(clusters: Sequence[_Cluster]) -> str | None:
    """Look for reads of what was not written yet."""
    for cluster in clusters:
        if cluster.read_returns and min(cluster.read_returns) < cluster.called:
            return f"{cluster.value!r} is read before it is written"
    return None


def _between(clusters: Sequence[_Cluster]) -> str | None:
    forward = sorted(
        (each for each in clusters if each.runs_forward),
        key=lambda each: (each.first_return, each.last_call),
    )
    for one, other in pairwise(forward):
        if other.first_return < one.last_call:
            return f"{one.value!r} and {other.value!r} were each seen before the other"
    starts = [each.first_return for each in forward]
    for cluster in clusters:
        position = bisect_left(starts, cluster.last_call) - 1
        if not cluster.runs_forward and position >= 0:
            around = forward[position]
            if cluster.first_return < around.last_call:
                return f"{cluster.value!r} came while {around.value!r} was there before and after"
    return None
