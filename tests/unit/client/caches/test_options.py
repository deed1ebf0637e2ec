"""What may be said about a cache, a key and a write."""

from datetime import timedelta
from typing import Any

import pytest

from synaxis.caches.commands import ANY_VERSION, Backing
from synaxis.client.caches.options import Terms, checked_tags, milliseconds, plan
from synaxis.errors import InvalidArgument, LimitExceeded


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, 0),
        (60, 60_000),
        (0.25, 250),
        ("2h5m30s", 7_530_000),
        ("500ms", 500),
        (timedelta(minutes=3), 180_000),
        ("366d", 366 * 86_400_000),
    ],
)
def test_durations(value: Any, expected: int) -> None:
    assert milliseconds(value, "ttl") == expected


@pytest.mark.parametrize(
    "value", [0, -1, 0.0001, True, b"1s", "soon", "", float("nan"), float("inf"), "367d", [1]]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        milliseconds(value, "ttl")


def test_a_plan_says_what_the_wire_says() -> None:
    made = plan("users", ttl="10m", soft_ttl="8m", near=True, max_bytes="64MiB", max_entries=5)
    assert made.terms == Terms(600_000, 480_000, 0)
    assert (made.near, made.bytes_max, made.entries_max) == (True, 64 * 1024 * 1024, 5)
    assert (made.back, made.backing, made.load) == (False, Backing.NONE, False)
    assert made.full_key("u:1") == "users/u:1"
    assert made.full_key("a/b") == "users/a/b"


@pytest.mark.parametrize(
    ("options", "backing", "back"),
    [
        ({}, Backing.NONE, False),
        ({"store": False}, Backing.NONE, False),
        ({"store": True}, Backing.THROUGH, False),
        ({"store": "redis", "write": "through"}, Backing.THROUGH, False),
        ({"store": "redis", "write": "behind"}, Backing.BEHIND, False),
        ({"write": "back"}, Backing.NONE, True),
        ({"write": "back", "store": "redis"}, Backing.BEHIND, True),
    ],
)
def test_where_writes_go(options: Any, backing: Backing, back: bool) -> None:
    made = plan("c", **options)
    assert (made.backing, made.back, made.load) == (backing, back, backing is not Backing.NONE)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"ttl": 10, "soft_ttl": 10}, "shorter"),
        ({"near": True, "write": "back"}, "exclude"),
        ({"near": True, "idle": 5}, "exclude"),
        ({"max_bytes": 5}, "near=True"),
        ({"max_entries": 5}, "near=True"),
        ({"near": True, "max_bytes": "much"}, "size"),
        ({"near": True, "max_bytes": 0}, "at least 1"),
        ({"near": True, "max_entries": True}, "at least 1"),
        ({"write": "behind"}, "needs a store"),
        ({"write": "sideways"}, "through"),
        ({"store": "memcached"}, "redis"),
        ({"codec": "pickle"}, "codec"),
    ],
)
def test_contradictions_are_refused(options: Any, hint: str) -> None:
    with pytest.raises(InvalidArgument, match=hint):
        plan("c", **options)


@pytest.mark.parametrize("name", ["", "a/b", "with space", "é", "n" * 201, None, 5])
def test_names_of_caches_are_plain(name: Any) -> None:
    with pytest.raises(InvalidArgument):
        plan(name)


@pytest.mark.parametrize("key", ["", None, 5, b"bytes", "\ud800"])
def test_a_key_is_text(key: Any) -> None:
    with pytest.raises(InvalidArgument):
        plan("c").full_key(key)


def test_a_key_has_a_length() -> None:
    made = plan("c")
    assert len(made.full_key("x" * 510).encode()) == 512
    assert len(made.full_key("é" * 255).encode()) == 512
    for key in ("x" * 511, "é" * 256):
        with pytest.raises(LimitExceeded) as refusal:
            made.full_key(key)
        assert refusal.value.details["limit"] == "key_bytes_max"


def test_a_write_may_differ_from_its_cache() -> None:
    made = plan("c", ttl=60, soft_ttl=40, idle=5)
    assert made.terms_of() is made.terms
    assert made.terms_of(tags=["a", "b", "a"]) == Terms(60_000, 40_000, 5_000, ("a", "b"))
    assert made.terms_of(ttl=None) == Terms(0, 40_000, 5_000)
    assert made.terms_of(ttl=100, soft_ttl=None) == Terms(100_000, 0, 5_000)
    assert made.terms_of(ttl=30) == Terms(30_000, 0, 5_000), "it would be over before it is due"
    with pytest.raises(InvalidArgument, match="shorter"):
        made.terms_of(ttl=30, soft_ttl=30)


@pytest.mark.parametrize("tags", ["text", [""], [5], ["\ud800"]])
def test_tags_are_texts(tags: Any) -> None:
    with pytest.raises(InvalidArgument):
        checked_tags(tags)


@pytest.mark.parametrize("tags", [[str(n) for n in range(17)], ["x" * 201]])
def test_tags_have_limits(tags: list[str]) -> None:
    with pytest.raises(LimitExceeded):
        checked_tags(tags)


def test_an_item_carries_everything() -> None:
    made = plan("c", ttl=60)
    item = made.item("k", 5, made.terms_of(tags=["t"]))
    assert (item.key, item.value, item.ttl_ms, item.tags) == ("c/k", b"5", 60_000, ("t",))
    assert item.if_version == ANY_VERSION
    with pytest.raises(LimitExceeded) as refusal:
        made.item("k", b"x" * (1024 * 1024 + 1), made.terms)
    assert refusal.value.details["limit"] == "value_bytes_max"
