"""Who may be handed what, judged from what leaders and members did."""

import msgspec
import pytest

from synaxis.ids import LogTime, Sequence, SessionId, Term
from synaxis.queues.commands import (
    Ack,
    Attach,
    ConfigureTopic,
    Credit,
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
    RecordBatch,
    Release,
    Seek,
    Settled,
    Slice,
)
from synaxis.queues.limits import QueueLimits
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation, MachineCall, MachineCallKind
from synaxis.simulation.queues.hands import Hands
from synaxis.simulation.queues.ledger import Delivering, Demanded
from synaxis.simulation.queues.model import QueueModel
from synaxis.topics import TopicConfig, TopicRecord

NOW = LogTime(1_000)
KEY = b"\1\0\0\0"


class Hall:
    """Members 1 and 2 of a group, and six messages."""

    def __init__(self, mode: GroupMode, **columns: object) -> None:
        self.model = QueueModel(QueueLimits(), Coverage())
        self.hands = Hands(self.model, Coverage())
        self.epoch = 0
        self.mode = mode
        config = TopicConfig(partitions=1, max_deliveries=5, backoff_first_ms=1)
        self.call(ConfigureTopic(TopicRecord("t", 1, 1, config)), Finished(1))
        for member in (1, 2):
            self.epoch += 1
            reply = Joined(self.epoch, 30_000, 5)
            self.call(Join("t", "g", member, mode), reply, member)
        batch = RecordBatch(KEY * 6, b"m" * 6, **columns)  # type: ignore[arg-type]
        self.call(Publish("t", 0, 5, 1, batch), Published(0))
        for member in (1, 2):
            self.attach(member)

    def call(self, command: msgspec.Struct, reply: msgspec.Struct, member: int = 1) -> None:
        who, kind = SessionId(member), MachineCallKind.APPLY
        self.model.apply(who, command, reply)
        self.hands.called(MachineCall(kind, who, Sequence(0), command, NOW, reply, [], 0))

    def attach(self, member: int, *held: int, term: int = 1, credit: int = 100) -> None:
        holding = tuple(Part(0, offset, offset) for offset in held)
        self.hands.demanded(Demanded(Attach("t", "g", member, credit, holding)), Term(term))

    def deliver(
        self, member: int, *offsets: int, term: int = 1, failures: int = 0, now: int = NOW
    ) -> None:
        slices = tuple(
            Slice(
                0, offset, 1, offset, 1, 0, 9, LogTime(0), ((offset, failures),) if failures else ()
            )
            for offset in offsets
        )
        attach = Attach("t", "g", member, 0)
        self.hands.delivered(Delivering(attach, slices, LogTime(now)), Term(term))

    def lose(self, member: int) -> None:
        session = SessionId(member)
        self.model.end_session(session)
        kind = MachineCallKind.END_SESSION
        self.hands.called(MachineCall(kind, session, Sequence(0), None, NOW, None, [], 0))


def ack(member: int, offset: int) -> Ack:
    return Ack("t", "g", member, (Part(0, offset, offset),))


@pytest.fixture
def hall() -> Hall:
    return Hall(GroupMode.SHARED)


def test_what_is_in_nobodys_hands_is_handed_out(hall: Hall) -> None:
    hall.deliver(1, 0, 1)
    hall.deliver(2, 2, 3)


def test_what_somebody_has_is_not_handed_out(hall: Hall) -> None:
    hall.deliver(1, 0)
    for member in (1, 2):
        with pytest.raises(HistoryViolation, match="Q4"):
            hall.deliver(member, 0)


def test_what_is_finished_is_not_handed_out(hall: Hall) -> None:
    hall.deliver(1, 0)
    hall.call(ack(1, 0), Settled(1))
    with pytest.raises(HistoryViolation, match="Q2"):
        hall.deliver(2, 0)


def test_what_is_given_back_is_handed_out_again(hall: Hall) -> None:
    hall.deliver(1, 0, 1, 2)
    hall.hands.demanded(Demanded(Release("t", "g", 1, (Part(0, 0, 0),))), Term(1))
    hall.attach(1, 1)
    hall.deliver(2, 0, 2)
    with pytest.raises(HistoryViolation, match="Q4"):
        hall.deliver(2, 1)
    hall.call(Leave("t", "g", 1), Finished(1))
    hall.deliver(2, 1)


def test_a_delivery_says_how_often_the_message_has_failed(hall: Hall) -> None:
    hall.deliver(1, 0)
    hall.call(Nack("t", "g", 1, (Part(0, 0, 0),), 0), Settled(1))
    with pytest.raises(HistoryViolation, match="Q7"):
        hall.deliver(2, 0)
    hall.deliver(2, 0, failures=1)


def test_what_a_lost_member_had_counts_as_failed_first(hall: Hall) -> None:
    hall.deliver(1, 0)
    hall.lose(1)
    with pytest.raises(HistoryViolation, match="Q7"):
        hall.deliver(2, 0)
    hall.call(Expire("t", "g", 1, (Part(0, 0, 0),), "session_lost"), Settled(1))
    hall.deliver(2, 0, failures=1, now=2_000)


def test_a_new_leader_cannot_know_what_a_lost_member_had(hall: Hall) -> None:
    hall.deliver(1, 0)
    hall.lose(1)
    hall.attach(2, term=2)
    hall.deliver(2, 0, term=2)


def test_a_new_leader_waits_until_it_has_heard_who_holds_what(hall: Hall) -> None:
    hall.deliver(1, 0, 1)
    hall.attach(2, term=2)
    with pytest.raises(HistoryViolation, match="Q4"):
        hall.deliver(2, 0, term=2)
    hall.attach(1, 1, term=2)
    hall.deliver(2, 0, term=2)
    with pytest.raises(HistoryViolation, match="Q4"):
        hall.deliver(2, 1, term=2)


def test_a_former_leader_hands_out_nothing_that_counts(hall: Hall) -> None:
    for member in (1, 2):
        hall.attach(member, term=2)
    hall.deliver(1, 0, term=1)
    hall.deliver(2, 0, term=2)


def test_nobody_gets_more_than_asked_for(hall: Hall) -> None:
    hall.attach(1, credit=2)
    hall.deliver(1, 0, 1)
    with pytest.raises(HistoryViolation, match="credit"):
        hall.deliver(1, 2)
    hall.hands.demanded(Demanded(Credit("t", "g", 1, 1)), Term(1))
    hall.deliver(1, 2)


def test_nothing_comes_before_its_time_or_after_it() -> None:
    hall = Hall(GroupMode.SHARED, delays_ms=(50, 0, 0, 0, 0, 0), ttls_ms=(0, 70, 0, 0, 0, 0))
    hall.model.advance(LogTime(0))
    with pytest.raises(HistoryViolation, match="Q8"):
        hall.deliver(1, 0, now=49)
    hall.deliver(1, 0, now=50)
    with pytest.raises(HistoryViolation, match="ttl"):
        hall.deliver(1, 1, now=70)


def test_a_key_is_with_one_member_and_in_order() -> None:
    hall = Hall(GroupMode.KEYED, key_hashes=KEY * 3 + b"\2\0\0\0" * 2 + b"\0\0\0\0")
    with pytest.raises(HistoryViolation, match="Q5"):
        hall.deliver(1, 1)
    hall.deliver(1, 0)
    with pytest.raises(HistoryViolation, match="Q4"):
        hall.deliver(2, 1)
    hall.deliver(2, 3, 4, 5)
    hall.deliver(1, 1)
    hall.call(Nack("t", "g", 1, (Part(0, 0, 0),), 500), Settled(1))
    with pytest.raises(HistoryViolation, match="Q5"):
        hall.deliver(1, 2)


def test_a_partition_is_with_its_owner_and_in_order() -> None:
    hall = Hall(GroupMode.EXCLUSIVE)
    hall.deliver(1, 0, 1)
    with pytest.raises(HistoryViolation, match="Q4"):
        hall.deliver(2, 2)
    with pytest.raises(HistoryViolation, match="Q5"):
        hall.deliver(1, 3)


def test_a_seek_takes_everything_out_of_all_hands(hall: Hall) -> None:
    hall.deliver(1, 0, 1)
    hall.call(Seek("t", "g", offset=0), Finished(6))
    hall.deliver(2, 0, 1)


def test_only_members_of_topics_that_go_on_are_served(hall: Hall) -> None:
    with pytest.raises(HistoryViolation, match="no member"):
        hall.deliver(3, 0)
    paused = TopicConfig(partitions=1, max_deliveries=5, backoff_first_ms=1, paused=True)
    hall.call(ConfigureTopic(TopicRecord("t", 1, 2, paused)), Finished(1))
    with pytest.raises(HistoryViolation, match="paused"):
        hall.deliver(1, 0)
