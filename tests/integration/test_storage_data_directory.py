"""One directory, one node, one process."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from support.log_script import LOCKS, entry, open_log, persist, stage
from synaxis.errors import IdentityMismatch, StorageCorrupt, StorageError
from synaxis.ids import NodeId
from synaxis.storage.data_directory import DataDirectory

ONE, TWO = NodeId("node-1"), NodeId("node-2")


class Founding(msgspec.Struct, frozen=True):
    cluster_id: str
    founders: dict[NodeId, str]


FOUNDING = Founding("c", {ONE: "a:1", TWO: "b:1"})


def reopen(path: Path) -> DataDirectory:
    return DataDirectory.open(path, ONE, "c")


def test_a_new_directory_is_private_and_gets_an_identity(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down"
    with DataDirectory.open(path, ONE, "c", FOUNDING) as directory:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert directory.cluster_id == "c"
        assert len(directory.disk_id) == 32
        disk_id = directory.disk_id
    with reopen(path) as directory:
        assert directory.disk_id == disk_id
    assert DataDirectory.bootstrap_of(path, Founding) == FOUNDING


def test_a_directory_of_an_older_program_gets_a_place_for_messages(tmp_path: Path) -> None:
    path = tmp_path / "data"
    reopen(path).close()
    (path / "messages").rmdir()
    with reopen(path) as directory:
        assert directory.messages.names() == []
    assert stat.S_IMODE((path / "messages").stat().st_mode) == 0o700


def test_a_directory_that_does_not_exist_has_no_bootstrap(tmp_path: Path) -> None:
    assert DataDirectory.bootstrap_of(tmp_path / "absent", Founding) is None
    assert not (tmp_path / "absent").exists()


def test_a_cluster_id_is_drawn_when_none_is_given_and_kept(tmp_path: Path) -> None:
    with DataDirectory.open(tmp_path / "d", ONE) as directory:
        drawn = directory.cluster_id
        assert len(drawn) == 32
    with DataDirectory.open(tmp_path / "d", ONE) as directory:
        assert directory.cluster_id == drawn


def test_another_node_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    reopen(tmp_path / "d").close()
    with pytest.raises(IdentityMismatch, match="belongs to node 'node-1', not to 'node-2'"):
        DataDirectory.open(tmp_path / "d", TWO, "c")


def test_another_cluster_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    reopen(tmp_path / "d").close()
    with pytest.raises(IdentityMismatch, match="belongs to cluster 'c', not to 'other'"):
        DataDirectory.open(tmp_path / "d", ONE, "other")
    reopen(tmp_path / "d").close()  # a refusal leaves the directory unlocked


def test_a_second_process_is_refused_with_the_id_of_the_first(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from synaxis.storage.data_directory import DataDirectory\n"
        "DataDirectory.open(sys.argv[1], 'node-1', 'c')\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "d")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StorageError, match=f"in use by process {holder.pid}"):
            reopen(tmp_path / "d")
        holder.kill()
    reopen(tmp_path / "d").close()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with reopen(tmp_path / "d"), pytest.raises(StorageError, match=str(os.getpid())):
        reopen(tmp_path / "d")


def test_a_peer_that_comes_back_with_another_disk_is_refused(tmp_path: Path) -> None:
    with reopen(tmp_path / "d") as directory:
        directory.remember_peer(TWO, "disk-a")
        directory.remember_peer(TWO, "disk-a")
    again = reopen(tmp_path / "d")
    with again, pytest.raises(IdentityMismatch, match="'node-2' comes back with another disk"):
        again.remember_peer(TWO, "disk-b")


def test_a_node_that_uses_our_own_id_is_refused(tmp_path: Path) -> None:
    with reopen(tmp_path / "d") as directory:
        directory.remember_peer(ONE, directory.disk_id)
        with pytest.raises(IdentityMismatch):
            directory.remember_peer(ONE, "another")


def test_a_wiped_directory_gets_another_disk_id(tmp_path: Path) -> None:
    with reopen(tmp_path / "one") as one, reopen(tmp_path / "two") as two:
        assert one.disk_id != two.disk_id


def test_a_log_that_was_wiped_under_its_identity_is_noticed(tmp_path: Path) -> None:
    with reopen(tmp_path / "d") as directory:
        log, _ = open_log(directory.wal)
        stage(log, [(LOCKS, persist(entry(1)))])
        log.close()
    reopen(tmp_path / "d").close()
    for file in (tmp_path / "d" / "wal").iterdir():
        file.unlink()
    with pytest.raises(StorageError, match="new node id"):
        reopen(tmp_path / "d")


def test_a_directory_with_foreign_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match=r"thesis\.tex"):
        reopen(tmp_path)


def test_a_log_without_an_identity_is_not_taken_over(tmp_path: Path) -> None:
    with reopen(tmp_path / "d") as directory:
        open_log(directory.wal)[0].close()
    (tmp_path / "d" / "identity.json").unlink()
    with pytest.raises(StorageError, match=r"no identity\.json"):
        reopen(tmp_path / "d")


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    reopen(tmp_path / "d").close()
    (tmp_path / "d" / "identity.json").write_text("{")
    with pytest.raises(StorageCorrupt, match=r"identity\.json is damaged"):
        reopen(tmp_path / "d")


def test_an_identity_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    reopen(tmp_path / "d").close()
    file = tmp_path / "d" / "identity.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StorageError, match="version 2"):
        reopen(tmp_path / "d")


def test_a_disk_with_too_little_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="bytes are free"):
        DataDirectory.open(tmp_path / "d", ONE, "c", free_bytes_min=1 << 62)
    with reopen(tmp_path / "d") as directory:
        assert directory.free_bytes > 0


def test_an_empty_directory_that_others_may_read_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(mode=0o755)
    with reopen(tmp_path / "d"):
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o700
