"""While something is being cleared nobody keeps a line of it."""

from synaxis.caches.barrier import Barriers
from synaxis.caches.commands import AgentId
from synaxis.ids import Sequence, SessionId

ONE, TWO = AgentId(1), AgentId(2)
ORIGIN = SessionId(1), Sequence(1)


def begun(waiting: set[AgentId]) -> tuple[Barriers, list[str]]:
    barriers, said = Barriers(), list[str]()
    barriers.begin("c", ORIGIN, 7, waiting, lambda: said.append("release"))
    return barriers, said


def test_it_lets_the_command_go_when_all_have_answered() -> None:
    barriers, said = begun({ONE, TWO})
    assert barriers.acknowledged(ONE, 7)
    assert not said
    assert barriers.acknowledged(TWO, 7)
    assert barriers.acknowledged(TWO, 7), "a second answer is one too, and does nothing"
    assert said == ["release"]


def test_an_agent_that_is_gone_has_answered() -> None:
    barriers, said = begun({ONE})
    barriers.gone(ONE)
    assert said == ["release"]


def test_without_agents_it_lets_go_at_once_and_stays_up_until_the_end() -> None:
    barriers, said = begun(set())
    assert said == ["release"]
    assert barriers.covers("c")
    assert not barriers.covers("d")
    barriers.end(ORIGIN)
    assert not barriers.covers("c")


def test_what_waits_is_done_when_the_last_one_is_down() -> None:
    barriers, said = begun(set())
    other = SessionId(2), Sequence(1)
    barriers.begin("c", other, 8, set(), lambda: None)
    barriers.wait("c", lambda: said.append("wish"))
    barriers.end(ORIGIN)
    assert said == ["release"]
    barriers.end(other)
    assert said == ["release", "wish"]


def test_it_knows_who_has_answered() -> None:
    barriers, _ = begun({ONE})
    assert not barriers.has_answered(ONE, "c")
    assert barriers.has_answered(TWO, "c")
    assert not barriers.has_answered(TWO, "d")


def test_other_answers_and_ends_are_none_of_its_business() -> None:
    barriers, said = begun({ONE})
    assert not barriers.acknowledged(ONE, 8)
    barriers.end((SessionId(9), Sequence(9)))
    assert not said
    assert barriers.covers("c")
