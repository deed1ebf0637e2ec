"""Where the bytes of messages live: segments of every group of a node, beside the log.

The state machine decides where a unit goes; this store does as it is told, in order, and late:
``execute`` only buffers. Nothing here is durable before ``sync``, and nothing need be: what a
snapshot does not yet contain, the log does, and applying it again appends the same bytes at the
same positions. So a restart begins with what the last durable snapshot refers to.

Threads: ``execute``, ``read``, ``hold`` and ``reset`` belong to the event loop and never wait for
the disk; everything else may be called from any thread. The memory's lock is held for
microseconds; ``_io`` is held around changes of files, and is never taken by the loop. Whoever
takes both takes ``_io`` first.

After the first failure the store is unusable for ever, as the log is: a failed sync cannot be
repeated, so what is durable is unknown.

Sources: DESIGN.md, "Messages".
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import NoReturn, Protocol

import msgspec

from synaxis.effects import Attachment, SnapshotMeta, StoreOperation
from synaxis.errors import StorageCorrupt, StorageError
from synaxis.ids import GroupId
from synaxis.ports import Directory
from synaxis.storage.message_file import OpenFiles, SegmentFile, matches, segment_of_name
from synaxis.storage.message_memory import Buffered, Group, MessageMemory, Range, Segment, runs

__all__ = ["Executor", "InlineExecutor", "MessageStore", "Range", "StoreLimits"]

_KIBIBYTE = 1024
READ_BYTES_MAX = 4 * 1024 * _KIBIBYTE
"""Neighbouring ranges are read from a file together up to this size."""


class StoreLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, for all groups of a node together."""

    flush_bytes: int = 256 * _KIBIBYTE
    """Buffered bytes that are worth a write."""
    recent_bytes_max: int = 16 * 1024 * _KIBIBYTE
    """Bytes that stay in memory after they were written, the youngest ones."""
    unsynced_bytes_max: int = 16 * 1024 * _KIBIBYTE
    """Written bytes after which they are synced without being asked, so that a snapshot, which
    holds up the log, finds little left to sync."""


class Executor(Protocol):
    """Where flushes run, one after the other; ``ThreadPoolExecutor(1)`` fits."""

    def submit(self, call: Callable[[], None], /) -> object:
        """Run ``call`` soon."""
        ...


class InlineExecutor:
    """Runs everything at once, for a world without threads."""

    def submit(self, call: Callable[[], None], /) -> None:
        """Run ``call`` now."""
        call()


class MessageStore:
    """See the module. One per node."""

    def __init__(
        self,
        directory: Directory,
        limits: StoreLimits | None = None,
        executor: Executor | None = None,
        on_failure: Callable[[StorageError], object] | None = None,
    ) -> None:
        """Use ``directory``; ``restart`` must come before anything else but ``verify``.

        Args:
            directory: its files with the suffix ``.messages`` are this store's.
            limits: how much is buffered and kept.
            executor: where flushes run; a thread of its own by default.
            on_failure: told once that the disk has failed, on whatever thread that happened.
        """
        self._directory = directory
        self._limits = limits or StoreLimits()
        self._own_thread: ThreadPoolExecutor | None = None
        if executor is None:
            executor = self._own_thread = ThreadPoolExecutor(1, "synaxis-message-writer")
        self._executor = executor
        self._on_failure = on_failure
        self._failure: StorageError | None = None
        self._io = threading.Lock()
        self._open_files = OpenFiles()
        self._memory = MessageMemory(directory, self._open_files, self._limits.recent_bytes_max)
        self._is_flush_due = False
        self._unsynced_bytes = 0

    # -- life ---------------------------------------------------------------------------------

    def restart(self, states: Mapping[GroupId, Sequence[Attachment]]) -> None:
        """Begin with what each group's last snapshot refers to; ``verify`` must have agreed.

        What else the files hold is cut off when the log appends there again, or removed by the
        next ``keep``: no byte is destroyed before the node has really started.
        """
        for name in self._directory.names():
            found = segment_of_name(name)
            if found is not None:
                self._memory.segment(*found).file.found()
        for group, attachments in states.items():
            for attachment in attachments:
                file = self._memory.segment(group, attachment.segment).file
                file.believe(attachment.length)
            self._memory.reset(group, attachments)

    def close(self) -> None:
        """Stop the thread and close the files. Unwritten bytes are in the log."""
        if self._own_thread is not None:
            self._own_thread.shutdown(wait=True, cancel_futures=True)
        with self._io:
            if self._failure is None:
                self._failure = StorageError("the message store was closed")
            self._open_files.close()

    # -- what the event loop calls ------------------------------------------------------------

    def execute(self, group: GroupId, operations: Sequence[StoreOperation]) -> None:
        """Do to the store what applying entries demanded. No I/O.

        Raises:
            StorageError: the disk has failed.
        """
        memory = self._memory
        memory.execute(group, operations)
        if memory.buffered_bytes >= self._limits.flush_bytes and not self._is_flush_due:
            self._is_flush_due = True
            self._executor.submit(self._flush)
        if self._failure is not None:
            self._refuse()

    def reset(self, group: GroupId, attachments: Sequence[Attachment]) -> None:
        """Become the state of a snapshot whose attachments were gathered. No I/O.

        Files of the former state stay until ``keep``: the last durable snapshot needs them.
        """
        self._memory.reset(group, attachments)

    def hold(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Keep what a snapshot refers to until ``keep`` says that it, or a later one, is durable.

        Must be called before the snapshot is handed to the log: what it refers to may be dropped
        while an earlier snapshot, which does not refer to it, is still being written.
        """
        with self._memory.lock:
            self._memory.group(group).held.append(meta)

    def read(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return what is at each range, or None if any of it is not in memory. No I/O."""
        return self._memory.read(group, ranges)

    @property
    def unflushed_bytes(self) -> int:
        """Bytes that were appended and are in no file yet."""
        return self._memory.buffered_bytes + self._memory.flushing_bytes

    # -- what may wait for the disk -----------------------------------------------------------

    def read_blocking(self, group: GroupId, ranges: Sequence[Range]) -> list[bytes] | None:
        """Return what is at each range, or None if a segment is not here (any more).

        Raises:
            StorageCorrupt: a file is shorter than it must be.
            StorageError: the disk failed.
        """
        known = self._memory.group(group)
        found: list[bytes] = []
        for number, position, lengths in runs(ranges, READ_BYTES_MAX):
            segment, size = known.segments.get(number), sum(lengths)
            if segment is None or position + size > max(segment.length, segment.file.trusted):
                return None
            try:
                block = self._read_file(segment, position, size)
            except StorageError as error:
                if known.segments.get(number) is not segment:
                    return None  # dropped, and removed before it could be read
                self._fail(error)
                raise
            at = 0
            for length in lengths:
                found.append(block[at : at + length])
                at += length
        return found

    def sync(self, group: GroupId) -> None:
        """Make everything that was appended to ``group`` durable; before a snapshot is written.

        Raises:
            StorageError: it is unknown what is durable.
        """
        with self._disk():
            self._write_buffer()
            self._sync_files(self._memory.group(group))

    def keep(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Let go of files that neither the state nor a snapshot from this one on needs.

        Call it when the snapshot and the log's reference to it are durable. The files go in the
        background. An older snapshot that still has its own file may lose its attachments.
        """
        known = self._memory.groups.get(group)
        if known is not None:
            with self._memory.lock:
                known.settle(meta)
            self._executor.submit(partial(self._remove_unneeded, known, meta))

    def verify(self, group: GroupId, attachments: Sequence[Attachment]) -> bool:
        """Return whether the files hold all that ``attachments`` speak of, undamaged.

        Raises:
            StorageError: a file cannot be read.
        """
        return all(matches(self._directory, group, each) for each in attachments)

    # -- gathering ----------------------------------------------------------------------------

    def missing(self, group: GroupId, meta: SnapshotMeta) -> list[Range]:
        """Return the ranges (segment, position, length) that a snapshot needs and no file has.

        From now on files that it refers to stay, until a snapshot at least as new is kept.
        """
        found = []
        with self._disk():
            self._write_buffer()
            with self._memory.lock:
                self._memory.group(group).gathering = meta
            for attachment in meta.attachments:
                file = self._memory.segment(group, attachment.segment).file
                if file.is_tail_unknown:
                    # Not used although it may be right: after a failed sync in an earlier life
                    # the kernel may show bytes that no further sync would bring to the disk.
                    file.cut()
                if file.written < attachment.length:
                    size = attachment.length - file.written
                    found.append((attachment.segment, file.written, size))
        return found

    def receive(self, group: GroupId, number: int, position: int, data: bytes) -> bool:
        """Put a peer's bytes behind a segment's end; False if they do not belong there now."""
        with self._disk():
            return self._memory.segment(group, number).file.receive(position, data)

    def adopt(self, group: GroupId, attachment: Attachment) -> bool:
        """Verify a segment that was gathered and make it durable, or throw away what was not ours.

        Raises:
            StorageError: the disk failed.
        """
        file = self._memory.segment(group, attachment.segment).file
        if file.trusted >= attachment.length:
            return True
        # Without the lock, because it takes long; the file may shrink meanwhile.
        cuts = file.cuts
        good = matches(self._directory, group, attachment)
        with self._disk():
            if good and file.cuts == cuts:
                file.trust(attachment.length)
                return True
            file.cut()
            return False

    # -- inside -------------------------------------------------------------------------------

    def _write_buffer(self) -> None:
        """Write what waits; ``_io`` is held."""
        self._write(self._memory.take_buffer())

    def _write(self, buffer: list[Buffered]) -> None:
        pieces: dict[Segment, tuple[int, list[bytes]]] = {}
        ends: dict[Segment, int] = {}
        for item in buffer:
            segment, chunk = item.segment, item.chunk
            # A source may be among what waits; and a restored snapshot makes positions leap.
            if chunk is None or ends.get(segment, item.position) != item.position:
                _put(pieces)
            if chunk is None:
                chunk = _read_source(item)
            pieces.setdefault(segment, (item.position, []))[1].append(chunk)
            ends[segment] = item.position + item.length
        _put(pieces)
        self._unsynced_bytes += self._memory.flushing_bytes
        self._memory.flushed(buffer)

    def _sync_files(self, known: Group) -> None:
        for segment in self._memory.segments(known):
            segment.file.sync()

    def _read_file(self, segment: Segment, position: int, size: int) -> bytes:
        if position + size > segment.file.trusted:
            with self._disk():
                self._write_buffer()
        return _read_all(segment.file, position, size)

    def _flush(self) -> None:
        """Run by the executor; a failure is told by ``on_failure`` and by the next call."""
        with suppress(StorageError), self._disk():
            self._is_flush_due = False
            self._write_buffer()
            if self._unsynced_bytes >= self._limits.unsynced_bytes_max:
                self._unsynced_bytes = 0
                for known in list(self._memory.groups.values()):
                    self._sync_files(known)

    def _remove_unneeded(self, known: Group, meta: SnapshotMeta) -> None:
        """Run by the executor."""
        with suppress(StorageError), self._disk():
            buffer, unneeded = self._memory.take_unneeded(known, meta)
            self._write(buffer)
            for segment in unneeded:
                segment.file.remove()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Hold the I/O lock; what fails meanwhile ends the store."""
        with self._io:
            if self._failure is not None:
                self._refuse()
            try:
                yield
            except Exception as error:  # noqa: BLE001  # a bug must not go on writing either
                self._fail(error)
                self._refuse()

    def _fail(self, error: Exception) -> None:
        if self._failure is not None:
            return
        if not isinstance(error, StorageError):
            failure = StorageError(f"the message store failed: {error!r}")
            failure.__cause__ = error
            error = failure
        self._failure = error
        if self._on_failure is not None:
            self._on_failure(error)

    def _refuse(self) -> NoReturn:
        assert self._failure is not None
        message = f"the message store was closed, or failed: {self._failure.message}"
        raise StorageError(message) from self._failure


def _put(pieces: dict[Segment, tuple[int, list[bytes]]]) -> None:
    for segment, (position, chunks) in pieces.items():
        segment.file.put(position, chunks[0] if len(chunks) == 1 else b"".join(chunks))
    pieces.clear()


def _read_source(item: Buffered) -> bytes:
    assert item.source is not None
    return _read_all(item.source.file, item.source_position, item.length)


def _read_all(file: SegmentFile, position: int, size: int) -> bytes:
    data = file.read(position, size)
    if len(data) < size:
        raise StorageCorrupt(f"a segment of messages ends before byte {position + size}")
    return data
