"""Synaxis as its users meet it: ``synaxis node run`` processes and the public SDK."""

import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import synaxis
from benchmarks.harness.processes import (
    ServerProcess,
    free_ports,
    http_get,
    scratch_directory,
    wait_until,
)
from benchmarks.harness.systems import LockClient

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SynaxisCluster"]


_LEADS = re.compile(r'^synaxis_raft_is_leader\{[^}]*group="locks/0"[^}]*\} 1(\.0)?$', re.MULTILINE)


class SynaxisCluster:
    """One or three node processes with default settings and durable data."""

    def __init__(self, nodes: int = 3) -> None:
        self.name = "synaxis" if nodes > 1 else "synaxis-1"
        self.durability = f"fsync on majority of {nodes}" if nodes > 1 else "fsync, one node"
        self._size = nodes
        self._directory: Path | None = None
        self.nodes: list[ServerProcess] = []
        self.urls: list[str] = []

    def unavailable(self) -> str | None:
        """See LockSystem."""
        return None

    def start(self) -> None:
        """See LockSystem."""
        self._directory = scratch_directory("synaxis")
        ports = free_ports(2 * self._size)
        api_ports, peer_ports = ports[: self._size], ports[self._size :]
        self.urls = [f"http://127.0.0.1:{port}" for port in api_ports]
        members = ",".join(f"n{i + 1}=127.0.0.1:{port}" for i, port in enumerate(peer_ports))
        self.nodes = []
        for i, (api_port, peer_port) in enumerate(zip(api_ports, peer_ports, strict=True)):
            arguments = [sys.executable, "-m", "synaxis", "node", "run"]
            arguments += ["--node-id", f"n{i + 1}", "--cluster", members]
            arguments += ["--listen", f"127.0.0.1:{api_port}"]
            arguments += ["--peer-listen", f"127.0.0.1:{peer_port}"]
            arguments += ["--data-dir", str(self._directory / f"n{i + 1}")]
            self.nodes.append(ServerProcess(arguments, self._directory / f"n{i + 1}.log"))
        for node in self.nodes:
            node.start()
        self.wait_ready()

    def wait_ready(self) -> float:
        """Wait until every running node is ready; return the seconds that took."""
        return wait_until(
            lambda: all(
                _ready(url) for url, node in zip(self.urls, self.nodes, strict=True) if node.alive
            ),
            "Synaxis serves",
            processes=[node for node in self.nodes if node.alive],
        )

    def leader(self) -> int | None:
        """Return the index of the node that leads the locks, by the nodes' own metrics."""
        for index, (node, url) in enumerate(zip(self.nodes, self.urls, strict=True)):
            if node.alive and _LEADS.search(http_get(f"{url}/metrics")[1].decode()):
                return index
        return None

    def stop(self) -> None:
        """See LockSystem."""
        for node in self.nodes:
            node.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See LockSystem."""
        return [node.pid for node in self.nodes if node.alive]

    @asynccontextmanager
    async def connect(self, workers: int) -> AsyncIterator[LockClient]:
        """Open one session; all workers share it, as the tasks of one program would."""
        del workers
        async with self.connect_any() as client:
            yield client

    @asynccontextmanager
    async def connect_any(self) -> AsyncIterator[LockClient]:
        """Open one client; it knows all nodes and fails over by itself."""
        async with synaxis.connect(self.urls) as cluster:
            yield SynaxisLocks(cluster)


class SynaxisLocks:
    """``async with cluster.lock(name)``, nothing around it."""

    def __init__(self, cluster: synaxis.AsyncSynaxis) -> None:
        self._cluster = cluster

    def hold(self, worker: int, name: str) -> AbstractAsyncContextManager[object]:
        """See LockClient."""
        del worker
        return self._cluster.lock(name)


def _ready(url: str) -> bool:
    return http_get(f"{url}/readyz")[0] == 200
