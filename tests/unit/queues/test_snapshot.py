"""Equal states give equal bytes, and a restored state goes on like the former one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from support.queue_service import EXCLUSIVE, KEYED, LEADER, SHARED, QueueService
from synaxis.ids import Sequence, SessionId
from synaxis.queues.commands import Expire, Part, Redrive, Seek
from synaxis.queues.limits import QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.topics import Retention

LIMITS = QueueLimits(segment_bytes_max=150, sequences_per_producer_max=3)
MODES = (SHARED, KEYED, EXCLUSIVE)


def busy() -> QueueService:
    """A shard in which everything that a snapshot must hold has happened."""
    made = QueueService(LIMITS)
    made.configure("t", 1, partitions=2, retention_ms=10_000, max_deliveries=2)
    made.configure("log", 2, retention=Retention.LOG, partition_bytes_max=300)
    for number, mode in enumerate(MODES):
        made.member(mode, group=f"g{number}", name="x", visibility_ms=5_000)
        made.member(mode, group=f"g{number}", auto_extend=False)
    for number in range(6):
        partition = number % 2
        made.publish(
            b"a" * number, b"b", partition=partition, keys=["k", ""], ids=["", f"i{number}"]
        )
        made.publish(partition=partition, ttls=[0, 50], delays=[20, 0], priorities=[9, 1])
        made.publish(b"c" * 90, topic="log")
        made.advance(15, heard=made.members)
    one = made.members[0]
    one.nack(0, delay=500)
    one.reject(1)
    one.ack(2, 5)
    made.do(Expire("t", "g1", 3, (Part(0, 1, 1),), "session_lost"), LEADER)
    return made


def test_everything_that_matters_survives() -> None:
    made = busy()
    data = made.machine.snapshot()
    other = QueueMachine(0, 1, LIMITS)
    other.restore(data)
    other.check_invariants()
    assert other.snapshot() == data
    assert other.attachments() == made.machine.attachments()
    assert other.deadline() == made.machine.deadline()
    for name in ("t", "log"):
        mine, theirs = made.machine.shard.topics[name], other.shard.topics[name]
        assert theirs.record == mine.record
        assert other.shard.tallies[name] == made.machine.shard.tallies[name]
        for number, partition in mine.partitions.items():
            restored = theirs.partitions[number]
            for field in ("next_offset", "gone", "keys", "specials", "messages", "size", "aged"):
                assert getattr(restored, field) == getattr(partition, field), field
            assert restored.memory_bytes() == partition.memory_bytes()
        for group in mine.groups.values():
            assert theirs.groups[group.name].members == group.members
            assert theirs.groups[group.name].owners == group.owners


def test_the_messages_are_not_in_it() -> None:
    made = QueueService()
    made.configure()
    made.publish(b"secret" * 100)
    assert b"secret" not in made.machine.snapshot()
    assert len(made.machine.snapshot()) < 300


def test_the_order_in_which_topics_and_groups_came_does_not_show() -> None:
    snapshots = []
    for names in (("a", "b"), ("b", "a")):
        made = QueueService()
        for name in names:
            made.configure(name, topic_id=ord(name))
            record = made.machine.shard.topics[name].record
            made.machine.shard.topics[name].record = type(record)(
                name, record.topic_id, 1, record.config
            )
        for group in names:
            made.member(topic="a", group=group, credit=0, session=1)
        made.machine.shard.topics["a"].groups["a"].members.clear()
        made.machine.shard.topics["a"].groups["b"].members.clear()
        snapshots.append(made.machine.snapshot())
    assert snapshots[0] == snapshots[1]


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ("publish", "publish", "ack", "nack", "reject", "redrive", "seek", "time", "leave")
        ),
        st.integers(0, 7),
    ),
    max_size=14,
)


def take(made: QueueService, machine: QueueMachine, what: str, number: int) -> object:
    """Do one step to a machine, by commands alone."""
    part = (Part(0, number, number, 0),)
    command: object
    match what:
        case "publish":
            command = made.publishing(b"x" * number, keys=["k"], ttls=[60 * (number % 2)])
        case "redrive":
            command = Redrive("t", "g0")
        case "seek":
            command = Seek("t", "g0", 0, number)
        case _:
            command = Expire("t", "g0", 1, part, what)
    machine.advance(made.now)
    if what == "leave":
        machine.end_session(SessionId(100 + number), made.now)
        return None
    return machine.apply(LEADER, Sequence(0), command, made.now)


@settings(max_examples=25, deadline=None)
@given(steps, st.integers(0, 13))
def test_a_replica_that_was_restored_on_the_way_ends_up_the_same(
    steps: list[tuple[str, int]], restored_at: int
) -> None:
    made = busy()
    one, other = made.machine, QueueMachine(0, 1, LIMITS)
    made.dispatcher.end()
    other.restore(one.snapshot())
    for position, (what, number) in enumerate(steps):
        if what == "time":
            made.now += 25 * number  # type: ignore[assignment]  # later
        made.sequences, copies = iter([position + 1_000]), iter([position + 1_000])  # type: ignore[assignment]
        reply = take(made, one, what, number)
        made.sequences = copies  # type: ignore[assignment]  # the same once more
        assert take(made, other, what, number) == reply
        if position == restored_at:
            data = other.snapshot()
            other = QueueMachine(0, 1, LIMITS)
            other.restore(data)
    assert other.snapshot() == one.snapshot()
    other.check_invariants()
