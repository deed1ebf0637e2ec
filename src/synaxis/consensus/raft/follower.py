"""What a follower does with a leader's entries and snapshots.

Invariants: an acknowledgement speaks of what matched and is stored, ``prev_index`` plus the
entries of that very message, never of what else the log may hold; entries are dropped only on
a conflict, never because a message is shorter, and never at or below the commit index.

Sources: Ongaro, thesis 3.5, 5.2.
"""

from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    SnapshotReply,
)
from synaxis.consensus.raft.snapshot import SnapshotReceiver
from synaxis.consensus.raft.state import RaftState
from synaxis.ids import LogIndex, NodeId

__all__ = ["Follower"]


class Follower:
    """Takes what the leader of the current term sends."""

    __slots__ = ("_receiver", "_state")

    def __init__(self, state: RaftState) -> None:
        self._state = state
        self._receiver = SnapshotReceiver(state.config.snapshot_bytes_max)

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
        if state.log.holds(meta.index, meta.term) or meta.index <= state.log.commit_index:
            # We have all that it contains: keep the log, and what follows in it (5.1).
            self._receiver.clear()
            state.log.commit_to(meta.index)
            self._reply(sender, message, installed=True)
            return
        snapshot = self._receiver.accept(message)
        if snapshot is not None:
            state.install(snapshot)
        self._reply(sender, message, installed=snapshot is not None)

    def _reply(self, sender: NodeId, message: InstallSnapshot, *, installed: bool) -> None:
        state = self._state
        received = self._receiver.next_offset(message.meta)
        reply = SnapshotReply(state.term, message.meta.index, received, installed, message.round)
        if installed:
            state.send_after(sender, reply)
        else:
            state.send_now(sender, reply)
