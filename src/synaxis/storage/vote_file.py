"""A second copy of every group's term and vote, in a small file of its own.

A node that forgets a vote may vote twice in one term and break safety, and the leader that
repairs a damaged log cannot tell it how it voted. So one damaged sector must not be able to
take both copies. The file also remembers the newest segment, so that a lost one is noticed.

Appended and synced before the log is; hard states change only around elections, so this costs
nothing in the steady state. Frames that make no sense are skipped: a torn one was never
acknowledged, and a damaged one still has its twin in the log.

Sources: Alagappan et al., FAST 2018, section 3.3 (two copies of the metadata).
"""

from struct import Struct

import google_crc32c
import msgspec

from synaxis.effects import HardState
from synaxis.ids import GroupId
from synaxis.ports import AppendFile, Directory

__all__ = ["VoteFile", "VoteFileContent"]

FILE_NAME = "votes"
FILE_BYTES_MAX = 64 * 1024
"""Above this size the file is replaced by one with a single frame per group."""

_HEAD = Struct("<II")  # payload length, CRC32C of offset and payload
_OFFSET = Struct("<Q")
_ALIGNMENT = 8


class _Frame(msgspec.Struct, frozen=True, array_like=True):
    segment: int
    votes: dict[GroupId, HardState]


class VoteFileContent(msgspec.Struct):
    """What the file proves."""

    segment: int = 0
    """Number of a segment that certainly existed."""
    votes: dict[GroupId, HardState] = {}
    complete: bool = True
    """False if the file or some of its bytes could not be read: a vote may be missing."""


class VoteFile:
    """The file, open for appending."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._file: AppendFile | None = None
        self._size = 0

    def load(self) -> VoteFileContent:
        """Read what is there."""
        content = VoteFileContent()
        if FILE_NAME not in self._directory.names():
            content.complete = False
            return content
        raw = self._directory.read(FILE_NAME)
        at = 0
        while at < len(raw):
            frame, size = _decode(raw, at)
            if frame is None:
                content.complete = False
            else:
                content.segment = max(content.segment, frame.segment)
                content.votes.update(frame.votes)
            at += size
        return content

    def rewrite(self, segment: int, votes: dict[GroupId, HardState]) -> None:
        """Replace the file by its shortest form."""
        self.close()
        frame = _encode(_Frame(segment, votes), 0)
        self._directory.replace(FILE_NAME, frame)
        self._file = self._directory.append(FILE_NAME)
        self._size = len(frame)

    def add(self, segment: int, votes: dict[GroupId, HardState]) -> bool:
        """Append and sync; return whether the file has grown so long that it wants a rewrite."""
        assert self._file is not None, "rewrite() opens the file"
        frame = _encode(_Frame(segment, votes), self._size)
        self._file.write(frame)
        self._file.sync()
        self._size += len(frame)
        return self._size > FILE_BYTES_MAX

    def close(self) -> None:
        """Close without syncing."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _encode(frame: _Frame, offset: int) -> bytes:
    payload = msgspec.msgpack.encode(frame)
    crc = google_crc32c.extend(google_crc32c.value(_OFFSET.pack(offset)), payload)
    unpadded = _HEAD.pack(len(payload), crc) + payload
    return unpadded + bytes(-len(unpadded) % _ALIGNMENT)


def _decode(raw: bytes, at: int) -> tuple[_Frame | None, int]:
    """Return the frame at ``at`` and how far to go on; one alignment step if there is none."""
    if at + _HEAD.size > len(raw):
        return None, _ALIGNMENT
    length, crc = _HEAD.unpack_from(raw, at)
    payload = raw[at + _HEAD.size : at + _HEAD.size + length]
    if crc != google_crc32c.extend(google_crc32c.value(_OFFSET.pack(at)), payload):
        return None, _ALIGNMENT
    size = -(-(_HEAD.size + length) // _ALIGNMENT) * _ALIGNMENT
    return msgspec.msgpack.decode(payload, type=_Frame), size
