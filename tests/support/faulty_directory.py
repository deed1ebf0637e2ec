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
        """Make the content survive ``after_crash``."""
        self._directory.count("sync")
        self._directory.synced[self._name] = len(self._directory.files[self._name])

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
        return {name: bytes(self.files[name][: self.synced[name]]) for name in self.files}

    # -- ports.Directory ----------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the file names, sorted."""
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        return bytes(self.files[name])

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

    def truncate(self, name: str, size: int) -> None:
        """Cut the file."""
        self.count("truncate")
        del self.files[name][size:]
        self.synced[name] = min(size, self.synced[name])

    def remove(self, name: str) -> None:
        """Remove the file."""
        self.count("remove")
        del self.files[name]
        del self.synced[name]
