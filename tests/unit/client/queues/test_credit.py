"""How the window is shared between shards."""

from collections.abc import Hashable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.client.queues.credit import CreditPool


class Shards:
    """Shards that deliver what they have, up to their credit, and news that take their time."""

    def __init__(self, window: int, backlog: list[int]) -> None:
        self.backlog = backlog
        self.credit = [0] * len(backlog)
        self.news: list[tuple[int, int]] = []
        self.grants = 0
        self.buffered = 0
        self.pool = CreditPool(window, self.grant)
        for shard in range(len(backlog)):
            self.pool.open(len(backlog), shard)
            self.credit[shard] = self.pool.offer(shard)

    def grant(self, shard: Hashable, more: int) -> None:
        assert isinstance(shard, int)
        self.grants += 1
        self.news.append((shard, more))

    def hear(self) -> None:
        for shard, more in self.news:
            self.credit[shard] = max(0, self.credit[shard] + more)
        self.news.clear()

    def deliver(self, shard: int) -> int:
        count = min(self.credit[shard], self.backlog[shard])
        self.credit[shard] -= count
        self.backlog[shard] -= count
        if count:
            self.pool.delivered(shard, count)
            self.buffered += count
        return count

    def take(self, count: int = 1) -> None:
        for _ in range(min(count, self.buffered)):
            self.buffered -= 1
            self.pool.taken()


def test_the_first_shares_are_even() -> None:
    assert Shards(64, [0] * 4).credit == [16] * 4


def test_each_shard_has_at_least_one() -> None:
    assert Shards(1, [0] * 4).credit == [1] * 4


def test_a_single_busy_shard_gets_most_of_the_window() -> None:
    shards = Shards(64, [10_000, 0, 0, 0])
    for _ in range(100):
        shards.hear()
        shards.deliver(0)
        shards.take(shards.buffered)
    shards.hear()
    assert shards.credit[0] >= 48
    assert sum(shards.credit) <= 64
    assert all(shards.credit)


def test_refills_come_in_big_steps() -> None:
    shards = Shards(64, [6_400, 0, 0, 0])
    while shards.backlog[0]:
        shards.hear()
        shards.deliver(0)
        shards.take(shards.buffered)
    assert shards.grants < 6_400 / 20


def test_nobody_is_granted_more_while_messages_wait_here() -> None:
    shards = Shards(64, [1_000] * 4)
    for _ in range(50):
        shards.hear()
        for shard in range(4):
            shards.deliver(shard)
    assert shards.buffered == 64


def test_a_resized_window_takes_back_what_is_unused() -> None:
    shards = Shards(64, [0] * 4)
    shards.pool.resize(0)
    shards.hear()
    assert shards.credit == [0] * 4
    shards.pool.resize(8)
    shards.hear()
    assert shards.credit == [2] * 4


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_reader_starves_no_shard(seed: int) -> None:
    """A full buffer leaves room for one refill at a time: not always the same shard's."""
    random = Random(seed)
    shards = Shards(900, [20_000] * 4)
    for _ in range(400):
        shards.hear()
        for shard in random.sample(range(4), 4):
            shards.deliver(shard)
        shards.take(100)
    assert max(shards.backlog) - min(shards.backlog) < 20_000 * 0.2


@given(
    st.integers(0, 2**32),
    st.integers(1, 200),
    st.lists(st.integers(0, 300), min_size=1, max_size=6),
)
def test_everything_is_delivered_and_the_window_holds(
    seed: int, window: int, backlog: list[int]
) -> None:
    random = Random(seed)
    shards = Shards(window, backlog)
    idle = 0
    while sum(backlog) and idle < 1_000:
        if random.random() < 0.5:
            shards.hear()
        moved = shards.deliver(random.randrange(len(backlog)))
        shards.take(random.randrange(1, window + 1))
        idle = 0 if moved else idle + 1
        # Reclaims that cross with deliveries may let a few more come.
        assert shards.buffered + sum(shards.credit) <= 3 * window + 3 * len(backlog)
    assert sum(backlog) == 0
