"""From ``sys.argv`` to an exit code: find the command, run it, translate what it raised."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

import synaxis
from synaxis.cli import output
from synaxis.cli.catalogue import Entry, Kind, find, general_help, group_help, suggestion
from synaxis.cli.exit_codes import EXIT_CODES_HELP, ExitCode, exit_code_for
from synaxis.errors import SynaxisError

__all__ = ["hoist_options", "main", "run"]

HELP_FLAGS = ("-h", "--help")
OPTIONS_WITH_VALUE = frozenset(
    {"-u", "--url", "-o", "--output", "--timeout", "--api-key", "--cacert"}
)
SWITCHES = frozenset({"--json", "-q", "--quiet", "--no-color", "--no-headers"})


def main() -> None:
    """Be the ``synaxis`` command."""
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = _broken_pipe()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Execute one command line and return its exit code; errors are told on stderr."""
    try:
        return _dispatch(hoist_options(list(arguments)))
    except SynaxisError as failure:
        output.error(failure.message or type(failure).__name__)
        return exit_code_for(failure)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return _broken_pipe()


def hoist_options(arguments: list[str]) -> list[str]:
    """Move common options from before the command to behind it, so that both places work."""
    hoisted: list[str] = []
    rest = list(arguments)
    while rest and rest[0].split("=")[0] in OPTIONS_WITH_VALUE | SWITCHES:
        option = rest.pop(0)
        hoisted.append(option)
        if option in OPTIONS_WITH_VALUE and rest:
            hoisted.append(rest.pop(0))
    end = rest.index("--") if "--" in rest else len(rest)
    return rest[:end] + hoisted + rest[end:]


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in HELP_FLAGS:
        print(general_help(), end="")
        return ExitCode.OK if arguments else ExitCode.USAGE
    if arguments[0] == "--version":
        print(f"synaxis {_version()}")
        return ExitCode.OK
    found = find(arguments)
    if found is not None:
        entry, rest = found
        return _run_direct(entry, rest) if entry.kind is Kind.DIRECT else _run_app(entry, rest)
    return _explain_unknown(arguments)


def _explain_unknown(arguments: list[str]) -> int:
    length = next((at for at, word in enumerate(arguments) if word in HELP_FLAGS), len(arguments))
    help_text = group_help(arguments[:length])
    if help_text is not None:
        print(help_text)
        return ExitCode.OK if length < len(arguments) else ExitCode.USAGE
    known = next((n for n in (2, 1) if group_help(arguments[:n]) is not None), 0)
    typed = " ".join(arguments[: known + 1])
    meant = suggestion(arguments)
    hint = f" Did you mean `synaxis {meant}`?" if meant else ""
    output.error(f"there is no command `{typed}`.{hint} `synaxis --help` lists all.")
    return ExitCode.USAGE


def _load(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _run_direct(entry: Entry, arguments: list[str]) -> int:
    function: Callable[[list[str]], int] = _load(entry.target)  # type: ignore[assignment]  # by its kind
    return function(arguments)


def _run_app(entry: Entry, arguments: list[str]) -> int:
    # cyclopts costs 100 ms to import: `--help`, `health` and `node run` do without.
    from cyclopts import App, CycloptsError

    app = _load(entry.target)
    assert isinstance(app, App)
    app.help_epilogue = EXIT_CODES_HELP
    tokens = [*entry.words[-1:], *arguments]
    try:
        code = app(tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return ExitCode.USAGE  # cyclopts has told what is wrong
    return ExitCode.OK if code is None else int(code)


def _version() -> str:
    return synaxis.__version__


def _broken_pipe() -> int:
    """Leave quietly when the reader has gone, as ``synaxis lock ls | head`` does."""
    # Python would complain about the flush at exit; nobody is there to read either.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
