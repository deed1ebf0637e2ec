from datetime import UTC, datetime, timedelta, timezone

import pytest

from synaxis.cli.moments import Position, parse_position
from synaxis.errors import InvalidArgument

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("start", "start"),
        ("end", "end"),
        ("1500", 1500),
        ("2h", NOW - timedelta(hours=2)),
        ("1m30s", NOW - timedelta(seconds=90)),
        ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00+02:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
    ],
)
def test_a_position_is_a_word_an_offset_a_time_or_an_age(text: str, position: Position) -> None:
    assert parse_position(text, NOW) == position


def test_a_plain_number_is_an_offset_and_never_seconds() -> None:
    assert parse_position("90", NOW) == 90


@pytest.mark.parametrize("text", ["", "begin", "-5", "1.5", "yesterday", "99999999999999d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_position(text, NOW)


def test_a_time_without_a_zone_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidArgument, match="2026-11-24T10:00:00Z for UTC"):
        parse_position("2026-11-24T10:00:00", NOW)


def test_a_time_is_understood_in_its_own_zone() -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert parse_position(there.isoformat(), NOW) == NOW
