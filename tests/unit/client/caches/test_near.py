"""The bounds and the order of a near cache, and when a hit may be believed."""

from math import inf

import pytest

from synaxis.caches.commands import Reading, Version
from synaxis.client.caches.entries import MISS
from synaxis.client.caches.near import COPY_OVERHEAD_BYTES, NO_LEASE, Held, Lease, NearCache, Tally


def lease(until: float = inf) -> Lease:
    made = Lease()
    made.until = until
    return made


def held(value: bytes = b"", flags: int = 0, ttl_ms: int = 0, soft_ms: int = 0) -> Held:
    reading = Reading(value, flags, Version(1), ttl_ms, soft_ms)
    return Held(reading, value, lease(), 100.0)


@pytest.fixture
def dropped() -> list[str]:
    return []


@pytest.fixture
def near(dropped: list[str]) -> NearCache:
    return NearCache(Tally(), dropped.append)


def test_times_count_from_the_question() -> None:
    entry = held(ttl_ms=10_000, soft_ms=4_000)
    assert (entry.until, entry.soft_at, entry.due) == (110.0, 104.0, 104.0)
    assert (held().until, held().soft_at, held().due) == (inf, inf, inf)
    overdue = held(ttl_ms=10_000, soft_ms=-500)
    assert overdue.due == 99.5


def test_a_hit_needs_the_lease_and_the_time_to_live() -> None:
    entry = held(ttl_ms=10_000)
    entry.lease.until = 105.0
    assert entry.is_good(104.9)
    assert not entry.is_good(105.0)
    entry.lease.until = inf
    assert entry.is_good(109.9)
    assert not entry.is_good(110.0)
    assert not Held(None, MISS, NO_LEASE, 0.0).is_good(0.0)


def test_the_least_recently_used_goes_first(near: NearCache, dropped: list[str]) -> None:
    near.entries_max = 3
    for key in "abc":
        near.keep(key, held())
    near.items.move_to_end("a")  # what a hit does
    near.keep("d", held())
    assert (list(near.items), dropped) == (["c", "a", "d"], ["b"])


def test_bytes_are_bounded(near: NearCache, dropped: list[str]) -> None:
    near.bytes_max = 3 * (COPY_OVERHEAD_BYTES + 1 + 100)
    for key in "abcd":
        near.keep(key, held(b"x" * 100))
    assert (list(near.items), dropped) == (["b", "c", "d"], ["a"])
    assert near.bytes == near.bytes_max
    near.keep("e", held(b"x" * 10_000))
    assert "e" not in near.items, "what is larger than the cache is not kept"


def test_decoded_values_count_for_more_than_their_bytes(near: NearCache) -> None:
    near.keep("a", held(b"x" * 100, flags=0))
    raw = near.bytes
    near.keep("b", held(b"x" * 100, flags=1))
    assert near.bytes - raw > raw


def test_what_is_kept_again_or_forgotten_leaves_no_bytes(near: NearCache) -> None:
    near.keep("a", held(b"x" * 100))
    near.keep("a", held(b"x"))
    assert near.bytes == COPY_OVERHEAD_BYTES + 2
    assert near.forget("a") is not None
    assert near.forget("a") is None
    assert (near.bytes, len(near.items)) == (0, 0)


def test_a_smaller_bound_holds_at_once(near: NearCache, dropped: list[str]) -> None:
    for key in "abc":
        near.keep(key, held())
    near.entries_max = 1
    near.shrink()
    assert (list(near.items), dropped) == (["c"], ["a", "b"])


def test_what_lost_its_lease_can_be_forgotten_alone(near: NearCache, dropped: list[str]) -> None:
    near.keep("a", held())
    lost = held()
    near.keep("b", lost)
    lost.lease.until = -inf
    near.forget_lost()
    assert (list(near.items), dropped) == (["a"], [])
