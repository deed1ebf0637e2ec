"""Every query of the shipped dashboards returns data from a real Prometheus and a real cluster."""

import asyncio
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import synaxis
from support.cluster_process import ClusterProcesses, free_ports
from support.dashboards import Query, queries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.service,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]

RATE_INTERVAL = "10s"
PATIENCE_S = 40.0


class Prometheus:
    """A server that scrapes the given nodes twice a second."""

    def __init__(self, directory: Path, targets: list[str]) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
            "scrape_configs": [{"job_name": "synaxis", "static_configs": [{"targets": targets}]}],
        }
        (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
        with (directory / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def series(self, expression: str) -> int:
        """Return how many series the expression has now; 0 while the server starts."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=5) as answer:  # noqa: S310
                return len(json.load(answer)["data"]["result"])
        except OSError:
            return 0

    def close(self) -> None:
        """Kill the server."""
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def scraped(
    cluster: Callable[..., ClusterProcesses], tmp_path: Path
) -> Iterator[tuple[ClusterProcesses, Prometheus]]:
    nodes = cluster(3)
    targets = [f"127.0.0.1:{node.port}" for node in nodes.nodes.values()]
    prometheus = Prometheus(tmp_path, targets)
    yield nodes, prometheus
    prometheus.close()


async def use_locks(urls: str, until: asyncio.Event) -> None:
    async with synaxis.connect(urls) as cluster:
        while not until.is_set():
            async with cluster.lock("dashboard", wait=10):
                await asyncio.sleep(0.01)


async def use_queues(urls: str, until: asyncio.Event) -> None:
    async with synaxis.connect(urls) as cluster:
        await cluster.topics.create("dashboard", partitions=4)
        topic = cluster.topic("dashboard")
        async with topic.consume("readers") as readers, asyncio.TaskGroup() as tasks:
            consuming = tasks.create_task(acknowledge(readers))
            while not until.is_set():
                await topic.publish(b"message")
                await asyncio.sleep(0.01)
            consuming.cancel()


async def use_caches(urls: str, until: asyncio.Event) -> None:
    async with synaxis.connect(urls) as cluster:
        far, near = cluster.cache("dashboard"), cluster.cache("dashboard", near=True)
        while not until.is_set():
            await far.set("key", b"value")
            await near.get("key")
            await far.get("nothing")
            await asyncio.sleep(0.01)


async def acknowledge(messages: synaxis.Consumer) -> None:
    async for message in messages:
        await message.ack()


async def test_every_query_of_every_panel_returns_data(
    scraped: tuple[ClusterProcesses, Prometheus],
) -> None:
    nodes, prometheus = scraped
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(use_locks(nodes.urls, enough))
        tasks.create_task(use_queues(nodes.urls, enough))
        tasks.create_task(use_caches(nodes.urls, enough))
        try:
            without_data = await asyncio.to_thread(wait_for_data, prometheus)
        finally:
            enough.set()
    assert not without_data


def wait_for_data(prometheus: Prometheus) -> list[Query]:
    """Ask until every query has answered with data; return those that never did."""
    waiting = queries()
    give_up = time.monotonic() + PATIENCE_S
    while waiting and time.monotonic() < give_up:
        waiting = [
            query for query in waiting if not prometheus.series(query.concrete(RATE_INTERVAL))
        ]
        time.sleep(0.5)
    return waiting
