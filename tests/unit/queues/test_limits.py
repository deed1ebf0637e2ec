"""Limits that cannot work are refused."""

import pytest

from synaxis.errors import ConfigError
from synaxis.queues.limits import DeliveryLimits, QueueLimits


@pytest.mark.parametrize("field", ["parts_max", "shard_bytes_max", "priority_max"])
def test_a_limit_of_nothing_is_refused(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        QueueLimits(**{field: 0})  # type: ignore[arg-type]
    assert caught.value.details == {"field": field}


def test_copying_segments_that_are_mostly_needed_would_never_end() -> None:
    QueueLimits(segment_live_percent_min=75)
    with pytest.raises(ConfigError):
        QueueLimits(segment_live_percent_min=76)


@pytest.mark.parametrize("field", ["yield_ms", "stall_ms", "loaded_messages_max"])
def test_a_leader_without_room_or_time_is_refused(field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DeliveryLimits(**{field: 0})
    assert caught.value.details == {"field": field}
