"""What a publish does: refuse, recognise, store."""

from array import array

from synaxis.errors import LimitExceeded, Overloaded
from synaxis.ids import LogTime
from synaxis.queues.batch_index import Batch
from synaxis.queues.commands import Publish, Published, RecordBatch
from synaxis.queues.partition import Partition
from synaxis.queues.shard import Shard
from synaxis.queues.topic import Topic
from synaxis.queues.units import encode_unit
from synaxis.topics import Retention

__all__ = ["publish"]

RETRY_AFTER_S = 1.0
"""What a producer is told to wait when a limit of storage is reached: it takes consumers, or
retention, to free some."""


def publish(shard: Shard, command: Publish, now: LogTime) -> Published:
    """Store a batch, unless it was stored before.

    Raises:
        NotFound: no such topic or partition.
        Overloaded: a limit of storage is reached; nothing was stored.
        LimitExceeded: the batch would not fit into an empty partition.
        OutcomeUnknown: the batch is older than what is remembered of its producer.
    """
    topic = shard.topic(command.topic)
    partition = topic.partition(command.partition)
    tally = shard.tallies[command.topic]
    stored = partition.producers.find(command.producer, command.sequence)
    if stored is not None:
        tally.duplicates += command.batch.count
        return stored
    known, batch = _without_known(topic, partition, command.batch, now)
    reply = Published(partition.next_offset, False, known)
    if batch.count:
        _check_room(shard, topic, partition, batch)
        _note_ids(topic, partition, batch, now)
        _store(shard, topic, partition, batch, now)
    tally.published += batch.count
    tally.duplicates += len(known)
    partition.producers.note(command.producer, command.sequence, reply, now)
    shard.account(partition)
    return reply


def _without_known(
    topic: Topic, partition: Partition, batch: RecordBatch, now: LogTime
) -> tuple[tuple[tuple[int, int], ...], RecordBatch]:
    """Take out the messages whose id was seen before, also within the batch."""
    if not batch.message_ids:
        return (), batch
    window = topic.record.config.dedup_window_ms
    known: list[tuple[int, int]] = []
    kept: list[int] = []
    fresh: dict[str, int] = {}
    for position, message_id in enumerate(batch.message_ids):
        offset = None
        if message_id:
            offset = fresh.get(message_id)
            if offset is None:
                offset = partition.ids.find(message_id, now, window)
        if offset is not None:
            known.append((position, offset))
            continue
        if message_id and window:
            fresh[message_id] = partition.next_offset + len(kept)
        kept.append(position)
    return tuple(known), _only(batch, kept) if known else batch


def _note_ids(topic: Topic, partition: Partition, batch: RecordBatch, now: LogTime) -> None:
    window = topic.record.config.dedup_window_ms
    for position, message_id in enumerate(batch.message_ids):
        if message_id:
            partition.ids.note(message_id, partition.next_offset + position, now, window)


def _only(batch: RecordBatch, kept: list[int]) -> RecordBatch:
    sizes = array("I", batch.sizes)
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    keys = array("I", batch.key_hashes)
    return RecordBatch(
        array("I", [sizes[at] for at in kept]).tobytes(),
        b"".join(batch.body[starts[at] : starts[at + 1]] for at in kept),
        array("I", [keys[at] for at in kept]).tobytes() if keys else b"",
        bytes(batch.priorities[at] for at in kept) if batch.priorities else b"",
        tuple(batch.delays_ms[at] for at in kept) if batch.delays_ms else (),
        tuple(batch.ttls_ms[at] for at in kept) if batch.ttls_ms else (),
        tuple(batch.message_ids[at] for at in kept),
    )


def _check_room(shard: Shard, topic: Topic, partition: Partition, batch: RecordBatch) -> None:
    limits, size = shard.limits, len(batch.body)
    config = topic.record.config
    maximum = config.partition_bytes_max
    if maximum and size > maximum:
        raise LimitExceeded(
            f"a batch of {size} bytes does not fit into a partition of {maximum}",
            limit="partition_bytes_max",
            maximum=maximum,
        )
    if maximum and config.retention is Retention.WORK and partition.size + size > maximum:
        raise _full("partition_bytes_max", maximum, "messages must be consumed or purged first")
    if shard.segments.stored_bytes + size > limits.shard_bytes_max:
        raise _full("shard_bytes_max", limits.shard_bytes_max, "the shard's store is full")
    if shard.index_bytes + shard.fates.bytes > limits.shard_index_bytes_max:
        raise _full("shard_index_bytes_max", limits.shard_index_bytes_max, "the index is full")


def _full(limit: str, maximum: int, why: str) -> Overloaded:
    return Overloaded(
        f"{limit} is {maximum}: {why}", retry_after=RETRY_AFTER_S, limit=limit, maximum=maximum
    )


def _store(
    shard: Shard, topic: Topic, partition: Partition, batch: RecordBatch, now: LogTime
) -> None:
    first, count = partition.next_offset, batch.count
    unit, checksum = encode_unit(batch.sizes, batch.body)
    segment, position = shard.segments.append(unit, checksum)
    partition.index.append(Batch(first, count, segment, position, len(unit), now, checksum))
    partition.next_offset = first + count
    partition.messages += count
    partition.size += len(unit)
    for offset in partition.note_columns(first, batch, now):
        shard.watch_expiry(partition.specials[offset].expires_at, topic, partition, offset)
    if (topic.record.name, partition.number) not in shard.planned:
        shard.watch_age(topic, partition)
    shard.observer.published(topic, partition, first, first + count - 1)
    maximum = topic.record.config.partition_bytes_max
    if maximum and topic.record.config.retention is Retention.LOG:
        _keep_within(shard, topic, partition, maximum)


def _keep_within(shard: Shard, topic: Topic, partition: Partition, maximum: int) -> None:
    """Let the oldest batches go until the partition fits; the newest stays in any case.

    What dead letters keep does not count: it would crowd out everything that is alive.
    """
    index = partition.index
    excess = partition.size - partition.kept_size - maximum
    end = -1
    for at in index.alive(partition.aged, partition.next_offset):
        last = index.bounds(at)[1]
        if excess <= 0 or last == partition.next_offset - 1:
            break
        excess -= index.row(at).length
        end = last
    if end >= 0:
        shard.let_go(topic, partition, end)
