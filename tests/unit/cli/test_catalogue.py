import importlib
import inspect

import pytest
from cyclopts import App

from synaxis.cli import catalogue
from synaxis.cli.catalogue import Entry, Kind

ENTRIES = list(catalogue.entries())


def load(target: str) -> object:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def commands_of(app: App) -> set[str]:
    return {name for name in app if not name.startswith("-")}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_listed_command_exists(entry: Entry) -> None:
    found = load(entry.target)
    if entry.kind is Kind.DIRECT:
        assert callable(found)
    else:
        assert isinstance(found, App)
        assert entry.words[-1] in commands_of(found)


@pytest.mark.parametrize("target", sorted({e.target for e in ENTRIES if e.kind is Kind.APP}))
def test_every_existing_command_is_listed(target: str) -> None:
    app = load(target)
    assert isinstance(app, App)
    listed = {entry.words[-1] for entry in ENTRIES if entry.target == target}
    assert commands_of(app) == listed


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.kind is Kind.APP], ids=lambda entry: entry.name
)
def test_the_listed_summary_is_the_first_line_of_the_commands_own_help(entry: Entry) -> None:
    app = load(entry.target)
    assert isinstance(app, App)
    function = app[entry.words[-1]].default_command
    assert (inspect.getdoc(function) or "").splitlines()[0] == entry.summary


def test_the_help_names_every_command() -> None:
    text = catalogue.general_help()
    for entry in ENTRIES:
        assert f"  {entry.name} " in text


def test_the_help_fits_a_terminal_of_100_columns() -> None:
    assert max(map(len, catalogue.general_help().splitlines())) <= 100


def test_the_longest_command_wins_and_leaves_its_arguments() -> None:
    found = catalogue.find(["lock", "run", "name", "--", "ls"])
    assert found is not None
    assert (found[0].name, found[1]) == ("lock run", ["name", "--", "ls"])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["lcok", "ls"], "lock ls"), (["helth"], "health"), (["lock", "aquire"], "lock acquire")],
)
def test_a_typing_error_gets_a_suggestion(typed: list[str], meant: str) -> None:
    assert catalogue.suggestion(typed) == meant


def test_nonsense_gets_no_suggestion() -> None:
    assert catalogue.suggestion(["xyzzy"]) is None
