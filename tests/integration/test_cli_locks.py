"""The lock commands as users run them: processes against a real node."""

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
from synaxis.client.lock_admin import LockState

Cli = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]
Look = Callable[[str], LockState]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ClusterProcesses(tmp_path_factory.mktemp("node"), 1) as cluster:
        yield cluster.urls


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "synaxis", *arguments]


@pytest.fixture(scope="module")
def environment(url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the commands find the node, and compiled modules, so that they start fast."""
    found = clean_environment({"url": url})
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}


@pytest.fixture
def look(url: str) -> Look:
    """Return the state of a lock, seen through the SDK."""

    def now(name: str) -> LockState:
        async def ask() -> LockState:
            async with synaxis.connect(url) as client:
                return await client.locks.get(name)

        with asyncio.Runner() as runner:
            return runner.run(ask())

    return now


@pytest.fixture
def cli(environment: dict[str, str]) -> Cli:
    """Run a command to its end."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start a command and leave it running."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def holder(start: Start, name: str, *options: str) -> Any:
    """Start ``lock acquire`` and return it with the grant that it printed."""
    process = start("lock", "acquire", name, "-o", "jsonl", *options)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)


def wait_for_waiter(look: Look, name: str) -> None:
    while not look(name).waiters:
        pass  # each look is a round trip; the test's timeout ends the wait


# --- lock run ---------------------------------------------------------------------------------


def test_run_gives_the_command_its_lock_and_returns_its_exit_code(cli: Cli) -> None:
    script = 'echo "$SYNAXIS_LOCK_NAME $SYNAXIS_LOCK_TOKEN"; exit 23'
    done = cli("lock", "run", "run/env", "--", "sh", "-c", script)
    name, token = done.stdout.split()
    assert (done.returncode, name) == (23, "run/env")
    assert int(token) > 0
    assert done.stderr == ""


def test_tokens_grow_from_run_to_run(cli: Cli) -> None:
    arguments = ("lock", "run", "run/token", "--", "sh", "-c", "echo $SYNAXIS_LOCK_TOKEN")
    assert int(cli(*arguments).stdout) < int(cli(*arguments).stdout)


def test_the_lock_is_free_after_the_run(look: Look, cli: Cli) -> None:
    assert cli("lock", "run", "run/free", "--", "true").returncode == 0
    assert not look("run/free").holders


def test_the_lock_is_held_during_the_run(cli: Cli) -> None:
    inner = [*command("lock", "run", "run/held", "--wait", "0", "--"), "echo", "entered"]
    done = cli("lock", "run", "run/held", "--", *inner)
    assert done.returncode == 6
    assert done.stdout == ""
    assert "run/held is held" in done.stderr


def test_a_lock_that_is_not_granted_in_time_gives_7_and_the_command_never_runs(
    look: Look, cli: Cli, start: Start, tmp_path: Path
) -> None:
    holder(start, "run/late")
    done = cli("lock", "run", "run/late", "--wait", "200ms", "--", "touch", f"{tmp_path}/ran")
    assert done.returncode == 7
    assert "within 200ms" in done.stderr
    assert not (tmp_path / "ran").exists()
    assert not look("run/late").waiters


def test_a_lost_lock_stops_the_command_and_gives_6(cli: Cli, start: Start) -> None:
    script = "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.01; done"
    running = start("lock", "run", "run/lost", "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    assert cli("lock", "force-release", "run/lost", "--yes", "--reason", "test").returncode == 0
    out, err = running.communicate(timeout=10)
    assert running.returncode == 6
    assert out == "stopped\n"
    assert "lost" in err


def test_sigterm_goes_to_the_command_which_decides(look: Look, start: Start) -> None:
    script = "trap 'exit 44' TERM; echo up; while :; do sleep 0.01; done"
    running = start("lock", "run", "run/term", "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.terminate()
    assert running.wait(10) == 44
    assert not look("run/term").holders


def test_shared_runs_do_not_exclude_each_other(cli: Cli) -> None:
    inner = [*command("lock", "run", "run/shared", "--mode", "shared", "--wait", "0", "--"), "true"]
    assert cli("lock", "run", "run/shared", "--mode", "shared", "--", *inner).returncode == 0


def test_run_without_a_command_is_wrong_usage(cli: Cli) -> None:
    assert cli("lock", "run", "run/nothing").returncode == 2


# --- lock acquire and release -----------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_acquire_holds_until_told_to_end_and_gives_the_lock_back(
    look: Look, start: Start, number: signal.Signals
) -> None:
    name = f"acquire/{number.name}"
    process, grant = holder(start, name)
    assert grant["name"] == name
    assert look(name).token == grant["token"]
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not look(name).holders


def test_an_acquired_lock_that_is_lost_gives_6(cli: Cli, start: Start) -> None:
    process, _ = holder(start, "acquire/lost")
    assert cli("lock", "force-release", "acquire/lost", "--yes").returncode == 0
    assert process.wait(10) == 6


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_wait_that_is_interrupted_leaves_its_queue(
    look: Look, start: Start, number: signal.Signals, code: int
) -> None:
    name = f"acquire/interrupted-{code}"
    holder(start, name)
    waiting = start("lock", "acquire", name)
    wait_for_waiter(look, name)
    waiting.send_signal(number)
    assert waiting.wait(10) == code
    assert not look(name).waiters


def test_a_detached_lock_stays_held_until_it_is_released_by_its_token(look: Look, cli: Cli) -> None:
    done = cli("lock", "acquire", "detached/a", "--detach", "--ttl", "30s", "--json")
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["token"]
    assert look("detached/a").token == token
    assert cli("lock", "release", "detached/a", "--token", str(token + 1)).returncode == 6
    assert look("detached/a").holders
    assert cli("lock", "release", "detached/a", "--token", str(token)).returncode == 0
    assert cli("lock", "release", "detached/a", "--token", str(token)).returncode == 6
    assert not look("detached/a").holders


def test_a_detached_lock_ends_with_its_ttl(cli: Cli) -> None:
    assert cli("lock", "acquire", "detached/b", "--detach", "--ttl", "1s").returncode == 0
    assert cli("lock", "run", "detached/b", "--wait", "15", "--", "true").returncode == 0


def test_a_ttl_that_the_cluster_does_not_allow_is_refused_with_the_limit(cli: Cli) -> None:
    done = cli("lock", "acquire", "detached/c", "--detach", "--ttl", "30d")
    assert done.returncode in (1, 2)
    assert "ttl" in done.stderr


# --- looking ----------------------------------------------------------------------------------


def test_ls_shows_who_holds_what_and_how_many_wait(look: Look, cli: Cli, start: Start) -> None:
    _, grant = holder(start, "ls/one")
    start("lock", "acquire", "ls/one")
    wait_for_waiter(look, "ls/one")
    [row] = json.loads(cli("lock", "ls", "ls/", "--json").stdout)
    assert (row["name"], row["mode"], row["token"]) == ("ls/one", "exclusive", grant["token"])
    assert row["holders"][0]["session"] == grant["session"]
    assert [waiter["position"] for waiter in row["waiters"]] == [1]
    name, mode, token, _, waiting, _ = cli("lock", "ls", "ls/").stdout.rstrip("\n").split("\t")
    assert (name, mode, int(token), waiting) == ("ls/one", "exclusive", grant["token"], "1")


def test_info_shows_holder_and_waiters_and_has_a_code_for_a_free_lock(
    cli: Cli, start: Start, look: Look
) -> None:
    process, grant = holder(start, "info/a")
    start("lock", "acquire", "info/a", "--wait", "30", "--mode", "shared")
    wait_for_waiter(look, "info/a")
    row = json.loads(cli("lock", "info", "info/a", "--json").stdout)
    assert [each["token"] for each in row["holders"]] == [grant["token"]]
    assert [(each["position"], each["mode"]) for each in row["waiters"]] == [(1, "shared")]
    lines = [line.split("\t") for line in cli("lock", "info", "info/a").stdout.splitlines()]
    assert ["token", str(grant["token"])] in lines
    assert {line[0] for line in lines} >= {"holder", "waiter"}
    process.kill()
    free = cli("lock", "info", "info/free")
    assert (free.returncode, free.stdout) == (5, "")


def test_ls_of_nothing_is_empty_and_no_error(cli: Cli) -> None:
    done = cli("lock", "ls", "no-such-prefix/")
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(cli("lock", "ls", "no-such-prefix/", "--json").stdout) == []


def test_the_graph_has_an_edge_for_each_wait(look: Look, cli: Cli, start: Start) -> None:
    _, grant = holder(start, "graph/a")
    start("lock", "acquire", "graph/a")
    wait_for_waiter(look, "graph/a")
    edges = json.loads(cli("lock", "graph", "--json").stdout)
    [edge] = [edge for edge in edges if edge["lock"] == "graph/a"]
    assert edge["holder"] == grant["session"]
    tree = cli("lock", "graph", "-o", "tree").stdout
    assert f"graph/a <- {edge['waiter']}" in tree
    assert 'label="graph/a"' in cli("lock", "graph", "-o", "dot").stdout


def test_force_release_wants_a_yes_when_nobody_can_be_asked(
    look: Look, cli: Cli, start: Start
) -> None:
    holder(start, "force/a")
    done = cli("lock", "force-release", "force/a")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert look("force/a").holders


def test_force_release_of_a_free_lock_finds_nothing(cli: Cli) -> None:
    assert cli("lock", "force-release", "force/free", "--yes").returncode == 5


def test_watching_prints_json_lines_until_interrupted(
    start: Start,
) -> None:
    holder(start, "watch/a")
    watching = start("lock", "ls", "watch/", "--watch", "--interval", "50ms", "--json")
    assert watching.stdout is not None
    rows = [json.loads(watching.stdout.readline()) for _ in range(3)]
    assert [row["name"] for row in rows] == ["watch/a"] * 3
    watching.send_signal(signal.SIGINT)
    assert watching.wait(10) == 130


# --- connecting -------------------------------------------------------------------------------


def test_a_cluster_that_cannot_be_reached_gives_3(cli: Cli) -> None:
    done = cli("lock", "ls", "--url", "http://127.0.0.1:1", "--timeout", "500ms")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("synaxis: ")


def test_a_killed_run_takes_its_command_with_it(start: Start) -> None:
    running = start("lock", "run", "run/killed", "--", "sh", "-c", "echo $$; exec sleep 60")
    assert running.stdout is not None
    assert int(running.stdout.readline()) > 0
    running.kill()
    assert running.stdout.read() == ""  # the pipe closes when the command has ended, too


def test_a_cluster_that_falls_silent_costs_the_lock_and_stops_the_command(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with ClusterProcesses(tmp_path, 1) as cluster:
        script = "trap 'echo stopped; exit 0' TERM; echo up; while :; do sleep 0.01; done"
        options = ("--session-ttl", "1500ms", "--timeout", "500ms", "-u", cluster.urls)
        running = subprocess.Popen(
            command("lock", "run", "a", *options, "--", "sh", "-c", script),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        cluster["n1"].stop()
        out, _ = running.communicate(timeout=20)
        assert (running.returncode, out) == (6, "stopped\n")


# --- on a terminal ----------------------------------------------------------------------------

IN_A_TERMINAL = """
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


@pytest.fixture
def terminal(environment: dict[str, str]) -> Iterator[Start]:
    """Start a command whose terminal is our pipe: what we write is typed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *command(*arguments)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def typed(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


def test_ctrl_c_on_a_terminal_reaches_the_command_once(terminal: Start) -> None:
    script = "trap 'echo got; exit 9' INT; echo up; while :; do sleep 0.01; done"
    running = terminal("lock", "run", "tty/a", "--", "sh", "-c", script)
    assert running.stdout is not None
    assert running.stdout.readline().strip() == "up"
    typed(running, "\x03")
    out = running.stdout.read()
    assert running.wait(10) == 9
    assert out.count("got") == 1


def test_a_command_under_a_lock_may_read_the_terminal(terminal: Start) -> None:
    running = terminal("lock", "run", "tty/b", "--", "sh", "-c", 'echo up; read x; echo "<$x>"')
    assert running.stdout is not None
    assert running.stdout.readline().strip() == "up"
    typed(running, "hello\n")
    assert "<hello>" in running.stdout.read()
    assert running.wait(10) == 0


def test_force_release_asks_on_a_terminal_and_takes_no_for_an_answer(
    terminal: Start, start: Start, look: Look
) -> None:
    holder(start, "tty/c")
    asking = terminal("lock", "force-release", "tty/c")
    typed(asking, "n\n")
    assert asking.stdout is not None
    assert "[y/N]" in asking.stdout.read()
    assert asking.wait(10) == 1
    assert look("tty/c").holders


def test_a_terminal_gets_a_table_with_a_header(terminal: Start, start: Start) -> None:
    holder(start, "tty/d")
    looking = terminal("lock", "ls", "tty/d")
    assert looking.stdout is not None
    assert "HELD BY" in looking.stdout.read()
