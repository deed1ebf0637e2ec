"""The cache commands as users run them: processes against a real node."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import synaxis
from support.cluster_process import ClusterProcesses, clean_environment

Cli = Callable[..., subprocess.CompletedProcess[bytes]]
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A node, where the commands find it, and compiled modules, so that they start fast."""
    with ClusterProcesses(tmp_path_factory.mktemp("node"), 1) as cluster:
        found = clean_environment({"url": cluster.urls})
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        yield found | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run a command to its end; ``stdin`` is what it may read."""

    def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "synaxis", "cache", *arguments],
            env=environment,
            capture_output=True,
            timeout=30,
            check=False,
            input=stdin,
        )

    return run


def well(done: subprocess.CompletedProcess[bytes]) -> bytes:
    """Return what a command printed that must have succeeded."""
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def parsed(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(well(done))


# --- records -----------------------------------------------------------------------------------


def test_a_value_comes_from_an_argument_from_stdin_or_from_a_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "value").write_bytes(b"\xff from a file\n")
    well(cli("set", "sources/argument", "from an argument"))
    well(cli("set", "sources/stdin", stdin=b"from stdin\n"))
    well(cli("set", "sources/file", "--file", str(tmp_path / "value")))
    assert well(cli("get", "sources/argument", "--raw")) == b"from an argument"
    assert well(cli("get", "sources/stdin", "--raw")) == b"from stdin\n"
    assert well(cli("get", "sources/file", "--raw")) == b"\xff from a file\n"


def test_several_keys_are_printed_in_their_order_and_an_absent_one_exits_with_5(cli: Cli) -> None:
    for key in ("b", "a"):
        well(cli("set", f"several/{key}", key))
    rows = parsed(cli("get", "several/b", "several/a", "--json"))
    assert [(row["key"], row["value"]) for row in rows] == [("several/b", "b"), ("several/a", "a")]
    done = cli("get", "several/b", "several/missing", "--json")
    assert done.returncode == 5
    assert [row["key"] for row in json.loads(done.stdout)] == ["several/b"]
    assert b"several/missing: nothing is stored" in done.stderr


def test_a_version_that_does_not_fit_exits_with_6_and_changes_nothing(cli: Cli) -> None:
    version = parsed(cli("set", "versions/a", "1", "--json"))["version"]
    done = cli("set", "versions/a", "2", "--if-version", str(version + 1))
    assert (done.returncode, done.stdout) == (6, b"")
    assert cli("set", "versions/a", "2", "--if-absent").returncode == 6
    assert cli("del", "versions/a", "--if-version", str(version + 1)).returncode == 6
    newer = parsed(cli("set", "versions/a", "3", "--if-version", str(version), "--json"))["version"]
    assert newer > version
    assert well(cli("get", "versions/a", "--raw")) == b"3"


def test_a_record_ends_with_its_ttl(cli: Cli) -> None:
    well(cli("set", "ends/soon", "x", "--ttl", "100ms"))
    well(cli("set", "ends/later", "x", "--ttl", "1h", "--soft-ttl", "30m", "--tag", "t"))
    (row,) = parsed(cli("get", "ends/later", "--json"))
    assert row["expires_at"] is not None
    assert (row["tags"], row["state"]) == (["t"], "fresh")
    assert cli("get", "ends/soon").returncode == 5


def test_removing_says_how_many_there_were_and_exits_with_5_if_none(cli: Cli) -> None:
    well(cli("set", "removed/a", "x"))
    assert parsed(cli("del", "removed/a", "removed/b", "--json")) == {"records": 1}
    assert cli("del", "removed/a").returncode == 5


def test_numbers_are_counted_up_and_down(cli: Cli) -> None:
    assert well(cli("incr", "numbers/a")) == b"1\n"
    assert well(cli("incr", "numbers/a", "41")) == b"42\n"
    assert well(cli("incr", "numbers/a", "-2")) == b"40\n"
    assert parsed(cli("incr", "numbers/b", "--initial", "10", "--json"))["value"] == 11
    well(cli("set", "numbers/c", "7", "--as", "json"))
    assert well(cli("incr", "numbers/c")) == b"8\n"
    well(cli("set", "numbers/text", "7"))
    assert cli("incr", "numbers/text").returncode == 2


def test_programs_read_what_json_says(cli: Cli, environment: dict[str, str]) -> None:
    well(cli("set", "typed/a", '{"name": "Ada"}', "--as", "json"))
    assert cli("set", "typed/b", "{", "--as", "json").returncode == 2

    async def read() -> object:
        async with synaxis.connect(environment["SYNAXIS_URL"]) as cluster:
            return await cluster.cache("typed").get("a")

    with asyncio.Runner() as runner:
        assert runner.run(read()) == {"name": "Ada"}
    assert parsed(cli("get", "typed/a", "--raw")) == {"name": "Ada"}


def test_clear_removes_a_tag_or_everything_and_asks_first(cli: Cli) -> None:
    well(cli("set", "cleared/a", "x", "--tag", "red", "--tag", "blue"))
    well(cli("set", "cleared/b", "x", "--tag", "blue"))
    well(cli("set", "cleared/c", "x"))
    assert cli("clear", "cleared").returncode == 2
    well(cli("clear", "cleared", "--tag", "red", "--yes"))
    assert cli("get", "cleared/a").returncode == 5
    well(cli("get", "cleared/b", "cleared/c"))
    well(cli("clear", "cleared", "--yes"))
    assert cli("get", "cleared/c").returncode == 5


def test_half_a_key_and_no_key_are_wrong_usage(cli: Cli) -> None:
    for arguments in (["get"], ["get", "users"], ["set", "users", "x"], ["del"], ["state"]):
        assert cli(*arguments).returncode == 2
    assert cli("get", "a/1", "a/2", "--raw").returncode == 2


def test_what_needs_a_backing_store_exits_with_3_where_there_is_none(cli: Cli) -> None:
    assert cli("get", "stored/a", "--store").returncode == 3
    done = cli("set", "stored/a", "x", "--store")
    assert (done.returncode, done.stdout) == (3, b"")
    assert cli("get", "stored/a").returncode == 5


# --- looking -----------------------------------------------------------------------------------


def test_ls_and_stats_show_what_is_stored(cli: Cli) -> None:
    for number in range(5):
        well(cli("set", f"listed.one/{number}", "value"))
    (row,) = parsed(cli("ls", "listed.", "--json"))
    assert (row["cache"], row["records"]) == ("listed.one", 5)
    assert row["size_bytes"] == 5 * len("listed.one/0" + "value")
    assert parsed(cli("ls", "--prefix", "listed.", "--json")) == [row]
    found = parsed(cli("stats", "listed.one", "--json"))
    assert found["caches"] == [row]
    assert sum(shard["records"] for shard in found["shards"]) == 5
    assert {shard["home"] for shard in found["shards"]} == {"n1"}
    plain = well(cli("stats", "-o", "plain")).decode().splitlines()
    assert {line.split("\t")[0] for line in plain} == {"cache", "shard"}


async def test_state_shows_which_near_caches_hold_a_record(
    cli: Cli, environment: dict[str, str]
) -> None:
    async with synaxis.connect(environment["SYNAXIS_URL"], name="reader-1") as cluster:
        cache = cluster.cache("watched", near=True)
        version = await cache.set("a", b"value", ttl="1h", tags=["t"])
        assert await cache.get("a") == b"value"
        (row,) = parsed(await asyncio.to_thread(cli, "state", "watched/a", "--json"))
        assert (row["state"], row["owner"], row["sharers"]) == ("S", None, ["reader-1"])
        assert (row["version"], row["size_bytes"], row["tags"]) == (version, 5, ["t"])
        assert (row["home"], row["waiting"]) == ("n1", 0)
        well(await asyncio.to_thread(cli, "set", "watched/a", "newer"))
        (row,) = parsed(await asyncio.to_thread(cli, "state", "watched/a", "--json"))
        assert (row["state"], row["sharers"]) == ("I", [])
        assert await cache.get("a") == b"newer"
    (row,) = parsed(await asyncio.to_thread(cli, "state", "watched/nothing", "--json"))
    assert (row["state"], row["version"]) == ("I", 0)


def test_ring_shows_the_home_of_keys_and_the_share_of_nodes(cli: Cli) -> None:
    (share,) = parsed(cli("ring", "--json"))
    assert (share["node_id"], share["share"]) == ("n1", 1.0)
    rows = parsed(cli("ring", "users/1", "users/2", "--json"))
    assert [row["key"] for row in rows] == ["users/1", "users/2"]
    assert {row["home"] for row in rows} == {"n1"}
    assert {row["shard"] for row in rows} <= set(share["shards"])
