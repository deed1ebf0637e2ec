"""A simulated disk keeps what it promised and nothing that it did not."""

from random import Random

import pytest

from synaxis.errors import StorageError
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.disk import SECTOR_BYTES, DiskFaults, PowerLost, SimulatedDirectory


def directory(seed: int = 1, **faults: float) -> tuple[SimulatedDirectory, Coverage]:
    coverage = Coverage()
    random = Random(seed)  # repeatable
    return SimulatedDirectory(random, coverage, DiskFaults(**faults)), coverage


def test_it_is_a_flat_directory() -> None:
    disk, _ = directory()
    file = disk.append("log")
    file.write(b"one")
    file.write(b"two")
    disk.replace("meta", b"{}")
    assert disk.names() == ["log", "meta"]
    assert disk.read("log") == b"onetwo"
    disk.truncate("log", 3)
    disk.append("log").write(b"!")
    assert disk.read("log") == b"one!"
    disk.remove("meta")
    assert disk.names() == ["log"]
    with pytest.raises(StorageError):
        disk.read("meta")


def test_what_was_synced_survives_every_crash() -> None:
    for seed in range(100):
        disk, _ = directory(seed)
        file = disk.append("log")
        file.write(b"durable")
        file.sync()
        file.write(b"x" * 3_000)
        disk.crash()
        assert disk.read("log").startswith(b"durable")


def test_a_crash_loses_all_tears_or_punches_holes_into_what_was_not_synced() -> None:
    kinds = {"nothing": 0, "prefix": 0, "all": 0, "holes": 0}
    for seed in range(300):
        disk, coverage = directory(seed)
        tail = bytes([1]) * (4 * SECTOR_BYTES)
        disk.append("log").write(tail)
        disk.crash()
        found = disk.read("log")
        if 0 in found:
            kinds["holes"] += 1
            assert coverage["disk.sector_lost"] == found.count(bytes(SECTOR_BYTES))
        else:
            assert tail.startswith(found)
            name = {0: "nothing", len(tail): "all"}.get(len(found), "prefix")
            kinds[name] += 1
    assert all(kinds.values()), kinds


def test_a_killed_process_leaves_its_page_cache_behind() -> None:
    disk, _ = directory()
    disk.append("log").write(b"unsynced")
    disk.kill()
    assert disk.read("log") == b"unsynced"
    assert disk.durable_size("log") == 0


def test_a_dead_process_cannot_write() -> None:
    disk, _ = directory()
    file = disk.append("log")
    disk.crash()
    with pytest.raises(AssertionError, match="dead process"):
        file.write(b"late")


def test_a_failed_sync_never_made_the_data_durable_even_if_a_later_one_succeeds() -> None:
    disk, coverage = directory(sync_error=1.0)
    file = disk.append("log")
    file.write(b"lost")
    with pytest.raises(StorageError):
        file.sync()
    disk.faults = DiskFaults()
    file.sync()
    assert disk.read("log") == b"lost"
    disk.crash()
    assert disk.read("log") == b""
    assert coverage["disk.eio"] == 1


def test_what_follows_a_failed_sync_is_durable_behind_a_hole() -> None:
    disk, _ = directory(sync_error=1.0)
    file = disk.append("log")
    file.write(b"lost")
    with pytest.raises(StorageError):
        file.sync()
    disk.faults = DiskFaults()
    file.write(b"kept")
    file.sync()
    disk.crash()
    assert disk.read("log") == bytes(4) + b"kept"


def test_a_full_disk_takes_a_part_of_the_write() -> None:
    disk, coverage = directory(space_error=1.0)
    with pytest.raises(StorageError):
        disk.append("log").write(b"0123456789")
    assert b"0123456789".startswith(disk.read("log"))
    assert coverage["disk.enospc"] == 1


def test_a_fuse_strikes_before_between_or_after_the_steps_of_an_operation() -> None:
    seen = set()
    for operations in range(8):
        disk, _ = directory()
        disk.replace("meta", b"old")
        disk.light_fuse(operations)
        try:
            disk.replace("meta", b"new")
            file = disk.append("log")
            file.write(b"entry")
            file.sync()
        except PowerLost:
            pass
        seen.add((disk.read("meta"), "log" in disk.names() and disk.read("log")))
    assert seen >= {(b"old", False), (b"new", False), (b"new", b""), (b"new", b"entry")}


def test_a_flipped_bit_is_the_only_difference() -> None:
    disk, _ = directory()
    disk.replace("meta", b"\x00\x00")
    disk.flip_bit("meta", 1, 3)
    assert disk.read("meta") == b"\x00\x08"


def test_a_wiped_disk_is_empty() -> None:
    disk, _ = directory()
    disk.replace("meta", b"x")
    disk.wipe()
    assert disk.names() == []
