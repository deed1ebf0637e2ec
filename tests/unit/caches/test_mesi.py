"""The table of transitions, and the diagram that is drawn from it."""

from itertools import product
from pathlib import Path

import pytest

from synaxis.caches.bus import LineState
from synaxis.caches.diagram import diagram, main
from synaxis.caches.mesi import TRANSITIONS, Action, Event

DESIGN = Path(__file__).parents[3] / "src" / "synaxis" / "caches" / "DESIGN.md"


def test_every_state_knows_what_to_do_on_every_event() -> None:
    assert set(TRANSITIONS) == set(product(LineState, Event))


def test_only_an_owner_writes_and_only_a_grant_makes_one() -> None:
    into_owner = {
        event
        for (before, event), (after, _) in TRANSITIONS.items()
        if before < LineState.E <= after
    }
    assert into_owner == {Event.GRANT_E}
    writers = {before for (before, _), (_, action) in TRANSITIONS.items() if action is Action.WRITE}
    assert writers == {LineState.E, LineState.M}


def test_what_is_dirty_is_never_dropped() -> None:
    out_of_m = {event: pair for (before, event), pair in TRANSITIONS.items() if before == 3}
    assert out_of_m[Event.EVICT] == (LineState.M, Action.FLUSH)
    assert {action for after, action in out_of_m.values() if after < LineState.E} == {
        Action.ACK_DIRTY
    }


def test_every_state_gives_way_to_an_inv() -> None:
    assert {TRANSITIONS[state, Event.INV][0] for state in LineState} == {LineState.I}
    assert all(TRANSITIONS[state, Event.DOWN][0] <= LineState.S for state in LineState)


def test_the_design_shows_the_diagram_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    drawn = capsys.readouterr().out
    assert drawn == diagram() + "\n"
    shown = DESIGN.read_text(encoding="utf-8").split("<!-- diagram: begin -->")[1]
    shown = shown.split("<!-- diagram: end -->")[0]
    assert shown == f"\n```mermaid\n{drawn}```\n", "python -m synaxis.caches.diagram"
