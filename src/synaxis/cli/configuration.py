"""``synaxis config show``: what the settings are after flags, environment and files."""

import sys

from pydantic import SecretStr

from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.output import Column, Format, Printer
from synaxis.config import Settings, load_settings, parse_flags

__all__ = ["setting_rows", "show"]

MASK = "********"
COLUMNS = (
    Column("GROUP", "group"),
    Column("SETTING", "setting"),
    Column("VALUE", "value"),
    Column("DEFAULT", "default"),
)


def show(arguments: list[str]) -> int:
    """Print every effective setting; takes the flags of ``synaxis node run`` and -o/--json.

    Raises:
        ConfigError: a setting is wrong (exit code 78).
    """
    chosen, flags = _split_format(arguments)
    settings = load_settings(parse_flags(flags, "synaxis config show [-o FORMAT | --json]"))
    Printer(chosen).rows(setting_rows(settings), COLUMNS)
    return ExitCode.OK


def setting_rows(settings: Settings) -> list[dict[str, object]]:
    """Return one row per setting in the order of ``Settings``; secrets are masked."""
    return [
        {
            "group": Settings.group_of(name),
            "setting": name,
            "value": _shown(getattr(settings, name)),
            "default": _shown(field.default),
        }
        for name, field in Settings.model_fields.items()
    ]


def _shown(value: object) -> str | int | float | bool | None:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def _split_format(arguments: list[str]) -> tuple[Format | None, list[str]]:
    """Take ``-o FORMAT`` and ``--json`` out; the rest are flags of the settings."""
    chosen: Format | None = None
    rest: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--json":
            chosen = Format.JSON
        elif argument in ("-o", "--output"):
            chosen = _format(next(remaining, ""))
        elif argument.startswith("--output="):
            chosen = _format(argument.partition("=")[2])
        else:
            rest.append(argument)
    return chosen, rest


def _format(text: str) -> Format:
    try:
        return Format(text)
    except ValueError:
        print(f"synaxis: -o takes {', '.join(Format)}, not {text!r}", file=sys.stderr)
        raise SystemExit(ExitCode.USAGE) from None
