"""The thread that tells of a blocked event loop."""

import logging
from random import SystemRandom

import pytest

from synaxis.client.clock import now
from synaxis.client.pool import SessionPool
from synaxis.client.routing import Router
from synaxis.client.session import SessionState
from synaxis.client.watchdog import Watchdog
from synaxis.ids import FencingToken, GroupId
from synaxis.wire.client import Hello


class Held:
    """A grant."""

    def lose(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def pool() -> SessionPool:
    router = Router(["http://a:1"], Hello(1, "test"), None, lambda _: None, SystemRandom())
    return SessionPool(router, 15_000, "test", SystemRandom())


def hold_something(pool: SessionPool, lost_in_s: float) -> None:
    session = pool.session(GroupId("locks/0"))
    session.state = SessionState.OPEN
    session.grants[FencingToken(1)] = Held()
    session.lost_at = now() + lost_in_s


def test_a_blockade_that_outlasts_the_belief_in_a_lock_is_told_once(
    pool: SessionPool, caplog: pytest.LogCaptureFixture
) -> None:
    hold_something(pool, lost_in_s=-1)
    pool.beat_at = now() - 20
    watchdog = Watchdog(pool)
    with caplog.at_level(logging.ERROR):
        watchdog.look()
        watchdog.look()
    assert watchdog.alarms == 1
    assert "blocked" in caplog.text


def test_a_short_blockade_is_no_alarm(pool: SessionPool) -> None:
    hold_something(pool, lost_in_s=5)
    pool.beat_at = now() - 3
    watchdog = Watchdog(pool)
    watchdog.look()
    assert watchdog.alarms == 0


def test_without_locks_nothing_is_in_danger(pool: SessionPool) -> None:
    pool.beat_at = now() - 20
    watchdog = Watchdog(pool)
    watchdog.look()
    assert watchdog.alarms == 0


def test_a_loop_that_beats_is_no_alarm(pool: SessionPool) -> None:
    hold_something(pool, lost_in_s=-1)
    pool.beat_at = now()
    watchdog = Watchdog(pool)
    watchdog.look()
    assert watchdog.alarms == 0
