"""Whole clusters survive what their seeds do to them, and a seed always tells the same story."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synaxis.simulation.coverage import EXPECTED, EXPECTED_IN, Coverage, missing
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.run import run_seed, run_seeds
from synaxis.simulation.seeds import CACHES, LOCKS, QUEUES, VOLATILE, Seed, mixed

FOUND_SEEDS = Path(__file__).with_name("seeds.txt")
ONE_RUN = (
    "from synaxis.simulation.run import run_seed\n"
    "from synaxis.simulation.seeds import Seed\n"
    "result = run_seed(Seed.parse('{seed}'), {seconds})\n"
    "print(result.failure, result.digest, result.events, result.operations)"
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_cluster_keeps_its_promises_under_the_faults_of_its_seed(seed: int) -> None:
    result = run_seed(seed, 6.0)
    assert result.failure is None, result.message
    assert result.operations > 20


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 17))
def test_queues_keep_their_promises_under_the_faults_of_a_seed(number: int) -> None:
    result = run_seed(Seed(number, QUEUES), 6.0)
    assert result.failure is None, result.message
    assert result.operations > 20


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 25))
def test_volatile_groups_lose_nothing_that_a_majority_remembers(number: int) -> None:
    result = run_seed(Seed(number, VOLATILE), 10.0)
    assert result.failure is None, result.message
    assert result.operations > 20


@pytest.mark.slow
def test_a_calm_volatile_group_never_leaves_its_first_era() -> None:
    result = run_seed(Seed(1, VOLATILE), 6.0, mix=FaultMix())
    assert result.failure is None, result.message
    assert "volatile.era_begun" not in result.coverage
    assert result.searched > 100


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 25))
def test_caches_are_coherent_under_the_faults_of_a_seed(number: int) -> None:
    result = run_seed(Seed(number, CACHES), 10.0)
    assert result.failure is None, result.message
    assert result.operations > 20


@pytest.mark.slow
def test_calm_caches_are_read_nearby_and_lose_nothing() -> None:
    counts, whole = Coverage(), Coverage()
    for number in range(1, 9):
        result = run_seed(Seed(number, CACHES), 6.0, mix=FaultMix())
        assert result.failure is None, result.message
        assert result.searched > 100
        counts.merge(result.coverage)
        if "network.cut" not in result.coverage:  # some end with an endurance that cuts a node off
            whole.merge(result.coverage)
    assert counts["cache.hit"] > 600
    assert whole["cache.hit"] > 300
    assert not whole["cache.lease_lapsed"]
    assert not whole["cache.revived"]


@pytest.mark.slow
def test_calm_queues_get_a_lot_done() -> None:
    counts = Coverage()
    for number in range(1, 5):
        result = run_seed(Seed(number, QUEUES), 6.0, mix=FaultMix())
        assert result.failure is None, result.message
        counts.merge(result.coverage)
    assert counts["queue.redelivered"] > 10
    assert counts["queue.segment_dropped"] > 10


@pytest.mark.slow
def test_a_calm_cluster_gets_a_lot_done() -> None:
    result = run_seed(1, 6.0, mix=FaultMix())
    assert result.failure is None, result.message
    assert result.operations > 200
    assert result.searched > 100
    assert result.coverage["raft.elected"] == 1


def found_seeds() -> Iterator[Any]:
    lines = FOUND_SEEDS.read_text().splitlines()
    for line in lines:
        if line and not line.startswith("#"):
            seed, seconds, cause = line.split(maxsplit=2)
            yield pytest.param(Seed.parse(seed), float(seconds), id=f"seed {seed}: {cause[:40]}")


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "seconds"), list(found_seeds()))
def test_a_seed_that_once_found_a_bug_passes_now(seed: Seed, seconds: float) -> None:
    result = run_seed(seed, seconds)
    assert result.failure is None, result.message


@pytest.mark.slow
@pytest.mark.parametrize("world", [LOCKS, QUEUES, VOLATILE, CACHES])
def test_the_same_seed_tells_the_same_story_twice(world: str) -> None:
    first, second = run_seed(Seed(21, world), 4.0), run_seed(Seed(21, world), 4.0)
    assert first.digest == second.digest
    assert first.coverage == second.coverage
    assert first.digest != run_seed(Seed(22, world), 4.0).digest


@pytest.mark.slow
@pytest.mark.parametrize("world", [LOCKS, QUEUES, CACHES])
def test_tracing_a_run_does_not_change_it(world: str) -> None:
    quiet = run_seed(Seed(23, world), 4.0)
    loud = run_seed(Seed(23, world), 4.0, keep_trace=True, verbose=True)
    assert quiet.digest == loud.digest
    assert len(loud.trace) > 1_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["24", "q24", "v24", "c24"])
def test_no_hash_seed_changes_the_story(seed: str) -> None:
    stories = {
        subprocess.run(
            [sys.executable, "-c", ONE_RUN.format(seed=seed, seconds=3)],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4711")
    }
    assert len(stories) == 1
    assert stories.pop().startswith("None ")


@pytest.mark.slow
def test_processes_work_on_seeds_side_by_side_and_answer_in_order() -> None:
    results = list(run_seeds(mixed(range(31, 36)), 1.0, jobs=2))
    assert [str(result.seed) for result in results] == ["31", "q32", "c33", "34", "q35"]
    assert results[3].digest == run_seed(34, 1.0).digest


@pytest.mark.slow
@pytest.mark.parametrize("world", [LOCKS, QUEUES, CACHES])
def test_a_dozen_seeds_of_a_world_see_most_kinds_of_fault(world: str) -> None:
    counts = Coverage()
    for number in range(41, 53):
        counts.merge(run_seed(Seed(number, world), 5.0).coverage)
    expected = [*EXPECTED, *EXPECTED_IN[world]]
    assert len(missing(counts, expected)) < len(expected) // 3
