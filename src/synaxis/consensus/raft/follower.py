"""What a follower does with a leader's entries and snapshots.

Invariants: an acknowledgement speaks of what matched and is stored, ``prev_index`` plus the
entries of that very message, never of what else the log may hold; entries are dropped only on
a conflict, never because a message is shorter, and never at or below the commit index.

A snapshot that refers to attachments is not installed when its bytes are whole, but when somebody
has fetched those: until then its chunks are answered as received and not installed.

Sources: Ongaro, thesis 3.5, 5.2.
"""

from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    SnapshotReply,
)
from synaxis.consensus.raft.snapshot import SnapshotReceiver
from synaxis.consensus.raft.state import RaftState, Role
from synaxis.effects import Snapshot, SnapshotMeta
from synaxis.ids import LogIndex, NodeId

__all__ = ["Follower"]


class Follower:
    """Takes what the leader of the current term sends."""

    __slots__ = ("_gathering", "_receiver", "_state")

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self._receiver = SnapshotReceiver(state.config.snapshot_bytes_max)
        self._gathering: Snapshot | None = None
        """Whole, but for its attachments."""

    def on_append(self, sender: NodeId, message: AppendEntries) -> None:
        """Check the position, store what is new, commit what is known to be, and answer."""
        state = self._state
        previous = message.prev_index
        # What is committed here equals the leader's log, so there is nothing to check below.
        if previous > state.log.commit_index and not state.log.holds(previous, message.prev_term):
            self._refuse(sender, message)
            return
        self._store(message)
        matched = LogIndex(previous + len(message.entries))
        state.log.commit_to(min(message.commit_index, matched))
        state.send_after(sender, AppendReply(state.term, True, matched, state.term, message.round))

    def _refuse(self, sender: NodeId, message: AppendEntries) -> None:
        # A refusal promises nothing about the disk.
        index, term = self._state.log.last_not_after(message.prev_index, message.prev_term)
        reply = AppendReply(self._state.term, False, index, term, message.round)
        self._state.send_now(sender, reply)

    def _store(self, message: AppendEntries) -> None:
        state = self._state
        known = state.log.first_conflict(message.entries)
        if known == len(message.entries):
            return
        first = message.entries[known].index
        if first <= state.log.last_index:
            state.truncate(first)
        state.append(message.entries[known:])

    def on_snapshot(self, sender: NodeId, message: InstallSnapshot) -> None:
        """Take a chunk; install the snapshot when it is whole."""
        state = self._state
        meta = message.meta
        if self._is_contained(meta):
            self._receiver.clear()
            self._catch_up(meta)
            self._reply(sender, message, installed=True)
            return
        snapshot = None if self._is_gathering(meta) else self._receiver.accept(message)
        if snapshot is not None and meta.attachments:
            self._gathering = state.gather = snapshot
        elif snapshot is not None:
            state.install(snapshot)
        self._reply(sender, message, installed=snapshot is not None and not meta.attachments)

    def gathered(self, meta: SnapshotMeta, *, complete: bool) -> None:
        """Install the snapshot whose attachments are there now, or forget one that has none.

        What is forgotten begins anew with the leader's next chunk.
        """
        state, snapshot = self._state, self._gathering
        if snapshot is None or snapshot.meta != meta:
            return  # another took its place
        self._gathering = None
        if not complete or state.role is Role.LEADER:
            return
        if self._is_contained(meta):
            self._catch_up(meta)
        else:
            # Whoever leads by now: what a snapshot contains is committed for ever.
            state.install(snapshot)
        if state.leader is not None:
            reply = SnapshotReply(state.term, meta.index, meta.size, installed=True, round=0)
            state.send_after(state.leader, reply)

    def forget(self) -> None:
        """Throw away what arrived of a snapshot: its era is over."""
        self._receiver.clear()
        self._gathering = None

    def _is_contained(self, meta: SnapshotMeta) -> bool:
        log = self._state.log
        return log.holds(meta.index, meta.term) or meta.index <= log.commit_index

    def _catch_up(self, meta: SnapshotMeta) -> None:
        """Commit what a snapshot contains: keep the log, and what follows in it (5.1)."""
        self._state.log.commit_to(meta.index)
        gathering = self._gathering
        if gathering is not None and gathering.meta.index <= self._state.log.commit_index:
            self._gathering = self._state.gather = None

    def _is_gathering(self, meta: SnapshotMeta) -> bool:
        return self._gathering is not None and self._gathering.meta == meta

    def _reply(self, sender: NodeId, message: InstallSnapshot, *, installed: bool) -> None:
        state, meta = self._state, message.meta
        received = meta.size if self._is_gathering(meta) else self._receiver.next_offset(meta)
        reply = SnapshotReply(state.term, meta.index, received, installed, message.round)
        if installed:
            state.send_after(sender, reply)
        else:
            state.send_now(sender, reply)
