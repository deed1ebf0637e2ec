"""The members' streams of a node: hears what they say, puts the bytes beside what they are told.

What ``api`` does for real clients: a delivery whose bytes are not in memory is read from the disk,
which takes a while, and what is said later to the same member waits for it.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import ClassVar, Protocol

import msgspec

from synaxis.effects import refusal
from synaxis.errors import SynaxisError
from synaxis.ids import GroupId, Instant, NodeId, SessionId
from synaxis.queues.commands import Attach, Begin, Delivery, Extend, Part, Records, Release, Slice
from synaxis.queues.units import cut, open_unit
from synaxis.simulation.observed import ObservedReplica
from synaxis.simulation.process import Surroundings
from synaxis.simulation.queues.streams import Delivered, Hangup, NodeStream, Push, Say
from synaxis.storage.message_store import MessageStore

__all__ = ["Switchboard", "SwitchboardNode", "ranges_of", "records_in"]

Slices = tuple[Slice, ...]
READ_US = 20_000
READ_MAX_US = 3_000_000


class SwitchboardNode(Protocol):
    """The node, as its switchboard sees it."""

    id: NodeId
    group: ClassVar[GroupId]
    store: MessageStore
    around: Surroundings
    slowness: float

    def now(self) -> Instant:
        """Return the node's time."""
        ...

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Say something to the leader's half in the name of a member."""
        ...

    def draw(self) -> float:
        """Return a random number from 0 to 1."""
        ...

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` us, if the process still lives."""
        ...


class Switchboard:
    """See the module. One process."""

    def __init__(self, node: SwitchboardNode) -> None:
        self._node = node
        self._streams: dict[tuple[str, int], NodeStream] = {}

    # --- hearing -----------------------------------------------------------------------------

    def hear(self, replica: ObservedReplica, client: str, say: Say) -> None:
        """Take what a member says, unless something before it is missing."""
        key = (client, say.stream)
        stream = self._streams.get(key)
        if stream is None and say.serial == 0 and isinstance(say.message, Attach):
            stream = self._streams[key] = NodeStream(client, say.stream, say.session, say.message)
        if stream is None or stream.heard != say.serial:
            self.hang_up(replica, client, say.stream)
            self._node.around.network.flow(self._node.id, client, Hangup(say.stream))
            return
        stream.heard += 1
        try:
            replica.demand(say.session, say.message, stream, self._node.now())
        except SynaxisError as error:
            # What else is refused will be settled by the end of the stream.
            if isinstance(say.message, Attach | Extend | Begin):
                self._push(stream, refusal(error))

    def hang_up(self, replica: ObservedReplica, client: str, number: int) -> None:
        """A stream is broken."""
        stream = self._streams.pop((client, number), None)
        if stream is not None:
            replica.disconnected(stream)

    # --- telling -----------------------------------------------------------------------------

    def tell(self, stream: NodeStream, body: msgspec.Struct) -> None:
        """Tell a member something, after what it was told before."""
        if self._streams.get((stream.client, stream.number)) is stream:
            stream.waiting.append(body)
            if len(stream.waiting) == 1:
                self._tell_on(stream)

    def _tell_on(self, stream: NodeStream) -> None:
        node = self._node
        while stream.waiting:
            body = stream.waiting[0]
            if isinstance(body, Delivery):
                units = node.store.read(node.group, ranges_of(body.slices))
                if units is None:
                    delay = int(min(READ_MAX_US, READ_US * node.slowness) * node.draw())
                    node.later(delay, partial(self._tell_late, stream, body))
                    return
                body = Delivered(records_in(body.slices, units))
            stream.waiting.pop(0)
            self._push(stream, body)

    def _tell_late(self, stream: NodeStream, body: Delivery) -> None:
        """Go on when the bytes have been read from the disk."""
        node, coverage = self._node, self._node.around.coverage
        coverage.hit("queue.read_from_disk")
        records: tuple[Records, ...] = ()
        missing: list[Slice] = []
        for each in body.slices:
            units = node.store.read_blocking(node.group, ranges_of((each,)))
            if units is None:
                missing.append(each)
            else:
                records += records_in((each,), units)
        stream.waiting.pop(0)
        if records:
            self._push(stream, Delivered(records))
        if missing:
            coverage.hit("queue.read_too_late")
            self._give_back(stream, missing)
        self._tell_on(stream)

    def _give_back(self, stream: NodeStream, missing: list[Slice]) -> None:
        """What has moved to another segment on its way, or was forgotten, did not arrive."""
        attach = stream.attach
        parts = tuple(part for each in missing for part in _parts(each))
        release = Release(attach.topic, attach.group, attach.member, parts)
        with suppress(SynaxisError):  # then the end of the stream settles it
            self._node.demand(stream.session, release, stream)

    def _push(self, stream: NodeStream, body: msgspec.Struct) -> None:
        kernel, network = self._node.around.kernel, self._node.around.network
        push = Push(stream.number, stream.said, body)
        stream.said += 1
        if kernel.verbose:
            kernel.note(self._node.id, "->", stream.client, push)
        network.flow(self._node.id, stream.client, push)


def _parts(each: Slice) -> Iterator[Part]:
    """Yield the messages of a slice as the member would speak of them."""
    failures = dict(each.failures)
    for offset in range(each.first, each.first + each.count):
        yield Part(each.partition, offset, offset, failures.get(offset, 0))


def records_in(slices: Slices, units: list[bytes]) -> tuple[Records, ...]:
    """Return the records that the slices mean."""
    records = []
    for each, unit in zip(slices, units, strict=True):
        sizes, body = cut(*open_unit(unit), each.skip, each.count)
        records.append(Records(each.partition, each.first, sizes, body, each.at, each.failures))
    return tuple(records)


def ranges_of(slices: Slices) -> list[tuple[int, int, int]]:
    """Return where the units of the slices are."""
    return [(each.segment, each.position, each.length) for each in slices]
