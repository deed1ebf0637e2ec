import pytest

from support.faulty_directory import FaultyDirectory
from support.log_script import (
    CLUSTER,
    CLUSTER_ID,
    LOCKS,
    NODE_ID,
    as_known,
    entries,
    entry,
    histories,
    open_log,
    persist,
    snapshot,
    stage,
    varied_script,
    vote,
)
from synaxis.errors import ConfigError, IdentityMismatch, StorageError
from synaxis.ids import NodeId
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog


def segments(directory: FaultyDirectory) -> list[str]:
    return [name for name in directory.names() if name.endswith(".wal")]


def snapshots(directory: FaultyDirectory) -> list[str]:
    return [name for name in directory.names() if name.endswith(".snapshot")]


def test_an_empty_directory_knows_nothing() -> None:
    _, recovered = open_log(FaultyDirectory())
    assert recovered == {}


def test_take_returns_what_was_appended_since_the_last_take() -> None:
    log, _ = open_log(FaultyDirectory())
    assert log.take() is None
    log.append(LOCKS, persist(entry(1)))
    log.append(CLUSTER, persist(entry(1)))
    batch = log.take()
    assert batch is not None
    assert [group for group, _ in batch.items] == [LOCKS, CLUSTER]
    assert log.take() is None


@pytest.mark.parametrize("segment_bytes_max", [1024, 4096, 1 << 26])
def test_every_write_of_a_varied_script_is_recovered(segment_bytes_max: int) -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, segment_bytes_max)
    script = varied_script()
    for write, known in zip(script, list(histories(script))[1:], strict=True):
        stage(log, write)
        assert open_log(FaultyDirectory(directory.after_crash()))[1] == known


def test_a_log_that_is_reopened_after_every_write_loses_nothing() -> None:
    files: dict[str, bytes] = {}
    script = varied_script()
    for write, known in zip(script, list(histories(script))[1:], strict=True):
        directory = FaultyDirectory(files)
        log, _ = open_log(directory, 4096)
        stage(log, write)
        files = directory.after_crash()
        assert open_log(FaultyDirectory(files))[1] == known


def test_one_write_and_one_sync_make_a_batch_of_many_groups_durable() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(entry(1))), (CLUSTER, persist(entry(1)))])
    directory.operations.clear()
    stage(log, [(LOCKS, persist(*entries(2, 50))), (CLUSTER, persist(*entries(2, 50)))])
    assert directory.operations == ["write", "sync"]


def test_writing_an_index_again_voids_everything_at_and_above_it() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 10)))])
    stage(log, [(LOCKS, persist(*entries(4, 5, term=2)))])
    recovered = open_log(directory)[1][LOCKS]
    assert recovered.entries == [*entries(1, 3), *entries(4, 5, term=2)]


def test_a_snapshot_of_a_log_that_disagrees_voids_the_log() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 10)))])
    stage(log, [(LOCKS, persist(taken=snapshot(5, term=3)))])
    recovered = open_log(directory)[1][LOCKS]
    assert recovered.snapshot == snapshot(5, term=3)
    assert recovered.entries == []


def test_a_snapshot_of_the_own_log_keeps_the_entries_behind_it() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 10)))])
    stage(log, [(LOCKS, persist(taken=snapshot(5)))])
    recovered = open_log(directory)[1][LOCKS]
    assert recovered.entries == list(entries(6, 10))


def test_segments_go_when_snapshots_cover_all_their_entries() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    for index in range(1, 41):
        stage(log, [(LOCKS, persist(entry(index, payload=bytes(range(200)))))])
    assert log.segment_count > 5
    stage(log, [(LOCKS, persist(taken=snapshot(40)))])
    assert log.segment_count == len(segments(directory)) == 1
    assert log.size == len(directory.files[segments(directory)[0]])
    recovered = open_log(directory)[1][LOCKS]
    assert (recovered.snapshot, recovered.entries) == (snapshot(40), [])


def test_a_group_without_a_snapshot_pins_the_oldest_segment_and_is_named() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    assert log.oldest_pinning_group() is None
    stage(log, [(CLUSTER, persist(entry(1)))])
    for index in range(1, 21):
        stage(log, [(LOCKS, persist(entry(index, payload=bytes(range(200)))))])
    before = log.segment_count
    stage(log, [(LOCKS, persist(taken=snapshot(20)))])
    assert log.segment_count >= before
    assert log.oldest_pinning_group() == CLUSTER
    stage(log, [(CLUSTER, persist(taken=snapshot(1)))])
    assert log.oldest_pinning_group() is None
    assert log.segment_count == 1


def test_hard_states_of_quiet_groups_survive_the_segments_they_were_written_to() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    stage(log, [(CLUSTER, persist(hard_state=vote(7, "node-3")))])
    for index in range(1, 21):
        stage(log, [(LOCKS, persist(entry(index, payload=bytes(range(200)))))])
    stage(log, [(LOCKS, persist(taken=snapshot(20)))])
    files = directory.after_crash()
    del files["votes"]
    assert open_log(FaultyDirectory(files))[1][CLUSTER].hard_state == vote(7, "node-3")


def test_two_snapshots_of_a_group_are_kept() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 10)))])
    for index in (2, 4, 6, 8):
        stage(log, [(LOCKS, persist(taken=snapshot(index)))])
    assert len(snapshots(directory)) == 2
    assert open_log(directory)[1][LOCKS].snapshot == snapshot(8)


def test_a_snapshot_file_without_its_marker_is_removed() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 10)))])
    directory.fail_at = len(directory.operations) + 2  # the write of the marker
    with pytest.raises(StorageError):
        stage(log, [(LOCKS, persist(taken=snapshot(5)))])
    rebooted = FaultyDirectory(directory.after_crash())
    assert snapshots(rebooted)
    assert open_log(rebooted)[1][LOCKS].entries == list(entries(1, 10))
    assert snapshots(rebooted) == []


def test_group_names_with_any_characters_make_file_names() -> None:
    directory = FaultyDirectory()
    name = type(LOCKS)("../a b/é%-")
    log, _ = open_log(directory)
    stage(log, [(name, persist(taken=snapshot(5)))])
    assert all("/" not in file for file in directory.names())
    assert open_log(directory)[1][name].snapshot == snapshot(5)


def test_a_log_of_another_node_or_cluster_is_refused() -> None:
    directory = FaultyDirectory()
    open_log(directory)[0].close()
    with pytest.raises(IdentityMismatch, match="belongs to node 'node-1' of cluster 'a-cluster'"):
        WriteAheadLog.open(directory, CLUSTER_ID, NodeId("node-2"))
    with pytest.raises(IdentityMismatch):
        WriteAheadLog.open(directory, "another-cluster", NODE_ID)


def test_a_gap_in_the_entries_closes_the_log_instead_of_reaching_the_disk() -> None:
    log, _ = open_log(FaultyDirectory())
    stage(log, [(LOCKS, persist(entry(1)))])
    with pytest.raises(StorageError, match="entry 3 after 1"):
        stage(log, [(LOCKS, persist(entry(3)))])
    with pytest.raises(StorageError, match="closed"):
        stage(log, [(LOCKS, persist(entry(2)))])


def test_a_closed_log_refuses_to_write_and_closes_twice() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    log.close()
    log.close()
    assert directory.closed == 2  # the segment and the votes
    with pytest.raises(StorageError):
        stage(log, [(LOCKS, persist(entry(1)))])


def test_a_segment_size_that_is_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="segment_bytes_max"):
        WalOptions(segment_bytes_max=10).validate()


def test_the_vote_file_stays_small() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    for term in range(1, 3000):
        stage(log, [(LOCKS, persist(hard_state=vote(term, "node-1")))])
    assert len(directory.files["votes"]) < 70_000
    known = as_known({}, [(LOCKS, persist(hard_state=vote(2999, "node-1")))])
    assert open_log(directory)[1] == known


def test_a_seal_whose_sync_failed_may_vanish_later_without_being_called_damage() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(entry(1)))])
    directory.fail_at = len(directory.operations) + 2  # the sync of the seal
    log.close()
    assert directory.never_written
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(entry(2)))])
    recovered = open_log(FaultyDirectory(directory.after_crash()))[1][LOCKS]
    assert recovered.entries == [entry(1), entry(2)]
    assert not recovered.damaged


def test_a_write_whose_sync_failed_is_written_again_before_it_is_believed() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(entry(1)))])
    directory.fail_at = len(directory.operations) + 2
    with pytest.raises(StorageError):
        stage(log, [(LOCKS, persist(entry(2)))])
    log, believed = open_log(directory)
    assert believed[LOCKS].entries == [entry(1), entry(2)]
    stage(log, [(LOCKS, persist(entry(3)))])
    recovered = open_log(FaultyDirectory(directory.after_crash()))[1][LOCKS]
    assert recovered.entries == [entry(1), entry(2), entry(3)]
