"""The queue commands as users run them: processes against a real node."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import synaxis
from support.cluster_process import ClusterProcesses, clean_environment
from synaxis.client.queues.states import GroupState

Cli = Callable[..., subprocess.CompletedProcess[bytes]]
Start = Callable[..., subprocess.Popen[bytes]]
Given = Callable[..., str]
Look = Callable[[str], GroupState]
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
            [sys.executable, "-m", "synaxis", *arguments],
            env=environment,
            capture_output=True,
            timeout=30,
            check=False,
            input=stdin,
        )

    return run


@pytest.fixture
def given(environment: dict[str, str]) -> Given:
    """Create a topic of one partition through the SDK, publish to it, and return its name."""

    def create(topic: str, *values: str, **options: Any) -> str:
        async def work() -> None:
            async with synaxis.connect(environment["SYNAXIS_URL"]) as cluster:
                await cluster.topics.create(topic, partitions=1, **options)
                await cluster.topic(topic).publish_many([each.encode() for each in values])

        with asyncio.Runner() as runner:
            runner.run(work())
        return topic

    return create


@pytest.fixture
def group(environment: dict[str, str]) -> Look:
    """Return the consumer group ``g`` of a topic, seen through the SDK."""

    def look(topic: str) -> GroupState:
        async def work() -> GroupState:
            async with synaxis.connect(environment["SYNAXIS_URL"]) as cluster:
                return await cluster.topic(topic).groups.info("g")

        with asyncio.Runner() as runner:
            return runner.run(work())

    return look


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start a command and leave it running."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "synaxis", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        with process:  # reaps it and closes its pipes
            pass


def well(done: subprocess.CompletedProcess[bytes]) -> bytes:
    """Return what a command printed that must have succeeded."""
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def parsed(done: subprocess.CompletedProcess[bytes]) -> Any:
    return json.loads(well(done))


def offsets(output: bytes) -> list[int]:
    return [json.loads(line)["offset"] for line in output.splitlines()]


# --- topics -----------------------------------------------------------------------------------


def test_creating_a_topic_once_more_changes_nothing_and_otherwise_conflicts(cli: Cli) -> None:
    for _ in range(2):
        well(cli("queue", "create", "created", "--partitions", "1", "--visibility", "1m"))
    done = cli("queue", "create", "created", "--partitions", "1", "--visibility", "2m")
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"exists" in done.stderr


def test_options_can_be_changed_one_by_one(cli: Cli, given: Given) -> None:
    topic = given("edited", backoff=synaxis.Backoff(2, 60), max_deliveries=9)
    well(cli("queue", "edit", topic, "--backoff-max", "5m", "--max-bytes", "64MiB"))
    row = parsed(cli("queue", "info", topic, "--json"))
    assert (row["backoff_s"], row["backoff_max_s"], row["max_bytes"]) == (2, 300, 64 << 20)
    assert row["max_deliveries"] == 9


def test_ls_shows_what_is_stored_and_who_is_behind(cli: Cli, given: Given) -> None:
    topic = given("listed.one", "a", "b")
    well(cli("queue", "next", topic, "--group", "g"))
    [row] = parsed(cli("queue", "ls", "listed", "--json"))
    assert (row["name"], row["messages"], row["groups"], row["lag"]) == (topic, 2, ["g"], 1)
    name, partitions, _, messages, *_ = well(cli("queue", "ls", "listed")).decode().split("\t")
    assert (name, partitions, messages) == (topic, "1", "2")


@pytest.mark.parametrize(
    "arguments",
    [
        ("queue", "info", "absent"),
        ("queue", "pub", "absent", "x"),
        ("queue", "next", "absent", "--group", "g"),
        ("queue", "rm", "absent", "--yes"),
        ("group", "info", "absent", "g"),
    ],
    ids=" ".join,
)
def test_a_topic_that_is_not_there_is_not_found(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert cli(*arguments).returncode == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("queue", "purge", "guarded"),
        ("queue", "rm", "guarded"),
        ("queue", "dlq", "purge", "guarded", "--group", "g"),
        ("group", "reset", "guarded", "g", "--to", "end"),
        ("group", "rm", "guarded", "g"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_undone_wants_a_yes_when_nobody_can_be_asked(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    done = cli(*arguments)
    assert done.returncode == 2
    assert b"--yes" in done.stderr


def test_a_purged_topic_is_empty_and_a_removed_one_is_gone(cli: Cli, given: Given) -> None:
    topic = given("purged", "a", "b", "c")
    assert parsed(cli("queue", "purge", topic, "--yes", "--json"))["messages"] == 3
    assert parsed(cli("queue", "info", topic, "--json"))["messages"] == 0
    well(cli("queue", "rm", topic, "--yes"))
    assert cli("queue", "info", topic).returncode == 5


def test_a_paused_topic_delivers_nothing_until_it_is_resumed(cli: Cli, given: Given) -> None:
    topic = given("paused", "later")
    well(cli("queue", "pause", topic))
    assert cli("queue", "next", topic, "--group", "g", "--wait", "300ms").returncode == 7
    well(cli("queue", "resume", topic))
    assert b"later" in well(cli("queue", "next", topic, "--group", "g"))


def test_watching_prints_json_lines_until_interrupted(given: Given, start: Start) -> None:
    topic = given("watched")
    watching = start("queue", "ls", topic, "--watch", "--interval", "50ms", "--json")
    assert watching.stdout is not None
    rows = [json.loads(watching.stdout.readline()) for _ in range(3)]
    assert [row["name"] for row in rows] == [topic] * 3
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130


# --- publishing -------------------------------------------------------------------------------


def test_arguments_are_messages_and_their_receipts_are_printed(cli: Cli, given: Given) -> None:
    topic = given("pub.arguments")
    assert well(cli("queue", "pub", topic, "a", "b")) == b"0\t0\tno\n0\t1\tno\n"
    receipts = parsed(cli("queue", "pub", topic, "c", "--json"))
    assert receipts == [{"partition": 0, "offset": 2, "duplicate": False}]


def test_lines_of_stdin_are_messages(cli: Cli, given: Given) -> None:
    topic = given("pub.lines")
    lines = [f"line {number}".encode() for number in range(3_000)]
    done = cli("queue", "pub", topic, stdin=b"\n".join(lines))
    assert well(done) == b""
    assert done.stderr == b"3000 messages published\n"
    consume = ("queue", "sub", topic, "-g", "g", "--mode", "keyed", "--raw")
    assert well(cli(*consume, "--count", "3000")).splitlines() == lines


def test_a_line_is_published_while_more_are_to_come(cli: Cli, given: Given, start: Start) -> None:
    topic = given("pub.tail")
    running = start("queue", "pub", topic, "-o", "jsonl")
    assert running.stdin is not None
    running.stdin.write(b"first\n")
    running.stdin.flush()
    assert b"first" in well(cli("queue", "next", topic, "--group", "g", "--wait", "20"))
    running.stdin.close()
    assert running.wait(10) == 0
    assert running.stdout is not None
    assert offsets(running.stdout.read()) == [0]


def test_ctrl_c_ends_a_publisher_that_waits_for_input(cli: Cli, given: Given, start: Start) -> None:
    topic = given("pub.interrupted")
    running = start("queue", "pub", topic)
    assert running.stdin is not None
    running.stdin.write(b"first\n")
    running.stdin.flush()
    well(cli("queue", "next", topic, "--group", "g", "--wait", "20"))
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130


def test_a_file_can_be_one_message_byte_by_byte(cli: Cli, given: Given, tmp_path: Path) -> None:
    topic = given("pub.raw")
    picture = tmp_path / "picture"
    picture.write_bytes(bytes(range(256)) * 10)
    well(cli("queue", "pub", topic, "--raw", "--file", str(picture)))
    assert well(cli("queue", "next", topic, "-g", "g", "--raw")) == picture.read_bytes()


def test_a_message_carries_key_headers_and_id(cli: Cli, given: Given) -> None:
    topic = given("pub.options")
    options = ("--key", "user-1", "--header", "a=1", "--header", "b=x=y", "--message-id", "m1")
    well(cli("queue", "pub", topic, *options, "hello"))
    assert well(cli("queue", "pub", topic, *options, "hello")) == b"0\t0\tyes\n"
    [row] = parsed(cli("queue", "peek", topic, "--json"))
    assert (row["key"], row["headers"]) == ("user-1", {"a": "1", "b": "x=y"})
    assert (row["message_id"], row["value"]) == ("m1", "hello")


def test_a_delayed_message_comes_later_and_an_expired_one_not_at_all(
    cli: Cli, given: Given
) -> None:
    topic = given("pub.time")
    well(cli("queue", "pub", topic, "--delay", "1h", "later"))
    well(cli("queue", "pub", topic, "--ttl", "1ms", "never"))
    well(cli("queue", "pub", topic, "now"))
    out = well(cli("queue", "sub", topic, "-g", "g", "--wait", "500ms", "--raw"))
    assert out == b"now\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--raw"),
        ("x", "--file", "f"),
        ("x", "y", "--message-id", "m"),
        ("--message-id", "m"),
        ("x", "--header", "no-equals-sign"),
        ("x", "--priority", "10"),
        ("x", "--partition", "1"),
        ("--file", "/no/such/file"),
    ],
    ids=" ".join,
)
def test_contradictions_are_wrong_usage(cli: Cli, given: Given, arguments: tuple[str, ...]) -> None:
    assert cli("queue", "pub", given("pub.wrong"), *arguments).returncode == 2


# --- consuming --------------------------------------------------------------------------------


def test_what_was_printed_is_acknowledged_and_does_not_come_again(
    cli: Cli, given: Given, group: Look
) -> None:
    topic = given("sub.acks", "a", "b", "c")
    first = well(cli("queue", "sub", topic, "-g", "g", "--count", "2", "--json"))
    assert offsets(first) == [0, 1]
    rest = well(cli("queue", "sub", topic, "-g", "g", "--wait", "500ms", "--json"))
    assert offsets(rest) == [2]
    assert group(topic).acked == 3


def test_messages_are_printed_as_they_come(
    given: Given, start: Start, cli: Cli, group: Look
) -> None:
    topic = given("sub.live", "one")
    running = start("queue", "sub", topic, "-g", "g", "-o", "jsonl")
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["value"] == "one"
    well(cli("queue", "pub", topic, "two"))
    assert json.loads(running.stdout.readline())["value"] == "two"
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 143
    assert group(topic).lag == 0


def test_what_a_reader_did_not_get_comes_again(
    given: Given, group: Look, environment: dict[str, str]
) -> None:
    topic = given("sub.pipe", *("x" * 4_000 for _ in range(200)))  # far more than a pipe holds
    command = f"{sys.executable} -m synaxis queue sub {topic} -g g --raw | head -c 1 >/dev/null"
    subprocess.run(["sh", "-c", command], env=environment, check=True, timeout=30)
    found = group(topic)
    assert found.lag > 100
    assert found.redelivered == 0, "nobody is to blame"


def test_without_ack_everything_goes_back_at_the_end(cli: Cli, given: Given) -> None:
    topic = given("sub.no-ack", "a", "b")
    options = ("-g", "g", "--no-ack", "--wait", "300ms", "--json")
    for _ in range(2):
        lines = cli("queue", "sub", topic, *options).stdout.splitlines()
        rows = [json.loads(line) for line in lines]
        assert [(row["value"], row["deliveries"]) for row in rows] == [("a", 1), ("b", 1)]


def test_no_more_is_held_without_ack_than_can_be(cli: Cli) -> None:
    assert cli("queue", "sub", "any", "-g", "g", "--no-ack", "--count", "5000").returncode == 2


def test_too_few_messages_in_time_give_7(cli: Cli, given: Given) -> None:
    topic = given("sub.few", "a")
    done = cli("queue", "sub", topic, "-g", "g", "--wait", "200ms", "--count", "2", "--raw")
    assert (done.returncode, done.stdout) == (7, b"a\n")
    assert cli("queue", "sub", topic, "-g", "g", "--wait", "200ms").returncode == 7


def test_next_takes_one_message_and_says_when_there_is_none(cli: Cli, given: Given) -> None:
    topic = given("next", "a", "b")
    assert parsed(cli("queue", "next", topic, "-g", "g", "--no-ack", "--json"))["value"] == "a"
    assert parsed(cli("queue", "next", topic, "-g", "g", "--json"))["value"] == "a"
    assert well(cli("queue", "next", topic, "-g", "g")).rstrip().endswith(b"\tb")
    done = cli("queue", "next", topic, "-g", "g", "--wait", "200ms")
    assert (done.returncode, done.stdout) == (7, b"")


def test_a_mode_is_what_the_group_began_with(cli: Cli, given: Given) -> None:
    topic = given("modes", "a")
    well(cli("queue", "next", topic, "-g", "g", "--mode", "exclusive"))
    done = cli("queue", "next", topic, "-g", "g", "--mode", "shared")
    assert done.returncode == 2
    assert b"exclusive" in done.stderr


def test_peeking_needs_no_group_and_changes_nothing(cli: Cli, given: Given) -> None:
    topic = given("peek", "a", "b", "c")
    assert well(cli("queue", "peek", topic, "--raw", "--count", "2")) == b"a\nb\n"
    rows = parsed(cli("queue", "peek", topic, "--partition", "0", "--offset", "1", "--json"))
    assert [row["value"] for row in rows] == ["b", "c"]
    assert parsed(cli("group", "ls", topic, "--json")) == []
    assert cli("queue", "peek", topic, "--offset", "1").returncode == 2


# --- dead letters and groups ------------------------------------------------------------------


def reject_all(url: str, topic: str, count: int) -> None:
    async def work() -> None:
        async with synaxis.connect(url) as cluster:
            for message in await cluster.topic(topic).fetch("g", max_messages=count, wait=10):
                await message.reject("no such customer")

    with asyncio.Runner() as runner:
        runner.run(work())


def test_dead_letters_are_listed_redriven_and_purged(
    cli: Cli, given: Given, environment: dict[str, str]
) -> None:
    topic = given("dead", "a", "b")
    reject_all(environment["SYNAXIS_URL"], topic, 2)
    rows = parsed(cli("queue", "dlq", "ls", topic, "-g", "g", "--json"))
    assert [(row["value"], row["reason"], row["error"]) for row in rows] == [
        ("a", "rejected", "no such customer"),
        ("b", "rejected", "no such customer"),
    ]
    [line] = well(cli("queue", "dlq", "ls", topic, "-g", "g", "--count", "1")).splitlines()
    assert line.startswith(b"0\t0\t")
    redrive = ("queue", "dlq", "redrive", topic, "-g", "g", "--partition", "0", "--offset", "1")
    assert parsed(cli(*redrive, "--json"))["messages"] == 1
    assert parsed(cli("queue", "next", topic, "-g", "g", "--json"))["value"] == "b"
    purge = ("queue", "dlq", "purge", topic, "-g", "g", "--yes", "--json")
    assert parsed(cli(*purge))["messages"] == 1
    assert parsed(cli("queue", "dlq", "ls", topic, "-g", "g", "--json")) == []


def test_a_group_can_be_moved_to_any_position(cli: Cli, given: Given, group: Look) -> None:
    topic = given("reset", "a", "b", "c", retention="log")
    well(cli("queue", "sub", topic, "-g", "g", "--count", "3"))
    for position, left in (("start", 3), ("end", 0), ("1", 2), ("2100-01-01T00Z", 0), ("1h", 3)):
        well(cli("group", "reset", topic, "g", "--to", position, "--yes"))
        assert group(topic).lag == left, position


def test_only_a_position_and_a_group_that_exist_will_do(cli: Cli, given: Given) -> None:
    topic = given("reset.wrong")
    assert cli("group", "reset", topic, "g", "--to", "yesterday", "--yes").returncode == 2
    assert cli("group", "reset", topic, "g", "--to", "end", "--yes").returncode == 5


def test_a_group_is_shown_with_its_members_and_removed_without(
    cli: Cli, given: Given, start: Start
) -> None:
    topic = given("group", "a")
    running = start("queue", "sub", topic, "-g", "g", "--mode", "exclusive", "-o", "jsonl")
    assert running.stdout is not None
    assert running.stdout.readline()
    row = parsed(cli("group", "info", topic, "g", "--json"))
    [member] = row["members"]
    assert (member["name"], member["partitions"]) == ("synaxis queue sub", [0])
    assert row["partitions"][0]["owner"] == member["member"]
    lines = [line.split(b"\t") for line in well(cli("group", "info", topic, "g")).splitlines()]
    assert [b"mode", b"exclusive"] in lines
    assert {line[0] for line in lines} >= {b"partition", b"member"}
    assert cli("group", "rm", topic, "g", "--yes").returncode == 2
    running.send_signal(signal.SIGINT)
    assert running.wait(10) == 130
    well(cli("group", "rm", topic, "g", "--yes"))
    assert parsed(cli("group", "ls", topic, "--json")) == []


def test_groups_of_all_topics_can_be_listed(cli: Cli, given: Given) -> None:
    for topic in ("all.one", "all.two"):
        well(cli("queue", "next", given(topic, "a"), "-g", "g"))
    rows = parsed(cli("group", "ls", "--json"))
    found = {(row["topic"], row["group"]) for row in rows}
    assert found >= {("all.one", "g"), ("all.two", "g")}
