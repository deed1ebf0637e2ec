import math

import pytest
from benchmarks.harness.statistics import jain_index, paired_ratio, percentile, round_order


def test_the_median_of_an_odd_number_of_values_is_the_middle_one() -> None:
    assert percentile([9, 1, 5], 50) == 5


def test_a_percentile_between_two_values_is_interpolated() -> None:
    assert percentile([0.0, 10.0], 25) == 2.5


def test_the_ends_are_the_smallest_and_the_largest_value() -> None:
    values = [3.0, 1.0, 2.0]
    assert (percentile(values, 0), percentile(values, 100)) == (1.0, 3.0)


def test_a_single_value_is_every_percentile() -> None:
    assert {percentile([7.0], percent) for percent in (0, 50, 99, 100)} == {7.0}


def test_the_99th_of_a_hundred_values_leaves_the_outlier_out() -> None:
    assert percentile([1.0] * 100 + [1000.0], 99) == 1.0


def test_a_percentile_does_not_reorder_the_samples() -> None:
    values = [3.0, 1.0]
    percentile(values, 50)
    assert values == [3.0, 1.0]


@pytest.mark.parametrize("percent", [-1, 100.5])
def test_a_percentile_outside_0_to_100_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percent"):
        percentile([1.0], percent)


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_ratio_is_taken_inside_each_round_before_the_median() -> None:
    # The machine was ten times slower in the second round: for both, so the ratio stays 2.
    assert paired_ratio([200, 20, 200], [100, 10, 100]) == 2
    # The ratio of the medians would be 4.
    assert paired_ratio([400, 100, 400], [100, 100, 400]) == 1


def test_a_peer_that_did_nothing_is_infinitely_slower() -> None:
    assert paired_ratio([5.0], [0.0]) == math.inf


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0, 2.0]), ([], [])])
def test_rounds_that_do_not_pair_are_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="as many"):
        paired_ratio(ours, theirs)


def test_equal_shares_are_perfectly_fair() -> None:
    assert jain_index([5, 5, 5, 5]) == 1.0


def test_one_winner_among_n_has_a_fairness_of_one_nth() -> None:
    assert jain_index([8, 0, 0, 0]) == 0.25


def test_the_fairness_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        jain_index([0, 0])


def test_every_second_round_runs_backwards() -> None:
    names = ["a", "b", "c"]
    assert [round_order(names, number) for number in range(3)] == [
        ["a", "b", "c"],
        ["c", "b", "a"],
        ["a", "b", "c"],
    ]
