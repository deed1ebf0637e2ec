"""A flat directory in memory with a page cache that a crash empties.

Every file has a durable image and a tail that was written but not synced. ``crash`` decides what
becomes of each tail: nothing survives, a prefix survives (a torn record), or a random subset of
512-byte sectors survives with zeros between them, which is what a disk that reorders writes
leaves. ``truncate``, ``replace``, ``remove`` and the creation of a file are durable when they
return, as ``ports.Directory`` promises; a *crash point* may strike before or after them.

A failed sync is final, as on Linux: the pages count as clean, a later sync succeeds without
having written them, and they are gone after the crash.

Sources: Rebello et al., "Can Applications Recover from fsync Failures?" (ATC'20); the sector model
of LazyFS (VLDB'24).
"""

import errno
from dataclasses import dataclass
from random import Random

from synaxis.errors import StorageError
from synaxis.simulation.coverage import Coverage

__all__ = ["SECTOR_BYTES", "DiskFaults", "PowerLost", "SimulatedDirectory"]

SECTOR_BYTES = 512


class PowerLost(BaseException):
    """The machine lost power inside a disk operation. Not an Exception: nobody may handle it."""


@dataclass(slots=True)
class DiskFaults:
    """Chances per operation. All zero is a healthy disk."""

    write_error: float = 0.0
    """EIO from write."""
    sync_error: float = 0.0
    """EIO from sync."""
    space_error: float = 0.0
    """ENOSPC from write, after a part of the data was written."""
    crash_point: float = 0.0
    """Power is lost just before or just after the operation."""


class _File:
    __slots__ = ("content", "durable_bytes", "phantom")

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable_bytes = len(content)
        self.phantom: list[tuple[int, int]] = []
        """Ranges that a failed sync marked clean without writing them."""


class SimulatedFile:
    """One open ``AppendFile``; unusable after the crash of its machine."""

    __slots__ = ("_directory", "_file", "_generation")

    def __init__(self, directory: "SimulatedDirectory", file: _File, generation: int) -> None:
        self._directory = directory
        self._file = file
        self._generation = generation

    def write(self, data: bytes) -> None:
        """Append to the page cache."""
        assert self._generation == self._directory.generation, "a dead process wrote to a file"
        self._directory.write_to(self._file, data)

    def sync(self) -> None:
        """Make the file durable."""
        assert self._generation == self._directory.generation, "a dead process synced a file"
        self._directory.sync_file(self._file)

    def close(self) -> None:
        """Close; the page cache keeps what was not synced."""


class SimulatedDirectory:
    """The disk of one machine; implements ``ports.Directory``."""

    __slots__ = ("_coverage", "_files", "_fuse", "_random", "bytes_written", "faults",
                 "generation", "syncs")  # fmt: skip

    def __init__(self, random: Random, coverage: Coverage, faults: DiskFaults) -> None:
        self._random = random
        self._coverage = coverage
        self._files: dict[str, _File] = {}
        self._fuse: int | None = None
        self.faults = faults
        self.generation = 0
        """Counts crashes; file handles of an earlier life are dead."""
        self.bytes_written = 0
        self.syncs = 0

    # --- ports.Directory ---------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return the file names, sorted."""
        return sorted(self._files)

    def read(self, name: str) -> bytes:
        """Return the content as the page cache shows it."""
        return bytes(self._file(name).content)

    def read_part(self, name: str, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on; fewer at the end of the file."""
        return bytes(self._file(name).content[offset : offset + size])

    def append(self, name: str) -> SimulatedFile:
        """Open for appending; a new name is durable at once."""
        file = self._files.get(name)
        if file is None:
            self._strike()
            file = self._files[name] = _File()
            self._strike()
        return SimulatedFile(self, file, self.generation)

    def replace(self, name: str, data: bytes) -> None:
        """Atomically and durably make ``data`` the content."""
        self._strike()
        self._fail_write()
        self._files[name] = _File(data)
        self.bytes_written += len(data)
        self.syncs += 1
        self._strike()

    def truncate(self, name: str, size: int) -> None:
        """Durably cut the file to ``size`` bytes; what remains keeps its durability."""
        self._strike()
        file = self._file(name)
        del file.content[size:]
        file.durable_bytes = min(file.durable_bytes, size)
        file.phantom = [(a, min(b, size)) for a, b in file.phantom if a < size]
        self._strike()

    def remove(self, name: str) -> None:
        """Remove a file, durably."""
        self._strike()
        self._file(name)
        del self._files[name]
        self._strike()

    # --- for open files ------------------------------------------------------------------------

    def write_to(self, file: _File, data: bytes) -> None:
        """Append ``data`` to the cached content of ``file``."""
        faults = self.faults
        self._strike()
        if faults.write_error or faults.space_error:
            self._fail_write()
            if faults.space_error and self._random.random() < faults.space_error:
                self._coverage.hit("disk.enospc")
                file.content += data[: self._random.randrange(len(data) + 1)]
                raise StorageError("no space left on the simulated disk", errno=errno.ENOSPC)
        file.content += data
        self.bytes_written += len(data)

    def sync_file(self, file: _File) -> None:
        """Move the tail of ``file`` to the durable image, or fail for ever."""
        faults = self.faults
        self._strike()
        self.syncs += 1
        if faults.sync_error and self._random.random() < faults.sync_error:
            self._coverage.hit("disk.eio")
            file.phantom.append((file.durable_bytes, len(file.content)))
            file.durable_bytes = len(file.content)
            raise StorageError("simulated sync failure", errno=errno.EIO)
        file.durable_bytes = len(file.content)
        self._strike()

    # --- for the simulator -----------------------------------------------------------------

    def light_fuse(self, operations: int) -> None:
        """Lose power within the next operations: before, between or behind their effects."""
        self._fuse = operations

    def put_out_fuse(self) -> None:
        """Take back ``light_fuse``: on a disk that is seldom written to it strikes very late."""
        self._fuse = None

    def crash(self) -> None:
        """Lose power: unsynced tails survive in part or not at all."""
        self.generation += 1
        self._fuse = None
        for name in sorted(self._files):
            file = self._files[name]
            if file.phantom:
                self._forget_phantoms(file)
            if len(file.content) > file.durable_bytes:
                self._tear(file)

    def kill(self) -> None:
        """End the process but not the machine: the page cache survives in full.

        What was written stays readable, and a later power loss may still take it.
        """
        self.generation += 1
        self._fuse = None

    def wipe(self) -> None:
        """Lose every file."""
        self.generation += 1
        self._fuse = None
        self._files.clear()

    def flip_bit(self, name: str, offset: int, bit: int) -> None:
        """Damage one durable bit."""
        self._file(name).content[offset] ^= 1 << bit

    def durable_size(self, name: str) -> int:
        """Return how many bytes of the file are durable."""
        return self._file(name).durable_bytes

    def _file(self, name: str) -> _File:
        try:
            return self._files[name]
        except KeyError:
            raise StorageError(f"no simulated file {name}", errno=errno.ENOENT) from None

    def _strike(self) -> None:
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse < 0:
                raise PowerLost
        chance = self.faults.crash_point
        if chance and self._random.random() < chance:
            self._coverage.hit("disk.crash_point")
            raise PowerLost

    def _fail_write(self) -> None:
        chance = self.faults.write_error
        if chance and self._random.random() < chance:
            self._coverage.hit("disk.eio")
            raise StorageError("simulated write failure", errno=errno.EIO)

    def _forget_phantoms(self, file: _File) -> None:
        # What a failed sync dropped reads as zeros where later data was written behind it.
        start = file.phantom[0][0]
        later = any(b < len(file.content) for _, b in file.phantom)
        if later:
            for a, b in file.phantom:
                file.content[a:b] = bytes(b - a)
        else:
            del file.content[start:]
            file.durable_bytes = min(file.durable_bytes, start)
        file.phantom = []

    def _tear(self, file: _File) -> None:
        random = self._random
        durable = file.durable_bytes
        tail = len(file.content) - durable
        choice = random.random()
        if choice < 0.4:
            self._coverage.hit("disk.unsynced_lost")
            keep = 0
        elif choice < 0.8:
            keep = random.randrange(tail + 1)
            self._coverage.hit("disk.torn" if 0 < keep < tail else "disk.unsynced_lost")
        else:
            keep = tail
            self._lose_sectors(file)
        del file.content[durable + keep :]
        file.durable_bytes = len(file.content)

    def _lose_sectors(self, file: _File) -> None:
        durable, end = file.durable_bytes, len(file.content)
        for sector in range(durable // SECTOR_BYTES, (end - 1) // SECTOR_BYTES + 1):
            if self._random.random() < 0.5:
                a = max(durable, sector * SECTOR_BYTES)
                b = min(end, (sector + 1) * SECTOR_BYTES)
                file.content[a:b] = bytes(b - a)
                self._coverage.hit("disk.sector_lost")
