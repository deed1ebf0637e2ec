"""What the simulator would miss in a planted bug, it would miss in a real one."""

import pytest

from synaxis.simulation.__main__ import main
from synaxis.simulation.planted_bugs import BUGS, hunt
from synaxis.simulation.run import run_seed

QUICK = {
    "vote-not-on-disk": "promise before disk",
    "promise-before-fsync": "promise before disk",
    "any-log-may-win": "leader completeness",
    "commit-without-quorum": "committed means durable on a quorum",
    "no-joint-consensus": "voters change through joint consensus",
    "expiry-outside-the-log": "equal calls",
    "keep-alive-does-nothing": "no early expiry",
    "no-deduplication": "applied at most once",
    "tokens-reused": "tokens grow",
    "write-without-sync": "durability",
    "innocent-victim": "history",
    "max-hold-ignored": "history",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rule"), QUICK.items())
def test_a_planted_bug_breaks_the_rule_it_is_about(name: str, rule: str) -> None:
    found = hunt(BUGS[name], seeds=12)
    assert found is not None
    assert found.failure == rule, found.message


def test_there_are_enough_bugs_and_each_says_what_it_is() -> None:
    assert len(BUGS) >= 20
    assert len({bug.description for bug in BUGS.values()}) == len(BUGS)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_gone_when_its_run_is_over(name: str) -> None:
    patches = BUGS[name].patches()
    before = [vars(owner)[attribute] for owner, attribute, _ in patches]
    with BUGS[name].plant():
        during = [vars(owner)[attribute] for owner, attribute, _ in patches]
    after = [vars(owner)[attribute] for owner, attribute, _ in patches]
    assert before == after
    assert all(one is not other for one, other in zip(before, during, strict=True))


@pytest.mark.slow
def test_a_healthy_cluster_passes_under_the_faults_of_a_planted_bug() -> None:
    bug = BUGS["match-is-log-length"]
    for seed in (1, 2, 3):
        result = run_seed(seed, 5.0, mix=bug.mix_for(seed))
        assert result.failure is None, result.message


@pytest.mark.slow
def test_the_command_tells_the_seed_and_the_rule_and_fails_if_a_bug_survives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["planted-bugs", "keep-alive-does-nothing", "--seeds", "5"]) == 0
    printed = capsys.readouterr().out
    assert "seed 1: no early expiry" in printed
    assert "1 of 1 planted bugs found" in printed
    assert main(["planted-bugs", "vote-counted-twice", "--seeds", "1"]) == 1
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failed_seed_is_reported_with_its_rule_its_last_events_and_how_to_replay_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with BUGS["keep-alive-does-nothing"].plant():
        assert main(["run", "--seeds", "1", "--seconds", "8", "--jobs", "1"]) == 1
        printed = capsys.readouterr().out
        assert "FAILED seed 1: no early expiry" in printed
        assert "leads term" in printed
        assert "replay --seed 1 --seconds 8" in printed
        assert main(["replay", "--seed", "1", "--seconds", "8"]) == 1
    assert main(["replay", "--seed", "1", "--seconds", "2"]) == 0
    assert "seed 1 passed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_batch_ends_with_a_table_of_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--seeds", "2", "--first", "5", "--seconds", "2", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "2 seeds, 0 failed" in printed
    assert "times real time per core" in printed
    assert "raft.elected" in printed
