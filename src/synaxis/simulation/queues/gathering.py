"""Gathering what a leader's snapshot refers to, in virtual time.

Does over the same messages what ``nodes.gatherer`` does, one part at a time: the leader is asked
first, then the other voters in turn; what arrives is trusted when the whole segment matches.
"""

from collections.abc import Callable
from typing import ClassVar, Protocol

from synaxis.effects import SnapshotMeta
from synaxis.ids import GroupId, NodeId
from synaxis.ports import LogStatus
from synaxis.simulation.coverage import Coverage
from synaxis.storage.message_store import MessageStore
from synaxis.wire.peer import SegmentAsk, SegmentPart

__all__ = ["Gatherer", "GatheringNode"]

ASK_TIMEOUT_US = 300_000
RETRY_US = 50_000
ATTEMPTS_MAX = 5


class GatheringNode(Protocol):
    """The node, as its gatherer sees it."""

    id: NodeId
    group: ClassVar[GroupId]
    store: MessageStore

    def status(self) -> LogStatus:
        """Return the status of the log."""
        ...

    def say(self, target: NodeId, message: SegmentAsk | SegmentPart) -> None:
        """Send a message to a peer."""
        ...

    def later(self, delay: int, action: Callable[[], None]) -> None:
        """Call ``action`` in ``delay`` us, if the process still lives."""
        ...

    def gathered(self, meta: SnapshotMeta, *, complete: bool) -> None:
        """Tell the log."""
        ...


class Gatherer:
    """See the module. One process, one group."""

    def __init__(self, node: GatheringNode, coverage: Coverage, part_bytes: int) -> None:
        self._node = node
        self._coverage = coverage
        self._part_bytes = part_bytes
        self._meta: SnapshotMeta | None = None
        self._asked: SegmentAsk | None = None
        self._serial = 0
        """Tells timers of what is over from those of what goes on."""
        self._turn = 0
        self._at = 0
        """Number of the attachment that is being made complete."""
        self._attempts = 0

    def gather(self, meta: SnapshotMeta) -> None:
        """Begin with a snapshot; what was under way is given up."""
        self._meta, self._turn, self._at, self._attempts = meta, 0, 0, 0
        self._coverage.hit("queue.gathering")
        self._go_on()

    def _go_on(self) -> None:
        meta = self._meta
        assert meta is not None
        store, group = self._node.store, self._node.group
        while self._at < len(meta.attachments):
            attachment = meta.attachments[self._at]
            missing = {each[0]: each[1:] for each in store.missing(group, meta)}
            if attachment.segment in missing:
                position, length = missing[attachment.segment]
                self._ask(attachment.segment, position, min(length, self._part_bytes))
                return
            if store.adopt(group, attachment):
                self._at, self._attempts = self._at + 1, 0
                continue
            self._coverage.hit("queue.gathered_in_vain")
            self._turn += 1
            self._attempts += 1
            if self._attempts == ATTEMPTS_MAX:
                self._finish(complete=False)
                return
        self._finish(complete=True)

    def _finish(self, *, complete: bool) -> None:
        meta, self._meta, self._asked = self._meta, None, None
        self._serial += 1
        assert meta is not None
        self._coverage.hit("queue.gathered" if complete else "queue.gathering_given_up")
        self._node.gathered(meta, complete=complete)

    def _ask(self, segment: int, position: int, length: int) -> None:
        self._asked = SegmentAsk(self._node.group, segment, position, length)
        self._send()

    def _send(self) -> None:
        assert self._asked is not None
        self._serial += 1
        sources = self._sources()
        if sources:
            self._node.say(sources[self._turn % len(sources)], self._asked)
        self._wait(ASK_TIMEOUT_US)

    def _wait(self, delay: int) -> None:
        serial = self._serial

        def late() -> None:
            if serial == self._serial:
                self._ask_another()

        self._node.later(delay, late)

    def _ask_another(self) -> None:
        meta = self._meta
        if meta is None:
            return
        if self._node.status().commit_index >= meta.index:
            self._finish(complete=False)  # the log has brought what the snapshot contains
            return
        self._turn += 1
        self._send()

    def _sources(self) -> list[NodeId]:
        status = self._node.status()
        voters = {*status.members.voters, *status.members.outgoing}
        if status.leader is not None:
            voters.add(status.leader)
        voters.discard(self._node.id)
        return sorted(voters, key=lambda node: (node != status.leader, node))

    def received(self, part: SegmentPart) -> None:
        """Take a peer's answer."""
        asked = self._asked
        if asked is None or (part.segment, part.position) != (asked.segment, asked.position):
            return
        if part.gone:
            self._finish(complete=False)
        elif len(part.data) != asked.length:
            self._serial += 1
            self._wait(RETRY_US)
        else:
            self._asked = None
            self._serial += 1
            self._node.store.receive(self._node.group, part.segment, part.position, part.data)
            self._go_on()
