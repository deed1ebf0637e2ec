"""``synaxis group``: the consumer groups of topics."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from cyclopts import App

import synaxis
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.moments import parse_position
from synaxis.cli.options import ClusterOptions, Duration, OutputOptions, Switch, Yes
from synaxis.cli.outcome import tell
from synaxis.cli.output import Column, Format, Printer
from synaxis.cli.queue_rows import (
    GROUP_COLUMNS,
    GROUP_PARTITION_COLUMNS,
    MEMBER_COLUMNS,
    group_row,
)
from synaxis.cli.watching import repeat
from synaxis.client.clock import wall_now
from synaxis.errors import NotFound

__all__ = ["app"]

app = App(name="synaxis group", help_format="plaintext")

DESCRIBED_AT_ONCE = 16
"""Topics that ``ls`` asks about at the same time."""


@app.command
def ls(
    topic: str | None = None,
    /,
    *,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List the consumer groups of a topic.

    Args:
        topic: the topic; default: all topics.
        watch: show them again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            printer.rows(await _rows(client, topic), GROUP_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


async def _rows(client: synaxis.AsyncSynaxis, topic: str | None) -> list[dict[str, Any]]:
    if topic is not None:
        return [group_row(topic, each) for each in await client.topic(topic).groups.list()]
    places = asyncio.Semaphore(DESCRIBED_AT_ONCE)

    async def describe(name: str) -> list[dict[str, Any]]:
        async with places:
            try:
                return await _rows(client, name)
            except NotFound:  # removed a moment ago
                return []

    names = [each.name for each in await client.topics.list()]
    return [row for rows in await asyncio.gather(*map(describe, names)) for row in rows]


@app.command
def info(
    topic: str,
    group: str,
    /,
    *,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show one consumer group: partitions and members.

    Args:
        topic: the topic.
        group: the consumer group.
        watch: show it again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            state = await client.topic(topic).groups.info(group)
            print_group(group_row(topic, state), printer)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def print_group(row: dict[str, Any], printer: Printer) -> None:
    """Print one group; people get a table of partitions and one of members below it."""
    printer.record(row, GROUP_COLUMNS)
    if printer.for_programs:
        return
    for kind, columns in (("partition", GROUP_PARTITION_COLUMNS), ("member", MEMBER_COLUMNS)):
        rows = [{**each, "kind": kind} for each in row[kind + "s"]]
        if printer.format is Format.PLAIN:  # each line says what it is
            printer.rows(rows, (Column("KIND", "kind"), *columns))
        elif rows:
            printer.text("")
            printer.rows(rows, columns)


@app.command
def reset(  # noqa: PLR0913 - one parameter per option
    topic: str,
    group: str,
    /,
    *,
    to: str,
    partition: int | None = None,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Move a consumer group to another position.

    Everything stored from there on is delivered (again), everything before is
    finished; in a topic with retention work, what all groups have finished is
    gone. Members lose what they hold. Dead letters stay.

    Args:
        topic: the topic.
        group: the consumer group.
        to: start, end, an offset such as 1500, a time such as 2026-11-25T12:00:00Z, or a
            duration such as 2h for what was published in the last two hours.
        partition: only in this partition.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    position = parse_position(to, datetime.fromtimestamp(wall_now(), UTC))
    if not confirm(f"Move {group} in {topic} to {to}?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        groups = client.topic(topic).groups
        if isinstance(position, datetime):
            await groups.seek(group, time=position, partition=partition)
        else:
            await groups.seek(group, offset=position, partition=partition)
        tell(out, f"{topic}: {group} moved to {to}", topic=topic, group=group, to=to)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def rm(
    topic: str,
    group: str,
    /,
    *,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove a consumer group without members.

    In a topic with retention work, messages that only this group had not
    finished go, too.

    Args:
        topic: the topic.
        group: the consumer group.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    if not confirm(f"Remove {group} from {topic} with its dead letters?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        await client.topic(topic).groups.delete(group)
        tell(out, f"{topic}: {group} removed", topic=topic, group=group)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
