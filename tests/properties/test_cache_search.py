"""The protocol of the caches, searched exhaustively within bounds; and each of its rules is needed.

What is searched are the real agent, home, directory and store (``support.cache_search``).
"""

import sys
from dataclasses import replace

import pytest

from support.cache_mutations import MUTATIONS
from support.cache_search import ANY_ORDER, Bounds, O, S, explore

BOUNDS = {
    "2 agents x 2 operations, any order": Bounds(operations=2, overtakes=ANY_ORDER, requests=3),
    "2 agents x 3 operations": Bounds(operations=3),
    "3 agents x 1 operation": Bounds(kinds=(O, O, O), overtakes=1, requests=2),
    "2 operations at once": Bounds(operations=2, at_once=2, overtakes=1, requests=4),
    "a sharer that reads twice at once": Bounds(
        kinds=(O, S), reads=2, at_once=2, client_writes=1, overtakes=2, requests=4
    ),
    "additions": Bounds(operations=2, adds=True, overtakes=1, requests=4),
    "evictions": Bounds(evictions=2, overtakes=2, requests=4),
    "a sharer, clients without an agent": Bounds(
        kinds=(O, S), reads=2, client_writes=1, client_reads=1, overtakes=ANY_ORDER, requests=3
    ),
    "crash": Bounds(operations=2, crashes=1),
    "crash, any order": Bounds(crashes=1, overtakes=ANY_ORDER, requests=3),
    "lease loss": Bounds(lapses=1, overtakes=1, requests=4),
    "lease loss, additions, retries": Bounds(adds=True, lapses=1, requests=4),
    "fail-over with writes in the log": Bounds(fail_overs=1, slow_log=True, requests=3),
    "fail-over, a message overtaken": Bounds(fail_overs=1, overtakes=1, requests=3),
    "fail-over, additions": Bounds(adds=True, fail_overs=1, slow_log=True, requests=3),
    "fail-over and crash": Bounds(fail_overs=1, crashes=1, requests=2),
    "fail-over and lease loss": Bounds(
        kinds=(O,), operations=2, client_writes=1, fail_overs=1, lapses=1, requests=4
    ),
    "fail-over with a sharer": Bounds(
        kinds=(O, S), client_writes=1, client_reads=0, fail_overs=1, requests=3
    ),
    "fail-over with clients": Bounds(
        kinds=(S,), client_writes=2, client_reads=1, fail_overs=1, slow_log=True
    ),
    "duplicate": Bounds(duplicates=1, overtakes=2, requests=4),
    "duplicate, 2 operations": Bounds(operations=2, duplicates=1),
    "back": Bounds(operations=2, back=True, requests=4),
    "back, any order": Bounds(back=True, overtakes=ANY_ORDER, requests=3),
    "back, duplicate": Bounds(back=True, overtakes=2, duplicates=1, requests=4),
    "back, evictions": Bounds(back=True, overtakes=1, evictions=2, requests=4),
    "back, additions": Bounds(operations=2, back=True, adds=True, requests=4),
    "back and through": Bounds(
        operations=2, back=True, mixed=True, at_once=2, overtakes=1, requests=3
    ),
    "back and through, evictions, clients": Bounds(
        kinds=(O,), operations=2, back=True, mixed=True, at_once=2, client_writes=1, evictions=1
    ),
    "back and through, fail-over": Bounds(
        kinds=(O,),
        operations=2,
        back=True,
        mixed=True,
        at_once=2,
        client_writes=1,
        client_reads=1,
        fail_overs=1,
        slow_log=True,
        prompt=True,
        requests=5,
    ),
    "back, clients": Bounds(back=True, client_reads=1, client_writes=1, slow_log=True, requests=3),
    "back, fail-over": Bounds(back=True, fail_overs=1, slow_log=True, prompt=True, requests=4),
    "back, broken streams": Bounds(back=True, lapses=1, slow_log=True, prompt=True, requests=4),
    "back, crash: loses, but nothing else": Bounds(back=True, crashes=1, may_lose=True),
}


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", BOUNDS)
def test_nothing_that_can_happen_breaks_an_invariant(name: str) -> None:
    found = explore(BOUNDS[name])
    sys.stdout.write(f"{name}: {found.states} states; of agents, of the home: {found.parts}\n")
    assert not found.violation, "\n".join([found.violation, *found.trace])


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", MUTATIONS)
def test_without_this_rule_an_invariant_breaks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out, bounds, violation = MUTATIONS[name]
    take_out(monkeypatch)
    found = explore(bounds)
    sys.stdout.write(f"{name}: {found.states} states: {found.violation}\n")
    assert violation in found.violation
    assert found.violation, f"{found.states} states, and nothing was found"


def test_the_bounds_of_a_rule_are_clean_with_the_rule() -> None:
    """Else the bounds could be at fault; those of most mutations are among ``BOUNDS``."""
    _, bounds, _ = MUTATIONS["back: evicted unflushed"]
    assert not explore(bounds).violation
    assert not explore(replace(bounds, back=False)).violation
