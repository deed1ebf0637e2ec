"""The commands that look at locks or take them away: ls, info, graph, force-release."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from cyclopts import Parameter

import synaxis
from synaxis.cli import output
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.durations import format_duration
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.lock_rows import lock_row
from synaxis.cli.options import ClusterOptions, Duration, OutputOptions, Switch, Yes
from synaxis.cli.output import Column, Format, Printer
from synaxis.cli.wait_graph import Edge, as_dot, as_tree
from synaxis.cli.watching import repeat

__all__ = ["force_release", "graph", "info", "ls"]


Kind = Literal["lock", "semaphore", "election"]


def _owners(holders: list[dict[str, Any]]) -> str:
    return ", ".join(str(holder["owner"]) for holder in holders)


LIST_COLUMNS = (
    Column("NAME", "name"),
    Column("MODE", "mode"),
    Column("TOKEN", "token", number=True),
    Column("AGE", "age_s", write=format_duration, number=True),
    Column("WAITERS", "waiters", write=len, number=True),
    Column("HELD BY", "holders", write=_owners),
)
INFO_COLUMNS = (
    *LIST_COLUMNS[:4],
    Column("FREE AGAIN IN", "delayed_for_s", write=format_duration),
)
HOLDER_COLUMNS = (
    Column("HOLDER", "owner"),
    Column("SESSION", "session"),
    Column("TOKEN", "token", number=True),
    Column("MODE", "mode"),
    Column("AGE", "age_s", write=format_duration, number=True),
    Column("ENDS IN", "ends_in_s", write=format_duration, number=True),
)
WAITER_COLUMNS = (
    Column("WAITER", "position", number=True),
    Column("SESSION", "session"),
    Column("MODE", "mode"),
    Column("UPGRADE", "upgrade", write=bool),
    Column("WAITING", "waiting_s", write=format_duration, number=True),
    Column("GIVES UP IN", "gives_up_in_s", write=format_duration, number=True),
)
EDGE_COLUMNS = (
    Column("WAITER", "waiter"),
    Column("HOLDER", "holder"),
    Column("LOCK", "lock"),
)


def ls(
    prefix: str = "",
    /,
    *,
    kind: Kind = "lock",
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List locks that are held or waited for.

    Args:
        prefix: only names that start with this.
        kind: locks, or what else stands on them.
        watch: show them again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            locks = await client.locks.list(prefix, kind=kind)
            printer.rows([lock_row(each) for each in locks], LIST_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def info(
    name: str,
    /,
    *,
    kind: Kind = "lock",
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show one lock: holders, and waiters in queue order.

    Exits with 5 when nobody holds it or waits for it.

    Args:
        name: the lock.
        kind: a lock, or what else stands on one.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        found = await client.locks.get(name, kind=kind)
        row = lock_row(found)
        if not row["holders"] and not row["waiters"]:
            output.error(f"{name} is free")
            return ExitCode.NOT_FOUND
        print_lock(row, out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def print_lock(row: dict[str, Any], printer: Printer) -> None:
    """Print one lock; people get a table of holders and one of waiters below it."""
    printer.record(row, INFO_COLUMNS)
    if printer.for_programs:
        return
    for kind, columns in (("holder", HOLDER_COLUMNS), ("waiter", WAITER_COLUMNS)):
        rows = [{**each, "kind": kind} for each in row[kind + "s"]]
        if printer.format is Format.PLAIN:  # each line says what it is
            printer.rows(rows, (Column("KIND", "kind"), *columns))
        elif rows:
            printer.text("")
            printer.rows(rows, columns)


class GraphFormat(StrEnum):
    """What ``lock graph -o`` accepts."""

    TREE = "tree"
    TABLE = "table"
    DOT = "dot"
    PLAIN = "plain"
    JSON = "json"
    JSONL = "jsonl"


def graph(
    *,
    output_format: Annotated[GraphFormat | None, Parameter(name=("--output", "-o"))] = None,
    json: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
) -> int:
    """Show who waits for whom.

    The tree shows below each session those who wait for it. -o dot is for
    Graphviz, as in: synaxis lock graph -o dot | dot -Tsvg > waits.svg

    Args:
        output_format: tree (default on a terminal), table, dot, plain (default in a pipe), json
            or jsonl.
        json: short for --output json.
        cluster: which cluster.
    """
    chosen = GraphFormat.JSON if json else output_format

    async def body(client: synaxis.AsyncSynaxis) -> int:
        waits = await client.locks.waits()
        edges = [Edge(each.waiter, each.holder, each.name) for each in waits.edges]
        if waits.truncated:
            output.message("synaxis: there are more waits than are shown")
        print_graph(edges, chosen)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def print_graph(edges: list[Edge], chosen: GraphFormat | None) -> None:
    """Print the edges in a format that ``GraphFormat`` names; None chooses by the stream."""
    printer = Printer()
    shape = chosen or (GraphFormat.TREE if printer.to_terminal else GraphFormat.PLAIN)
    match shape:
        case GraphFormat.TREE:
            lines = as_tree(edges).splitlines() or ["nobody waits"]
            printer.text("\n".join(map(output.printable, lines)))
        case GraphFormat.DOT:
            printer.text(as_dot(edges))
        case GraphFormat.TABLE | GraphFormat.PLAIN | GraphFormat.JSON | GraphFormat.JSONL:
            printer.format = Format(shape)
            printer.rows([edge._asdict() for edge in edges], EDGE_COLUMNS)


def force_release(  # noqa: PLR0913 - one parameter per option
    name: str,
    /,
    *,
    kind: Kind = "lock",
    reason: str = "synaxis lock force-release",
    token: int = 0,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Take a lock away from whoever holds it.

    The holder is told, but may be at work at this very moment: only a
    resource that checks fencing tokens is safe from it.

    Args:
        name: the lock.
        kind: a lock, or what else stands on one.
        reason: for the audit log.
        token: only the grant with this fencing token; default: every holder.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    if not confirm(f"Take {name} away from its holder?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        changed = await client.locks.force_release(name, reason=reason, kind=kind, token=token)
        if not changed:
            output.error(f"nobody holds {name}" + (f" under token {token}" if token else ""))
            return ExitCode.NOT_FOUND
        if not out.quiet:
            output.message(f"{name}: taken away")
        return ExitCode.OK

    return run_with_cluster(cluster, body)
