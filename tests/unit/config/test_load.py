"""Where values come from, and what is said when they are wrong."""

import re
from pathlib import Path

import pytest

from synaxis.config import load_settings
from synaxis.config.load import environment_remarks
from synaxis.config.settings import Settings
from synaxis.errors import ConfigError


def refusal(**flags: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    return caught.value


def test_a_node_needs_no_setting_at_all() -> None:
    settings = load_settings()
    assert (settings.id, settings.api_url) == ("n1", "http://127.0.0.1:7400")


def test_each_source_wins_over_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def cluster_name(**flags: str) -> str:
        return load_settings(flags).cluster_name

    assert cluster_name() == "synaxis"
    Path("node.toml").write_text('cluster_name = "from-toml"')
    monkeypatch.setenv("SYNAXIS_CONFIG", "node.toml")
    assert cluster_name() == "from-toml"
    Path(".env").write_text("SYNAXIS_CLUSTER_NAME=from-dotenv")
    assert cluster_name() == "from-dotenv"
    monkeypatch.setenv("SYNAXIS_CLUSTER_NAME", "from-environment")
    assert cluster_name() == "from-environment"
    assert cluster_name(cluster_name="from-flag") == "from-flag"


def test_the_flag_for_the_file_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a.toml").write_text("lock_groups = 2")
    Path("b.toml").write_text("lock_groups = 3")
    monkeypatch.setenv("SYNAXIS_CONFIG", "a.toml")
    assert load_settings({"config": "b.toml"}).lock_groups == 3


@pytest.mark.parametrize(
    ("variable", "value", "setting", "expected"),
    [
        ("NODE_ID", "node-1", "node_id", "node-1"),
        ("CLUSTER_NODES", "n1=a:1,n2=b:1", "cluster", "n1=a:1,n2=b:1"),
        ("CONSENSUS_TYPE", "raft", "consensus_type", "raft"),
        ("ELECTION_TIMEOUT_MIN", "600", "election_timeout_ms_min", 600),
        ("ELECTION_TIMEOUT_MAX", "1300", "election_timeout_ms_max", 1300),
        ("HEARTBEAT_INTERVAL", "50", "heartbeat_ms", 50),
        ("REPLICATION_FACTOR", "5", "replication_factor", 5),
        ("LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("DATA_DIR", "elsewhere", "data_dir", Path("elsewhere")),
        ("NODE_TYPE", "lock_manager", "roles", "locks"),
        ("NODE_HOST", "localhost", "listen", "localhost:7400"),
        ("NODE_PORT", "8000", "listen", "127.0.0.1:8000"),
    ],
)
def test_the_names_of_the_predecessor_are_understood(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, setting: str, expected: object
) -> None:
    monkeypatch.setenv("SYNAXIS_NODE_ID", "n1") if variable == "CLUSTER_NODES" else None
    monkeypatch.setenv(variable, value)
    assert getattr(load_settings({"i_know_this_is_insecure": True}), setting) == expected


def test_our_name_wins_over_the_predecessors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ID", "theirs")
    monkeypatch.setenv("SYNAXIS_NODE_ID", "ours")
    assert load_settings().node_id == "ours"


def test_other_programs_in_the_environment_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN", "nonsense")
    monkeypatch.setenv("SYNAXIS_PORT", "tcp://10.0.0.1:7400")  # Kubernetes, for a Service
    Path(".env").write_text("POSTGRES_PASSWORD=x\nSYNAXIS_URL=http://a:7400\n")
    assert load_settings().listen == "127.0.0.1:7400"


def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("key").write_text("syx_secret\n")
    monkeypatch.setenv("SYNAXIS_JOIN_API_KEY_FILE", "key")
    settings = load_settings()
    assert settings.join_api_key.get_secret_value() == "syx_secret"
    assert "syx_secret" not in repr(settings)


def test_a_secret_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAXIS_JOIN_API_KEY_FILE", "nowhere")
    assert "SYNAXIS_JOIN_API_KEY_FILE: cannot read nowhere" in refusal().message


def test_a_refusal_names_the_setting_in_all_spellings_and_what_is_allowed() -> None:
    error = refusal(lock_groups=0)
    assert error.details["settings"] == ["lock_groups"]
    assert error.message.startswith("lock_groups (SYNAXIS_LOCK_GROUPS, --lock-groups): ")
    assert error.message.endswith("not 0 (allowed: from 1 to 64)")


def test_every_wrong_setting_has_a_line() -> None:
    error = refusal(lock_groups=0, log_level="loud", listen="nowhere")
    assert sorted(error.details["settings"]) == ["listen", "lock_groups", "log_level"]
    assert len(error.message.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('node-id = "n1"', "node-id: is no setting; did you mean node_id?"),
        ("this is not toml", "cannot read node.toml"),
        ('config = "other.toml"', "may not name another file"),
    ],
)
def test_a_wrong_file_is_refused(content: str, reason: str) -> None:
    Path("node.toml").write_text(content)
    assert reason in refusal(config="node.toml").message


def test_a_file_that_is_missing_is_named() -> None:
    assert "cannot read nowhere.toml" in refusal(config="nowhere.toml").message


def test_pbft_is_refused_with_its_reason() -> None:
    assert "pbft is not available yet" in refusal(consensus_type="pbft").message


def test_roles_that_do_not_exist_yet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_TYPE", "worker")
    assert "not available yet" in refusal().message


@pytest.mark.parametrize(
    ("kind", "role"),
    [("lock_manager", "locks"), ("queue_node", "queues"), ("cache_node", "caches")],
)
def test_the_predecessors_kinds_of_node_are_roles(
    monkeypatch: pytest.MonkeyPatch, kind: str, role: str
) -> None:
    monkeypatch.setenv("NODE_TYPE", kind)
    assert load_settings().role_names == {role}


def test_variables_without_effect_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_PORT", "9090")
    monkeypatch.setenv("SYNAXIS_ELECTION_TIMEOUT_MIN_MS", "100")
    remarks = list(environment_remarks())
    assert remarks[0].startswith("METRICS_PORT has no effect: metrics are served at /metrics")
    assert "did you mean SYNAXIS_ELECTION_TIMEOUT_MS_MIN?" in remarks[1]


def test_every_setting_is_explained_and_belongs_to_a_group() -> None:
    for name, field in Settings.model_fields.items():
        assert re.search(r"\w", field.description or ""), name
        assert Settings.group_of(name)


def test_the_predecessors_redis_is_the_store_behind_the_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:secret@cache:6379/0")
    settings = load_settings()
    assert settings.cache_store_url.get_secret_value() == "redis://:secret@cache:6379/0"
    assert "secret" not in repr(settings)


def test_a_store_that_is_no_redis_is_refused() -> None:
    with pytest.raises(ConfigError, match="redis://") as caught:
        load_settings({"cache_store_url": "http://user:secret@cache"})
    assert "secret" not in str(caught.value)
