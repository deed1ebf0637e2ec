"""What the simulator would miss in a planted bug, it would miss in a real one."""

import pytest

from synaxis.simulation.__main__ import main
from synaxis.simulation.planted_bugs import BUGS, hunt
from synaxis.simulation.run import run_seed
from synaxis.simulation.seeds import CACHES, QUEUES, Seed

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
    "producers-not-in-snapshot": "equal states",
    "lease-too-short": "no early end of a lease",
    "neighbours-bytes": "Q1",
    "store-not-synced": "durability",
    "silent-let-go-early": "single writer or many readers",
    "recovery-waits-for-one": "single writer or many readers",
    "lines-outlive-the-stream": "single writer or many readers",
    "clear-not-awaited": "lines are current",
    "inv-keeps-the-line": "single writer or many readers",
    "fate-forgotten": "history",
    "owner-not-asked": "history",
    "renewed-unproved": "lines are current",
    "forgotten-voter-votes": "leader completeness",
    "volatile-vote-not-on-disk": "promise before disk",
    "era-by-one-voice": "what a majority remembers is not lost",
    "era-keeps-the-time": "equal calls",
    "versions-begin-anew": "history",
    "members-not-on-disk": "voters change through joint consensus",
}
NAMED = {
    "holdings-not-awaited": "Q4",
    "key-overtaken": "Q5",
    "stored-twice": "Q6",
    "nack-not-counted": "Q7",
    "delivered-too-early": "Q8",
    "ack-moves-the-floor": "Q11",
}
"""Bugs of queues, and how the violation of the history begins."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rule"), QUICK.items())
def test_a_planted_bug_breaks_the_rule_it_is_about(name: str, rule: str) -> None:
    found = hunt(BUGS[name], seeds=12)
    assert found is not None
    assert found.failure == rule, found.message


@pytest.mark.slow
@pytest.mark.parametrize(("name", "invariant"), NAMED.items())
def test_a_planted_bug_of_queues_breaks_its_invariant(name: str, invariant: str) -> None:
    found = hunt(BUGS[name], seeds=12)
    assert found is not None
    assert found.failure == "history"
    assert found.message.startswith(invariant)


def test_there_are_enough_bugs_and_each_says_what_it_is() -> None:
    assert len(BUGS) >= 50
    assert sum(bug.world == QUEUES for bug in BUGS.values()) >= 25
    assert sum(bug.world == CACHES for bug in BUGS.values()) >= 15
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
@pytest.mark.parametrize("name", ["match-is-log-length", "store-not-synced"])
def test_a_healthy_cluster_passes_under_the_faults_of_a_planted_bug(name: str) -> None:
    bug = BUGS[name]
    for seed in (1, 2, 3):
        result = run_seed(Seed(seed, bug.world), 5.0, mix=bug.mix_for(seed))
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
    with BUGS["neighbours-bytes"].plant():
        run = ["run", "--world", "queues", "--seeds", "1", "--seconds", "8", "--jobs", "1"]
        assert main(run) == 1
        assert "replay --seed q1 --seconds 8" in capsys.readouterr().out
    assert main(["replay", "--seed", "1", "--seconds", "2"]) == 0
    assert "seed 1 passed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_batch_ends_with_a_table_of_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--seeds", "2", "--first", "5", "--seconds", "2", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "2 seeds, 0 failed" in printed
    assert "times real time per core" in printed
    assert "raft.elected" in printed
