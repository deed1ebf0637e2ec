"""Options that many commands share, as cyclopts reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from synaxis.cli.durations import parse_duration_s
from synaxis.cli.output import Format, Printer
from synaxis.errors import InvalidArgument

__all__ = ["ClusterOptions", "Duration", "OptionalDuration", "OutputOptions", "Switch", "Yes"]


def _duration(_type: object, tokens: Sequence[Token]) -> float:
    try:
        return parse_duration_s(tokens[0].value)
    except InvalidArgument as error:
        raise ValueError(error.message) from error


_AS_DURATION = Parameter(converter=_duration, n_tokens=1, metavar="TIME")
Duration = Annotated[float, _AS_DURATION]
"""Seconds, written as 10, 500ms, 2m30s or 1h."""
OptionalDuration = Annotated[float | None, _AS_DURATION]
"""A duration whose absence means something of its own."""
Switch = Annotated[bool, Parameter(negative="")]
"""On when named; there is no --no-... form."""
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), negative="")]
"""Do not ask before something that cannot be undone."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How to print."""

    output: Annotated[Format | None, Parameter(name=("--output", "-o"))] = None
    """Format of the result [table on a terminal, plain in a pipe]."""
    json: Switch = False
    """Short for --output json."""
    no_headers: Switch = False
    """No header line in tables."""
    no_color: Switch = False
    """No colours (also NO_COLOR)."""
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative="")] = False
    """No messages on stderr but errors."""

    def printer(self) -> Printer:
        """Return a printer for stdout."""
        chosen = Format.JSON if self.json else self.output
        return Printer(chosen, headers=not self.no_headers, color=not self.no_color)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Which cluster to talk to."""

    url: Annotated[str | None, Parameter(name=("--url", "-u"))] = None
    """Nodes, comma-separated [SYNAXIS_URL]."""
    api_key: str | None = None
    """API key, when the cluster asks for one [SYNAXIS_API_KEY]."""
    cacert: Path | None = None
    """PEM certificate to trust for https, besides the system's."""
    timeout: Duration = 5.0
    """How long to try to get an answer."""
