"""``queue pub``: messages from arguments, standard input or a file."""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import synaxis
from synaxis.cli import output
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import ClusterOptions, OptionalDuration, OutputOptions, Switch
from synaxis.cli.output import Format
from synaxis.cli.queue_rows import RECEIPT_COLUMNS, receipt_row
from synaxis.cli.standard_input import lines_of, opened, whole_of
from synaxis.errors import InvalidArgument, SynaxisError

__all__ = ["pub"]

UNDER_WAY_MAX = 1_000
"""Messages of a stream that were sent and are not confirmed."""

Publish = Callable[[bytes], Awaitable[synaxis.Receipt]]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class MessageFlags:
    """What is said about a message."""

    key: str | None = None
    """Messages of one key stay in order."""
    header: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """NAME=VALUE for consumers; may be repeated."""
    delay: OptionalDuration = None
    """Deliver it only after this time."""
    ttl: OptionalDuration = None
    """Do not deliver it any more after this time."""
    priority: int = 0
    """0 (normal) to 9 (first); heeded by shared groups."""
    message_id: str | None = None
    """A message whose id was seen a moment ago is not stored again; for a single message."""
    partition: int | None = None
    """Where to, instead of by key or by turns."""

    def publisher(self, topic: synaxis.Topic) -> Publish:
        """Return a function that publishes bytes with these options.

        Raises:
            InvalidArgument: a header is malformed.
        """
        headers = dict(map(_header, self.header)) or None

        def publish(value: bytes) -> Awaitable[synaxis.Receipt]:
            return topic.publish(
                value,
                key=self.key,
                headers=headers,
                delay=self.delay,
                ttl=self.ttl,
                priority=self.priority,
                message_id=self.message_id,
                partition=self.partition,
                codec="bytes",
            )

        return publish


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidArgument(f"--header {text!r}: write NAME=VALUE")
    return name, value


def pub(
    topic: str,
    /,
    *messages: str,
    file: Path | None = None,
    raw: Switch = False,
    about: MessageFlags = MessageFlags(),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Publish messages: arguments, lines of stdin, or a file.

    Each argument is a message, as in: synaxis queue pub orders "order 42"
    Without any, each line of stdin is one, as in: tail -f log | synaxis queue pub logs
    With --raw all of stdin, or of the file, is one message.

    It ends when a majority of nodes has everything on disk. Receipts are
    printed for arguments; for a stream only with -o jsonl (or --json).

    Args:
        topic: where to.
        messages: texts; default: from stdin.
        file: read this instead of stdin.
        raw: the whole input is one message.
        about: the messages.
        cluster: which cluster.
        out: how to print.
    """
    if messages and (file is not None or raw):
        raise InvalidArgument("messages as arguments leave nothing to read: no --file, no --raw")
    if about.message_id is not None and not raw and len(messages) != 1:
        raise InvalidArgument("--message-id is for a single message: an argument, or --raw")

    async def body(client: synaxis.AsyncSynaxis) -> int:
        publish = about.publisher(client.topic(topic))
        if messages:
            await _publish_all([each.encode() for each in messages], publish, out)
        else:
            with opened(file) as descriptor:
                if raw:
                    await _publish_all([await whole_of(descriptor)], publish, out)
                else:
                    await _publish_stream(lines_of(descriptor), publish, out)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


async def _publish_all(values: Iterable[bytes], publish: Publish, out: OutputOptions) -> None:
    under_way = [publish(value) for value in values]
    receipts = [receipt_row(await each) for each in under_way]
    out.printer().rows(receipts, RECEIPT_COLUMNS)


async def _publish_stream(
    lines: AsyncIterator[bytes], publish: Publish, out: OutputOptions
) -> None:
    """Publish as the lines come; an error ends it, and how far it came is told."""
    printer = out.printer()
    if printer.format is Format.JSON:
        printer.format = Format.JSONL
    under_way: deque[Awaitable[synaxis.Receipt]] = deque()
    stored = duplicates = 0

    async def confirm(most: int) -> None:
        nonlocal stored, duplicates
        while len(under_way) > most:
            receipt = await under_way.popleft()
            stored += not receipt.duplicate
            duplicates += receipt.duplicate
            if printer.for_programs:
                printer.rows([receipt_row(receipt)], RECEIPT_COLUMNS)

    try:
        async for line in lines:
            under_way.append(publish(line))
            await confirm(UNDER_WAY_MAX)
        await confirm(0)
    except SynaxisError:
        output.error(f"{stored + duplicates} messages were stored before the first that failed")
        raise
    if not out.quiet:
        known = f", {duplicates} were there already" if duplicates else ""
        output.message(f"{stored} messages published{known}")
