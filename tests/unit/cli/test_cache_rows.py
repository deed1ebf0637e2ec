import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from synaxis.cli.cache_keys import by_cache, split
from synaxis.cli.cache_looking import print_stats
from synaxis.cli.cache_records import RecordFlags
from synaxis.cli.cache_rows import (
    cache_row,
    entry_row,
    line_row,
    raw_value,
    shard_row,
    share_rows,
)
from synaxis.cli.output import Format, Printer
from synaxis.client.caches.entries import Entry
from synaxis.client.caches.looking import CacheSize, LineView, ShardView, joined
from synaxis.client.caches.options import BY_CACHE
from synaxis.errors import InvalidArgument

MOMENT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def entry(value: Any) -> Entry:
    return Entry(value, 7, MOMENT, "fresh", ("team",))


def shard(number: int, home: str | None, *caches: CacheSize) -> ShardView:
    return ShardView(f"caches/{number}", home, caches, 9, 1, 2, 3, 4, 5, 6, 7, 8, 10)


def test_a_record_is_told_with_its_version_its_end_and_its_tags() -> None:
    assert entry_row("users/42", entry(b"Ada")) == {
        "key": "users/42",
        "value": "Ada",
        "base64": None,
        "version": 7,
        "expires_at": "2026-11-25T12:00:00.000+00:00",
        "state": "fresh",
        "tags": ["team"],
    }


@pytest.mark.parametrize("value", [None, 7, 1.5, True, ["a"], {"a": [1]}, "text"])
def test_what_json_can_say_is_shown_as_it_is(value: Any) -> None:
    row = entry_row("a/b", entry(value))
    assert (row["value"], row["base64"]) == (value, None)


@pytest.mark.parametrize("value", [b"\xff\x00", {"bytes": b"\xff"}])
def test_what_is_no_text_and_no_json_is_told_in_base64(value: Any) -> None:
    row = entry_row("a/b", entry(value))
    assert row["value"] is None
    payload = base64.b64decode(row["base64"])
    assert payload == value or msgspec.msgpack.decode(payload) == value
    json.dumps(row)


def test_raw_is_bytes_as_they_are_and_json_of_everything_else() -> None:
    assert raw_value(b"\xff\n") == b"\xff\n"
    assert raw_value({"a": "é"}) == '{"a": "é"}'.encode()
    assert raw_value(42) == b"42"
    assert msgspec.msgpack.decode(raw_value({"a": b"\xff"})) == {"a": b"\xff"}


def test_a_line_is_told_as_its_home_sees_it() -> None:
    line = LineView(
        "users/42", "caches/1", "n2", "S", None, ("web-1", "web-2"), 7, 3, None, (), "", 0
    )
    row = line_row(line)
    assert row["sharers"] == ["web-1", "web-2"]
    assert (row["owner"], row["transaction"], row["expires_at"]) == (None, None, None)


def test_caches_of_all_shards_are_added_up_and_sorted() -> None:
    parts = [CacheSize("b", 1, 10), CacheSize("a", 2, 20), CacheSize("b", 3, 30)]
    rows = [cache_row(each) for each in joined(parts)]
    assert rows == [
        {"cache": "a", "records": 2, "size_bytes": 20},
        {"cache": "b", "records": 4, "size_bytes": 40},
    ]


def test_a_shard_is_told_with_the_sums_of_its_caches() -> None:
    row = shard_row(shard(0, "n1", CacheSize("a", 2, 20), CacheSize("b", 1, 5)))
    assert (row["records"], row["size_bytes"]) == (3, 25)
    assert (row["hits"], row["misses"], row["dirty_lost"]) == (9, 1, 10)


def test_the_share_of_a_node_is_that_of_its_shards() -> None:
    shards = [shard(0, "n2"), shard(1, "n1"), shard(2, "n2"), shard(3, None)]
    assert share_rows(shards) == [
        {"node_id": None, "shards": ["caches/3"], "share": 0.25},
        {"node_id": "n1", "shards": ["caches/1"], "share": 0.25},
        {"node_id": "n2", "shards": ["caches/0", "caches/2"], "share": 0.5},
    ]


def test_each_line_of_the_plain_form_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    caches = [cache_row(CacheSize("users", 2, 2048))]
    print_stats(caches, [shard_row(shard(0, "n1"))], Printer(Format.PLAIN))
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["cache", "users", "2", "2.0KiB"] in lines
    assert lines[1][:5] == ["shard", "caches/0", "n1", "0", "0B"]


def test_programs_get_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    print_stats([], [shard_row(shard(0, "n1"))], Printer(Format.JSON))
    found = json.loads(capsys.readouterr().out)
    assert found["caches"] == []
    assert found["shards"][0]["shard"] == "caches/0"


# --- keys and options ----------------------------------------------------------------------------


def test_a_key_names_its_cache_before_the_first_slash() -> None:
    assert split("users/42") == ("users", "42")
    assert split("users/42/name") == ("users", "42/name")


@pytest.mark.parametrize("key", ["users", "users/", "/42", ""])
def test_half_a_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument, match="CACHE/KEY"):
        split(key)


def test_keys_are_sorted_by_their_caches_each_once() -> None:
    found = by_cache(["b/1", "a/1", "b/2", "b/1"])
    assert found == {"b": ["1", "2"], "a": ["1"]}


def test_if_absent_is_the_version_of_nothing() -> None:
    assert RecordFlags().condition is None
    assert RecordFlags(if_absent=True).condition == 0
    assert RecordFlags(if_version=7).condition == 7
    with pytest.raises(InvalidArgument, match="exclude"):
        _ = RecordFlags(if_absent=True, if_version=7).condition


def test_without_soft_ttl_it_is_as_the_cache_says() -> None:
    assert RecordFlags().soft is BY_CACHE
    assert RecordFlags(soft_ttl=60.0).soft == 60.0
