"""A publish stores a batch once, or says why not."""

import pytest

from support.queue_service import LEADER, QueueService, batch_of
from synaxis.effects import Refused
from synaxis.queues.commands import Join, Publish, Published, Purge
from synaxis.queues.limits import QueueLimits
from synaxis.queues.questions import Browse, Page
from synaxis.topics import Retention


def service(limits: QueueLimits | None = None, **config: object) -> QueueService:
    made = QueueService(limits or QueueLimits())
    made.configure(**config)  # type: ignore[arg-type]  # whatever a topic may be
    return made


def stored(made: QueueService, partition: int = 0) -> list[bytes]:
    page = made.machine.query(Browse("t", partition, 0, 1_000), made.now)
    assert isinstance(page, Page)
    return made.store.records(page.slices)


def test_offsets_count_the_messages_of_a_partition() -> None:
    made = service(partitions=2)
    assert made.publish(b"a", b"b") == Published(0)
    assert made.publish(b"c") == Published(2)
    assert made.publish(b"d", partition=1) == Published(0)
    assert stored(made) == [b"a", b"b", b"c"]


def test_a_partition_that_is_not_here_is_named() -> None:
    made = service()
    for topic, partition in (("t", 1), ("t", -1), ("other", 0)):
        refused = made.do(Publish(topic, partition, 1, 1, batch_of(b"a")))
        assert isinstance(refused, Refused)
        assert refused.code == "not_found"


def test_a_batch_that_is_sent_again_is_not_stored_again() -> None:
    made = service()
    command = made.publishing(b"a", b"b")
    assert made.do(command) == Published(0)
    assert made.do(command) == Published(0, True)
    made.fail_over()
    assert made.do(command) == Published(0, True)
    assert stored(made) == [b"a", b"b"]
    tally = made.machine.shard.tallies["t"]
    assert (tally.published, tally.duplicates) == (2, 4)


def test_producers_do_not_take_each_other_for_themselves() -> None:
    made = service(partitions=2)
    for producer in (1, 2):
        for partition in (0, 1):
            command = Publish("t", partition, producer, 1, batch_of(b"a"))
            assert made.do(command) == Published(producer - 1)


def test_a_batch_older_than_what_is_remembered_is_refused() -> None:
    made = service(QueueLimits(sequences_per_producer_max=1))
    first = made.publishing(b"a")
    made.do(first)
    made.publish(b"b")
    assert made.refused(first).code == "outcome_unknown"


def test_known_message_ids_are_left_out_and_told() -> None:
    made = service(dedup_window_ms=100)
    made.publish(b"a", ids=["one"])
    reply = made.publish(b"x", b"b", b"y", b"c", ids=["one", "two", "two", ""])
    assert reply == Published(1, False, ((0, 0), (2, 1)))
    assert stored(made) == [b"a", b"b", b"c"]


def test_a_batch_of_nothing_new_takes_up_nothing() -> None:
    made = service()
    made.publish(b"a", ids=["one"])
    assert made.publish(b"b", ids=["one"]) == Published(1, False, ((0, 0),))
    assert made.publish(b"c") == Published(1)


def test_what_is_left_of_a_batch_keeps_its_columns() -> None:
    made = service()
    made.publish(b"a", ids=["one"])
    made.publish(
        b"x",
        b"b",
        ids=["one", "two"],
        keys=["k", "l"],
        priorities=[1, 2],
        delays=[3, 4],
        ttls=[5, 6],
    )
    partition = made.machine.shard.topics["t"].partitions[0]
    special = partition.specials[1]
    assert (special.priority, special.deliver_at - made.now, special.expires_at - made.now) == (
        2,
        4,
        6,
    )
    column = partition.key_column(1)
    assert column is not None
    assert len(column) == 1


def test_an_id_may_be_used_again_after_the_window() -> None:
    made = service(dedup_window_ms=100)
    made.publish(b"a", ids=["one"])
    made.advance(99)
    assert made.publish(b"b", ids=["one"]).known == ((0, 0),)
    made.advance(1)
    assert made.publish(b"c", ids=["one"]) == Published(1)


def test_without_a_window_ids_mean_nothing() -> None:
    made = service(dedup_window_ms=0)
    assert made.publish(b"a", b"b", ids=["one", "one"]) == Published(0)
    assert made.publish(b"c", ids=["one"]) == Published(2)


def test_the_id_of_a_message_that_found_no_room_is_not_remembered() -> None:
    """Else its next publish is acknowledged as known, and it is lost."""
    made = service(partition_bytes_max=60)
    made.publish(b"a" * 40)
    assert made.refused(made.publishing(b"b" * 40, ids=["one"])).code == "overloaded"
    made.do(Purge("t"))
    assert made.publish(b"b" * 40, ids=["one"]) == Published(1)
    assert stored(made) == [b"b" * 40]


def test_a_full_partition_of_work_takes_no_more_until_some_is_done() -> None:
    made = service(partition_bytes_max=100)
    member = made.member()
    made.publish(b"a" * 60)
    refused = made.refused(made.publishing(b"b" * 60))
    assert (refused.code, refused.details["limit"]) == ("overloaded", "partition_bytes_max")
    assert refused.details["retry_after"] > 0
    member.ack(0)
    assert made.publish(b"b" * 60) == Published(1)


def test_what_fits_no_partition_is_refused_for_good() -> None:
    made = service(partition_bytes_max=100)
    assert made.refused(made.publishing(b"a" * 101)).code == "limit_exceeded"


def test_a_full_shard_takes_no_more() -> None:
    made = service(QueueLimits(shard_bytes_max=100))
    made.publish(b"a" * 60)
    assert made.refused(made.publishing(b"b" * 60)).details["limit"] == "shard_bytes_max"


def test_a_full_index_takes_no_more() -> None:
    made = service(QueueLimits(shard_index_bytes_max=700))
    made.publish(b"a", delays=[1])
    assert made.refused(made.publishing(b"b")).details["limit"] == "shard_index_bytes_max"


def test_a_refused_publish_may_be_sent_again_as_it_is() -> None:
    made = service(partition_bytes_max=100)
    made.publish(b"a" * 60)
    command = made.publishing(b"b" * 60)
    made.refused(command)
    made.do(Purge("t"))
    assert made.do(command) == Published(1)


def test_a_log_lets_the_oldest_batches_go_until_it_fits() -> None:
    made = service(retention=Retention.LOG, partition_bytes_max=100)
    for body in (b"a" * 20, b"b" * 20, b"c" * 20):
        made.publish(body)  # 36 bytes on disk
    assert stored(made) == [b"b" * 20, b"c" * 20]
    assert made.info().partitions[0].first == 1


def test_the_newest_batch_of_a_log_stays_however_large_it_is() -> None:
    made = service(retention=Retention.LOG, partition_bytes_max=100)
    made.publish(b"a" * 20)
    made.publish(b"b" * 95)
    assert stored(made) == [b"b" * 95]


def test_dead_letters_do_not_crowd_the_living_out_of_a_log() -> None:
    made = service(retention=Retention.LOG, partition_bytes_max=100)
    member = made.member(credit=1)
    made.publish(b"a" * 20)
    member.reject(0)
    for body in (b"b" * 20, b"c" * 20, b"d" * 20, b"e" * 20):
        made.publish(body)
    assert made.dead() == [0]
    assert stored(made) == [b"a" * 20, b"d" * 20, b"e" * 20]


@pytest.mark.parametrize("groups", [0, 1])
def test_work_waits_for_groups_for_as_long_as_there_are_none(groups: int) -> None:
    made = service()
    if groups:
        made.do(Join("t", "g", 1, 0))  # type: ignore[arg-type]  # SHARED
    made.publish(b"a")
    assert stored(made) == [b"a"]


def test_a_node_that_refuses_says_why() -> None:
    made = service()
    made.machine.refusing = "the disk is full"
    with pytest.raises(Exception, match="the disk is full"):
        made.machine.validate(made.publishing(b"a"))
    made.do(made.publishing(b"a"), LEADER)
