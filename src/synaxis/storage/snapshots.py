"""Snapshot files: one per snapshot, self-describing, self-checking, two kept per group.

A file is durable before the log refers to it, and is removed only after the log refers to a
newer one; so at every instant the newest marker in the log has its file.

What a snapshot refers to in a store beside the log (``SnapshotMeta.attachments``) obeys the same
order: it is durable before the file is written. A snapshot whose attachments are not whole is a
damaged snapshot.
"""

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Protocol
from urllib.parse import quote

import google_crc32c
import msgspec

from synaxis.effects import Attachment, Snapshot, SnapshotMeta
from synaxis.ids import GroupId
from synaxis.ports import Directory
from synaxis.storage.segments import damaged_name

__all__ = ["SNAPSHOTS_KEPT", "AttachmentStore", "SnapshotFiles", "snapshot_name"]

SNAPSHOTS_KEPT = 2
"""Per group: the newest, and one to fall back to if the log still reaches back that far."""

_MAGIC = b"SYNAXSNP"
_SUFFIX = ".snapshot"
_HEAD = Struct("<8sHHII")  # magic, version, zero, length of the meta, CRC of the meta
_VERSION = 1


def snapshot_name(group: GroupId, index: int) -> str:
    """Return the file name of a group's snapshot."""
    return f"{quote(group, safe='')}-{index:016x}{_SUFFIX}"


class AttachmentStore(Protocol):
    """Where the attachments of snapshots live; every method may wait for the disk."""

    def verify(self, group: GroupId, attachments: Sequence[Attachment]) -> bool:
        """Return whether all that ``attachments`` speak of is there, undamaged."""
        ...

    def restart(self, states: Mapping[GroupId, Sequence[Attachment]]) -> None:
        """Begin with what the recovered snapshot of each group refers to."""
        ...

    def sync(self, group: GroupId) -> None:
        """Make durable what a snapshot of ``group`` refers to, which is about to be written."""
        ...

    def keep(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Let go of what only snapshots before this one need: it is durable."""
        ...


class SnapshotFiles:
    """The snapshot files in a directory."""

    def __init__(self, directory: Directory, attachments: AttachmentStore | None = None) -> None:
        self._directory = directory
        self._attachments = attachments
        self._incomplete: set[str] = set()
        """Files that are whole themselves, but whose attachments are not."""

    def write(self, group: GroupId, snapshot: Snapshot) -> None:
        """Write the file; it, and what it refers to, is durable when this returns."""
        if self._attachments is not None and snapshot.meta.attachments:
            self._attachments.sync(group)
        meta = msgspec.msgpack.encode(snapshot.meta)
        head = _HEAD.pack(_MAGIC, _VERSION, 0, len(meta), google_crc32c.value(meta))
        name = snapshot_name(group, snapshot.meta.index)
        self._directory.replace(name, b"".join((head, meta, snapshot.data)))

    def load(self, group: GroupId, meta: SnapshotMeta) -> Snapshot | None:
        """Return the snapshot that ``meta`` speaks of, or None if it is missing or damaged."""
        name = snapshot_name(group, meta.index)
        if name not in self._directory.names():
            return None
        snapshot = _decode(self._directory.read(name))
        if snapshot is None or (snapshot.meta.index, snapshot.meta.term) != (meta.index, meta.term):
            return None
        attached = snapshot.meta.attachments
        if attached and not (self._attachments and self._attachments.verify(group, attached)):
            self._incomplete.add(name)
            return None
        return snapshot

    def remove(self, group: GroupId, index: int) -> None:
        """Remove the file if it exists."""
        name = snapshot_name(group, index)
        if name in self._directory.names():
            self._directory.remove(name)

    def remove_all_but(self, kept: set[str]) -> None:
        """Remove what the log does not refer to; a damaged file is set aside under another name."""
        for name in self._directory.names():
            if not name.endswith(_SUFFIX) or name in kept:
                continue
            raw = self._directory.read(name)
            if name in self._incomplete or _decode(raw) is None:
                self._directory.replace(damaged_name(name), raw)
            self._directory.remove(name)


def _decode(raw: bytes) -> Snapshot | None:
    if len(raw) < _HEAD.size:
        return None
    magic, version, _, meta_length, meta_crc = _HEAD.unpack_from(raw)
    encoded = raw[_HEAD.size : _HEAD.size + meta_length]
    if (magic, version) != (_MAGIC, _VERSION) or google_crc32c.value(encoded) != meta_crc:
        return None
    meta = msgspec.msgpack.decode(encoded, type=SnapshotMeta)
    body = raw[_HEAD.size + meta_length :]
    if len(body) != meta.size or google_crc32c.value(body) != meta.checksum:
        return None
    return Snapshot(meta, body)
