"""Crashes at every byte, flips of every byte, failures of every call.

Each test states what was acknowledged and accepts nothing less than that, or a group that says
``damaged``.
"""

from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import NamedTuple

import pytest

from support.faulty_directory import FaultyDirectory
from support.log_script import (
    CLUSTER,
    LOCKS,
    Groups,
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
from synaxis.effects import HardState
from synaxis.errors import StorageError
from synaxis.ids import Term
from synaxis.ports import RecoveredGroup

SEGMENT = "0000000000000001.wal"


class Step(NamedTuple):
    """One write of the script: the files after it, and what they must give back."""

    files: dict[str, bytes]
    known: Groups


def test_damage_that_took_nothing_does_not_turn_a_later_torn_tail_into_damage() -> None:
    """Simulator seed 7000384: the flipped bit was in the seal of an empty log."""
    directory = FaultyDirectory()
    open_log(directory)
    files = directory.after_crash()
    files[SEGMENT] = files[SEGMENT][:-5] + b"!" + files[SEGMENT][-4:]
    directory = FaultyDirectory(files)
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(entry(1)))])
    files = directory.after_crash()
    stage(log, [(LOCKS, persist(entry(2)))])
    newest = max(name for name in files if name.endswith(".wal"))
    files[newest] = directory.after_crash()[newest][:-9]
    recovered = open_log(FaultyDirectory(files))[1][LOCKS]
    assert recovered.entries == [entry(1)]
    assert not recovered.damaged


def recorded_steps(segment_bytes_max: int = 1 << 26) -> list[Step]:
    directory = FaultyDirectory()
    log, _ = open_log(directory, segment_bytes_max)
    script = varied_script()
    known = list(histories(script))
    steps = [Step(directory.after_crash(), known[0])]
    for write, after in zip(script, known[1:], strict=True):
        stage(log, write)
        steps.append(Step(directory.after_crash(), after))
    return steps


def reopened(files: dict[str, bytes]) -> Groups:
    """Recover, then recover again from what the first recovery left: both must agree."""
    directory = FaultyDirectory(files)
    _, recovered = open_log(directory)
    again = open_log(FaultyDirectory(directory.after_crash()))[1]
    assert again == recovered
    return recovered


def assert_is_one_of(recovered: Groups, before: Groups, after: Groups) -> None:
    """Nothing of ``before`` is missing, and nothing is there that ``after`` does not hold.

    Of the write in between only the votes may have arrived: their file is written first.
    """
    assert set(before) <= set(recovered) <= set(after)
    for name, group in recovered.items():
        old, new = before.get(name, RecoveredGroup()), after[name]
        assert not group.damaged
        assert group.hard_state in (old.hard_state, new.hard_state)
        assert (group.snapshot, group.entries) in (
            (old.snapshot, old.entries),
            (new.snapshot, new.entries),
        )


def torn_writes(steps: list[Step]) -> Iterator[tuple[Step, Step, int]]:
    """Yield (before, after, first byte that the second one wrote) for each write."""
    for before, after in pairwise(steps):
        yield before, after, len(before.files[SEGMENT])


# -- crashes: nothing acknowledged is lost, nothing is called damaged ----------------------------


def check_cuts(stride: int) -> int:
    cuts = 0
    for before, after, start in torn_writes(recorded_steps()):
        whole = after.files[SEGMENT]
        for cut in range(start, len(whole), stride):
            recovered = open_log(FaultyDirectory({**after.files, SEGMENT: whole[:cut]}))[1]
            assert_is_one_of(recovered, before.known, after.known)
            cuts += 1
    return cuts


def test_a_log_cut_off_at_any_byte_keeps_every_acknowledged_write() -> None:
    assert check_cuts(stride=13) > 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_log_cut_off_at_really_every_byte_keeps_every_acknowledged_write() -> None:
    assert check_cuts(stride=1) > 15_000


def test_a_first_segment_cut_off_at_any_byte_is_an_empty_log() -> None:
    born = recorded_steps()[0].files[SEGMENT]
    for cut in range(len(born)):
        assert reopened({SEGMENT: born[:cut]}) == {}


def test_a_new_segment_cut_off_at_any_byte_is_forgotten() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    stage(log, [(LOCKS, persist(*entries(1, 3, size=500)))])
    before = set(directory.names())
    directory.fail_at = len(directory.operations) + 6  # votes: 2, segment: 3, its number: 1
    with pytest.raises(StorageError):
        stage(log, [(LOCKS, persist(*entries(4, 5, size=500), hard_state=vote(3)))])
    assert directory.operations[-4:] == ["create", "write", "sync", "write"]
    (born,) = set(directory.names()) - before
    files = directory.after_crash()
    for cut in range(len(files[born])):
        recovered = reopened({**files, born: files[born][:cut]})[LOCKS]
        assert recovered.entries == list(entries(1, 3, size=500))
        assert not recovered.damaged


@pytest.mark.parametrize("seed", range(40))
def test_a_torn_write_that_lost_any_of_its_sectors_is_dropped_whole(seed: int) -> None:
    random = Random(seed)
    for before, after, start in torn_writes(recorded_steps()):
        torn = bytearray(after.files[SEGMENT])
        sectors = list(range(start // 512, -(-len(torn) // 512)))
        lost = random.sample(sectors, random.randint(1, len(sectors)))
        for sector in lost:
            first, last = max(start, sector * 512), min(len(torn), (sector + 1) * 512)
            torn[first:last] = bytes(last - first)
        recovered = open_log(FaultyDirectory({**after.files, SEGMENT: bytes(torn)}))[1]
        assert_is_one_of(recovered, before.known, before.known | after.known)
        for name, group in before.known.items():
            assert recovered[name].entries == group.entries


def test_the_log_can_be_written_after_a_torn_tail_was_cut_off() -> None:
    steps = recorded_steps()
    before, after, start = list(torn_writes(steps))[-1]
    directory = FaultyDirectory({**after.files, SEGMENT: after.files[SEGMENT][: start + 100]})
    log, recovered = open_log(directory)
    assert recovered[LOCKS].entries == before.known[LOCKS].entries
    stage(log, [(LOCKS, persist(entry(61, 5)))])
    assert reopened(directory.after_crash())[LOCKS].entries[-1] == entry(61, 5)


# -- damage: what was acknowledged is recovered, or the group says so -----------------------------


def check_flips(files: dict[str, bytes], known: Groups, stride: int, seed: int) -> tuple[int, int]:
    """Flip a random bit of every ``stride``-th byte; return (flips, groups called damaged)."""
    random = Random(seed)
    flips = damaged = 0
    for name, content in files.items():
        for at in range(random.randrange(stride), len(content), stride):
            flipped = bytearray(content)
            flipped[at] ^= 1 << random.randrange(8)
            damaged += check_no_silent_loss({**files, name: bytes(flipped)}, known, (name, at))
            flips += 1
    return flips, damaged


def check_no_silent_loss(files: dict[str, bytes], known: Groups, where: tuple[str, int]) -> int:
    recovered = open_log(FaultyDirectory(files))[1]
    assert set(recovered) == set(known), where
    damaged = 0
    for name, group in recovered.items():
        if group.damaged:
            damaged += 1
            assert_is_true_prefix(group, known[name], where)
        else:
            assert_says_the_same(group, known[name], where)
    return damaged


def assert_says_the_same(group: RecoveredGroup, known: RecoveredGroup, where: object) -> None:
    """Equal, or an older snapshot and all the entries between it and the newest one."""
    assert group.hard_state == known.hard_state, where
    if group.snapshot != known.snapshot:
        assert known.snapshot is not None
        base = group.snapshot.meta.index if group.snapshot else 0
        assert base < known.snapshot.meta.index
        between = known.snapshot.meta.index - base
        assert [found.index for found in group.entries[:between]] == list(
            range(base + 1, known.snapshot.meta.index + 1)
        ), where
        assert group.entries[between - 1].term == known.snapshot.meta.term
        group.entries = group.entries[between:]
    assert group.entries == known.entries, where


def assert_is_true_prefix(group: RecoveredGroup, known: RecoveredGroup, where: object) -> None:
    """A damaged group may know less; its term must still be one that it was in."""
    assert group.hard_state.term <= known.hard_state.term, where
    indexes = [found.index for found in group.entries]
    base = group.snapshot.meta.index if group.snapshot else 0
    assert indexes == list(range(base + 1, base + 1 + len(indexes))), where


@pytest.mark.parametrize("segment_bytes_max", [2048, 1 << 26])
def test_a_flipped_bit_never_loses_an_acknowledged_write_silently(segment_bytes_max: int) -> None:
    files, known = recorded_steps(segment_bytes_max)[-1]
    flips, damaged = check_flips(files, known, stride=29, seed=segment_bytes_max)
    assert flips > 300
    assert damaged > 100


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("segment_bytes_max", [2048, 1 << 26])
def test_a_flipped_bit_in_really_every_byte_never_loses_a_write(segment_bytes_max: int) -> None:
    files, known = recorded_steps(segment_bytes_max)[-1]
    assert check_flips(files, known, stride=1, seed=segment_bytes_max)[0] > 9_000


def test_a_zeroed_sector_before_the_last_write_is_damage_and_not_a_torn_tail() -> None:
    steps = recorded_steps()
    files, known = steps[-1]
    last_write = len(steps[-2].files[SEGMENT])
    for start in range(0, last_write - 512, 512):
        content = bytearray(files[SEGMENT])
        content[start : start + 512] = bytes(512)
        check_no_silent_loss({**files, SEGMENT: bytes(content)}, known, (SEGMENT, start))


def test_a_log_shortened_before_its_last_write_is_noticed_by_the_next_segment() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    for index in range(1, 10):
        stage(log, [(LOCKS, persist(*entries(index, index, size=600)))])
    files = directory.after_crash()
    for cut in range(0, len(files[SEGMENT]), 8):
        group = reopened({**files, SEGMENT: files[SEGMENT][:cut]})[LOCKS]
        assert group.damaged


@pytest.mark.parametrize("lost", range(1, 10))
def test_a_vanished_segment_is_noticed(lost: int) -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory, 1024)
    for index in range(1, 20):
        stage(log, [(LOCKS, persist(*entries(index, index, size=600)))])
    files = directory.after_crash()
    numbers = [name for name in sorted(files) if name.endswith(".wal")]
    assert len(numbers) == 10
    del files[numbers[-lost]]
    group = reopened(files)[LOCKS]
    assert group.damaged
    assert group.entries == list(entries(1, len(group.entries), size=600))


def test_a_log_whose_segments_all_vanished_is_damaged() -> None:
    files, known = recorded_steps()[-1]
    del files[SEGMENT]
    recovered = reopened(files)
    assert set(recovered) == set(known)
    assert all(group.damaged for group in recovered.values())
    assert recovered[LOCKS].hard_state == known[LOCKS].hard_state


def damaged_locks() -> tuple[FaultyDirectory, Groups]:
    """Two groups; one bit of an old entry of LOCKS is flipped."""
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(CLUSTER, persist(*entries(1, 5), hard_state=vote(2, "node-1")))])
    stage(log, [(LOCKS, persist(*entries(1, 5, size=100), hard_state=vote(3, "node-2")))])
    stage(log, [(LOCKS, persist(*entries(6, 9, size=100)))])
    stage(log, [(CLUSTER, persist(*entries(6, 9)))])
    files = directory.after_crash()
    at = files[SEGMENT].index(entries(4, 4, size=100)[0].payload)
    content = bytearray(files[SEGMENT])
    content[at] ^= 1
    return FaultyDirectory({**files, SEGMENT: bytes(content)}), as_groups(log_of=directory)


def as_groups(log_of: FaultyDirectory) -> Groups:
    return open_log(FaultyDirectory(log_of.after_crash()))[1]


def test_damage_to_one_group_leaves_the_others_whole() -> None:
    directory, known = damaged_locks()
    _, recovered = open_log(directory)
    assert recovered[CLUSTER] == known[CLUSTER]
    assert recovered[LOCKS].damaged
    assert recovered[LOCKS].entries == list(entries(1, 3, size=100))
    assert recovered[LOCKS].hard_state == known[LOCKS].hard_state


def test_a_damaged_segment_is_set_aside_and_the_log_goes_on_without_it() -> None:
    directory, _ = damaged_locks()
    damaged_content = bytes(directory.files[SEGMENT])
    log, _ = open_log(directory)
    assert bytes(directory.files[SEGMENT + ".damaged"]) == damaged_content
    assert SEGMENT not in directory.names()
    stage(log, [(LOCKS, persist(*entries(4, 6, term=3)))])
    recovered = open_log(directory)[1][LOCKS]
    assert recovered.entries == [*entries(1, 3, size=100), *entries(4, 6, term=3)]


def test_damage_is_remembered_until_the_consensus_machine_has_taken_note_of_it() -> None:
    directory, _ = damaged_locks()
    for _ in range(3):
        log, recovered = open_log(directory)
        assert recovered[LOCKS].damaged
        log.close()
    log, _ = open_log(directory)
    noted = HardState(Term(1003), None, repair_after=Term(1003))
    stage(log, [(LOCKS, persist(hard_state=noted))])
    recovered = open_log(directory)[1]
    assert not recovered[LOCKS].damaged
    assert recovered[LOCKS].hard_state == noted


def test_damage_to_what_a_later_snapshot_covers_costs_nothing() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 5, size=100)))])
    stage(log, [(LOCKS, persist(*entries(6, 6), taken=snapshot(6, term=2)))])
    stage(log, [(LOCKS, persist(*entries(7, 9, term=2)))])
    known = as_groups(log_of=directory)
    content = directory.files[SEGMENT]
    content[content.index(entries(4, 4, size=100)[0].payload)] ^= 1
    assert reopened(directory.after_crash()) == known


def flip_snapshot(directory: FaultyDirectory, index: int) -> None:
    (name,) = [name for name in directory.names() if name.endswith(f"{index:x}.snapshot")]
    directory.files[name][-1] ^= 1


def test_a_damaged_snapshot_is_replaced_by_the_older_one_if_the_log_connects() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(1, 15)))])
    stage(log, [(LOCKS, persist(taken=snapshot(5)))])
    stage(log, [(LOCKS, persist(taken=snapshot(12)))])
    flip_snapshot(directory, 12)
    recovered = reopened(directory.after_crash())[LOCKS]
    assert recovered == RecoveredGroup(
        snapshot=snapshot(5), entries=list(entries(6, 15)), damaged=False
    )


def test_a_damaged_snapshot_is_damage_if_the_log_does_not_reach_back() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(taken=snapshot(5)))])
    stage(log, [(LOCKS, persist(*entries(13, 15), taken=snapshot(12)))])
    flip_snapshot(directory, 12)
    rebooted = FaultyDirectory(directory.after_crash())
    recovered = open_log(rebooted)[1][LOCKS]
    assert recovered == RecoveredGroup(snapshot=snapshot(5), entries=[], damaged=True)
    assert [name for name in rebooted.names() if name.endswith(".snapshot.damaged")]


def test_a_vanished_snapshot_is_damage() -> None:
    directory = FaultyDirectory()
    log, _ = open_log(directory)
    stage(log, [(LOCKS, persist(*entries(13, 15), taken=snapshot(12)))])
    files = {n: c for n, c in directory.after_crash().items() if not n.endswith(".snapshot")}
    recovered = reopened(files)[LOCKS]
    assert recovered == RecoveredGroup(damaged=True)


# -- a disk that fails at the N-th call -----------------------------------------------------------


def run_until_failure(directory: FaultyDirectory) -> tuple[int, bool]:
    """Run the script over several lives; return (acknowledged writes, failed)."""
    acknowledged = 0
    try:
        log, _ = open_log(directory, 2048)
        for number, write in enumerate(varied_script()):
            if number == 8:
                log.close()
                log, _ = open_log(directory, 2048)
            try:
                stage(log, write)
            except StorageError:
                with pytest.raises(StorageError):
                    stage(log, [(LOCKS, persist(entry(1)))])
                raise
            acknowledged += 1
    except StorageError:
        return acknowledged, True
    return acknowledged, False


@pytest.mark.parametrize("survives", ["what was synced", "the page cache"])
def test_a_disk_that_fails_at_any_call_loses_nothing_acknowledged(survives: str) -> None:
    known = list(histories(varied_script()))
    for fail_at in range(1, 1000):
        directory = FaultyDirectory(fail_at=fail_at)
        acknowledged, failed = run_until_failure(directory)
        cached = survives == "the page cache"
        files = directory.after_kill() if cached else directory.after_crash()
        next_known = known[min(acknowledged + 1, len(known) - 1)]
        assert_is_one_of(reopened(files), known[acknowledged], next_known)
        if fail_at > len(directory.operations):
            assert not failed
            assert acknowledged == len(known) - 1
            return
    pytest.fail("the script never came to its end")
