"""Random faults, every invariant after every step, and progress once the faults end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.raft_chaos import Chaos

SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_nodes_stay_safe_and_recover(seed: int) -> None:
    Chaos(seed).run(400)


@pytest.mark.parametrize("seed", range(3))
def test_five_nodes_stay_safe_and_recover(seed: int) -> None:
    Chaos(100 + seed, "abcde").run(400)


@pytest.mark.parametrize("seed", SEEDS)
def test_changing_members_stay_safe_and_recover(seed: int) -> None:
    Chaos(200 + seed, grows=True).run(400)


@pytest.mark.parametrize("seed", SEEDS)
def test_snapshots_with_attachments_stay_safe_and_recover(seed: int) -> None:
    Chaos(300 + seed, grows=seed % 2 == 0, attached=True).run(600)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), voters=st.sampled_from(["a", "ab", "abc", "abcd"]))
def test_any_seed_and_size_stays_safe(seed: int, voters: str) -> None:
    Chaos(seed, voters, grows=seed % 2 == 0).run(300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_many_more_runs(seed: int) -> None:
    voters = ("abc", "abcde", "abcd")[seed % 3]
    Chaos(1_000 + seed, voters, grows=seed % 2 == 0, attached=seed % 4 < 2).run(1_500)


def test_the_faults_really_happen() -> None:
    chaos = Chaos(312, grows=True, attached=True)
    chaos.run(3_000)
    quiet = [action.__name__ for action in chaos.actions if not chaos.counts[action.__name__]]
    assert quiet == []
