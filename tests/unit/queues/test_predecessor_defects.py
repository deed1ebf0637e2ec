"""The defects Q1 to Q7 of the queue node that Synaxis replaces; each name says the cause."""

import subprocess
import sys

from support.queue_service import EXCLUSIVE, QueueService
from synaxis.ids import SessionId
from synaxis.queues.commands import Redrive
from synaxis.queues.placement import partition_of_key, shard_of
from synaxis.queues.units import heads


def service(**config: object) -> QueueService:
    made = QueueService()
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


def test_q1_acking_the_last_of_five_does_not_skip_the_four_before_it() -> None:
    made = service(backoff_first_ms=0, backoff_max_ms=0)
    member = made.member()
    made.publish_many(5)
    member.ack(4)
    made.end_session(member.session)
    other = made.member()
    assert sorted(other.offsets) == [0, 1, 2, 3]


def test_q2_a_group_has_a_position_for_each_topic() -> None:
    made = service()
    made.configure("u", topic_id=2)
    member, other = made.member(topic="t"), made.member(topic="u")
    made.publish(b"a")
    made.publish(b"b", topic="u")
    member.ack(0)
    assert (member.offsets, other.offsets) == ([0], [0])
    assert (made.unfinished(topic="t"), made.unfinished(topic="u")) == ([], [0])


def test_q2_an_ack_of_one_group_takes_nothing_from_another() -> None:
    made = service()
    one, other = made.member(group="one"), made.member(group="other")
    made.publish(b"a")
    one.ack(0)
    assert made.unfinished(group="other") == [0]
    assert other.ack(0).done == 1


def test_q3_every_partition_has_one_shard_that_replicates_it() -> None:
    """What was published is in the state that the next leader has, not in a dict of one node."""
    made = service()
    made.publish(b"a")
    made.fail_over()
    assert made.member().bodies == [b"a"]
    assert {shard_of("t", partition, 4) for partition in range(8)} == {0, 1, 2, 3}


def test_q4_a_key_goes_to_the_same_partition_in_every_process() -> None:
    code = (
        "from synaxis.queues.placement import partition_of_key, shard_of\n"
        "print(partition_of_key(b'user-1', 6), shard_of('orders', 0, 32))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        for seed in ("0", "1")
    }
    assert told == {str(partition_of_key(b"user-1", 6))}


def test_q4_keys_use_all_partitions() -> None:
    used = {partition_of_key(b"user-%d" % number, 6) for number in range(1_000)}
    assert used == set(range(6))


def test_q5_what_was_acknowledged_before_a_torn_tail_is_not_lost() -> None:
    """Units are checked one by one; the torn one ends the segment, and the log writes it anew."""
    made = service()
    for number in range(3):
        made.publish(b"%d" % number)
    segment = bytes(made.store.segments[1])
    assert len(list(heads(segment))) == 3
    assert len(list(heads(segment[:-1]))) == 2


def test_q6_a_dead_letter_is_state_that_survives_with_its_attempts() -> None:
    made = service(max_deliveries=2, backoff_first_ms=0, backoff_max_ms=0)
    member = made.member()
    made.publish(b"a")
    member.nack(0)
    made.fail_over()
    member.attach(holding=[(0, 0)])
    member.nack(0)
    assert made.dead() == [0]
    made.fail_over()
    assert made.dead() == [0]


def test_q6_dead_letters_can_be_listed_and_requeued() -> None:
    made = service()
    member = made.member()
    made.publish(b"a")
    member.reject(0)
    made.do(Redrive("t", "g"))
    assert (made.dead(), member.take_new()) == ([], [0, 0])


def test_q7_a_dead_consumer_does_not_keep_its_partitions() -> None:
    made = service(partitions=4)
    one, other = made.member(EXCLUSIVE, session=1), made.member(EXCLUSIVE, session=2)
    made.end_session(SessionId(1))
    assert made.group().members[0].partitions == (0, 1, 2, 3)
    assert (one.over is not None, other.over) == (True, None)


def test_q7_a_steady_group_is_never_rebalanced() -> None:
    made = service(partitions=4)
    member = made.member(EXCLUSIVE)
    made.member(EXCLUSIVE)
    epoch = made.group().epoch
    for _ in range(10):
        made.publish_many(1)
        made.advance(100, heard=made.members)
    assert made.group().epoch == epoch
    assert len(member.assignments) == 2


def test_q7_a_long_queue_is_not_scanned_from_its_head_for_each_message() -> None:
    made = service()
    member = made.member(credit=1)
    made.publish_many(3_000)
    lane = made.dispatcher._desk.flows["t", "g"].lanes[0]
    for offset in range(100):
        member.ack(offset)
        member.credit(1)
    assert member.offsets == list(range(101))
    assert lane.estimate() == 3_000 - 101


def test_q7_what_everybody_has_finished_takes_up_nothing() -> None:
    made = service()
    member = made.member(credit=10**6)
    for _ in range(50):
        made.publish_many(20, keys=["k"] * 20)
        member.ack()
    partition = made.machine.shard.topics["t"].partitions[0]
    assert (partition.messages, len(partition.index), partition.key_bytes) == (0, 0, 0)
