"""One agent computes a missing value; the others wait."""

import pytest

from synaxis.caches.commands import AgentId
from synaxis.caches.reservations import Reservations
from synaxis.errors import Overloaded
from synaxis.ids import LogTime

KEY = "c/k"
A, B, C = AgentId(1), AgentId(2), AgentId(3)
NOW = LogTime(1_000)


def told(reservations: Reservations) -> list[tuple[AgentId, int]]:
    promises, reservations.promises = reservations.promises, []
    return [(each.agent, each.token) for each in promises]


@pytest.fixture
def reservations() -> Reservations:
    return Reservations(lease_ms=100, waiting_max=2)


def test_the_first_gets_the_right_the_others_wait_for_the_value(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    reservations.ask(B, 2, KEY, NOW, renew=False)
    ((agent, token),) = told(reservations)
    assert agent == A
    assert reservations.is_good(KEY, token)
    reservations.written(KEY)
    assert told(reservations) == [(B, 0)]
    assert not reservations.is_good(KEY, token)


def test_who_would_renew_is_told_at_once_that_another_does(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=True)
    reservations.ask(B, 2, KEY, NOW, renew=True)
    assert [token > 0 for _, token in told(reservations)] == [True, False]


@pytest.mark.parametrize("how", ["surrender", "gone", "expire"])
def test_the_next_one_gets_it(reservations: Reservations, how: str) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    reservations.ask(B, 2, KEY, NOW, renew=False)
    ((_, token),) = told(reservations)
    if how == "surrender":
        reservations.surrender(A, KEY, token, 0, NOW)
    elif how == "gone":
        reservations.gone(A, NOW)
    else:
        reservations.expire(LogTime(NOW + 99))
        assert not told(reservations)
        assert reservations.deadline() == NOW + 100
        reservations.expire(LogTime(NOW + 100))
    ((agent, later),) = told(reservations)
    assert agent == B
    assert later > token


def test_a_write_voids_the_token(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    ((_, token),) = told(reservations)
    reservations.touched(KEY)
    assert not reservations.is_good(KEY, token)


def test_who_waits_no_longer_is_not_given_it(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    reservations.ask(B, 2, KEY, NOW, renew=False)
    reservations.ask(C, 3, KEY, NOW, renew=False)
    ((_, token),) = told(reservations)
    reservations.surrender(B, KEY, 0, 2, NOW)
    reservations.surrender(A, KEY, token, 0, NOW)
    assert [agent for agent, _ in told(reservations)] == [C]


def test_another_ones_token_is_not_surrendered(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    ((_, token),) = told(reservations)
    reservations.surrender(B, KEY, token, 0, NOW)
    assert reservations.is_good(KEY, token)


def test_not_too_many_wait(reservations: Reservations) -> None:
    for agent in (A, B, C):
        reservations.ask(agent, 1, KEY, NOW, renew=False)
    with pytest.raises(Overloaded):
        reservations.ask(AgentId(4), 1, KEY, NOW, renew=False)


def test_tokens_of_a_later_home_are_larger(reservations: Reservations) -> None:
    reservations.ask(A, 1, KEY, NOW, renew=False)
    later = Reservations(100, 2)
    later.ask(A, 1, KEY, LogTime(NOW + 1), renew=False)
    assert told(later)[0][1] > told(reservations)[0][1]
