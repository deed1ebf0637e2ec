"""The commands that look at caches from outside: ls, stats, state, ring."""

from typing import Any

import synaxis
from synaxis.cli.cache_keys import split
from synaxis.cli.cache_rows import (
    CACHE_COLUMNS,
    HOME_COLUMNS,
    LINE_COLUMNS,
    SHARD_COLUMNS,
    SHARE_COLUMNS,
    cache_row,
    home_row,
    line_row,
    shard_row,
    share_rows,
)
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import ClusterOptions, Duration, OutputOptions, Switch
from synaxis.cli.output import Column, Format, Printer
from synaxis.cli.watching import repeat
from synaxis.client.caches.looking import joined
from synaxis.errors import InvalidArgument

__all__ = ["ls", "print_stats", "ring", "state", "stats"]

Row = dict[str, Any]


def ls(
    prefix: str = "",
    *,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List caches that hold something.

    Args:
        prefix: only names that start with this.
        watch: show them again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            found = await client.caches.list(prefix)
            printer.rows([cache_row(each) for each in found], CACHE_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def stats(
    cache: str = "",
    /,
    *,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show what each shard holds and what happened to it.

    Counts are those of the node that leads the shard, since its start.

    Args:
        cache: only the records and bytes of this one; default: of all.
        watch: show it again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            shards = await client.caches.shards(cache)
            caches = joined(each for shard in shards for each in shard.caches)
            rows = [shard_row(shard) for shard in shards]
            print_stats([cache_row(each) for each in caches], rows, printer)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def print_stats(caches: list[Row], shards: list[Row], printer: Printer) -> None:
    """Print caches and shards; each line of the plain form says what it is."""
    if printer.for_programs:
        printer.record({"caches": caches, "shards": shards}, ())
    elif printer.format is Format.PLAIN:
        kind = Column("KIND", "kind")
        printer.rows([{"kind": "cache", **row} for row in caches], (kind, *CACHE_COLUMNS))
        printer.rows([{"kind": "shard", **row} for row in shards], (kind, *SHARD_COLUMNS))
    else:
        if caches:
            printer.rows(caches, CACHE_COLUMNS)
            printer.text("")
        printer.rows(shards, SHARD_COLUMNS)


def state(
    *keys: str,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show who holds copies of a record, as its home sees it (MESI).

    M: its owner may have written it without telling; E: it has an owner; S:
    near caches have it; I: only its home has it. Version 0: nothing is stored.

    Args:
        keys: which ones, as in: synaxis cache state users/42
        watch: show it again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """
    if not keys:
        raise InvalidArgument("name at least one key")
    wanted = [split(key) for key in keys]

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            rows = [line_row(await client.caches.line(*each)) for each in wanted]
            printer.rows(rows, LINE_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def ring(
    *keys: str,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show which node is the home of a key, or of how many.

    Args:
        keys: which ones; default: the share of each node.
        cluster: which cluster.
        out: how to print.
    """
    wanted = [split(key) for key in keys]

    async def body(client: synaxis.AsyncSynaxis) -> int:
        shards = await client.caches.shards()
        if not keys:
            out.printer().rows(share_rows(shards), SHARE_COLUMNS)
            return ExitCode.OK
        homes = {each.shard: each.home for each in shards}
        rows = []
        for key, (cache, name) in zip(keys, wanted, strict=True):
            shard = client.caches.shard_of(cache, name)
            rows.append(home_row(key, shard, homes[shard]))
        out.printer().rows(rows, HOME_COLUMNS)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
