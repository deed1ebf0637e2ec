"""Random faults for volatile groups: a crash takes the memory and leaves the hard state."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.raft_forgetting import ForgettingChaos


@pytest.mark.parametrize("seed", range(8))
def test_three_nodes_lose_nothing_that_a_majority_remembers(seed: int) -> None:
    ForgettingChaos(seed).run(400)


@pytest.mark.parametrize("seed", range(8))
def test_members_may_change_meanwhile(seed: int) -> None:
    ForgettingChaos(100 + seed, ("abc", "abcde")[seed % 2], grows=True).run(600)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), voters=st.sampled_from(["a", "ab", "abc", "abcd"]))
def test_any_seed_and_size_stays_safe_and_comes_back(seed: int, voters: str) -> None:
    ForgettingChaos(seed, voters, grows=seed % 2 == 0).run(300)


@pytest.mark.parametrize(
    ("seed", "voters"),
    [(52, "abcd"), (108, "ab"), (1066, "abcde"), (1084, "a")],
    ids=["new half knows less", "voter of the future", "old half knows more", "moved away"],
)
def test_who_knows_the_newest_members_says_so(seed: int, voters: str) -> None:
    """Found by these seeds: the only ones who knew were no voters any more, and kept silent."""
    ForgettingChaos(seed, voters, grows=True).run(600 if seed < 1000 else 1500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_many_more_runs(seed: int) -> None:
    voters = ("abc", "abcde", "abcd", "ab", "a")[seed % 5]
    ForgettingChaos(2_000 + seed, voters, grows=seed % 2 == 0).run(1_500)


def test_eras_really_begin_and_snapshots_are_really_sent() -> None:
    counts: Counter[str] = Counter()
    for seed in range(6):
        chaos = ForgettingChaos(3_000 + seed, grows=True)
        chaos.network.observers.append(
            lambda _, effects: counts.update(restored=effects.restore is not None)
        )
        chaos.run(800)
        counts["eras"] += chaos.eras
    assert counts["eras"] > 3
    assert counts["restored"] > 5
