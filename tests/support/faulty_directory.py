"""A directory in memory that forgets what was not synced, and fails at a chosen operation."""

import errno

from synaxis.errors import StorageError

__all__ = ["FaultyDirectory"]


class FaultyFile:
    """An open file of a ``FaultyDirectory``."""

    def __init__(self, directory: "FaultyDirectory", name: str) -> None:
        self._directory = directory
        self._name = name

    def write(self, data: bytes) -> None:
        """Append; a failing write leaves half of the data behind."""
        content = self._directory.files[self._name]
        try:
            self._directory.count("write")
        except StorageError:
            content += data[: len(data) // 2]
            raise
        content += data

    def sync(self) -> None:
        """Make the content survive ``after_crash``.

        As on Linux a failing sync marks the pages clean: they never reach the disk, and a later
        sync succeeds all the same.
        """
        directory, name = self._directory, self._name
        start, end = directory.synced[name], len(directory.files[name])
        directory.synced[name] = end
        try:
            directory.count("sync")
        except StorageError:
            directory.never_written.append((name, start, end))
            raise

    def close(self) -> None:
        """Nothing to do."""
        self._directory.closed += 1


class FaultyDirectory:
    """Implements ``ports.Directory``; ``fail_at`` is the number of the operation that fails."""

    def __init__(self, files: dict[str, bytes] | None = None, fail_at: int | None = None) -> None:
        self.files = {name: bytearray(content) for name, content in (files or {}).items()}
        self.synced = {name: len(content) for name, content in self.files.items()}
        self.fail_at = fail_at
        self.operations: list[str] = []
        self.closed = 0
        self.never_written: list[tuple[str, int, int]] = []

    def count(self, operation: str) -> None:
        """Note an operation, and fail if it is the one that was chosen."""
        self.operations.append(operation)
        if len(self.operations) == self.fail_at:
            message = f"{operation} failed"
            raise StorageError(message, errno=errno.EIO)

    def after_kill(self) -> dict[str, bytes]:
        """Return what a restarted process reads: the page cache survives."""
        return {name: bytes(content) for name, content in self.files.items()}

    def after_crash(self) -> dict[str, bytes]:
        """Return what a rebooted machine reads: only what was synced survives."""
        disk = {name: self.files[name][: self.synced[name]] for name in self.files}
        for name, start, end in self.never_written:
            if end == self.synced[name]:
                del disk[name][start:]
            else:
                disk[name][start:end] = bytes(end - start)
        return {name: bytes(content) for name, content in disk.items()}

    # -- ports.Directory ----------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the file names, sorted."""
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        return bytes(self.files[name])

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        return bytes(self.files[name][offset : offset + size])

    def append(self, name: str) -> FaultyFile:
        """Open for appending."""
        if name not in self.files:
            self.count("create")
            self.files[name] = bytearray()
            self.synced[name] = 0
        return FaultyFile(self, name)

    def replace(self, name: str, data: bytes) -> None:
        """Make ``data`` the content, or fail and change nothing."""
        self.count("replace")
        self.files[name] = bytearray(data)
        self.synced[name] = len(data)
        self._forget(name, 0)

    def truncate(self, name: str, size: int) -> None:
        """Cut the file."""
        self.count("truncate")
        del self.files[name][size:]
        self.synced[name] = min(size, self.synced[name])
        self._forget(name, size)

    def remove(self, name: str) -> None:
        """Remove the file."""
        self.count("remove")
        del self.files[name]
        del self.synced[name]
        self._forget(name, 0)

    def _forget(self, name: str, size: int) -> None:
        kept = [r for r in self.never_written if r[0] != name or r[2] <= size]
        self.never_written = kept
