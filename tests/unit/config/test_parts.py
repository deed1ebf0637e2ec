"""Settings reach the objects that machines and shells are configured with."""

import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from synaxis.config import Settings, load_settings
from synaxis.config.parts import (
    gateway_config,
    link_config,
    lock_limits,
    raft_config,
    replica_config,
)

SOURCE = Path(__file__).parents[3] / "src" / "synaxis"
BUILDERS: list[Callable[[Settings], Any]] = [
    raft_config,
    replica_config,
    lock_limits,
    gateway_config,
    lambda settings: link_config(settings, None),
]


def values(part: Any) -> dict[str, object]:
    names = [f.name for f in fields(part)] if is_dataclass(part) else part.__struct_fields__
    return {name: getattr(part, name) for name in names}


@pytest.mark.parametrize("build", BUILDERS)
def test_the_defaults_are_those_of_the_parts_themselves(build: Callable[[Settings], Any]) -> None:
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
        ("connections_max", 77), ("frame_bytes_max", 77_777),
        ("peer_frame_bytes_max", 77_777_777), ("handshake_timeout_s", 7.7),
    ],
)  # fmt: skip
def test_each_setting_arrives(setting: str, value: object) -> None:
    flags = {setting: value, "election_timeout_ms_max": 8888} | {setting: value}
    settings = load_settings(flags)
    assert any(value in values(build(settings)).values() for build in BUILDERS)


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name != "config"])
def test_every_setting_is_read_somewhere(name: str) -> None:
    """The predecessor parsed five settings that nothing read."""
    use = re.compile(rf"\b(settings|self)\.{name}\b")
    assert any(use.search(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("*.py"))
