"""Three real node processes on loopback, and a supervisor that restarts the killed ones."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Leadership", "Nodes"]

_GROUP = "locks/0"
_LEADS_QUEUES = re.compile(r'^synaxis_raft_is_leader\{[^}]*group="queues/[^}]*\} 1', re.MULTILINE)
_CACHE_LEASE_MS = 1_000
"""Short: a dictionary that the frozen one or a killed one has near can change no earlier."""
_POLL_S = 0.05


@dataclass(frozen=True)
class Leadership:
    """Who leads the lock group, in which term."""

    node: str
    term: int
    queue_shards: int
    """Shards of queues that this node leads, too."""


class Nodes:
    """The processes ``n1``, ``n2`` and ``n3``, with durable data below ``directory``."""

    def __init__(self, directory: Path, count: int = 3) -> None:
        self._directory = directory
        ports = _free_ports(2 * count)
        self._names = [f"n{number}" for number in range(1, count + 1)]
        self._api_ports = dict(zip(self._names, ports[:count], strict=True))
        self._peer_ports = dict(zip(self._names, ports[count:], strict=True))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def urls(self) -> str:
        """What ``synaxis.connect`` takes."""
        return ",".join(f"http://127.0.0.1:{port}" for port in self._api_ports.values())

    async def start(self) -> None:
        """Start all nodes and wait until each says that it is ready."""
        for name in self._names:
            self.start_one(name)
        for name in self._names:
            await self.ready(name)

    async def ready(self, name: str) -> None:
        """Wait until a node says that it is ready.

        Raises:
            RuntimeError: the node ended; carries the end of its log.
        """
        while await self._get(name, "/readyz") is None:
            code = self._processes[name].poll()
            if code is not None:
                log = (self._directory / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"node {name} ended with code {code}:\n{log[-2000:]}")
            await asyncio.sleep(_POLL_S)

    def start_one(self, name: str) -> None:
        """Start a node, on the disk that it had before if any."""
        members = ",".join(f"{each}=127.0.0.1:{port}" for each, port in self._peer_ports.items())
        command = [sys.executable, "-m", "synaxis", "node", "run", "--node-id", name]
        command += ["--cluster", members, "--data-dir", str(self._directory / name)]
        command += ["--listen", f"127.0.0.1:{self._api_ports[name]}"]
        command += ["--peer-listen", f"127.0.0.1:{self._peer_ports[name]}"]
        command += ["--cache-lease-ms", str(_CACHE_LEASE_MS)]
        with (self._directory / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment_without_settings(),
            )

    def kill(self, name: str) -> None:
        """SIGKILL: the node gets no chance to say goodbye."""
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self) -> None:
        """End all nodes at once."""
        for process in self._processes.values():
            process.kill()
            process.wait()

    async def leader(self) -> Leadership | None:
        """Return the leader that the nodes' metrics show, in the highest term; None if none."""
        found = []
        for name, process in list(self._processes.items()):
            if process.poll() is None:
                text = await self._get(name, "/metrics") or ""
                if _sample(text, "synaxis_raft_is_leader") == 1:
                    term = _sample(text, "synaxis_raft_term") or 0
                    found.append(Leadership(name, term, len(_LEADS_QUEUES.findall(text))))
        return max(found, key=lambda each: each.term) if found else None

    async def gauge(self, name: str, topic: str) -> int:
        """Return what the leaders' metrics say of a topic, all shards together."""
        texts = [await self._get(node, "/metrics") or "" for node in self._names]
        pattern = rf'^{name}\{{[^}}]*topic="{re.escape(topic)}"[^}}]*\}} ([0-9.e+]+)$'
        return sum(
            int(float(value)) for text in texts for value in re.findall(pattern, text, re.MULTILINE)
        )

    async def _get(self, name: str, path: str) -> str | None:
        return await asyncio.to_thread(_http_get, f"http://127.0.0.1:{self._api_ports[name]}{path}")


def _http_get(url: str) -> str | None:
    """Return the body of a 200 answer, None for anything else."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback URL
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


def _sample(metrics: str, name: str) -> int | None:
    """Return the value of a metric of the lock group."""
    pattern = rf'^{name}\{{[^}}]*group="{re.escape(_GROUP)}"[^}}]*\}} ([0-9.e+]+)$'
    match = re.search(pattern, metrics, re.MULTILINE)
    return int(float(match[1])) if match else None


def _environment_without_settings() -> dict[str, str]:
    """Leave out what would reconfigure the nodes behind the demo's back."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYNAXIS_")}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
