"""Messages go unread when their time is over, and space comes back."""

import pytest

from support.queue_service import QueueService
from synaxis.queues import forgetting
from synaxis.queues.commands import Finished, Purge, Redrive
from synaxis.queues.limits import QueueLimits
from synaxis.topics import Retention


def service(limits: QueueLimits | None = None, **config: object) -> QueueService:
    made = QueueService(limits or QueueLimits())
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


def tally(made: QueueService) -> dict[str, int]:
    found = made.machine.shard.tallies["t"]
    return {field: getattr(found, field) for field in found.__struct_fields__}


def sizes(made: QueueService) -> list[int]:
    """How many messages each batch that is stored has."""
    index = made.machine.shard.topics["t"].partitions[0].index
    return [index.row(at).messages for at in index.rows if index.is_alive(at)]


# --- ttl ------------------------------------------------------------------------------------


def test_a_message_whose_ttl_is_over_goes() -> None:
    made = service()
    member = made.member(credit=0)
    made.publish(ttls=[0, 50, 100])
    assert made.machine.deadline() == made.now + 50
    made.advance(50)
    assert made.unfinished() == [0, 2]
    made.advance(50)
    assert made.unfinished() == [0]
    assert made.machine.deadline() is None
    assert (tally(made)["expired"], made.dead()) == (2, [])
    member.attach()
    assert member.offsets == [0]


def test_an_expired_message_becomes_a_dead_letter_of_each_group_that_had_not_finished_it() -> None:
    made = service(expired_to_dead=True)
    done, late = made.member(group="done"), made.member(group="late", credit=0)
    made.publish(ttls=[50])
    done.ack(0)
    made.advance(50)
    assert (made.dead(group="done"), made.dead(group="late")) == ([], [0])
    assert (tally(made)["expired"], tally(made)["dead_lettered"]) == (0, 1)
    assert late.got == []


def test_an_expired_message_keeps_its_count_of_failures() -> None:
    made = service(expired_to_dead=True)
    member = made.member()
    made.publish(ttls=[50])
    member.nack(0, delay=1_000)
    failed_at = made.now
    made.advance(50)
    letter = made.machine.shard.topics["t"].groups["g"].progress[0].dead[0]
    assert (letter.reason, letter.failures, letter.first_failed_at) == ("expired", 1, failed_at)


def test_what_every_group_has_finished_does_not_count_as_expired() -> None:
    made = service()
    member = made.member()
    made.publish(ttls=[50, 0])
    member.ack(0)
    made.advance(50)
    assert tally(made)["expired"] == 0


def test_without_groups_messages_expire_too() -> None:
    made = service()
    made.publish(ttls=[50])
    made.advance(50)
    assert (tally(made)["expired"], sizes(made)) == (1, [])


def test_a_message_in_hand_expires_and_may_not_be_acknowledged_again() -> None:
    made = service()
    member = made.member()
    made.publish(ttls=[50])
    made.advance(50)
    assert made.progress().in_flight == 0
    assert member.ack(0).done == 0


def test_a_restored_shard_does_not_let_a_message_expire_twice() -> None:
    """Its batch is still there for a neighbour, so its ttl is found again."""
    made = service(expired_to_dead=True)
    made.member(credit=0)
    made.publish(ttls=[50, 0])
    made.advance(50)
    made.fail_over()
    made.advance(1)
    assert (tally(made)["dead_lettered"], made.dead()) == (1, [0])
    assert made.machine.deadline() is None


def test_the_plan_of_expiries_does_not_grow_with_what_was_consumed_in_time() -> None:
    made = service()
    member = made.member(credit=10**6)
    for number in range(60):
        made.publish(ttls=[1_000_000 + number] * 100)
        member.ack()
    assert made.info().partitions[0].messages == 0
    assert len(made.machine.shard.expiries) < 2_500


def test_very_many_expiries_are_spread_over_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "EXPIRED_PER_ENTRY_MAX", 3)
    made = service()
    made.member(credit=0)
    made.publish(ttls=[50] * 8)
    made.machine.advance(made.now)
    made.now += 50  # type: ignore[assignment]  # later
    left = []
    while (due := made.machine.deadline()) is not None and due <= made.now:
        made.machine.advance(made.now)
        left.append(len(made.unfinished()))
    assert left == [5, 2, 0]


# --- retention ------------------------------------------------------------------------------


@pytest.mark.parametrize("retention", Retention)
def test_what_is_too_old_goes(retention: Retention) -> None:
    made = service(retention=retention, retention_ms=100)
    made.member(credit=0)
    made.publish_many(2)
    made.advance(60)
    made.publish_many(3)
    assert sizes(made) == [2, 3]
    made.advance(40)
    assert (sizes(made), made.unfinished()) == ([3], [2, 3, 4])
    made.advance(60)
    assert (sizes(made), made.machine.deadline()) == ([], None)


def test_a_log_keeps_what_is_finished_until_it_is_too_old() -> None:
    made = service(retention=Retention.LOG, retention_ms=100)
    member = made.member()
    made.publish_many(2)
    member.ack()
    assert sizes(made) == [2]
    made.advance(100, heard=[member])
    assert sizes(made) == []


def test_a_dead_letter_that_is_too_old_stays_and_time_goes_on() -> None:
    """The shard looked at its batch for ever, because it was too old and stayed."""
    made = service(retention=Retention.LOG, retention_ms=100)
    member = made.member()
    made.publish_many(1)
    member.reject(0)
    made.advance(1_000, heard=[member])
    assert (sizes(made), made.dead()) == ([1], [0])
    assert made.machine.deadline() is None
    made.publish_many(1)
    made.advance(100, heard=[member])
    assert sizes(made) == [1]


@pytest.mark.parametrize("retention", Retention)
def test_a_redriven_message_outlives_the_retention_that_had_let_it_go(
    retention: Retention,
) -> None:
    made = service(retention=retention, retention_ms=100)
    member = made.member()
    made.publish_many(1)
    member.reject(0)
    made.advance(200, heard=[member])
    member.take_new()
    made.do(Redrive("t", "g"))
    made.publish_many(1)
    made.advance(150, heard=[member])
    assert member.take_new() == [0, 1]
    assert made.unfinished() == [0]
    member.ack(0)
    assert sizes(made) == []


def test_a_shorter_retention_is_obeyed_at_once_and_a_longer_one_too() -> None:
    made = service(retention=Retention.LOG, retention_ms=1_000)
    made.publish_many(1)
    made.advance(300)
    made.configure(retention_ms=200)
    assert made.machine.deadline() == made.now - 100
    made.advance(1)
    assert sizes(made) == []
    made.publish_many(1)
    made.configure(retention_ms=5_000)
    made.advance(1_000)
    assert sizes(made) == [1]
    made.configure(retention_ms=0)
    made.advance(10_000)
    assert sizes(made) == [1]


def test_plans_of_retention_do_not_pile_up_when_a_partition_runs_empty_again_and_again() -> None:
    made = service(retention_ms=1_000_000)
    member = made.member(credit=10_000)
    for _ in range(300):
        made.publish_many(1)
        member.ack()
    assert len(made.machine.shard.ages) <= 2


# --- purge ----------------------------------------------------------------------------------


def test_a_purge_leaves_nothing_but_the_numbers() -> None:
    made = service(partitions=2)
    member = made.member()
    made.publish_many(3)
    made.publish_many(2, partition=1)
    member.reject(0)
    assert made.do(Purge("t", 0)) == Finished(3)
    assert (made.dead(), made.unfinished(), made.unfinished(1)) == ([], [], [0, 1])
    assert made.publish_many(1).first == 3
    assert made.do(Purge("t")) == Finished(3)
    assert made.machine.shard.segments.stored_bytes == 0


def test_a_purge_counts_what_was_stored() -> None:
    made = service()
    assert made.do(Purge("t")) == Finished(0)
    made.publish_many(4)
    assert made.do(Purge("t")) == Finished(4)
    assert made.do(Purge("t")) == Finished(0)


# --- compaction -----------------------------------------------------------------------------


def test_what_is_left_of_sparse_segments_is_copied_together() -> None:
    made = service(QueueLimits(segment_bytes_max=200))
    member = made.member()
    bodies = [b"%03d" % number for number in range(60)]
    for body in bodies:
        made.publish(body)
    kept = list(range(0, 60, 15))
    member.ack(*[offset for offset in range(60) if offset not in kept])
    while (due := made.machine.deadline()) is not None:
        assert due <= made.now
        made.tick()
    numbers = sorted(made.machine.shard.segments.by_number)
    assert numbers == sorted(made.store.segments)
    assert sum(map(len, made.store.segments.values())) < 19 * 4 * len(kept)
    member.attach()
    assert member.bodies[-4:] == [bodies[offset] for offset in kept]


def test_one_entry_copies_one_segment() -> None:
    """A topic that is removed may leave a little of every segment: all copies at once would stop
    the shard."""
    made = service(QueueLimits(segment_bytes_max=100))
    made.configure("other", 2)
    for _ in range(10):
        made.publish(b"a" * 60)
        made.publish(b"b", topic="other")
    made.remove()
    segments = made.machine.shard.segments
    assert segments.sparse() == 1
    assert made.machine.deadline() == 0
    made.machine.advance(made.now)
    assert segments.sparse() == 2
