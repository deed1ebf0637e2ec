"""How results are printed: a table for people, tab-separated lines for pipes, JSON for programs.

A result is a list of flat or nested plain values (``Row``). Its JSON form is the row itself, so the
keys of a row are the documented schema; columns say how a row looks to people.

Invariants: results go to the given stream only; text from the cluster can neither move the
cursor of a terminal nor add a column or a line to the plain form.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

__all__ = ["Column", "Format", "Printer", "Row", "error", "message", "printable"]

Row = Mapping[str, Any]
PIPED_WIDTH_COLUMNS = 10_000
"""A table that does not go to a terminal is never folded."""


class Format(StrEnum):
    """What ``-o`` accepts."""

    TABLE = "table"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"


def printable(text: str) -> str:
    """Return ``text`` with control characters written as escapes, such as a tab as backslash t."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def plain_text(value: object) -> str:
    """Return the text of a cell; absent values are ``-`` so that columns never shift."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))


@dataclass(frozen=True, slots=True)
class Column:
    """One column for people: where its value stands in the row and how it is written."""

    title: str
    key: str
    write: Callable[[Any], object] = str
    """Turns a value that is not None into text."""
    number: bool = False
    """Right-aligned in tables."""

    def cell(self, row: Row) -> str:
        """Return the text of this column for ``row``."""
        value = row[self.key]
        return plain_text(None if value is None else self.write(value))


class Printer:
    """Writes results in one format to one stream."""

    def __init__(
        self,
        output: Format | None = None,
        *,
        headers: bool = True,
        color: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        self.stream = stream if stream is not None else sys.stdout
        self.to_terminal = self.stream.isatty()
        self.format = output or (Format.TABLE if self.to_terminal else Format.PLAIN)
        self.headers = headers
        self.color = color

    @property
    def for_programs(self) -> bool:
        """Whether the output is JSON."""
        return self.format in (Format.JSON, Format.JSONL)

    def rows(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        """Print a list: a JSON array, a line per row, or a table."""
        match self.format:
            case Format.JSON:
                self._line(json.dumps(list(rows), indent=2))
            case Format.JSONL:
                for row in rows:
                    self._line(json.dumps(row))
            case Format.PLAIN:
                for row in rows:
                    self._line("\t".join(column.cell(row) for column in columns))
            case Format.TABLE:
                self._table(rows, columns)
        self.stream.flush()

    def record(self, row: Row, columns: Sequence[Column]) -> None:
        """Print one thing: a JSON object, or a line ``title<TAB>value`` per column."""
        match self.format:
            case Format.JSON:
                self._line(json.dumps(row, indent=2))
            case Format.JSONL:
                self._line(json.dumps(row))
            case Format.PLAIN:
                for column in columns:
                    self._line(f"{column.key}\t{column.cell(row)}")
            case Format.TABLE:
                width = max(len(column.title) for column in columns)
                for column in columns:
                    self._line(f"{column.title:<{width}}  {column.cell(row)}")
        self.stream.flush()

    def text(self, text: str) -> None:
        """Print lines that are the result themselves (a graph, a metrics page)."""
        self._line(text.rstrip("\n"))
        self.stream.flush()

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")

    def _table(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        # rich costs 60 ms to import: only those who see a table pay for it.
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=self.headers, header_style="bold")
        for column in columns:
            table.add_column(
                column.title,
                justify="right" if column.number else "left",
                no_wrap=not self.to_terminal,
                overflow="fold",
            )
        for row in rows:
            table.add_row(*(Text(column.cell(row)) for column in columns))
        Console(
            file=self.stream,
            color_system="auto" if self.color else None,
            highlight=False,
            width=None if self.to_terminal else PIPED_WIDTH_COLUMNS,
        ).print(table)


def message(text: str) -> None:
    """Tell a person something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Tell a person why it did not work; the same in every output format."""
    for line in text.splitlines():
        message(f"synaxis: {printable(line)}")
