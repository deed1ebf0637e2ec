"""The commands that print messages: sub, next, peek."""

import asyncio
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

import synaxis
from synaxis.cli import output
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.durations import format_duration
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import (
    ClusterOptions,
    Duration,
    OptionalDuration,
    OutputOptions,
    Switch,
)
from synaxis.cli.output import Format, printable
from synaxis.cli.queue_rows import MESSAGE_COLUMNS, message_row, value_text
from synaxis.client.queues.message import StoredMessage
from synaxis.errors import InvalidArgument

__all__ = ["next_message", "peek", "sub"]

HELD_MAX = 1_000
"""Messages that ``sub --no-ack`` holds at a time."""
DRAIN_S = 5.0
"""How long acknowledgements that are on their way may take at the end."""

Group = Annotated[str, Parameter(name=("--group", "-g"))]
Mode = Literal["shared", "keyed", "exclusive"]
Start = Literal["earliest", "latest"]


def sub(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    group: Group,
    count: int | None = None,
    wait: OptionalDuration = None,
    mode: Mode = "shared",
    start: Start = "earliest",
    concurrency: int = 64,
    no_ack: Switch = False,
    raw: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Consume messages as a member of a group, and print them.

    Each message is acknowledged after it was written out: what the reader
    did not get comes again. It goes on until Ctrl-C, --count or --wait. JSON
    is printed as JSON lines.

    With --no-ack the messages are held, and given back at the end without
    blame; nothing is consumed, but meanwhile nobody else gets them. To look
    without any effect take `queue peek`.

    Args:
        topic: where from.
        group: the consumer group; it begins when its first member joins.
        count: end after so many messages.
        wait: end when none has come for this long; the exit code is 7 if that was too early.
        mode: shared: any message; keyed: messages of one key in order, to one member at a time;
            exclusive: a partition belongs to one member.
        start: where a group begins that is new.
        concurrency: messages on their way to be acknowledged, at most.
        no_ack: give all back at the end.
        raw: print payloads only, as they are, each followed by a line end.
        cluster: which cluster.
        out: how to print.
    """
    if count is not None and count < 1:
        raise InvalidArgument("--count must be at least 1")
    if no_ack:
        concurrency = HELD_MAX
        count = HELD_MAX if count is None else count
        if count > HELD_MAX:
            raise InvalidArgument(f"--no-ack holds at most {HELD_MAX} messages")

    async def body(client: synaxis.AsyncSynaxis) -> int:
        consumer = client.topic(topic).consume(
            group, mode=mode, start=start, concurrency=concurrency, name="synaxis queue sub"
        )
        await consumer.start()
        try:
            printed = await _print_messages(consumer, count, wait, out, raw=raw, ack=not no_ack)
        finally:
            await (consumer.aclose() if no_ack else consumer.drain(DRAIN_S))
        return ExitCode.OK if printed and count in (None, printed) else ExitCode.TIMEOUT

    return run_with_cluster(cluster, body)


async def _print_messages(
    consumer: synaxis.Consumer,
    count: int | None,
    wait: float | None,
    out: OutputOptions,
    *,
    raw: bool,
    ack: bool,
) -> int:
    """Print messages until ``count`` or ``wait`` ends it; return how many."""
    printed = 0
    while printed != count:
        try:
            async with asyncio.timeout(wait):
                message = await anext(consumer)
        except TimeoutError:
            assert wait is not None
            if not out.quiet:
                output.message(f"synaxis: no message for {format_duration(wait)}")
            break
        try:
            print_message(message, out, raw=raw)
        except OSError:  # the reader has gone
            await message.release()
            raise
        printed += 1
        if ack:
            _ = message.ack()  # ``drain`` waits for it
    return printed


def print_message(message: StoredMessage, out: OutputOptions, *, raw: bool) -> None:
    """Print one message of a stream: a line, whatever the format; flushed."""
    printer = out.printer()
    if raw:
        sys.stdout.buffer.write(message.payload + b"\n")
        sys.stdout.buffer.flush()
        return
    row = message_row(message)
    match printer.format:
        case Format.JSON | Format.JSONL:
            printer.format = Format.JSONL
            printer.rows([row], MESSAGE_COLUMNS)
        case Format.PLAIN:
            printer.rows([row], MESSAGE_COLUMNS)
        case Format.TABLE:  # a table would have to wait for its last row
            key = "" if row["key"] is None else f" {row['key']}"
            again = "" if row["deliveries"] == 1 else f" (delivery {row['deliveries']})"
            value = value_text(row["value"] if row["base64"] is None else row["base64"])
            place = f"[{row['partition']}@{row['offset']}{key}]{again}"
            printer.text(printable(f"{place} {value}"))


def next_message(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    group: Group,
    wait: Duration = 5.0,
    mode: Mode = "shared",
    no_ack: Switch = False,
    raw: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Consume one message, and print it.

    It is acknowledged after it was written out. The exit code is 7 when
    there is none.

    Args:
        topic: where from.
        group: the consumer group; it begins when its first member joins.
        wait: how long to wait for a message.
        mode: as for `queue sub`.
        no_ack: give it back without blame after it was printed.
        raw: print the payload and nothing else, not even a line end.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        batch = await client.topic(topic).fetch(group, max_messages=1, wait=wait, mode=mode)
        for message in batch:
            if raw:
                sys.stdout.buffer.write(message.payload)
                sys.stdout.buffer.flush()
            else:
                _print_one(message, out)
            await (message.release() if no_ack else message.ack())
        if not batch and not out.quiet:
            output.message(f"synaxis: no message within {format_duration(wait)}")
        return ExitCode.OK if batch else ExitCode.TIMEOUT

    return run_with_cluster(cluster, body)


def _print_one(message: StoredMessage, out: OutputOptions) -> None:
    printer = out.printer()
    row = message_row(message)
    if printer.format is Format.PLAIN:
        printer.rows([row], MESSAGE_COLUMNS)
    else:
        printer.record(row, MESSAGE_COLUMNS)


def peek(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    partition: int | None = None,
    offset: int | None = None,
    count: int = 10,
    raw: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Print stored messages without consuming them.

    Oldest first, partition by partition. No group is needed, and none is
    affected. What every group has finished may be shown for as long as it is
    stored.

    Args:
        topic: where from.
        partition: only this one.
        offset: begin here, in --partition.
        count: at most so many messages.
        raw: print payloads only, as they are, each followed by a line end.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        found = await client.topic(topic).peek(partition, offset, count)
        if raw:
            for message in found:
                print_message(message, out, raw=True)
        else:
            out.printer().rows([message_row(each) for each in found], MESSAGE_COLUMNS)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
