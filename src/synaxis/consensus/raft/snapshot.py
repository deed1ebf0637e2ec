"""A snapshot on its way: chunks out of the leader's memory, into a follower's bounded buffer.

One chunk is under way per peer; the receiver says how many bytes it has, so either side may
restart or lose messages, and a new leader may continue where the old one stopped, because
equal states have equal bytes.

Sources: Ongaro, thesis 5.2, Figure 5.3.
"""

import google_crc32c

from synaxis.consensus.raft.messages import InstallSnapshot
from synaxis.effects import Snapshot, SnapshotMeta

__all__ = ["SnapshotReceiver", "SnapshotSender"]


class SnapshotSender:
    """Sends one snapshot to one peer. Holds on to it even when a newer one exists.

    With attachments it asks, once all bytes have arrived, by an empty chunk per heartbeat whether
    the peer has gathered them.
    """

    __slots__ = ("_offset", "_round", "_waiting", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._offset = 0
        self._waiting = False
        self._round = 0

    def take_chunk(self, bytes_max: int, confirmation_round: int) -> tuple[int, bytes] | None:
        """Return (offset, bytes) to send now, or None while a chunk is under way."""
        if self._waiting:
            return None
        self._waiting = True
        self._round = confirmation_round
        return self._offset, self.snapshot.data[self._offset : self._offset + bytes_max]

    def received(self, next_offset: int) -> None:
        """Take the receiver's word for how many bytes it has.

        No progress means that the receiver threw its bytes away (a bad checksum, a restart):
        the next chunk then waits for a heartbeat, so that a snapshot which is damaged at the
        source does not fill the network.
        """
        progressed = next_offset > self._offset
        self._offset = min(next_offset, len(self.snapshot.data))
        self._waiting = not progressed

    def is_outdated(self, next_offset: int, newest: Snapshot) -> bool:
        """Return whether the receiver may have found attachments missing that are gone by now."""
        meta = self.snapshot.meta
        return next_offset == 0 and bool(meta.attachments) and newest.meta.index > meta.index

    def heard(self, confirmed_round: int) -> None:
        """Send the chunk again if the peer has answered something that was sent after it."""
        if confirmed_round > self._round:
            self._waiting = False


class SnapshotReceiver:
    """The bytes of at most one incoming snapshot."""

    __slots__ = ("_bytes_max", "_data", "_meta")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._meta: SnapshotMeta | None = None
        self._data = bytearray()

    def next_offset(self, meta: SnapshotMeta) -> int:
        """Return how many bytes of the snapshot that ``meta`` describes have arrived."""
        return len(self._data) if self._meta == meta else 0

    def accept(self, message: InstallSnapshot) -> Snapshot | None:
        """Take a chunk; returns the snapshot when it is complete and its checksum is right."""
        meta = message.meta
        if meta.size > self._bytes_max:
            return None
        if self._meta != meta:
            if message.offset > 0:
                return None
            # Also when ours is newer: the leader that sent it may be gone, and would never
            # send the rest.
            self._meta, self._data = meta, bytearray()
        if message.offset != len(self._data):
            return None
        if len(self._data) + len(message.data) > meta.size:
            self.clear()
            return None
        self._data += message.data
        if len(self._data) < meta.size:
            return None
        snapshot = Snapshot(meta, bytes(self._data))
        self.clear()
        return snapshot if google_crc32c.value(snapshot.data) == meta.checksum else None

    def clear(self) -> None:
        """Throw the bytes away."""
        self._meta = None
        self._data = bytearray()
