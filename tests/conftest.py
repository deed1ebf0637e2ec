"""Fixtures for everybody."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.cluster_process import ClusterProcesses


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Callable[..., ClusterProcesses]]:
    """Start clusters of real processes: ``cluster(3)``, ``cluster(1, session_ttl_ms_min=200)``."""
    with ExitStack() as running:

        def start(size: int = 3, **settings: object) -> ClusterProcesses:
            directory = tmp_path / f"cluster-{len(list(tmp_path.glob('cluster-*')))}"
            directory.mkdir()
            return running.enter_context(ClusterProcesses(directory, size, settings))

        yield start
