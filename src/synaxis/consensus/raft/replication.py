"""The leader's side of AppendEntries and InstallSnapshot: what goes to whom, and what came back.

Nothing is sent when it is proposed: ``flush`` looks once per drained batch at what each peer
lacks and may have, so that a loop turn costs at most one small message per peer and a full
window costs no more than the window.

Invariant: a reply counts only in the term it was given in; ``match`` says what is durable at
the peer.

Sources: Ongaro, thesis 3.5, 3.6.2, 5.2, 6.4, 10.2.1.
"""

from synaxis.consensus.quorum import acknowledged
from synaxis.consensus.raft.log import entry_bytes
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    SnapshotReply,
)
from synaxis.consensus.raft.progress import Flow, Progress
from synaxis.consensus.raft.state import RaftState
from synaxis.effects import Entry
from synaxis.ids import Instant, LogIndex, NodeId

__all__ = ["Replication"]


class Replication:
    """The peers of a leader."""

    __slots__ = ("_state", "is_snapshot_wanted", "peers")

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self.peers: dict[NodeId, Progress] = {}
        """Sorted by id. Empty unless this node leads."""
        self.is_snapshot_wanted = False
        """A peer lacks entries that were dropped without a snapshot (volatile groups)."""

    def reset(self, now: Instant) -> None:
        """Know nothing about anyone: a new term begins."""
        self.dismiss()
        self.follow_membership(now)

    def dismiss(self) -> None:
        """Forget all peers: this node leads no more."""
        self.peers = {}
        self.is_snapshot_wanted = False

    @property
    def is_sending_snapshot(self) -> bool:
        """Whether a snapshot is on its way to anybody."""
        return any(progress.sender is not None for progress in self.peers.values())

    def follow_membership(self, now: Instant) -> None:
        """Take up who joined and drop who left; known peers keep what is known of them."""
        state = self._state
        audience = state.membership.audience(state.log.commit_index)
        self.peers = {
            peer: self.peers.get(peer) or Progress(state.config, state.log.last_index, now)
            for peer in audience
            if peer != state.node_id
        }

    def on_append_reply(self, sender: NodeId, reply: AppendReply, now: Instant) -> bool:
        """Take an answer. Returns whether the commit index may have to move."""
        progress = self.peers.get(sender)
        if progress is None:
            return False
        self._heard(progress, reply.round, now)
        if reply.success:
            return self._acknowledged(progress, reply.index)
        if reply.index >= progress.match:
            index, _ = self._state.log.last_not_after(reply.index, reply.hint_term)
            progress.refused(LogIndex(index + 1))
        return False

    def on_snapshot_reply(self, sender: NodeId, reply: SnapshotReply, now: Instant) -> bool:
        """Take an answer to a chunk. Returns whether the commit index may have to move."""
        progress = self.peers.get(sender)
        if progress is None:
            return False
        self._heard(progress, reply.round, now)
        if reply.installed:
            return self._acknowledged(progress, reply.index)
        sending, newest = progress.sender, self._state.snapshot
        if sending is None or newest is None or sending.snapshot.meta.index != reply.index:
            return False
        if sending.is_outdated(reply.next_offset, newest):
            progress.send_snapshot(newest)
        else:
            sending.received(reply.next_offset)
        return False

    def _heard(self, progress: Progress, confirmed_round: int, now: Instant) -> None:
        progress.contact_at = now
        progress.acknowledged_round = max(progress.acknowledged_round, confirmed_round)
        if progress.sender is not None:
            progress.sender.heard(confirmed_round)

    def _acknowledged(self, progress: Progress, index: LogIndex) -> bool:
        if index > self._state.log.last_index:
            return False  # not in this term: no correct peer holds more than its leader
        is_news = progress.acknowledged(index)
        if progress.flow is Flow.SNAPSHOT and is_news:
            # Either what follows is in the log, or it was compacted away meanwhile and
            # ``flush`` starts with the newer snapshot.
            progress.probe()
        return is_news

    def quorum_match(self) -> LogIndex:
        """Return the last index that a quorum holds durably; the leader counts its own disk."""
        own = self._state.durability.stable_index
        return LogIndex(
            acknowledged(
                self._state.membership.current,
                lambda node: own if node == self._state.node_id else self._match_of(node),
            )
        )

    def _match_of(self, node: NodeId) -> LogIndex:
        progress = self.peers.get(node)
        return progress.match if progress is not None else LogIndex(0)

    def quorum_round(self, own_round: int) -> int:
        """Return the latest round that a quorum has answered."""
        me = self._state.node_id
        return acknowledged(
            self._state.membership.current,
            lambda node: own_round if node == me else self._round_of(node),
        )

    def _round_of(self, node: NodeId) -> int:
        progress = self.peers.get(node)
        return progress.acknowledged_round if progress is not None else 0

    def quorum_contact(self, now: Instant) -> Instant:
        """Return the latest time at which a quorum had been heard from (6.2)."""
        me = self._state.node_id
        return Instant(
            acknowledged(
                self._state.membership.current,
                lambda node: now if node == me else self._contact_of(node),
            )
        )

    def _contact_of(self, node: NodeId) -> Instant:
        progress = self.peers.get(node)
        return progress.contact_at if progress is not None else Instant(0)

    def flush(self, confirmation_round: int, *, everyone: bool) -> None:
        """Send each peer what it lacks and may have; ``everyone`` gets at least a heartbeat."""
        for peer, progress in self.peers.items():
            sent = self._send_entries(peer, progress, confirmation_round)
            if everyone and not sent:
                self._send_heartbeat(peer, progress, confirmation_round)
            if progress.sender is not None:
                self._send_chunk(peer, progress, confirmation_round)

    def _send_entries(self, peer: NodeId, progress: Progress, confirmation_round: int) -> bool:
        log = self._state.log
        sent = False
        while progress.next <= log.last_index and progress.may_send():
            if progress.next <= log.base_index:
                self._send_snapshot(progress)
                break
            first = progress.next
            entries = log.slice(first, self._state.config.append_bytes_max)
            self._send_append(peer, progress, first, entries, confirmation_round)
            progress.sent(entries[-1].index, sum(map(entry_bytes, entries)))
            sent = True
        return sent

    def _send_snapshot(self, progress: Progress) -> None:
        """Begin with the last snapshot; a volatile group makes one when it is wanted."""
        state = self._state
        snapshot = state.snapshot
        if snapshot is not None and snapshot.meta.index >= state.log.base_index:
            progress.send_snapshot(snapshot)
            return
        assert state.volatile, "entries on disk are only dropped by a snapshot"
        self.is_snapshot_wanted = True

    def _send_heartbeat(self, peer: NodeId, progress: Progress, confirmation_round: int) -> None:
        # Without entries the position is still a question, and the answer finds lost messages,
        # also when what they held was compacted away since.
        first = max(progress.next, LogIndex(self._state.log.base_index + 1))
        self._send_append(peer, progress, first, (), confirmation_round)

    def _send_append(
        self,
        peer: NodeId,
        progress: Progress,
        first: LogIndex,
        entries: tuple[Entry, ...],
        confirmation_round: int,
    ) -> None:
        state = self._state
        previous = LogIndex(first - 1)
        previous_term = state.log.term_at(previous)
        progress.commit_sent = state.log.commit_index
        state.send_now(
            peer,
            AppendEntries(
                state.term,
                previous,
                previous_term,
                state.log.commit_index,
                confirmation_round,
                entries,
            ),
        )

    def _send_chunk(self, peer: NodeId, progress: Progress, confirmation_round: int) -> None:
        assert progress.sender is not None
        chunk_bytes = self._state.config.snapshot_chunk_bytes
        chunk = progress.sender.take_chunk(chunk_bytes, confirmation_round)
        if chunk is None:
            return
        offset, data = chunk
        meta = progress.sender.snapshot.meta
        message = InstallSnapshot(self._state.term, meta, offset, data, confirmation_round)
        self._state.send_now(peer, message)

    def is_news(self, commit_index: LogIndex) -> bool:
        """Return whether a peer has not been told that ``commit_index`` is committed."""
        return any(progress.commit_sent < commit_index for progress in self.peers.values())

    def most_advanced_voter(self) -> NodeId | None:
        """Return the peer with a vote that holds the longest log, if any."""
        voters = self._state.membership.current.voters
        candidates = [
            (progress.match, peer) for peer, progress in self.peers.items() if peer in voters
        ]
        return max(candidates)[1] if candidates else None

    def check_invariants(self) -> None:
        """Assert what holds for every peer."""
        assert list(self.peers) == sorted(self.peers)
        for progress in self.peers.values():
            progress.check_invariants()
            assert progress.match <= self._state.log.last_index
