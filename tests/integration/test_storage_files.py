"""The real file system: modes, durability calls, errors."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from support.log_script import LOCKS, entries, open_log, persist, snapshot, stage
from synaxis.errors import StorageError
from synaxis.storage.files import OsDirectory


@pytest.fixture
def directory(tmp_path: Path) -> OsDirectory:
    return OsDirectory.create(tmp_path / "wal")


def test_a_directory_is_made_for_its_owner_only(directory: OsDirectory) -> None:
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700


def test_files_can_be_read_by_their_owner_only(directory: OsDirectory) -> None:
    directory.append("appended").close()
    directory.replace("replaced", b"")
    modes = {stat.S_IMODE((directory.path / name).stat().st_mode) for name in directory.names()}
    assert modes == {0o600}


def test_appending_continues_where_the_file_ends(directory: OsDirectory) -> None:
    for part in (b"one", b"two"):
        file = directory.append("f")
        file.write(part)
        file.sync()
        file.close()
    assert directory.read("f") == b"onetwo"


def test_a_part_of_a_file_is_read_up_to_its_end(directory: OsDirectory) -> None:
    directory.replace("f", b"0123456789")
    assert directory.read_part("f", 2, 3) == b"234"
    assert directory.read_part("f", 8, 5) == b"89"
    assert directory.read_part("f", 10, 5) == b""
    with pytest.raises(StorageError):
        directory.read_part("missing", 0, 1)


def test_a_file_is_truncated_replaced_and_removed(directory: OsDirectory) -> None:
    directory.replace("f", b"content")
    directory.truncate("f", 3)
    assert directory.read("f") == b"con"
    directory.replace("f", b"new")
    assert directory.read("f") == b"new"
    directory.remove("f")
    assert directory.names() == []


def test_half_written_temporary_files_are_swept_and_never_listed(tmp_path: Path) -> None:
    (tmp_path / "f.temporary").write_bytes(b"half")
    assert OsDirectory(tmp_path).names() == []
    OsDirectory.create(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["read", "remove"])
def test_a_missing_file_is_a_storage_error_that_names_it(directory: OsDirectory, call: str) -> None:
    with pytest.raises(StorageError, match="absent"):
        getattr(directory, call)("absent")


def test_a_full_disk_is_a_storage_error(directory: OsDirectory) -> None:
    (directory.path / "full").symlink_to("/dev/full")
    file = directory.append("full")
    with pytest.raises(StorageError, match="No space left"):
        file.write(b"x")
    file.close()


def test_names_and_contents_are_synced(
    directory: OsDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, fdatasync = os.fsync, os.fdatasync

    def name_of(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    def watch(call: Callable[[int], None]) -> Callable[[int], None]:
        def watched(descriptor: int) -> None:
            synced.append(name_of(descriptor))
            call(descriptor)

        return watched

    monkeypatch.setattr(os, "fsync", watch(fsync))
    monkeypatch.setattr(os, "fdatasync", watch(fdatasync))
    directory.replace("r", b"x")
    assert synced == ["r.temporary", "wal"]
    synced.clear()
    file = directory.append("a")
    assert synced == ["wal"]
    file.sync()
    file.close()
    assert synced == ["wal", "a"]
    synced.clear()
    directory.truncate("r", 0)
    directory.remove("r")
    assert synced == ["r", "wal"]


def test_a_log_on_a_real_file_system_is_recovered(directory: OsDirectory) -> None:
    log, _ = open_log(directory, 4096)
    for first in range(1, 200, 10):
        stage(log, [(LOCKS, persist(*entries(first, first + 9, size=50)))])
    stage(log, [(LOCKS, persist(taken=snapshot(150)))])
    assert log.bytes_written > 200 * 50
    log.close()
    recovered = open_log(directory, 4096)[1][LOCKS]
    assert recovered.snapshot == snapshot(150)
    assert recovered.entries == list(entries(151, 200, size=50))
