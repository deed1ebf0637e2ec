"""Is there an order of these operations that a sequential object could have produced?

The search of Wing and Gong with Lowe's memory: walk the calls and returns in time order; at a
call, try the operation on the model and, if it is legal and leads to a set of operations and a
state not seen before, lift both of its events out and start again; at a return whose operation
was not taken yet, undo the last choice. The set is a bit mask, the state any hashable value.

An operation whose outcome is unknown returns at infinity and may stay out altogether.

Locks are independent, so a history is split by lock and each part is checked alone (locality,
Herlihy and Wing 1990). The search can explode; it gives up after ``steps_max`` steps, and giving
up counts as failure.

Sources: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for
linearizability" (2017).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["STEPS_MAX", "Interval", "Verdict", "check"]

STEPS_MAX = 200_000

Step = Callable[[Any, Any], Hashable | None]
"""(state, operation) -> next state, or None when the operation's result is not legal there."""


class Verdict(Enum):
    """What the search found."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNKNOWN = "unknown"


@dataclass(slots=True, frozen=True)
class Interval:
    """An operation with its result, and when it was called and returned (any one unit)."""

    operation: Any
    called: float
    returned: float | None
    """None: no answer; the operation may have happened at any time since, or never."""


class _Timeline:
    """Call and return events in time order as a doubly linked list; node 0 is the head."""

    __slots__ = ("following", "is_call", "operation", "partner", "preceding")

    def __init__(self, intervals: Sequence[Interval]) -> None:
        events: list[tuple[float, int, int]] = []
        for number, interval in enumerate(intervals):
            returned = float("inf") if interval.returned is None else interval.returned
            events.append((interval.called, 0, number))
            events.append((returned, 1, number))
        events.sort()
        count = len(events)
        self.following = [*range(1, count + 1), -1]
        self.preceding = list(range(-1, count))
        self.operation = [-1, *(number for _, _, number in events)]
        self.is_call = [False, *(kind == 0 for _, kind, _ in events)]
        self.partner = [0] * (count + 1)
        calls: dict[int, int] = {}
        for node in range(1, count + 1):
            number = self.operation[node]
            if self.is_call[node]:
                calls[number] = node
            else:
                self.partner[calls[number]] = node

    def lift(self, call: int) -> None:
        for node in (call, self.partner[call]):
            before, after = self.preceding[node], self.following[node]
            self.following[before] = after
            if after != -1:
                self.preceding[after] = before

    def put_back(self, call: int) -> None:
        for node in (self.partner[call], call):
            before, after = self.preceding[node], self.following[node]
            self.following[before] = node
            if after != -1:
                self.preceding[after] = node


def check(
    intervals: Sequence[Interval], initial: Hashable, step: Step, steps_max: int = STEPS_MAX
) -> Verdict:
    """Search for a legal order that respects real time.

    Args:
        intervals: the operations, in any order.
        initial: the state before the first operation.
        step: the sequential object.
        steps_max: model steps before giving up.
    """
    line = _Timeline(intervals)
    seen: set[tuple[int, Hashable]] = set()
    taken: list[tuple[int, Hashable]] = []
    state: Any = initial
    done = 0
    steps = 0
    node = line.following[0]
    while node != -1:
        if line.is_call[node]:
            steps += 1
            if steps > steps_max:
                return Verdict.UNKNOWN
            number = line.operation[node]
            following = step(state, intervals[number].operation)
            key = (done | 1 << number, following)
            if following is not None and key not in seen:
                seen.add(key)
                taken.append((node, state))
                state, done = following, key[0]
                line.lift(node)
                node = line.following[0]
            else:
                node = line.following[node]
            continue
        if intervals[line.operation[node]].returned is None:
            break  # everything behind it is an unknown outcome too: all may stay out
        if not taken:
            return Verdict.NOT_LINEARIZABLE
        node, state = taken.pop()
        done ^= 1 << line.operation[node]
        line.put_back(node)
        node = line.following[node]
    return Verdict.LINEARIZABLE
