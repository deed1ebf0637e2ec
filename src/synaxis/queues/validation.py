"""What is wrong with a command by itself, before it enters the log."""

from array import array

import msgspec

from synaxis.errors import InvalidArgument, LimitExceeded
from synaxis.queues.commands import (
    ABSENT,
    END,
    Ack,
    Attach,
    Begin,
    Extend,
    Join,
    Nack,
    Part,
    Publish,
    Purge,
    PurgeDead,
    RecordBatch,
    Redrive,
    Reject,
    Release,
    Seek,
)
from synaxis.queues.limits import QueueLimits
from synaxis.queues.questions import Browse, BrowseDead
from synaxis.topics import check_name

__all__ = ["check_command", "check_demand", "check_parts", "check_question"]

NUMBER_MAX = 2**63 - 1


def check_command(command: msgspec.Struct, limits: QueueLimits) -> None:
    """Check what needs no state.

    Raises:
        InvalidArgument: says what is allowed.
        LimitExceeded: names the limit.
    """
    match command:
        case Publish():
            _check_number(command.producer, "producer")
            _check_number(command.sequence, "sequence")
            _check_batch(command.batch, limits)
        case Ack():
            check_parts(command.parts, limits)
        case Nack() | Reject():
            _check_failure(command, limits)
        case Join():
            _check_join(command, limits)
        case Seek():
            _check_seek(command)
        case Redrive() | PurgeDead():
            _check_dead(command, limits)
        case Purge(_, partition):
            if partition < ABSENT:
                raise InvalidArgument("partitions are numbered from 0")
        case _:
            pass


def _check_failure(command: Nack | Reject, limits: QueueLimits) -> None:
    check_parts(command.parts, limits)
    _check_bytes(command.error, "error", limits.error_bytes_max)
    if isinstance(command, Nack) and not ABSENT <= command.delay_ms <= limits.delay_ms_max:
        raise _out_of_range("delay_ms", limits.delay_ms_max)


def _check_seek(command: Seek) -> None:
    if (command.offset == ABSENT) == (command.time == ABSENT):
        raise InvalidArgument("seek takes either an offset or a time")
    if command.offset < END or command.time < ABSENT:
        raise InvalidArgument("offsets and times are not negative")


def _check_join(command: Join, limits: QueueLimits) -> None:
    check_name(command.group, "consumer group", limits.topics)
    _check_number(command.member, "member")
    _check_bytes(command.name, "name", limits.topics.name_bytes_max)
    low, high = limits.topics.visibility_ms_min, limits.topics.visibility_ms_max
    if command.visibility_ms != ABSENT and not low <= command.visibility_ms <= high:
        raise InvalidArgument(f"visibility is from {low} to {high} ms, not {command.visibility_ms}")


def _check_dead(command: Redrive | PurgeDead, limits: QueueLimits) -> None:
    if command.limit < ABSENT or command.partition < ABSENT:
        raise InvalidArgument("limit and partition are not negative")
    if command.offsets and command.partition == ABSENT:
        raise InvalidArgument("offsets belong to a partition; name it")
    if len(command.offsets) > limits.settled_messages_max:
        raise _too_many("settled_messages_max", limits.settled_messages_max)


def check_parts(parts: tuple[Part, ...], limits: QueueLimits) -> None:
    """Check ranges of offsets.

    Raises:
        InvalidArgument: one is no range.
        LimitExceeded: there are too many, or they span too much.
    """
    if len(parts) > limits.parts_max:
        raise _too_many("parts_max", limits.parts_max)
    total = 0
    for part in parts:
        if not 0 <= part.first <= part.last or part.failures < 0:
            raise InvalidArgument(f"no range of offsets: {part.first} to {part.last}")
        total += part.last - part.first + 1
    if total > limits.settled_messages_max:
        raise _too_many("settled_messages_max", limits.settled_messages_max)


def _check_batch(batch: RecordBatch, limits: QueueLimits) -> None:
    if len(batch.sizes) % 4 or not batch.sizes:
        raise InvalidArgument("a batch has at least one message, and four bytes for each size")
    count = batch.count
    if count > limits.batch_messages_max:
        raise _too_many("batch_messages_max", limits.batch_messages_max)
    sizes = array("I", batch.sizes)
    if sum(sizes) != len(batch.body):
        raise InvalidArgument("the sizes of a batch do not add up to its body")
    if len(batch.body) > limits.record_bytes_max and max(sizes) > limits.record_bytes_max:
        raise LimitExceeded(
            f"a message with key and headers has at most {limits.record_bytes_max} bytes, not "
            f"{max(sizes)}",
            limit="record_bytes_max",
            maximum=limits.record_bytes_max,
        )
    if batch.key_hashes and len(batch.key_hashes) != len(batch.sizes):
        raise InvalidArgument("key_hashes has not one item a message")
    if batch.priorities or batch.delays_ms or batch.ttls_ms or batch.message_ids:
        _check_columns(batch, limits)


def _check_columns(batch: RecordBatch, limits: QueueLimits) -> None:
    for name in ("priorities", "delays_ms", "ttls_ms", "message_ids"):
        column = getattr(batch, name)
        if column and len(column) != batch.count:
            raise InvalidArgument(f"{name} has not one item a message")
    if batch.priorities and max(batch.priorities) > limits.priority_max:
        raise InvalidArgument(f"a priority is from 0 to {limits.priority_max}")
    for name, maximum in (("delays_ms", limits.delay_ms_max), ("ttls_ms", limits.ttl_ms_max)):
        column = getattr(batch, name)
        if column and not (min(column) >= 0 and max(column) <= maximum):
            raise _out_of_range(name, maximum)
    for message_id in batch.message_ids:
        _check_bytes(message_id, "message_id", limits.message_id_bytes_max)


def check_question(question: msgspec.Struct, limits: QueueLimits) -> None:
    """Check a browse.

    Raises:
        InvalidArgument: says what is allowed.
    """
    if isinstance(question, Browse | BrowseDead):
        maximum = limits.browse_messages_max
        if not 1 <= question.limit <= maximum or question.offset < 0:
            raise InvalidArgument(f"browse from an offset, 1 to {maximum} messages at a time")


def check_demand(message: msgspec.Struct, limits: QueueLimits) -> None:
    """Check what a member tells its leader.

    Raises:
        InvalidArgument, LimitExceeded: as for ``check_parts``.
    """
    match message:
        case Attach():
            check_parts(message.holding, limits)
            if message.credit < 0:
                raise InvalidArgument("credit is not negative")
        case Release() | Extend() | Begin():
            check_parts(message.parts, limits)
            if (
                isinstance(message, Extend)
                and not 0 < message.ms <= limits.topics.visibility_ms_max
            ):
                raise _out_of_range("ms", limits.topics.visibility_ms_max)
        case _:
            pass


def _check_number(number: int, what: str) -> None:
    if not 1 <= number <= NUMBER_MAX:
        raise InvalidArgument(f"{what} is a number from 1 to 2**63 - 1")


def _check_bytes(text: str, what: str, maximum: int) -> None:
    if len(text) > maximum or len(text.encode()) > maximum:
        raise InvalidArgument(f"{what} has at most {maximum} bytes")


def _too_many(limit: str, maximum: int) -> LimitExceeded:
    return LimitExceeded(f"{limit} is {maximum}; send less at a time", limit=limit, maximum=maximum)


def _out_of_range(what: str, maximum: int) -> InvalidArgument:
    return InvalidArgument(f"{what} is from 0 to {maximum} (ms)")
