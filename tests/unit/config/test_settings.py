"""Settings reach the objects that machines are configured with."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from synaxis.config import Settings, load_settings

SOURCE = Path(__file__).parents[3] / "src" / "synaxis"
BUILDERS: list[Callable[[Settings], Any]] = [
    Settings.raft_config,
    Settings.replica_config,
    Settings.session_limits,
    Settings.lock_limits,
    Settings.wal_options,
    Settings.queue_limits,
    Settings.delivery_limits,
    Settings.store_limits,
    Settings.cache_limits,
    Settings.home_limits,
    Settings.agent_config,
]


def values(part: Any) -> dict[str, object]:
    names = [f.name for f in fields(part)] if is_dataclass(part) else part.__struct_fields__
    return {name: getattr(part, name) for name in names}


@pytest.mark.parametrize("build", BUILDERS)
def test_the_defaults_are_those_of_the_machines_themselves(
    build: Callable[[Settings], Any],
) -> None:
    part = build(load_settings())
    assert part == type(part)()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("heartbeat_ms", 77), ("election_timeout_ms_min", 777), ("election_timeout_ms_max", 7777),
        ("append_bytes_max", 77_777), ("inflight_messages_max", 77),
        ("inflight_bytes_max", 7_777_777), ("uncommitted_bytes_max", 77_777),
        ("session_ttl_ms_min", 777), ("session_ttl_ms_max", 7777), ("sessions_max", 77),
        ("lock_name_bytes_max", 77), ("lock_waiters_max", 77), ("locks_per_session_max", 77),
        ("lock_value_bytes_max", 77), ("deadlock_visits_max", 77),
        ("deadlock_victim", "youngest"), ("snapshot_bytes_min", 7777), ("snapshot_ratio", 7.7),
        ("wal_segment_bytes_max", 77_777),
        ("cache_key_bytes_max", 77), ("cache_value_bytes_max", 77_777),
        ("cache_records_max", 77), ("cache_bytes_max", 77_777), ("cache_ttl_ms_max", 77),
        ("cache_tags_per_record_max", 77), ("cache_agents_max", 77), ("cache_pending_max", 77),
        ("cache_lease_ms", 777), ("cache_lease_margin_ms_min", 77), ("cache_sharers_max", 77),
        ("cache_lines_max", 77), ("cache_fill_lease_ms", 777), ("cache_waiting_max", 77),
        ("cache_retire_ms", 7777), ("cache_node_bytes_max", 77_777),
        ("cache_node_entries_max", 77), ("cache_flush_ms", 77),
    ],
)  # fmt: skip
def test_each_setting_arrives(setting: str, value: object) -> None:
    settings = load_settings({"election_timeout_ms_max": 8888} | {setting: value})
    assert any(value in values(build(settings)).values() for build in BUILDERS)


EXEMPT = {"config", "consensus_type"}  # read while loading; has one possible value


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - EXEMPT))
def test_every_setting_is_read_somewhere(name: str) -> None:
    """The predecessor parsed five settings that nothing read."""
    use = re.compile(rf"\b(settings|self)\.{name}\b")
    assert any(use.search(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py"))
