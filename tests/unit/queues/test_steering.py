"""Members come and go; operators move groups and dead letters."""

import pytest

from support.queue_service import EXCLUSIVE, KEYED, LEADER, SHARED, QueueService
from synaxis.effects import Refused
from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import (
    ABSENT,
    END,
    DeleteGroup,
    Finished,
    GroupMode,
    Join,
    Joined,
    Leave,
    PurgeDead,
    Redrive,
    Revoke,
    Seek,
    Yield,
)
from synaxis.queues.group import Group
from synaxis.queues.limits import QueueLimits
from synaxis.topics import Retention

ALL = (SHARED, KEYED, EXCLUSIVE)


def service(**config: object) -> QueueService:
    made = QueueService()
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


def group(made: QueueService, name: str = "g") -> Group:
    return made.machine.shard.topics["t"].groups[name]


def owners(made: QueueService) -> dict[int, tuple[int, int]]:
    return {p: (each.owner, each.target) for p, each in group(made).owners.items()}


# --- joining and leaving ----------------------------------------------------------------------


def test_the_first_member_makes_the_group_and_hears_what_holds() -> None:
    made = service(visibility_ms=7_000, max_deliveries=4)
    assert made.do(Join("t", "g", 5, KEYED, "worker"), SessionId(9)) == Joined(1, 7_000, 4)
    member = group(made).members[5]
    assert (member.name, member.session, member.visibility_ms) == ("worker", 9, 7_000)


def test_joining_again_changes_nothing_or_what_is_new() -> None:
    made = service()
    join = Join("t", "g", 5, SHARED)
    first = made.do(join, SessionId(9))
    assert made.do(join, SessionId(9)) == first
    changed = made.do(Join("t", "g", 5, SHARED, visibility_ms=2_000), SessionId(9))
    assert changed == Joined(2, 2_000, 5)


def test_a_number_belongs_to_one_session() -> None:
    made = service()
    made.do(Join("t", "g", 5, SHARED), SessionId(9))
    refused = made.do(Join("t", "g", 5, SHARED), SessionId(8))
    assert isinstance(refused, Refused)
    assert "another session" in refused.message


def test_a_group_has_one_mode() -> None:
    made = service()
    made.member(SHARED)
    assert "is shared" in made.refused(Join("t", "g", 5, KEYED)).message


def test_groups_and_members_are_limited() -> None:
    made = QueueService(QueueLimits(groups_per_topic_max=1, members_per_group_max=1))
    made.configure()
    made.member()
    for command, limit in (
        (Join("t", "h", 5, SHARED), "groups_per_topic_max"),
        (Join("t", "g", 5, SHARED), "members_per_group_max"),
    ):
        assert made.refused(command).details["limit"] == limit


def test_a_group_begins_with_the_oldest_message_or_behind_the_newest() -> None:
    made = service()
    made.publish_many(3)
    made.member(group="all")
    made.member(group="new", from_end=True)
    made.publish_many(1)
    assert made.unfinished(group="all") == [0, 1, 2, 3]
    assert made.unfinished(group="new") == [3]


def test_a_first_group_that_begins_at_the_end_keeps_nothing_stored() -> None:
    made = service()
    made.publish_many(3)
    made.member(from_end=True)
    assert made.info().partitions[0].messages == 0


def test_where_a_group_begins_is_decided_once() -> None:
    made = service()
    made.publish_many(3)
    made.member()
    made.member(from_end=True)
    assert made.unfinished() == [0, 1, 2]


@pytest.mark.parametrize("mode", ALL)
def test_leaving_gives_back_without_blame_and_may_be_repeated(mode: GroupMode) -> None:
    made = service()
    one = made.member(mode)
    made.publish_many(2)
    other = made.member(mode)
    one.leave()
    assert other.take_new() == [0, 1]
    assert set(other.held.values()) == {0}
    assert made.do(Leave("t", "g", one.number)) == Finished(0)
    assert one.over is not None
    assert one.over.code == "consumer_fenced"


@pytest.mark.parametrize("mode", ALL)
def test_a_session_takes_all_its_members_with_it(mode: GroupMode) -> None:
    made = service(backoff_first_ms=0, backoff_max_ms=0)
    for name in ("g", "h"):
        made.member(mode, session=7, group=name)
        made.member(mode, session=7, group=name)
    other = made.member(mode, session=8)
    made.publish_many(2)
    made.end_session(SessionId(7))
    assert list(group(made).members) == [other.number]
    assert list(group(made, "h").members) == []
    assert sorted(other.offsets) == [0, 1]


# --- EXCLUSIVE ----------------------------------------------------------------------------------


def test_a_partition_changes_hands_when_its_owner_yields_it() -> None:
    made = service(partitions=2)
    one = made.member(EXCLUSIVE)
    other = made.member(EXCLUSIVE)
    assert sorted(owners(made).values()) == [(1, 1), (1, 2)]
    moving = next(p for p, (_, target) in owners(made).items() if target == 2)
    one.give_up(0, 1, 9)
    assert owners(made)[moving] == (2, 2)
    assert owners(made)[1 - moving] == (1, 1)
    assert other.assignments[-1].partitions == (moving,)


def test_yielding_what_one_does_not_own_does_nothing() -> None:
    made = service(partitions=2)
    made.member(EXCLUSIVE)
    other = made.member(EXCLUSIVE)
    assert made.do(Yield("t", "g", other.number, (0, 1))) == Finished(0)


def test_an_owner_that_leaves_is_followed_at_once() -> None:
    made = service(partitions=3)
    one, other = made.member(EXCLUSIVE), made.member(EXCLUSIVE)
    one.leave()
    assert set(owners(made).values()) == {(other.number, other.number)}
    other.leave()
    assert set(owners(made).values()) == {(0, 0)}


def test_a_verdict_about_an_earlier_ownership_is_void() -> None:
    made = service()
    one = made.member(EXCLUSIVE, session=1)
    epoch = group(made).owners[0].epoch
    made.member(EXCLUSIVE, session=2)
    revoke = Revoke("t", "g", 0, epoch)
    assert made.do(revoke, LEADER) == Finished(0)  # it need not yield
    one.leave()
    assert group(made).owners[0].epoch == epoch + 1
    one.join(EXCLUSIVE)
    assert made.do(revoke, LEADER) == Finished(0)


def test_a_partition_is_taken_from_an_owner_that_does_not_yield() -> None:
    made = service(partitions=2)
    made.member(EXCLUSIVE)
    made.member(EXCLUSIVE)
    moving = next(p for p, (_, target) in owners(made).items() if target == 2)
    epoch = group(made).owners[moving].epoch
    assert made.do(Revoke("t", "g", moving, epoch), LEADER) == Finished(1)
    assert owners(made)[moving] == (2, 2)
    assert made.do(Revoke("t", "g", moving, epoch), LEADER) == Finished(0)


# --- seeking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ALL)
def test_a_group_is_moved_to_an_offset_a_time_or_the_end(mode: GroupMode) -> None:
    made = service(retention=Retention.LOG)
    member = made.member(mode)
    for _ in range(4):
        made.publish_many(1)
        made.advance(10, heard=[member])
    member.ack()
    begun = made.now - 40
    for command, unfinished in (
        (Seek("t", "g", offset=1), [1, 2, 3]),
        (Seek("t", "g", offset=END), []),
        (Seek("t", "g", time=LogTime(begun + 20)), [2, 3]),
        (Seek("t", "g", time=LogTime(begun + 21)), [3]),
        (Seek("t", "g", time=LogTime(begun + 999)), []),
        (Seek("t", "g", offset=99), []),
        (Seek("t", "g", partition=0, offset=0), [0, 1, 2, 3]),
    ):
        assert made.do(command) == Finished(len(unfinished))
        assert made.unfinished() == unfinished
        assert sorted(member.held) == [(0, offset) for offset in unfinished]
        member.held.clear()


def test_seeking_back_does_not_bring_back_what_is_gone() -> None:
    made = service()
    member = made.member()
    made.publish_many(1)
    made.publish(ttls=[10, 0])
    member.ack(0)
    made.advance(10, heard=[member])
    assert made.do(Seek("t", "g", offset=0)) == Finished(1)
    assert made.unfinished() == [2]


def test_dead_letters_stay_dead_when_the_group_moves() -> None:
    made = service()
    member = made.member()
    made.publish_many(3)
    member.reject(1)
    made.do(Seek("t", "g", offset=0))
    assert (made.unfinished(), made.dead()) == ([0, 2], [1])
    made.do(Seek("t", "g", offset=END))
    assert (made.unfinished(), made.dead()) == ([], [1])


def test_a_seek_forgets_failures_and_whoever_holds_what() -> None:
    made = service()
    one = made.member()
    made.publish_many(1)
    one.nack(0, delay=60_000)
    made.do(Seek("t", "g", offset=0))
    assert one.held == {(0, 0): 0}
    assert made.progress().delayed == 0


# --- dead letters -------------------------------------------------------------------------------


def dying(*partitions: int) -> QueueService:
    """A message of each of these partitions died, one after the other."""
    made = service(partitions=2)
    member = made.member()
    for partition in partitions:
        first = made.publish_many(1, partition=partition).first
        if len(partitions) % 2 and partition:
            member.nack(first, partition=partition)
            for _ in range(4):
                member.nack(first, partition=partition)
        else:
            member.reject(first, partition=partition)
        made.advance(1, heard=[member])
    member.take_new()
    return made


def test_dead_letters_come_back_without_failures_the_oldest_first() -> None:
    made = dying(0, 1, 0, 1)
    assert made.do(Redrive("t", "g", limit=2)) == Finished(2)
    assert (made.dead(0), made.dead(1)) == ([1], [1])
    assert sorted(made.members[0].got) == [(0, 0), (1, 0)]
    assert set(made.members[0].held.values()) == {0}
    assert made.do(Redrive("t", "g", partition=1)) == Finished(1)
    assert made.do(Redrive("t", "g")) == Finished(1)
    assert made.do(Redrive("t", "g")) == Finished(0)


def test_dead_letters_are_chosen_by_offset_and_reason() -> None:
    made = dying(0, 1, 0)
    assert made.do(Redrive("t", "g", partition=0, offsets=(1, 7))) == Finished(1)
    assert made.do(Redrive("t", "g", reason="max_deliveries")) == Finished(1)
    assert (made.dead(0), made.dead(1)) == ([0], [])
    assert made.do(PurgeDead("t", "g", reason="max_deliveries")) == Finished(0)
    assert made.do(PurgeDead("t", "g", limit=0)) == Finished(0)
    assert made.do(PurgeDead("t", "g", reason="rejected")) == Finished(1)


def test_purged_dead_letters_are_finished_and_their_bytes_go() -> None:
    made = dying(0, 1)
    assert made.do(PurgeDead("t", "g")) == Finished(2)
    assert made.unfinished() == []
    assert made.machine.shard.segments.stored_bytes == 0


def test_a_redriven_message_whose_ttl_is_over_may_be_delivered() -> None:
    made = service(expired_to_dead=True)
    member = made.member(credit=0)
    made.publish(ttls=[50], delays=[90], priorities=[4])
    made.advance(50)
    made.do(Redrive("t", "g"))
    member.attach()
    assert member.offsets == [0]
    assert made.machine.shard.topics["t"].partitions[0].specials[0].priority == 4


def test_redriving_for_one_group_does_not_change_a_life_that_is_not_over() -> None:
    """Its ttl and delay belong to the other groups too."""
    made = service()
    member, other = made.member(), made.member(group="other", credit=0)
    made.publish(ttls=[1_000], delays=[100])
    made.advance(100, heard=[member])
    member.reject(0)
    made.do(Redrive("t", "g"))
    made.advance(900, heard=[member, other])
    other.attach()
    assert other.offsets == []
    assert (made.unfinished(), made.unfinished(group="other")) == ([], [])


# --- the end of a group -------------------------------------------------------------------------


def test_a_group_with_members_is_not_deleted() -> None:
    made = service()
    made.member()
    assert "has 1 members" in made.refused(DeleteGroup("t", "g")).message


def test_a_deleted_group_holds_nothing_back() -> None:
    made = service()
    member, other = made.member(), made.member(group="h")
    made.publish_many(2)
    member.reject(0)
    other.ack()
    member.leave()
    assert made.do(DeleteGroup("t", "g")) == Finished(1)
    assert made.info().partitions[0].messages == 0
    assert made.refused(DeleteGroup("t", "g")).code == "not_found"
    assert made.do(Join("t", "g", 50, KEYED)) == Joined(1, 30_000, 5)


@pytest.mark.parametrize(
    "command",
    [
        Leave("t", "x", 1),
        Yield("t", "x", 1, (0,)),
        Revoke("t", "x", 0, 1),
        Seek("t", "x", offset=0),
        Redrive("t", "x"),
        PurgeDead("t", "x"),
        DeleteGroup("t", "x"),
        Seek("t", "g", partition=3, offset=0),
        Redrive("t", "g", partition=3),
        Join("x", "g", 1, SHARED),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_does_not_exist_is_named(command: object) -> None:
    made = service()
    made.member()
    refused = made.do(command, LEADER)  # type: ignore[arg-type]  # one of many
    assert isinstance(refused, Refused)
    assert refused.code == "not_found"
    assert made.progress().lag == 0
    assert ABSENT == -1
