"""Clusters of real node processes on loopback, for tests that kill, stop and restart them.

Everything here blocks; from a coroutine use ``await asyncio.to_thread(cluster.restart, "n2")``.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from synaxis.config.sources import LEGACY_NAMES

READY_TIMEOUT_S = 20.0
POLL_S = 0.02


class ClusterNotReady(AssertionError):
    """The cluster did not come to the expected state in time; carries the nodes' last lines."""


def free_ports(count: int) -> list[int]:
    """Return distinct ports of 127.0.0.1 that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def clean_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return our environment without any setting but ``settings`` (by setting name)."""
    legacy = {*LEGACY_NAMES, "NODE_HOST", "NODE_PORT", "NODE_TYPE"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SYNAXIS_") and name not in legacy
    }
    return kept | {f"SYNAXIS_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass
class NodeProcess:
    """One node: its fixed identity and addresses, and its process while it runs."""

    node_id: str
    directory: Path
    port: int
    peer_port: int
    flags: list[str]
    settings: dict[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The API URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def data_dir(self) -> Path:
        """What survives ``kill`` and ``restart``; remove it to wipe the disk."""
        return self.directory / "data"

    @property
    def running(self) -> bool:
        """Whether the process exists (it may be stopped)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process and return at once."""
        assert not self.running, f"{self.node_id} already runs"
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "synaxis", "node", "run"),
            *("--node-id", self.node_id),
            *("--listen", f"127.0.0.1:{self.port}"),
            *("--peer-listen", f"127.0.0.1:{self.peer_port}"),
            *("--data-dir", str(self.data_dir)),
            *self.flags,
        ]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=clean_environment(self.settings),
            )

    def kill(self) -> None:
        """SIGKILL and reap."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def terminate(self, timeout_s: float = 15.0) -> int:
        """SIGTERM, wait for the graceful end, and return the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """SIGSTOP: the process freezes, its sockets stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT after ``stop``."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """Everything that the node wrote so far, over all its starts."""
        path = self.directory / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def get(self, path: str, timeout_s: float = 2.0) -> tuple[int, str]:
        """GET ``path``; (0, reason) when nobody answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=timeout_s) as answer:  # noqa: S310
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, urllib.error.URLError) as error:
            return 0, str(error)

    def is_ready(self) -> bool:
        """Whether ``/readyz`` says so."""
        return self.running and self.get("/readyz")[0] == 200

    def leads(self, group: str) -> bool:
        """Whether the node's own metrics say that it leads ``group``."""
        if not self.running:
            return False
        pattern = rf'^synaxis_raft_is_leader\{{[^}}]*group="{re.escape(group)}"[^}}]*\}} 1(\.0)?$'
        return re.search(pattern, self.get("/metrics")[1], re.MULTILINE) is not None


class ClusterProcesses:
    """``size`` nodes named n1, n2, ... that form one cluster."""

    def __init__(
        self, directory: Path, size: int = 3, settings: Mapping[str, object] | None = None
    ) -> None:
        self.directory = directory
        self.settings = dict(settings or {})
        names = [f"n{number}" for number in range(1, size + 1)]
        ports = free_ports(2 * size)
        places = zip(names, ports[:size], ports[size:], strict=True)
        self.member_list = ",".join(
            f"{name}=127.0.0.1:{port}" for name, port in zip(names, ports[size:], strict=True)
        )
        flags = ["--cluster", self.member_list] if size > 1 else []
        self.nodes = {
            name: NodeProcess(name, directory / name, port, peer, list(flags), self.settings)
            for name, port, peer in places
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __getitem__(self, node_id: str) -> NodeProcess:
        return self.nodes[node_id]

    @property
    def urls(self) -> str:
        """API URLs of all nodes, comma-separated: what ``synaxis.connect`` takes."""
        return ",".join(node.url for node in self.nodes.values())

    def start(self) -> None:
        """Start every node and wait until all are ready."""
        try:
            for node in self.nodes.values():
                node.start()
            self.wait_ready()
        except BaseException:
            self.close()
            raise

    def add(self, node_id: str, flags: Iterable[str]) -> NodeProcess:
        """Describe one more node (not started), for example with ``--join URL``."""
        port, peer_port = free_ports(2)
        node = NodeProcess(
            node_id, self.directory / node_id, port, peer_port, list(flags), self.settings
        )
        self.nodes[node_id] = node
        return node

    def restart(self, node_id: str) -> None:
        """Start a dead node again on its old disk and wait until it is ready."""
        self.nodes[node_id].start()
        self.wait_ready(node_id)

    def wait_ready(self, *node_ids: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait for ``/readyz`` of the given nodes (default: all that run)."""
        waiting = [self.nodes[each] for each in node_ids] or [
            node for node in self.nodes.values() if node.running
        ]

        def look() -> bool:
            for node in waiting:
                if not node.running:
                    raise ClusterNotReady(f"{node.node_id} ended by itself\n{self.last_words()}")
            return all(node.is_ready() for node in waiting)

        self.wait_until(look, "all nodes are ready", timeout_s)

    def leader(self, group: str = "locks/0", timeout_s: float = READY_TIMEOUT_S) -> NodeProcess:
        """Return the node that leads ``group``, waiting until there is one."""
        found: list[NodeProcess] = []

        def look() -> bool:
            found[:] = [node for node in self.nodes.values() if node.leads(group)]
            return bool(found)

        self.wait_until(look, f"{group} has a leader", timeout_s)
        return found[-1]

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Poll ``condition``.

        Raises:
            ClusterNotReady: not within ``timeout_s``.
        """
        give_up = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up:
                raise ClusterNotReady(f"not within {timeout_s} s: {what}\n{self.last_words()}")
            time.sleep(POLL_S)

    def last_words(self, lines: int = 15) -> str:
        """Return the end of every node's log."""
        return "\n".join(
            f"--- {node.node_id} ({'running' if node.running else 'not running'})\n"
            + "\n".join(node.log().splitlines()[-lines:])
            for node in self.nodes.values()
        )

    def close(self) -> None:
        """Kill whatever still runs."""
        for node in self.nodes.values():
            node.kill()
