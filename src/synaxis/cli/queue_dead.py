"""``synaxis queue dlq``: the dead letters of a consumer group."""

from typing import Annotated

from cyclopts import App, Parameter

import synaxis
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import ClusterOptions, OutputOptions, Yes
from synaxis.cli.outcome import tell
from synaxis.cli.queue_rows import DEAD_COLUMNS, dead_row

__all__ = ["app"]

app = App(name="synaxis queue dlq", help_format="plaintext")

Group = Annotated[str, Parameter(name=("--group", "-g"))]
Offsets = Annotated[tuple[int, ...], Parameter(name="--offset", negative=())]


@app.command
def ls(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    group: Group,
    count: int = 100,
    reason: str = "",
    partition: int | None = None,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List the dead letters of a consumer group.

    Looking does not change them.

    Args:
        topic: the topic.
        group: the group that has given them up.
        count: at most so many.
        reason: only those with this reason: max_deliveries, rejected or expired.
        partition: only those of this partition.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        letters = client.topic(topic).dead_letters(group)
        found = letters.browse(limit=count, reason=reason, partition=partition)
        out.printer().rows([dead_row(each) async for each in found], DEAD_COLUMNS)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def redrive(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    group: Group,
    limit: int | None = None,
    reason: str = "",
    partition: int | None = None,
    offsets: Offsets = (),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Deliver dead letters again.

    They go back to their group with no failures; other groups are not
    affected.

    Args:
        topic: the topic.
        group: the group that has given them up.
        limit: at most so many, the oldest of each shard first.
        reason: only those with this reason.
        partition: only those of this partition.
        offsets: only this one, of --partition; may be repeated.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        letters = client.topic(topic).dead_letters(group)
        done = await letters.redrive(
            limit=limit, reason=reason, partition=partition, offsets=offsets
        )
        text = f"{topic}: {done} dead letters go to {group} again"
        tell(out, text, topic=topic, group=group, messages=done)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def purge(  # noqa: PLR0913 - one parameter per option
    topic: str,
    /,
    *,
    group: Group,
    limit: int | None = None,
    reason: str = "",
    partition: int | None = None,
    offsets: Offsets = (),
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove dead letters.

    Args:
        topic: the topic.
        group: the group that has given them up.
        limit: at most so many, the oldest of each shard first.
        reason: only those with this reason.
        partition: only those of this partition.
        offsets: only this one, of --partition; may be repeated.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    if not confirm(f"Remove dead letters of {group} in {topic} for ever?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        letters = client.topic(topic).dead_letters(group)
        done = await letters.purge(limit=limit, reason=reason, partition=partition, offsets=offsets)
        text = f"{topic}: {done} dead letters of {group} removed"
        tell(out, text, topic=topic, group=group, messages=done)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
