"""One real node for all documented examples."""

from collections.abc import Iterator

import pytest

from support.cluster_process import ClusterProcesses


@pytest.fixture(scope="session")
def node_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a one-node cluster that runs in a process of its own."""
    directory = tmp_path_factory.mktemp("documented")
    with ClusterProcesses(directory, 1) as cluster:
        yield cluster.urls
