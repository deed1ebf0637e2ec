"""The naive queue service: what it lets pass, and what not."""

from typing import Any

import msgspec
import pytest

from synaxis.effects import Refused
from synaxis.ids import LogTime, SessionId
from synaxis.queues.commands import (
    ABSENT,
    Ack,
    ConfigureTopic,
    DeleteGroup,
    Expire,
    Finished,
    GroupMode,
    Join,
    Joined,
    Leave,
    Nack,
    Part,
    Publish,
    Published,
    Purge,
    PurgeDead,
    RecordBatch,
    Redrive,
    Reject,
    Revoke,
    Seek,
    Settled,
    Yield,
)
from synaxis.queues.limits import QueueLimits
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.queues.model import QueueModel
from synaxis.simulation.queues.naive_group import Fate, NaiveGroup
from synaxis.topics import Retention, TopicConfig, TopicRecord

ALICE, BOB = SessionId(1), SessionId(2)
CONSUMER_FENCED = Refused("consumer_fenced", "", {})
NOT_FOUND = Refused("not_found", "", {})


class Service:
    """A model, fed by hand."""

    def __init__(self, **config: Any) -> None:
        self.model = QueueModel(QueueLimits(sequences_per_producer_max=3), Coverage())
        self.sequence = 0
        self.version = 0
        self.config = TopicConfig(partitions=1, max_deliveries=2)
        self.configure(**config)

    def configure(self, **config: Any) -> None:
        self.version += 1
        self.config = msgspec.structs.replace(self.config, **config)
        record = TopicRecord("t", 1, self.version, self.config)
        self.say(ConfigureTopic(record), Finished(1))

    def say(self, command: msgspec.Struct, reply: msgspec.Struct, who: SessionId = ALICE) -> None:
        self.model.apply(who, command, reply)

    def publish(self, count: int = 1, first: int | None = None, **columns: Any) -> Publish:
        self.sequence += 1
        sizes = (1).to_bytes(4, "little") * count
        command = Publish("t", 0, 5, self.sequence, RecordBatch(sizes, b"m" * count, **columns))
        end = self.model.topics["t"].logs[0].end
        self.say(command, Published(end if first is None else first))
        return command

    def join(self, member: int = 1, mode: GroupMode = GroupMode.SHARED, **options: Any) -> None:
        epoch = self.group.epoch if "g" in self.model.topics["t"].groups else 0
        reply = Joined(epoch + 1, self.config.visibility_ms, self.config.max_deliveries)
        who = ALICE if member == 1 else BOB
        self.say(Join("t", "g", member, mode, **options), reply, who)

    def wait(self, ms: int) -> None:
        self.model.advance(LogTime(self.model.now + ms))

    @property
    def group(self) -> NaiveGroup:
        return self.model.topics["t"].groups["g"]

    @property
    def stored(self) -> list[int]:
        return [batch.first for batch in self.model.topics["t"].logs[0].stored()]

    def fate(self, offset: int = 0) -> Fate:
        return self.group.ways[0][offset].fate


def part(first: int, last: int | None = None, failures: int = 0) -> tuple[Part]:
    return (Part(0, first, first if last is None else last, failures),)


def ack(first: int, last: int | None = None, failures: int = 0, member: int = 1) -> Ack:
    return Ack("t", "g", member, part(first, last, failures))


@pytest.fixture
def service() -> Service:
    made = Service()
    made.join()
    return made


# --- publishing -----------------------------------------------------------------------------


def test_offsets_follow_each_other(service: Service) -> None:
    service.publish(2)
    service.publish(1)
    with pytest.raises(HistoryViolation, match="Q6"):
        service.publish(1, first=4)


def test_a_batch_is_stored_once(service: Service) -> None:
    command = service.publish(2)
    service.say(command, Published(0, True))
    with pytest.raises(HistoryViolation, match="Q6"):
        service.say(command, Published(2))
    with pytest.raises(HistoryViolation, match="Q6"):
        service.say(command, Published(1, True))


def test_a_producer_may_only_forget_what_is_old(service: Service) -> None:
    first = service.publish()
    unknown = Refused("outcome_unknown", "", {})
    with pytest.raises(HistoryViolation, match="forgotten too early"):
        service.say(first, unknown)
    for _ in range(3):
        service.publish()
    service.say(first, unknown)


def test_a_message_id_is_known_within_its_window(service: Service) -> None:
    service.configure(dedup_window_ms=100)
    service.publish(message_ids=("a",))
    service.wait(99)
    again = Publish("t", 0, 9, 1, RecordBatch(b"\1\0\0\0", b"m", message_ids=("a",)))
    service.say(again, Published(1, False, ((0, 0),)))
    service.wait(1)
    with pytest.raises(HistoryViolation, match="Q6"):
        service.say(msgspec.structs.replace(again, sequence=2), Published(1, False, ((0, 0),)))


def test_a_full_partition_refuses_and_one_with_room_does_not(service: Service) -> None:
    service.configure(partition_bytes_max=37)
    overloaded = Refused("overloaded", "", {})
    command = Publish("t", 0, 9, 1, RecordBatch(b"\1\0\0\0", b"m"))
    with pytest.raises(HistoryViolation, match="refused with 0 bytes"):
        service.say(command, overloaded)
    service.publish(5)
    service.say(command, overloaded)
    with pytest.raises(HistoryViolation, match="Q10"):
        service.publish()


def test_nobody_is_told_of_a_topic_that_is_not() -> None:
    service = Service()
    command = Publish("u", 0, 1, 1, RecordBatch(b"\1\0\0\0", b"m"))
    service.say(command, NOT_FOUND)
    with pytest.raises(HistoryViolation, match="must be refused"):
        service.say(command, Published(0))


# --- settling -------------------------------------------------------------------------------


def test_an_acknowledgement_finishes_what_it_says_and_nothing_before(service: Service) -> None:
    service.publish(5)
    service.say(ack(3, 4), Settled(2))
    assert service.group.floor(0) == 0
    assert service.group.open_in(0) == [0, 1, 2]
    with pytest.raises(HistoryViolation, match="Q11"):
        service.say(ack(1), Settled(2))


def test_in_ordered_groups_another_delivery_overtakes_an_acknowledgement() -> None:
    service = Service()
    service.join(mode=GroupMode.KEYED)
    service.publish(2)
    service.say(Nack("t", "g", 1, part(0)), Settled(1))
    stale = Settled(1, part(0))
    service.say(ack(0, 1), stale)
    assert (service.fate(0), service.fate(1)) == (Fate.OPEN, Fate.DONE)
    with pytest.raises(HistoryViolation, match="Q11"):
        service.say(ack(0), Settled(1))


def test_a_failure_counts_once_and_the_last_one_buries(service: Service) -> None:
    service.publish()
    service.say(Nack("t", "g", 1, part(0)), Settled(1))
    with pytest.raises(HistoryViolation, match="Q7"):
        service.say(Expire("t", "g", 1, part(0), "lease_expired"), Settled(1))
    service.say(Expire("t", "g", 1, part(0, failures=1), "lease_expired"), Settled(1))
    assert service.fate() is Fate.DEAD
    assert service.group.dead_in(0) == [0]
    assert service.stored == [0], "dead letters are kept"


def test_a_rejected_message_is_dead_at_once(service: Service) -> None:
    service.publish()
    service.say(Reject("t", "g", 1, part(0)), Settled(1))
    assert service.group.ways[0][0].reason == "rejected"


def test_a_failed_message_waits_for_its_back_off_or_for_what_it_was_told(service: Service) -> None:
    service.publish(2)
    service.say(Nack("t", "g", 1, part(0)), Settled(1))
    service.say(Nack("t", "g", 1, part(1), 7), Settled(1))
    ways = service.group.ways[0]
    assert 0.8 * service.config.backoff_first_ms - 1 <= ways[0].ready_from - service.model.now
    assert ways[1].ready_from == service.model.now + 7


def test_only_members_may_fail_messages(service: Service) -> None:
    service.publish()
    service.say(Nack("t", "g", 2, part(0)), CONSUMER_FENCED)
    service.say(ack(0, member=2), Settled(1))
    with pytest.raises(HistoryViolation, match="consumer_fenced"):
        service.say(Reject("t", "g", 2, part(0)), Settled(1))


# --- members and owners -------------------------------------------------------------------


def test_an_owner_stays_one_until_it_gives_the_partition_up() -> None:
    service = Service()
    for member in (1, 2):
        service.join(member, GroupMode.EXCLUSIVE)
    service.group.learn_owner(0, 1, "test")
    with pytest.raises(HistoryViolation, match="Q4"):
        service.group.learn_owner(0, 2, "test")
    service.say(Yield("t", "g", 1, (0,)), Finished(1))
    service.group.learn_owner(0, 2, "test")
    service.say(Revoke("t", "g", 0, 2), Finished(1))
    service.group.learn_owner(0, 1, "test")
    service.model.end_session(ALICE)
    with pytest.raises(HistoryViolation, match="no member"):
        service.group.learn_owner(0, 1, "test")


def test_who_owns_is_learnt_from_what_is_settled() -> None:
    service = Service()
    for member in (1, 2):
        service.join(member, GroupMode.EXCLUSIVE)
    service.publish(2)
    service.say(ack(0, member=2), Settled(0, part(0)))
    assert service.group.owns(0, 2) is None
    service.say(ack(0, member=1), Settled(1))
    assert service.group.owns(0, 1) is True
    with pytest.raises(HistoryViolation, match="Q11"):
        service.say(ack(1, member=2), Settled(1))


def test_a_group_keeps_its_mode_and_counts_its_changes(service: Service) -> None:
    wrong = Join("t", "g", 3, GroupMode.KEYED)
    service.say(wrong, Refused("invalid_argument", "", {}))
    with pytest.raises(HistoryViolation, match="is right"):
        service.say(Join("t", "g", 3, GroupMode.SHARED), Joined(1, 30_000, 2))


def test_a_group_that_begins_at_the_end_wants_nothing_of_what_is_there() -> None:
    service = Service()
    service.publish()
    service.join(from_end=True)
    assert service.fate() is Fate.DONE
    assert service.stored == []


# --- forgetting -----------------------------------------------------------------------------


def test_a_batch_goes_when_every_group_has_finished_all_of_it(service: Service) -> None:
    service.publish(2)
    service.say(ack(0), Settled(1))
    assert service.stored == [0]
    service.say(ack(1), Settled(1))
    assert service.stored == []


def test_a_log_keeps_what_is_finished_until_it_is_too_old_or_too_much() -> None:
    service = Service(retention=Retention.LOG, retention_ms=100, partition_bytes_max=40)
    service.join()
    service.publish()
    service.say(ack(0), Settled(1))
    service.publish()
    assert service.stored == [0, 1]
    service.publish()
    assert service.stored == [1, 2]
    service.wait(100)
    assert service.stored == []
    assert service.group.open_in(0) == []


@pytest.mark.parametrize("to_dead", [False, True])
def test_a_message_expires_once(to_dead: bool) -> None:
    service = Service(expired_to_dead=to_dead)
    service.join()
    service.publish(2, ttls_ms=(50, 0))
    service.wait(49)
    assert service.fate(0) is Fate.OPEN
    service.wait(1)
    assert service.fate(0) is (Fate.DEAD if to_dead else Fate.DONE)
    assert service.fate(1) is Fate.OPEN


def test_what_is_redriven_has_never_failed_and_never_expires(service: Service) -> None:
    service.configure(expired_to_dead=True)
    service.publish(ttls_ms=(50,))
    service.wait(50)
    service.say(Redrive("t", "g"), Finished(1))
    service.wait(1_000)
    assert service.fate() is Fate.OPEN
    assert service.group.ways[0][0].failures == 0
    with pytest.raises(HistoryViolation, match="Q9"):
        service.say(Redrive("t", "g"), Finished(1))


def test_the_oldest_dead_letters_are_meant_first(service: Service) -> None:
    service.publish(3)
    for offset in (2, 0, 1):
        service.say(Reject("t", "g", 1, part(offset)), Settled(1))
    service.say(PurgeDead("t", "g", 2), Finished(2))
    assert service.group.dead_in(0) == [1]
    service.say(Redrive("t", "g", ABSENT, 0, (0, 1)), Finished(1))
    assert service.group.open_in(0) == [1]


def test_a_seek_reopens_what_is_still_there_and_finishes_the_rest() -> None:
    service = Service(retention=Retention.LOG)
    service.join()
    service.publish(4)
    service.say(ack(0, 3), Settled(4))
    service.say(Seek("t", "g", offset=2), Finished(2))
    assert service.group.open_in(0) == [2, 3]
    with pytest.raises(HistoryViolation, match="is right"):
        service.say(Seek("t", "g", offset=0), Finished(2))


def test_a_purge_takes_everything_and_a_group_without_members_can_go(service: Service) -> None:
    service.publish(2)
    service.say(Reject("t", "g", 1, part(0)), Settled(1))
    service.say(Purge("t"), Finished(2))
    assert service.stored == []
    service.say(DeleteGroup("t", "g"), Refused("invalid_argument", "", {}))
    service.say(Leave("t", "g", 1), Finished(1))
    service.say(DeleteGroup("t", "g"), Finished(1))
    service.say(ack(0), NOT_FOUND)


def test_time_does_not_go_back(service: Service) -> None:
    service.wait(5)
    with pytest.raises(HistoryViolation, match="went back"):
        service.model.advance(LogTime(4))
