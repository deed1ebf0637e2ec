import pytest

from synaxis.consensus.raft.config import RaftConfig
from synaxis.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("heartbeat_ms", 0),
        ("append_bytes_max", 0),
        ("snapshot_chunk_bytes", -1),
        ("damaged_term_leap", 0),
        ("suffix_entries_max", -1),
        ("election_timeout_min_ms", 199),
        ("election_timeout_max_ms", 500),
        ("inflight_bytes_max", 1024),
    ],
)
def test_what_cannot_work_is_refused_by_name(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        RaftConfig(**{field: value})  # type: ignore[arg-type]
    assert caught.value.details["field"] == field


def test_a_commit_need_not_wait_for_company() -> None:
    assert RaftConfig(commit_notice_ms=0).commit_notice_ms == 0
