import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaxis.cli.main import run
from synaxis.cli.up import busy_ports, plan, remember_size
from synaxis.config import load_settings, parse_flags
from synaxis.errors import ConfigError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_three_nodes_get_ports_ten_apart_and_directories_of_their_own() -> None:
    nodes = plan(3, Path("d"), 7400)
    assert [node.node_id for node in nodes] == ["n1", "n2", "n3"]
    assert [(node.api_port, node.peer_port) for node in nodes] == [
        (7400, 7401),
        (7410, 7411),
        (7420, 7421),
    ]
    assert len({node.data_dir for node in nodes}) == 3


@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_planned_commands_are_valid_settings_of_one_cluster(count: int) -> None:
    nodes = plan(count, Path("d"), 7400)
    found = []
    for node in nodes:
        command = node.command(nodes, ["--log-level", "debug"])
        flags = command[command.index("run") + 1 :]
        found.append(load_settings(parse_flags(flags), dotenv=None))
    assert [settings.id for settings in found] == [node.node_id for node in nodes]
    assert len({settings.cluster for settings in found}) == 1
    assert all(
        settings.peer_listen_address.port == node.peer_port
        for settings, node in zip(found, nodes, strict=True)
    )
    assert {settings.log_level for settings in found} == {"DEBUG"}


def test_a_port_in_use_is_found(taken_port: int) -> None:
    assert taken_port in busy_ports(plan(1, Path("d"), taken_port))


def test_up_refuses_a_port_in_use_with_69_and_names_it(
    taken_port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "data"
    assert run(["up", "--port", str(taken_port), "--data-dir", str(directory)]) == 69
    assert f"port {taken_port}" in capsys.readouterr().err
    assert not directory.exists()


def test_a_directory_remembers_the_size_of_its_cluster(tmp_path: Path) -> None:
    remember_size(tmp_path / "data", 3)
    remember_size(tmp_path / "data", 3)
    with pytest.raises(ConfigError, match="3 node"):
        remember_size(tmp_path / "data", 1)


def test_a_damaged_manifest_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    with pytest.raises(ConfigError, match=r"cluster\.json"):
        remember_size(tmp_path, 1)


@pytest.mark.parametrize("nodes", ["0", "10", "-1", "x"])
def test_an_impossible_number_of_nodes_is_wrong_usage(nodes: str) -> None:
    assert run(["up", "--nodes", nodes]) == 2
