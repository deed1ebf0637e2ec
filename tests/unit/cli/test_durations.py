import pytest
from hypothesis import given
from hypothesis import strategies as st

from synaxis.cli.durations import format_duration, parse_duration_s
from synaxis.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10),
        ("0", 0),
        ("0.5", 0.5),
        ("500ms", 0.5),
        ("2m30s", 150),
        ("1h", 3600),
        ("1d", 86400),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "5x", "s", "1 2", "10s!", "nan", "inf", "1e3"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match="500ms"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (59.9, "59s"),
        (133, "2m13s"),
        (3840, "1h04m"),
        (284400, "3d07h"),
    ],
)
def test_durations_are_written_with_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=1e9))
def test_a_written_duration_can_be_read_again_within_its_precision(seconds: float) -> None:
    again = parse_duration_s(format_duration(seconds))
    assert abs(again - seconds) <= max(1.0, seconds / 24)
