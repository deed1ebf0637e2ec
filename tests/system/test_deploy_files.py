"""The files that people deploy with, as far as they can be checked without Docker."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from synaxis.config import load_settings
from synaxis.config.settings import Settings

ROOT = Path(__file__).parents[2]
NODES = ("n1", "n2", "n3")


def load_yaml(name: str) -> Any:
    return YAML(typ="safe").load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load_yaml("docker-compose.yml")["services"]
    return found


def test_the_compose_file_is_valid_by_its_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    result = subprocess.run(
        [*command, "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("node", NODES)
def test_a_node_accepts_its_environment(
    services: dict[str, dict[str, Any]],
    node: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = services[node]["environment"]
    names = {f"SYNAXIS_{name.upper()}" for name in Settings.model_fields}
    assert set(environment) <= names
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))
    settings = load_settings()
    assert settings.id == node
    assert tuple(settings.members) == NODES
    published = services[node]["ports"][0].split(":")[1]
    assert settings.api_url == f"http://127.0.0.1:{published}"


def test_nothing_is_published_beyond_this_machine(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_every_service_is_confined_and_watched(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "privileged" not in service, name


def test_every_image_has_a_version(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        _, _, tag = service["image"].partition(":")
        assert tag
        assert tag != "latest"


def test_every_file_that_is_mounted_exists(services: dict[str, dict[str, Any]]) -> None:
    declared = set(load_yaml("docker-compose.yml")["volumes"])
    for service in services.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in declared


def test_a_container_is_given_longer_to_stop_than_the_node_takes(
    services: dict[str, dict[str, Any]],
) -> None:
    for node in NODES:
        grace_s = float(services[node]["stop_grace_period"].removesuffix("s"))
        assert grace_s > load_settings(dotenv=None).shutdown_timeout_s


def test_prometheus_scrapes_every_node() -> None:
    config = load_yaml("deploy/prometheus.yml")
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "synaxis"  # the dashboards select by it
    assert job["static_configs"][0]["targets"] == [f"{node}:7400" for node in NODES]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_own_tool_accepts_its_file() -> None:
    result = subprocess.run(
        ["promtool", "check", "config", "deploy/prometheus.yml"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_grafana_finds_its_data_source_and_dashboards(
    services: dict[str, dict[str, Any]],
) -> None:
    (source,) = load_yaml("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    for name, uid in (("synaxis", "synaxis"), ("queues", "synaxis-queues")):
        dashboard = (ROOT / f"grafana/dashboards/{name}.json").read_text(encoding="utf-8")
        assert set(re.findall(r'"uid": "([\w-]+)"', dashboard)) == {source["uid"], uid}
    (provider,) = load_yaml("grafana/provisioning/dashboards/synaxis.yaml")["providers"]
    mounts = dict(each.split(":")[:2] for each in services["grafana"]["volumes"])
    assert mounts["./grafana/dashboards"] == provider["options"]["path"]


# --- the image --------------------------------------------------------------------------------


def dockerfile() -> list[str]:
    """Return the instructions, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_runs_as_a_user_of_its_own() -> None:
    users = [line.split()[1] for line in dockerfile() if line.startswith("USER")]
    assert users == ["synaxis"]
    assert any("useradd --uid 7400" in line for line in dockerfile())


def test_the_image_installs_only_what_is_locked() -> None:
    installs = [line for line in dockerfile() if "pip install" in line]
    assert "--require-hashes -r requirements.lock" in installs[0]
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_everything_that_is_copied_is_in_the_build_context() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [
        source
        for line in dockerfile()
        if line.startswith("COPY") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_the_version_of_python_is_one_that_the_package_supports() -> None:
    (version,) = re.findall(r"^ARG PYTHON=([\d.]+)$", "\n".join(dockerfile()), re.MULTILINE)
    classifiers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"Python :: {version}" in classifiers


def test_the_probe_of_the_image_is_a_command_that_exists() -> None:
    (probe,) = [line for line in dockerfile() if line.startswith("HEALTHCHECK")]
    assert '["synaxis", "health", "--quiet"]' in probe
    result = subprocess.run(
        [sys.executable, "-m", "synaxis", "health", "--quiet", "--url", "http://127.0.0.1:9"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3, result.stderr  # nobody listens there


def test_the_runtime_lock_holds_the_versions_of_the_development_lock() -> None:
    runtime, development = (
        set(
            re.findall(r"^[a-z0-9-]+==\S+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        )
        for name in ("requirements.lock", "requirements-dev.lock")
    )
    assert runtime
    assert runtime <= development
