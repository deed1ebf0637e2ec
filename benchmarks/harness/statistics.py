"""The arithmetic of the reports, free of I/O so that it can be tested.

Runs are *paired*: every round measures all systems one right after the other, so that a noisy
neighbour of this machine hits each of them. A ratio is therefore computed inside a round first
and the median is taken over the rounds, never the other way round.
"""

import math
from collections.abc import Sequence
from statistics import median

__all__ = ["jain_index", "median", "paired_ratio", "percentile", "round_order"]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value below which ``percent`` of ``values`` lie, interpolated linearly.

    Raises:
        ValueError: there are no values, or ``percent`` is outside 0 to 100.
    """
    if not values:
        raise ValueError("no values to take a percentile of")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must lie in 0..100, got {percent}")
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median over the rounds of ``ours[round] / theirs[round]``.

    Raises:
        ValueError: the rounds do not match, or there is none.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"need as many of ours as of theirs, got {len(ours)} and {len(theirs)}")
    return median(
        mine / other if other else math.inf for mine, other in zip(ours, theirs, strict=True)
    )


def jain_index(shares: Sequence[float]) -> float:
    """Return how evenly something was shared: 1.0 = all equal, 1/n = one got everything.

    Sources: R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness", DEC-TR-301, 1984.

    Raises:
        ValueError: there are no shares, or all are zero.
    """
    squares = sum(share * share for share in shares)
    if not squares:
        raise ValueError("fairness of nothing")
    return sum(shares) ** 2 / (len(shares) * squares)


def round_order(names: Sequence[str], round_number: int) -> list[str]:
    """Return the order in which round ``round_number`` measures the systems.

    Every second round runs backwards, so that a load that grows or shrinks all the time
    favours none of them.
    """
    return list(names) if round_number % 2 == 0 else list(reversed(names))
