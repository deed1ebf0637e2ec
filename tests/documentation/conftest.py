"""One real node for all documented examples."""

import asyncio
from collections.abc import Iterator

import pytest

import synaxis
from support.cluster_process import ClusterProcesses


@pytest.fixture(scope="session")
def node_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a one-node cluster that runs in a process of its own."""
    directory = tmp_path_factory.mktemp("documented")
    with ClusterProcesses(directory, 1) as cluster:
        with asyncio.Runner() as runner:
            runner.run(fill(cluster.urls))
        yield cluster.urls


async def fill(url: str) -> None:
    """Make the topic, the group and the records that the pages about the command line look at."""
    async with synaxis.connect(url) as cluster:
        await cluster.topics.create("invoices")
        invoices = cluster.topic("invoices")
        await invoices.publish_many([b"invoice"] * 100)
        await invoices.fetch("billing", max_messages=1)
        await cluster.cache("people").set_many({"42": b"Ada Lovelace", "43": b"Alan Turing"})
