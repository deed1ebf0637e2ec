"""The simulated network: every directed link delays, loses, doubles, reorders, clogs or is cut.

Links keep order unless the run drew ``reorder``; the protocol must not rely on it. A partition is
a set of directed pairs that carry nothing; clients are reached around it unless it names them.

``flow`` is what a TCP connection makes of such a link: in order, late where something was lost,
nothing twice; only a cut makes a gap.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from synaxis.simulation.coverage import Coverage
from synaxis.simulation.kernel import Kernel

__all__ = ["PARTITIONS", "LinkFaults", "Network", "partition_pairs"]

RESEND_AFTER_US = 200_000

Endpoint = Callable[[str, Any], None]
Pair = tuple[str, str]


@dataclass(slots=True)
class LinkFaults:
    """What the links do to messages. Times in microseconds, the rest are probabilities."""

    delay_min: int = 200
    delay_max: int = 1_500
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: bool = False
    clog: float = 0.0
    """Chance per message that its link stands still for up to ``clog_max``."""
    clog_max: int = 2_000_000


def _blocked_both_ways(left: Sequence[str], right: Sequence[str]) -> set[Pair]:
    pairs = {(a, b) for a in left for b in right}
    return pairs | {(b, a) for a, b in pairs}


def _split(order: Sequence[str], random: Random) -> set[Pair]:
    cut = random.randrange(1, len(order)) if len(order) > 1 else 0
    return _blocked_both_ways(order[:cut], order[cut:])


def _one_way(order: Sequence[str], random: Random) -> set[Pair]:
    lone, rest = order[0], order[1:]
    if random.random() < 0.5:
        return {(lone, other) for other in rest}
    return {(other, lone) for other in rest}


def _bridge(order: Sequence[str], _: Random) -> set[Pair]:
    middle = (len(order) + 1) // 2
    return _blocked_both_ways(order[1:middle], order[middle:])


def _ring(order: Sequence[str], random: Random) -> set[Pair]:
    count = len(order)
    # Three in a ring are all neighbours.
    one_way = count <= 3 or random.random() < 0.5
    return {
        (a, b)
        for i, a in enumerate(order)
        for j, b in enumerate(order)
        if i != j and (j - i) % count != 1 and (one_way or (i - j) % count != 1)
    }


def _isolate(order: Sequence[str], _: Random) -> set[Pair]:
    return _blocked_both_ways(order[:1], order[1:])


def _full(order: Sequence[str], _: Random) -> set[Pair]:
    return {(a, b) for a in order for b in order if a != b}


_SHAPES: dict[str, Callable[[Sequence[str], Random], set[Pair]]] = {
    "split": _split,
    "one_way": _one_way,
    "bridge": _bridge,
    "ring": _ring,
    "isolate": _isolate,
    "full": _full,
}
PARTITIONS = tuple(_SHAPES)
"""``split``: two sides. ``one_way``: one node is heard by nobody, or hears nobody. ``bridge``: two
sides that share one node. ``ring``: everyone reaches the neighbours only, in one direction or
both. ``isolate``: one node alone. ``full``: everyone alone."""


def partition_pairs(
    kind: str, nodes: Sequence[str], random: Random, lone: str | None = None
) -> set[Pair]:
    """Return the directed pairs that a partition of this kind cuts; ``lone`` gets the worst of it.

    The order of nodes is random otherwise.
    """
    order = list(nodes)
    random.shuffle(order)
    if lone in order:
        order.remove(lone)
        order.insert(0, lone)
    return _SHAPES[kind](order, random)


class Network:
    """Carries messages between named endpoints."""

    __slots__ = ("_clogged", "_coverage", "_cut", "_endpoints", "_flows", "_kernel", "_last",
                 "_random", "delivered", "faults", "sent")  # fmt: skip

    def __init__(self, kernel: Kernel, coverage: Coverage, faults: LinkFaults) -> None:
        self._kernel = kernel
        self._coverage = coverage
        self._random = kernel.stream("network")
        self._endpoints: dict[str, Endpoint] = {}
        self._cut: set[Pair] = set()
        self._clogged: dict[Pair, int] = {}
        self._last: dict[Pair, int] = {}
        self._flows: dict[Pair, int] = {}
        self.faults = faults
        self.sent = 0
        self.delivered = 0

    def attach(self, name: str, endpoint: Endpoint) -> None:
        """Let ``endpoint(sender, message)`` receive what is sent to ``name``."""
        self._endpoints[name] = endpoint

    def detach(self, name: str) -> None:
        """Drop what is on the way to ``name`` and everything sent to it later."""
        self._endpoints.pop(name, None)

    def cut(self, pairs: set[Pair]) -> None:
        """Replace the current partition; messages already on the way still arrive."""
        self._cut = pairs

    @property
    def partition(self) -> set[Pair]:
        """The directed pairs that carry nothing now."""
        return self._cut

    def heal(self) -> None:
        """End every partition and clog, and lose nothing any more."""
        self._cut = set()
        self._clogged.clear()
        self.faults = LinkFaults()

    def is_cut(self, sender: str, receiver: str) -> bool:
        """Return whether a partition blocks this direction."""
        return (sender, receiver) in self._cut

    def send(self, sender: str, receiver: str, message: object) -> None:
        """Put ``message`` on the link; it arrives later, twice, out of order or never."""
        self.sent += 1
        faults = self.faults
        random = self._random
        pair = (sender, receiver)
        if pair in self._cut:
            self._coverage.hit("network.cut")
            return
        if faults.loss and random.random() < faults.loss:
            self._coverage.hit("network.lost")
            return
        self._carry(pair, message)
        if faults.duplicate and random.random() < faults.duplicate:
            self._coverage.hit("network.duplicated")
            self._carry(pair, message)

    def flow(self, sender: str, receiver: str, message: object) -> None:
        """Send ``message`` on a connection; it arrives later, behind what was sent before it.

        Never, if the link is cut now or the receiver is gone by then.
        """
        self.sent += 1
        faults, random = self.faults, self._random
        pair = (sender, receiver)
        if pair in self._cut:
            self._coverage.hit("network.cut")
            return
        spread = faults.delay_max - faults.delay_min
        time = self._kernel.now + faults.delay_min + int(random.random() * spread)
        if faults.loss and random.random() < faults.loss:
            time += RESEND_AFTER_US
        time = max(time, self._flows.get(pair, 0), self._clogged.get(pair, 0))
        self._flows[pair] = time
        self._kernel.at(time, self._deliver, pair, message)

    def _carry(self, pair: Pair, message: object) -> None:
        faults = self.faults
        random = self._random
        spread = faults.delay_max - faults.delay_min
        time = self._kernel.now + faults.delay_min + int(random.random() * spread)
        if faults.clog and random.random() < faults.clog:
            self._coverage.hit("network.clogged")
            self._clogged[pair] = self._kernel.now + int(random.random() * faults.clog_max)
        if self._clogged:
            time = max(time, self._clogged.get(pair, 0))
        last = self._last.get(pair, 0)
        if time < last:
            if faults.reorder:
                self._coverage.hit("network.reordered")
            else:
                time = last
        else:
            self._last[pair] = time
        self._kernel.at(time, self._deliver, pair, message)

    def _deliver(self, pair: Pair, message: object) -> None:
        endpoint = self._endpoints.get(pair[1])
        if endpoint is not None:
            self.delivered += 1
            endpoint(pair[0], message)
