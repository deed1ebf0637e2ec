"""The ``Directory`` port on a real file system.

Invariant: when a call that promises durability returns, the data *and* the name survive a power
cut: file contents are synced, and the directory is synced after every create, rename and remove.

A failed sync is never retried here: the kernel has marked the pages clean, and a second call
would report success for data that is gone.

Sources: open(2), fsync(2), rename(2); Rebello et al., "Can Applications Recover from fsync
Failures?", ATC 2020.
"""

import os
from pathlib import Path

from synaxis.errors import StorageError
from synaxis.ports import AppendFile

__all__ = ["OsAppendFile", "OsDirectory"]

_TEMPORARY_SUFFIX = ".temporary"
_FILE_MODE = 0o600
_DIRECTORY_MODE = 0o700
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC


class OsAppendFile:
    """A file opened with O_APPEND; ``sync`` is fdatasync."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def write(self, data: bytes) -> None:
        """Append all of ``data``.

        Raises:
            StorageError: the disk is full or broken; part of ``data`` may be in the file.
        """
        try:
            written = os.write(self._descriptor, data)
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError as error:
            raise _failure("write to", self._path, error) from error

    def sync(self) -> None:
        """Make everything written so far durable.

        Raises:
            StorageError: it is unknown what is durable; never retry.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise _failure("sync", self._path, error) from error

    def close(self) -> None:
        """Close without syncing; a second call does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class OsDirectory:
    """A flat directory of files that only their owner may read.

    All methods raise StorageError when the file system refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path) -> "OsDirectory":
        """Make ``path`` with mode 0700 if it is missing, and drop half-written temporary files."""
        try:
            if not path.is_dir():
                path.mkdir(mode=_DIRECTORY_MODE, parents=True)
                _sync_directory(path.parent)
            for leftover in path.glob(f"*{_TEMPORARY_SUFFIX}"):
                leftover.unlink()
        except OSError as error:
            raise _failure("create directory", path, error) from error
        return cls(path)

    @property
    def path(self) -> Path:
        """Where the directory is."""
        return self._path

    def names(self) -> list[str]:
        """Return the file names, sorted, without temporary files."""
        try:
            found = [path.name for path in self._path.iterdir()]
        except OSError as error:
            raise _failure("list", self._path, error) from error
        return sorted(name for name in found if not name.endswith(_TEMPORARY_SUFFIX))

    def read(self, name: str) -> bytes:
        """Return the whole content."""
        path = self._path / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise _failure("read", path, error) from error

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        path = self._path / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read_part(descriptor, offset, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failure("read", path, error) from error

    def append(self, name: str) -> AppendFile:
        """Open for appending; a new file's name is durable when this returns."""
        path = self._path / name
        try:
            try:
                descriptor = os.open(path, _APPEND)
            except FileNotFoundError:
                descriptor = os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, _FILE_MODE)
                _sync_directory(self._path)
        except OSError as error:
            raise _failure("open", path, error) from error
        return OsAppendFile(path, descriptor)

    def replace(self, name: str, data: bytes) -> None:
        """Make ``data`` the content: temporary file, fsync, rename, fsync of the directory."""
        path = self._path / name
        temporary = self._path / (name + _TEMPORARY_SUFFIX)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, _FILE_MODE), "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(self._path)
        except OSError as error:
            raise _failure("replace", path, error) from error

    def truncate(self, name: str, size: int) -> None:
        """Durably cut the file to ``size`` bytes."""
        path = self._path / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _failure("truncate", path, error) from error

    def remove(self, name: str) -> None:
        """Remove a file; durable when this returns."""
        path = self._path / name
        try:
            path.unlink()
            _sync_directory(self._path)
        except OSError as error:
            raise _failure("remove", path, error) from error


def _read_part(descriptor: int, offset: int, size: int) -> bytes:
    found = os.pread(descriptor, size, offset)
    if not found or len(found) == size:
        return found
    # The end of the file, or a call that a signal or the kernel's limit of 2 GiB cut short.
    pieces = [found]
    at, end = offset + len(found), offset + size
    while at < end and (piece := os.pread(descriptor, end - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failure(verb: str, path: Path, error: OSError) -> StorageError:
    return StorageError(f"could not {verb} {path}: {error.strerror}", errno=error.errno)
