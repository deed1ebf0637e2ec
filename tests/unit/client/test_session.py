"""Sequences, acknowledgements and beliefs of a session, without any network."""

from random import SystemRandom

import pytest

from synaxis.client.routing import Router
from synaxis.client.session import Session, SessionState
from synaxis.ids import FencingToken, GroupId, SessionId
from synaxis.locks.commands import Release
from synaxis.wire.client import Hello

TOKEN = FencingToken(1)


@pytest.fixture
def session() -> Session:
    router = Router(["http://a:1"], Hello(1, "test"), None, lambda _: None, SystemRandom())
    return Session(router, GroupId("locks/0"), SessionId(7), 15_000, "test")


def test_sequences_count_from_one(session: Session) -> None:
    assert [session.number(Release(TOKEN)).sequence for _ in range(3)] == [1, 2, 3]


def test_replies_in_order_raise_the_watermark(session: Session) -> None:
    for sequence in (1, 2):
        session.number(Release(TOKEN))
        session.seen(sequence)
    assert session.number(Release(TOKEN)).acked == 2


def test_replies_out_of_order_are_told_once_above_the_watermark(session: Session) -> None:
    for _ in range(4):
        session.number(Release(TOKEN))
    session.seen(3)
    session.seen(4)
    told = session.number(Release(TOKEN))
    assert (told.acked, told.acked_above) == (0, (3, 4))
    session.seen(1)
    again = session.number(Release(TOKEN))
    assert (again.acked, again.acked_above) == (1, ())
    session.seen(2)
    assert session.number(Release(TOKEN)).acked == 4


def test_a_sequence_is_seen_once(session: Session) -> None:
    for _ in range(2):
        session.number(Release(TOKEN))
    session.seen(1)
    session.seen(1)
    session.seen(2)
    assert session.number(Release(TOKEN)).acked == 2


def test_the_lease_is_counted_from_sending_and_believed_for_two_thirds(session: Session) -> None:
    session.state = SessionState.OPENING
    session.opened(15_000, sent_at=1000.0)
    assert session.lost_at == pytest.approx(1010.0)
    assert session.at_risk_at < session.lost_at


class Held:
    """Something that can be lost."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def lose(self, reason: str) -> None:
        self.reasons.append(reason)


def test_the_end_of_a_session_is_the_loss_of_its_grants(session: Session) -> None:
    held = Held()
    session.state = SessionState.OPEN
    session.grants[TOKEN] = held
    session.end("session_expired")
    session.end("client_closed")
    assert held.reasons == ["session_expired"]
    assert session.grants == {}
