"""``synaxis up`` and ``synaxis cluster`` as users run them: real processes all the way down."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.cluster_process import clean_environment, free_ports
from synaxis.cli.up import busy_ports, plan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


class Up:
    """A running ``synaxis up``."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synaxis", "up", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        """Wait until it is ready and return what it printed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        name, _, url = line.partition("=")
        assert name == "SYNAXIS_URL", self.process.communicate()[1]
        return url

    def message(self, pattern: str) -> re.Match[str]:
        """Wait for a line on stderr."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"ended without a line like {pattern}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    found = clean_environment({})
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found | {"PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode"))}


@pytest.fixture
def up(environment: dict[str, str]) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def start(*arguments: str) -> Up:
        started.append(Up(environment, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()  # its nodes end with it
        each.process.communicate()


@pytest.fixture
def port() -> str:
    """The first of a row of ports that are free for three nodes."""
    while True:
        [candidate] = free_ports(1)
        if candidate < 65_000 and not busy_ports(plan(3, Path(), candidate)):
            return str(candidate)


@pytest.fixture
def cli(environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "synaxis", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


Cli = Callable[..., subprocess.CompletedProcess[str]]


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def token(cli: Cli, url: str) -> int:
    done = cli("lock", "run", "t", "-u", url, "--", "sh", "-c", "echo $SYNAXIS_LOCK_TOKEN")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_one_node_keeps_its_data_from_start_to_start(
    up: Callable[..., Up], cli: Cli, port: str, tmp_path: Path
) -> None:
    arguments = ("--port", port, "--data-dir", str(tmp_path / "data"))
    first = up(*arguments)
    url = first.url()
    assert url == f"http://127.0.0.1:{port}"
    before = token(cli, url)
    assert first.stop() == 0
    second = up(*arguments)
    assert token(cli, second.url()) > before
    assert second.stop(signal.SIGINT) == 0


def test_a_second_cluster_on_the_same_ports_is_refused_with_69(
    up: Callable[..., Up], cli: Cli, port: str, tmp_path: Path
) -> None:
    up("--port", port, "--data-dir", str(tmp_path / "a")).url()
    done = cli("up", "--port", port, "--data-dir", str(tmp_path / "b"))
    assert done.returncode == 69
    assert f"port {port}" in done.stderr


def test_a_setting_that_no_restart_can_cure_ends_with_78(
    cli: Cli, port: str, tmp_path: Path
) -> None:
    done = cli("up", "--port", port, "--data-dir", str(tmp_path), "--", "--lock-groups", "none")
    assert done.returncode == 78
    assert "lock_groups" in done.stderr


def test_logs_can_go_to_files(up: Callable[..., Up], port: str, tmp_path: Path) -> None:
    running = up("--port", port, "--data-dir", str(tmp_path), "--logs", "files")
    running.url()
    assert running.stop() == 0
    assert "serving" in (tmp_path / "n1.log").read_text()


def test_nodes_end_when_their_supervisor_is_killed(
    up: Callable[..., Up], port: str, tmp_path: Path
) -> None:
    running = up("--port", port, "--data-dir", str(tmp_path))
    running.url()
    running.process.kill()
    give_up = time.monotonic() + 15
    while busy_ports(plan(1, Path(), int(port))):
        assert time.monotonic() < give_up, "the node outlived its supervisor"
        time.sleep(0.05)


def test_three_nodes_elect_hand_over_and_replace_a_crashed_one(
    up: Callable[..., Up], cli: Cli, port: str, tmp_path: Path
) -> None:
    running = up("--nodes", "3", "--port", port, "--data-dir", str(tmp_path))
    url = running.url()
    assert url.count(",") == 2
    assert cli("health", "-q", "-u", url).returncode == 0

    status = rows(cli("cluster", "status", "-u", url, "--group", "locks/0", "--json"))
    assert [row["node_id"] for row in status] == ["n1", "n2", "n3"]
    assert all(row["state"] == "alive" for row in status)
    [leader] = [row["node_id"] for row in status if row["leader"]]
    members = rows(cli("cluster", "members", "-u", url, "--json"))
    assert [(row["node_id"], "locks/0" in row["voter_in"]) for row in members] == [
        ("n1", True),
        ("n2", True),
        ("n3", True),
    ]

    heir = next(row["node_id"] for row in status if row["node_id"] != leader)
    assert cli("cluster", "transfer", heir, "-u", url, "--group", "locks/0").returncode == 0
    while True:  # the hand-over is asked for, not awaited; the test's timeout ends the wait
        status = rows(cli("cluster", "status", "-u", url, "--group", "locks/0", "--json"))
        if [row["node_id"] for row in status if row["leader"]] == [heir]:
            break

    before = token(cli, url)
    os.kill(node_process(running.process.pid, heir), signal.SIGKILL)
    assert running.message(r"synaxis \| (n\d) ended with 137").group(1) == heir
    assert token(cli, url) > before
    running.message(rf"^{heir} \| .*serving")
    assert running.stop() == 0


def node_process(supervisor: int, node_id: str) -> int:
    """Return the process of a node that ``synaxis up`` started."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    for child in map(int, children):
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if words[words.index(b"--node-id") + 1] == node_id.encode():
            return child
    raise AssertionError(f"{node_id} does not run")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("cluster", "remove", "n9", "--yes"), {5, 6}),
        (("cluster", "transfer", "n9"), {5}),
        (("cluster", "status", "--group", "nonsense/0"), {5}),
        (("cluster", "remove", "n1"), {2}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done_has_its_exit_code(
    lone_url: str, cli: Cli, arguments: tuple[str, ...], code: set[int]
) -> None:
    done = cli(*arguments, "-u", lone_url)
    assert done.returncode in code, done.stderr
    assert done.stderr


@pytest.fixture(scope="module")
def lone_url(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """One node for all tests that only ask."""
    [free] = free_ports(1)
    directory = str(tmp_path_factory.mktemp("lone"))
    running = Up(environment, "--port", str(free), "--data-dir", directory)
    yield running.url()
    running.stop()
