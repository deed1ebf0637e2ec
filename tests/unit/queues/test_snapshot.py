"""Everything survives, and equal states are equal bytes."""

from collections.abc import Callable

import msgspec
import pytest

from support.queue_service import (
    EXCLUSIVE,
    KEYED,
    LEADER,
    PRODUCER,
    SHARED,
    QueueService,
    parts_of,
)
from synaxis.ids import SessionId
from synaxis.queues.commands import (
    Ack,
    ConfigureTopic,
    Join,
    Leave,
    Nack,
    Purge,
    PurgeDead,
    Redrive,
    Reject,
    Seek,
    Yield,
)
from synaxis.queues.limits import QueueLimits
from synaxis.topics import Retention, TopicConfig, TopicRecord

SMALL = QueueLimits(segment_bytes_max=200, message_ids_per_partition_max=3)


class Unchecked(QueueService):
    """Checks its invariants when it is asked to, not after every step: that took most time."""

    def check(self) -> None:
        pass


def busy() -> QueueService:
    """Return a shard with something of everything, without a leader's half."""
    service = Unchecked(leads=False, limits=SMALL)
    service.configure("t", 1, partitions=2, max_deliveries=2, expired_to_dead=True)
    service.configure("log", 2, retention=Retention.LOG, retention_ms=5_000)
    for number in range(6):
        service.publish(b"a" * 30, b"b", keys=["k", ""], ids=[f"id{number}", ""])
        service.publish(b"c", priorities=[number], delays=[number * 100], ttls=[900], partition=1)
        service.publish(b"logged" * 5, topic="log")
        service.advance(10)
    first = service.member(SHARED, credit=0, name="first")
    service.member(KEYED, group="keyed", credit=0, announces=True)
    service.member(EXCLUSIVE, group="mine", credit=0)
    service.member(EXCLUSIVE, group="mine", credit=0, visibility_ms=5_000, auto_extend=False)
    service.member(SHARED, topic="log", credit=0).ack(0, 1, 3)
    for kind, offsets, more in (
        (Ack, (0, 4, 5, 9), ()),
        (Nack, (1, 2), (50, "no")),
        (Reject, (7, 3), ("bad",)),
    ):
        service.do(
            kind("t", "g", first.number, parts_of(0, offsets), *more),
            first.session,
        )
    return service


def restarted(service: QueueService) -> QueueService:
    """Replace the machine by one that was restored from its snapshot."""
    data = service.machine.snapshot()
    service.machine = service.build()
    service.machine.restore(data)
    service.machine.check_invariants()
    return service


def finish_all(service: QueueService) -> None:
    for group, member in (("g", 1), ("keyed", 2)):
        service.do(Ack("t", group, member, parts_of(0, range(12))))
    service.advance(1)


CONTINUATIONS: dict[str, Callable[[QueueService], object]] = {
    "publish": lambda service: service.publish(b"x", b"y", ids=["id5", "new"]),
    "repeat": lambda service: service.do(
        msgspec.structs.replace(service.publishing(b"z"), sequence=1)
    ),
    "ack": lambda service: service.do(Ack("t", "g", 1, parts_of(0, range(12)))),
    "nack again": lambda service: service.do(Nack("t", "g", 1, parts_of(0, [1], 1), -1, "no")),
    "ttl": lambda service: service.advance(1_000),
    "age": lambda service: service.advance(6_000),
    "compaction": finish_all,
    "redrive": lambda service: service.do(Redrive("t", "g", 1)),
    "purge dead": lambda service: service.do(PurgeDead("t", "g", 1)),
    "purge": lambda service: service.do(Purge("t")),
    "seek": lambda service: service.do(Seek("t", "g", offset=3)),
    "leave": lambda service: service.do(Leave("t", "mine", 3)),
    "yield": lambda service: service.do(Yield("t", "mine", 3, (0, 1))),
    "lost session": lambda service: service.end_session(service.members[2].session),
    "join": lambda service: service.member(EXCLUSIVE, group="mine", credit=0).number,
    "configure": lambda service: service.configure("t", 1, max_deliveries=9),
    "remove": lambda service: service.remove("t", 1),
}


@pytest.mark.parametrize("name", CONTINUATIONS)
def test_a_restored_shard_goes_on_exactly_like_the_original(name: str) -> None:
    original, twin = busy(), restarted(busy())
    go_on = CONTINUATIONS[name]
    before = original.machine.snapshot()
    assert go_on(twin) == go_on(original)
    if name != "repeat":
        assert original.machine.snapshot() != before, "the step does something"
    for service in (original, twin):
        service.do(service.publishing(b"end"))
        service.advance(10_000)
        service.machine.check_invariants()
    assert twin.machine.snapshot() == original.machine.snapshot()
    assert twin.store.segments == original.store.segments


def test_a_restored_shard_saves_the_same_bytes() -> None:
    service = busy()
    data = service.machine.snapshot()
    assert restarted(service).machine.snapshot() == data


def test_an_empty_shard_survives() -> None:
    service = QueueService(leads=False)
    data = service.machine.snapshot()
    assert restarted(service).machine.snapshot() == data
    service.configure()
    service.publish(b"a")
    assert service.info().partitions[0].messages == 1


def test_what_is_derived_is_derived_again() -> None:
    service = busy()

    def derived() -> tuple[object, ...]:
        shard = service.machine.shard
        parts = [each for topic in shard.topics.values() for each in topic.partitions.values()]
        return (
            shard.index_bytes,
            shard.segments.stored_bytes,
            sorted(shard.expiries),
            sorted((each.messages, each.size, each.kept_size, each.key_bytes) for each in parts),
        )

    before = derived()
    restarted(service)
    assert derived() == before


def test_restoring_replaces_whatever_was_there() -> None:
    service, other = busy(), QueueService(leads=False, limits=SMALL)
    other.configure("left", 9)
    other.publish(b"over", topic="left")
    other.machine.restore(service.machine.snapshot())
    assert sorted(other.machine.shard.topics) == ["log", "t"]
    assert other.machine.snapshot() == service.machine.snapshot()


def test_states_that_came_about_in_another_order_are_equal_bytes() -> None:
    """Topics, groups and acknowledgements have no order that anybody could tell."""
    straight, other = QueueService(leads=False), QueueService(leads=False)
    for service, along in ((straight, 1), (other, -1)):
        for name, number in (("t", 1), ("u", 2))[::along]:
            service.do(
                ConfigureTopic(TopicRecord(name, number, 1, TopicConfig(partitions=1))), LEADER
            )
        service.publish(*[b"m"] * 6)
        for group, number in (("g", 5), ("h", 6))[::along]:
            session = SessionId(number)
            service.do(Join("t", group, number, SHARED), session)
            for offset in (1, 3, 5)[::along]:
                service.do(Nack("t", group, number, parts_of(0, [offset - 1]), 9, "no"), session)
                service.do(Ack("t", group, number, parts_of(0, [offset])), session)
    assert straight.machine.snapshot() == other.machine.snapshot()


def test_messages_are_not_in_the_snapshot_but_named_beside_it() -> None:
    service = QueueService(leads=False)
    service.configure()
    service.publish(b"precious" * 50)
    assert b"precious" not in service.machine.snapshot()
    (attachment,) = service.machine.attachments()
    assert attachment.length == len(service.store.segments[attachment.segment])


def test_a_restored_shard_names_the_same_attachments() -> None:
    service = busy()
    before = service.machine.attachments()
    assert len(before) > 1
    assert restarted(service).machine.attachments() == before


def test_a_batch_is_recognised_after_a_restart() -> None:
    service = QueueService(leads=False)
    service.configure()
    command = service.publishing(b"a", b"b")
    service.do(command, PRODUCER)
    restarted(service)
    service.do(command, PRODUCER)
    assert service.info().partitions[0].messages == 2
