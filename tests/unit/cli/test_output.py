import io
import json

import pytest

from synaxis.cli.output import Column, Format, Printer, printable

ROWS = [
    {"name": "orders/42", "token": 7, "holders": ["ab", "cd"], "age_s": None},
    {"name": "a", "token": 12345, "holders": [], "age_s": 1.5},
]
COLUMNS = (
    Column("NAME", "name"),
    Column("TOKEN", "token", number=True),
    Column("HOLDERS", "holders", write=", ".join),
    Column("AGE", "age_s", write=lambda seconds: f"{seconds} s"),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(output: Format | None, stream: io.StringIO | None = None, **options: bool) -> str:
    stream = stream or io.StringIO()
    Printer(output, stream=stream, **options).rows(ROWS, COLUMNS)
    return stream.getvalue()


def test_a_pipe_gets_tab_separated_lines_without_a_header() -> None:
    assert printed(None) == "orders/42\t7\tab, cd\t-\na\t12345\t-\t1.5 s\n"


def test_a_terminal_gets_a_table() -> None:
    lines = printed(None, Terminal(), color=False).splitlines()
    assert lines[0].split() == ["NAME", "TOKEN", "HOLDERS", "AGE"]
    assert lines[1].split() == ["orders/42", "7", "ab,", "cd", "-"]


def test_a_table_in_a_pipe_is_not_folded() -> None:
    stream = io.StringIO()
    Printer(Format.TABLE, stream=stream).rows([{"name": "x" * 500}], [Column("NAME", "name")])
    assert "x" * 500 in stream.getvalue().splitlines()[1]


def test_headers_can_be_left_out() -> None:
    assert "NAME" not in printed(Format.TABLE, headers=False)


def test_json_is_the_rows_themselves() -> None:
    assert json.loads(printed(Format.JSON)) == ROWS


def test_an_empty_list_is_still_json() -> None:
    stream = io.StringIO()
    Printer(Format.JSON, stream=stream).rows([], COLUMNS)
    assert json.loads(stream.getvalue()) == []


def test_jsonl_has_one_object_per_line() -> None:
    assert [json.loads(line) for line in printed(Format.JSONL).splitlines()] == ROWS


@pytest.mark.parametrize("output", [Format.TABLE, Format.PLAIN])
def test_text_from_the_cluster_cannot_steer_a_terminal(output: Format) -> None:
    stream = io.StringIO()
    row = {"name": "evil\x1b[2J\tname\nline [red]x[/]"}
    Printer(output, stream=stream).rows([row], [Column("NAME", "name")])
    text = stream.getvalue()
    assert "\x1b" not in text
    assert r"evil\x1b[2J\tname\nline [red]x[/]" in text


def test_printable_text_is_left_alone() -> None:
    assert printable("Aufträge/42 ✓") == "Aufträge/42 ✓"


def test_a_record_is_one_json_object() -> None:
    stream = io.StringIO()
    Printer(Format.JSON, stream=stream).record(ROWS[0], COLUMNS)
    assert json.loads(stream.getvalue()) == ROWS[0]


def test_a_record_in_a_pipe_has_a_line_per_field_under_its_json_key() -> None:
    stream = io.StringIO()
    Printer(stream=stream).record(ROWS[0], COLUMNS)
    assert stream.getvalue().splitlines()[0] == "name\torders/42"
