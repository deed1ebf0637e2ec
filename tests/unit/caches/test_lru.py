"""What an agent holds is bounded by count and by bytes."""

from synaxis.caches.bus import LineState
from synaxis.caches.commands import Reading, Version
from synaxis.caches.line import Line
from synaxis.caches.lru import LINE_OVERHEAD_BYTES, LineCache, line_bytes


def line(key: str, value: bytes = b"") -> Line:
    made = Line(key)
    made.state, made.reading = LineState.S, Reading(value, 0, Version(1))
    return made


def held(entries: int = 10, size: int = 10_000) -> tuple[LineCache, list[str]]:
    gone: list[str] = []
    return LineCache(entries, size, lambda each: gone.append(each.key)), gone


def test_the_line_that_was_not_used_for_the_longest_goes_first() -> None:
    lines, gone = held(entries=2)
    lines.keep(line("a"))
    lines.keep(line("b"))
    assert lines.get("a")
    lines.keep(line("c"))
    assert gone == ["b"]


def test_bytes_count_too() -> None:
    lines, gone = held(size=3 * LINE_OVERHEAD_BYTES)
    for key in "abc":
        lines.keep(line(key, b"x" * 10))
    assert gone == ["a"]
    assert lines.currsize == sum(line_bytes(each) for each in lines.values())


def test_a_line_that_is_too_big_is_not_kept_and_takes_nothing_with_it() -> None:
    lines, gone = held(size=2 * LINE_OVERHEAD_BYTES)
    lines.keep(line("a"))
    lines.keep(line("b", b"x" * 2_000))
    assert gone == ["b"]
    assert list(lines) == ["a"]


def test_a_line_that_grew_is_weighed_anew() -> None:
    lines, gone = held(size=2 * LINE_OVERHEAD_BYTES + 100)
    grown = line("a")
    lines.keep(grown)
    lines.keep(line("b"))
    grown.reading = Reading(b"x" * 200, 0, Version(2))
    lines.keep(grown)
    assert gone == ["b"]
    assert lines.currsize == line_bytes(grown)
