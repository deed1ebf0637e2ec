"""One node as its operator sees it: how it starts, refuses, answers and ends."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import synaxis
from support.cluster_process import ClusterProcesses, NodeProcess, clean_environment, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

Start = Callable[..., ClusterProcesses]

EXIT_UNAVAILABLE, EXIT_CONFIG = 69, 78


def run_node(directory: Path, *flags: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a node that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "synaxis", "node", "run", *flags],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        env=clean_environment(settings),
        timeout=30,
    )


def loopback_flags() -> list[str]:
    port, peer_port = free_ports(2)
    return ["--listen", f"127.0.0.1:{port}", "--peer-listen", f"127.0.0.1:{peer_port}"]


# --- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "settings", "named"),
    [
        (["--election-timeout-ms-min", "soon"], {}, "SYNAXIS_ELECTION_TIMEOUT_MS_MIN"),
        ([], {"lock_groups": 0}, "--lock-groups"),
        ([], {"consensus_type": "pbft"}, "pbft is not available yet"),
        (["--listen", "0.0.0.0:7400"], {}, "without TLS and authentication"),
        (["--node-id", "n4", "--cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2"], {}, "n4 is not among"),
        (["--config", "nowhere.toml"], {}, "nowhere.toml"),
    ],
)
def test_a_wrong_setting_ends_the_process_with_78_and_is_named(
    tmp_path: Path, flags: list[str], settings: dict[str, object], named: str
) -> None:
    result = run_node(tmp_path, *flags, **settings)
    assert result.returncode == EXIT_CONFIG, result.stderr
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_taken_ends_the_process_with_69(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_node(
            tmp_path, *("--listen", f"127.0.0.1:{port}"), *("--peer-listen", "127.0.0.1:0")
        )
    assert result.returncode == EXIT_UNAVAILABLE, result.stderr
    assert f"127.0.0.1:{port}" in result.stderr


def test_a_data_directory_belongs_to_one_node_id(cluster: Start, tmp_path: Path) -> None:
    owner = cluster(1)["n1"]
    owner.terminate()
    result = run_node(
        tmp_path, "--node-id", "other", "--data-dir", str(owner.data_dir), *loopback_flags()
    )
    assert result.returncode == EXIT_CONFIG, result.stderr
    assert "n1" in result.stderr
    assert "other" in result.stderr


def test_a_data_directory_serves_one_process_at_a_time(cluster: Start, tmp_path: Path) -> None:
    owner = cluster(1)["n1"]
    result = run_node(
        tmp_path, "--node-id", "n1", "--data-dir", str(owner.data_dir), *loopback_flags()
    )
    assert result.returncode != 0
    assert owner.is_ready()


# --- health and metrics -----------------------------------------------------------------------


def test_every_health_address_answers(cluster: Start) -> None:
    node = cluster(1)["n1"]
    assert node.get("/livez") == (200, "ok")
    assert node.get("/readyz") == (200, "ok")
    assert node.get("/healthz") == (200, "ok")
    status, body = node.get("/readyz?verbose")
    assert (status, body.splitlines()[-1]) == (200, "readyz check passed")
    assert node.get("/readyz/leader")[0] == 200
    assert node.get("/readyz/nothing")[0] == 404
    status, body = node.get("/health")
    assert (status, json.loads(body)["node_id"]) == (200, "n1")


def test_a_node_without_a_majority_lives_but_is_not_ready(cluster: Start) -> None:
    nodes = cluster(3)
    survivor, *others = nodes.nodes.values()
    for node in others:
        node.kill()
    nodes.wait_until(lambda: survivor.get("/readyz")[0] == 503, "n1 is not ready", 15)
    assert "[-]leader" in survivor.get("/readyz")[1]
    assert survivor.get("/livez") == (200, "ok")


def value(node: NodeProcess, sample: str) -> float:
    """Return the sum of all samples whose name and labels begin with ``sample``."""
    lines = re.findall(rf"^{re.escape(sample)}\S* (\S+)$", node.get("/metrics")[1], re.MULTILINE)
    assert lines, sample
    return sum(map(float, lines))


async def test_what_a_client_does_is_counted(cluster: Start) -> None:
    nodes = await asyncio.to_thread(cluster, 3)
    async with (
        synaxis.connect(nodes.urls) as client,
        client.lock("a", wait=5),
        client.lock("b", mode="shared", wait=5),
    ):
        leader = await asyncio.to_thread(nodes.leader)
        assert await asyncio.to_thread(value, leader, "synaxis_locks_granted_total") == 2
        held = 'synaxis_active_locks{lock_type="'
        assert await asyncio.to_thread(value, leader, held + 'EXCLUSIVE"') == 1
        assert await asyncio.to_thread(value, leader, held + 'SHARED"') == 1
        assert await asyncio.to_thread(value, leader, 'synaxis_sessions{group="locks/0"') == 1
    counted = (
        "synaxis_requests_total",
        "synaxis_locks_released_total",
        "synaxis_sessions_opened_total",
        "synaxis_raft_log_fsync_duration_seconds_count",
        "synaxis_wal_written_bytes_total",
        'synaxis_frames_total{direction="in",link="client"',
        'synaxis_frames_total{direction="out",link="peer"',
        'synaxis_link_bytes_total{direction="in",link="peer"',
        'synaxis_connections{link="peer"',
    )
    quiet = [name for name in counted if not await asyncio.to_thread(value, leader, name)]
    assert not quiet


# --- ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_node_with_0_and_what_it_knew_stays(
    cluster: Start, number: signal.Signals
) -> None:
    nodes = cluster(1)
    node = nodes["n1"]
    assert node.process is not None
    node.process.send_signal(number)
    assert node.process.wait(15) == 0
    nodes.restart("n1")


def test_a_leader_that_ends_hands_over_first(cluster: Start) -> None:
    nodes = cluster(3)
    leader = nodes.leader()
    others = [node for node in nodes.nodes.values() if node is not leader]
    terms = [value(node, 'synaxis_raft_term{group="locks/0"') for node in others]
    assert leader.terminate() == 0
    nodes.wait_until(lambda: any(each.leads("locks/0") for each in others), "a new leader", 10)
    after = max(value(node, 'synaxis_raft_term{group="locks/0"') for node in others)
    assert after == max(terms) + 1, "one election, called by the old leader"


def test_log_lines_are_json_with_the_node_id(cluster: Start) -> None:
    node = cluster(1)["n1"]
    lines = [json.loads(line) for line in node.log().splitlines() if line.startswith("{")]
    assert lines
    assert {line["node_id"] for line in lines} == {"n1"}
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_the_names_of_the_predecessor_start_a_node(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = clean_environment({"peer_listen": "127.0.0.1:0"}) | {
        "NODE_ID": "node-1",
        "NODE_TYPE": "lock_manager",
        "NODE_HOST": "127.0.0.1",
        "NODE_PORT": str(port),
        "DATA_DIR": "old-data",
        "LOG_LEVEL": "WARNING",
        "METRICS_PORT": "9090",
    }
    node = NodeProcess("node-1", tmp_path, port, 0, [])
    node.process = subprocess.Popen(
        [sys.executable, "-m", "synaxis", "node", "run"], cwd=tmp_path, env=environment
    )
    try:
        ClusterProcesses(tmp_path / "unused", 1).wait_until(node.is_ready, "node-1 is ready", 20)
        assert (tmp_path / "old-data").is_dir()
        assert 'node_id="node-1"' in node.get("/metrics")[1]
    finally:
        node.kill()
