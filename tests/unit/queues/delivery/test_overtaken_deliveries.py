"""What a member says of a delivery that it has lost says nothing of the one it has."""

import pytest

from support.queue_service import KEYED, SHARED, QueueService, TestMember
from synaxis.queues.commands import Begin, Extend, GroupMode, Part, Release

OLD, NEW = Part(0, 0, 0, 0), Part(0, 0, 0, 1)


@pytest.fixture(params=[SHARED, KEYED])
def member(request: pytest.FixtureRequest) -> TestMember:
    """It lost a message to its own silence, and was given it again."""
    mode: GroupMode = request.param
    service = QueueService()
    service.configure(visibility_ms=1_000, backoff_first_ms=0, backoff_max_ms=0)
    member = service.member(mode)
    service.publish(keys=["a"])
    service.advance(1_100)
    service.heard(member.session)
    assert (member.take_new(), member.held) == ([0, 0], {(0, 0): 1})
    return member


def test_releasing_the_old_one_does_not_give_back_the_new_one(member: TestMember) -> None:
    other = member.service.member(KEYED if member.service.group().mode else SHARED)
    member.demand(Release("t", "g", member.number, (OLD,)))
    assert (other.offsets, member.service.progress().in_flight) == ([], 1)
    member.credit(-1_000)
    member.demand(Release("t", "g", member.number, (NEW,)))
    assert other.offsets == [0]


def test_extending_or_beginning_the_old_one_is_told_as_stale(member: TestMember) -> None:
    member.demand(Extend("t", "g", member.number, (OLD,), 1_000))
    member.demand(Begin("t", "g", member.number, (OLD,)))
    member.demand(Extend("t", "g", member.number, (NEW,), 1_000))
    member.demand(Begin("t", "g", member.number, (NEW,)))
    assert [each.stale for each in member.extended] == [(OLD,), (OLD,), (), ()]


def test_an_extension_of_nothing_asks_for_no_look(member: TestMember) -> None:
    """The SDK sends one to learn that what it said before has arrived."""
    service = member.service
    due = service.dispatcher.deadline()
    member.demand(Extend("t", "g", member.number, (), 1))
    assert service.dispatcher.deadline() == due
