"""The commands about topics themselves: create, edit, ls, info, pause, resume, purge, rm."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter, Token

import synaxis
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import (
    ClusterOptions,
    Duration,
    OptionalDuration,
    OutputOptions,
    Switch,
    Yes,
)
from synaxis.cli.outcome import tell
from synaxis.cli.output import Column, Format, Printer
from synaxis.cli.queue_rows import (
    GROUP_COLUMNS,
    OPTION_COLUMNS,
    PARTITION_COLUMNS,
    TOPIC_COLUMNS,
    topic_details_row,
    topic_row,
)
from synaxis.cli.sizes import parse_size_bytes
from synaxis.cli.watching import repeat
from synaxis.client.queues.topics import TopicOptions, TopicSettings
from synaxis.errors import InvalidArgument, NotFound

__all__ = ["create", "edit", "info", "ls", "pause", "purge", "resume", "rm"]

DESCRIBED_AT_ONCE = 16
"""Topics that ``ls`` asks about at the same time."""


def _size(_type: object, tokens: Sequence[Token]) -> int:
    try:
        return parse_size_bytes(tokens[0].value)
    except InvalidArgument as error:
        raise ValueError(error.message) from error


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class TopicFlags:
    """What the owner of a topic decides."""

    retention: Literal["work", "log"] | None = None
    """work [default]: a message goes when every group has finished it. log: it stays until it is
    too old or the partition too large."""
    visibility: OptionalDuration = None
    """How long a consumer may keep a message without a sign of life [30s]."""
    max_deliveries: int | None = None
    """Failed deliveries that make a dead letter [5]."""
    backoff: OptionalDuration = None
    """Pause before the second delivery; it doubles with each failure [1s]."""
    backoff_max: OptionalDuration = None
    """Longest pause [1m]."""
    max_age: OptionalDuration = None
    """Age at which messages go; 0: never [0]."""
    max_bytes: Annotated[int | None, Parameter(converter=_size, n_tokens=1, metavar="SIZE")] = None
    """Stored bytes of one partition, such as 512MiB: log drops the oldest, work refuses to
    publish; 0: no limit of its own [0]."""
    dedup_window: OptionalDuration = None
    """How long a message id is remembered [2m]."""
    expired: Literal["drop", "dead-letter"] | None = None
    """What becomes of a message whose time to live is over [drop]."""

    def options(self, known: synaxis.Backoff) -> TopicOptions:
        """Return what was named; ``known`` is the back-off that stands."""
        found = TopicOptions()
        if self.retention is not None:
            found["retention"] = self.retention
        if self.visibility is not None:
            found["visibility"] = self.visibility
        if self.max_deliveries is not None:
            found["max_deliveries"] = self.max_deliveries
        if self.max_age is not None:
            found["retention_time"] = self.max_age or None
        if self.max_bytes is not None:
            found["partition_bytes"] = self.max_bytes or None
        if self.dedup_window is not None:
            found["dedup_window"] = self.dedup_window
        if self.expired is not None:
            found["expired"] = "drop" if self.expired == "drop" else "dead_letter"
        if self.backoff is not None or self.backoff_max is not None:
            first = known.first if self.backoff is None else self.backoff
            longest = known.longest if self.backoff_max is None else self.backoff_max
            found["backoff"] = synaxis.Backoff(first, longest)
        return found


def create(
    name: str,
    /,
    *,
    partitions: int = 16,
    options: TopicFlags = TopicFlags(),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Create a topic.

    The same once more changes nothing; with other options it exits with 6.

    Args:
        name: the topic; letters, digits, '.', '_' and '-'.
        partitions: how many; it cannot be changed later, because keys would move.
        options: of the topic.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        chosen = options.options(synaxis.Backoff())
        settings = await client.topics.create(name, partitions, **chosen)
        tell(
            out,
            f"{settings.name}: {settings.partitions} partitions",
            topic=settings.name,
            partitions=settings.partitions,
        )
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def edit(
    name: str,
    /,
    *,
    options: TopicFlags = TopicFlags(),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Change the options of a topic.

    What is not named stays as it is.

    Args:
        name: the topic.
        options: of the topic.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        known = await client.topics.get(name)
        settings = await client.topics.update(name, **options.options(known.backoff))
        tell(
            out,
            f"{settings.name}: version {settings.version}",
            topic=settings.name,
            version=settings.version,
        )
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def ls(
    prefix: str = "",
    /,
    *,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List topics.

    Lag and oldest message are those of the consumer group that is furthest
    behind; dead letters are those of all groups.

    Args:
        prefix: only names that start with this.
        watch: show them again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            printer.rows(await _topic_rows(client, prefix), TOPIC_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


async def _topic_rows(client: synaxis.AsyncSynaxis, prefix: str) -> list[dict[str, Any]]:
    places = asyncio.Semaphore(DESCRIBED_AT_ONCE)

    async def describe(settings: TopicSettings) -> dict[str, Any] | None:
        async with places:
            try:
                return topic_row(settings, await client.topic(settings.name).info())
            except NotFound:  # removed a moment ago
                return None

    topics = await client.topics.list(prefix)
    rows = await asyncio.gather(*map(describe, topics))
    return [row for row in rows if row is not None]


def info(
    name: str,
    /,
    *,
    partitions: Switch = False,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show one topic: options, consumer groups, partitions.

    Args:
        name: the topic.
        partitions: list what each partition stores, too (JSON always does).
        watch: show it again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            settings = await client.topics.get(name)
            row = topic_details_row(settings, await client.topic(name).info())
            print_topic(row, printer, partitions=partitions)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def print_topic(row: dict[str, Any], printer: Printer, *, partitions: bool) -> None:
    """Print one topic; people get a table of groups, and one of partitions, below it."""
    printer.record(row, (*TOPIC_COLUMNS, *OPTION_COLUMNS))
    if printer.for_programs:
        return
    parts: list[tuple[str, str, tuple[Column, ...]]] = [("group", "consumers", GROUP_COLUMNS[1:])]
    if partitions:
        parts.append(("partition", "stored", PARTITION_COLUMNS))
    for kind, key, columns in parts:
        rows = [{**each, "kind": kind} for each in row[key]]
        if printer.format is Format.PLAIN:  # each line says what it is
            printer.rows(rows, (Column("KIND", "kind"), *columns))
        elif rows:
            printer.text("")
            printer.rows(rows, columns)


def pause(
    name: str,
    /,
    *,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Deliver nothing of a topic until `queue resume`.

    Publishing goes on, and so does the work on messages that were delivered.

    Args:
        name: the topic.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        await client.topic(name).pause()
        tell(out, f"{name}: paused", topic=name, paused=True)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def resume(
    name: str,
    /,
    *,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Deliver again.

    Args:
        name: the topic.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        await client.topic(name).resume()
        tell(out, f"{name}: resumed", topic=name, paused=False)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def purge(
    name: str,
    /,
    *,
    partition: int | None = None,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove every message of a topic.

    Dead letters go, too; the topic and its consumer groups stay.

    Args:
        name: the topic.
        partition: only the messages of this partition.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    where = name if partition is None else f"partition {partition} of {name}"
    if not confirm(f"Remove every message of {where}, dead letters too?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        purged = await client.topic(name).purge(partition)
        tell(out, f"{where}: {purged} messages removed", topic=name, messages=purged)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def rm(
    name: str,
    /,
    *,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove a topic with all that it stores.

    Args:
        name: the topic.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    if not confirm(f"Remove {name} with all its messages and consumer groups?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        await client.topics.get(name)  # a name that was mistyped must not look like a success
        await client.topics.delete(name)
        tell(out, f"{name}: removed", topic=name)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
