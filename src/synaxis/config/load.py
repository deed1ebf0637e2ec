"""From flags, environment and files to ``Settings``, or one error that lists every mistake."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from synaxis.config.checks import problems
from synaxis.config.settings import ENV_PREFIX, Settings
from synaxis.config.sources import LEGACY_WITHOUT_EFFECT
from synaxis.errors import ConfigError

__all__ = ["environment_remarks", "load_settings"]

DOTENV = Path(".env")


def load_settings(flags: Mapping[str, Any] | None = None, dotenv: Path | None = DOTENV) -> Settings:
    """Gather, validate and cross-check the settings.

    Args:
        flags: what the command line said, by setting name; wins over everything else.
        dotenv: the ``.env`` file to read if it exists; None reads none.

    Raises:
        ConfigError: ``details["settings"]`` lists the settings that are wrong, the message has
            one line for each. Processes exit with code 78.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        settings = Settings(**{"_env_file": dotenv, **given})
    except ValidationError as error:
        raise _config_error([_finding(each) for each in error.errors()]) from error
    found = problems(settings)
    if found:
        raise _config_error([(problem.setting, problem.message) for problem in found])
    return settings


def _finding(error: ErrorDetails) -> tuple[str, str]:
    name = str(error["loc"][0])
    if error["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, Settings.model_fields, n=1)
        return name, "is no setting" + (f"; did you mean {close[0]}?" if close else "")
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "value_error":  # our own messages quote the value themselves
        message += f", not {error['input']!r}"
    allowed = Settings.allowed(name)
    return name, f"{message} (allowed: {allowed})" if allowed else message


def _config_error(findings: list[tuple[str, str]]) -> ConfigError:
    lines = [f"{_spellings(name)}: {message}" for name, message in findings]
    return ConfigError("\n".join(lines), settings=[name for name, _ in findings])


def _spellings(name: str) -> str:
    if name not in Settings.model_fields:
        return name
    return f"{name} ({ENV_PREFIX}{name.upper()}, --{name.replace('_', '-')})"


def environment_remarks() -> Iterator[str]:
    """Say what in the environment looks meant for us but has no effect; the server logs it."""
    for old, reason in LEGACY_WITHOUT_EFFECT.items():
        if old in os.environ:
            yield f"{old} has no effect: {reason}"
    known = [ENV_PREFIX + name.upper() for name in Settings.model_fields]
    for variable in sorted(os.environ):
        if variable.startswith(ENV_PREFIX) and variable not in known:
            close = difflib.get_close_matches(variable, known, n=1, cutoff=0.85)
            if close:
                yield f"{variable} has no effect; did you mean {close[0]}?"
