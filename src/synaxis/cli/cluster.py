"""``synaxis cluster``: status, and changes of membership and leadership."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cyclopts import App

import synaxis
from synaxis.cli import output
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import connect, run_with_cluster
from synaxis.cli.durations import format_duration
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import ClusterOptions, Duration, OutputOptions, Switch, Yes
from synaxis.cli.output import Column, Printer
from synaxis.cli.watching import repeat
from synaxis.errors import NotFound, SynaxisError
from synaxis.wire.client import GroupStatus, MemberStatus, NodeStatus

__all__ = ["app", "member_rows", "status_rows"]

app = App(name="synaxis cluster", help_format="plaintext")

SINGLE_NODE_TIMEOUT_S = 2.0
STATUS_COLUMNS = (
    Column("NODE", "node_id"),
    Column("GROUP", "group"),
    Column("ROLE", "role"),
    Column("STATE", "state"),
    Column("LEADER", "leader", write=lambda leads: "*" if leads else ""),
    Column("TERM", "term", number=True),
    Column("COMMIT", "commit_index", number=True),
    Column("LAG", "lag_entries", number=True),
    Column("UPTIME", "uptime_s", write=format_duration, number=True),
    Column("VERSION", "version"),
)
MEMBER_COLUMNS = (
    Column("NODE", "node_id"),
    Column("STATE", "state"),
    Column("VOTER IN", "voter_in", write=", ".join),
    Column("PEER ADDRESS", "peer_address"),
    Column("URL", "api_url"),
    Column("VERSION", "version"),
)


@app.command
def status(
    *,
    group: str | None = None,
    watch: Switch = False,
    interval: Duration = 2.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Show every node with its role, term and lag.

    Every member is asked itself; one that does not answer is shown as the
    others see it.

    Args:
        group: only this group, such as locks/0.
        watch: show it again and again.
        interval: pause between two rounds of --watch.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        async def show(printer: Printer) -> None:
            first, statuses = await _ask_everybody(client, cluster)
            rows = [row for row in status_rows(first, statuses) if group in (None, row["group"])]
            if group is not None and not rows:
                raise NotFound(f"there is no group {group}")
            printer.rows(rows, STATUS_COLUMNS)

        if watch:
            await repeat(show, out.printer(), interval)
        await show(out.printer())
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def members(
    *,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """List the members with their addresses."""

    async def body(client: synaxis.AsyncSynaxis) -> int:
        out.printer().rows(member_rows(await client.status()), MEMBER_COLUMNS)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def add(
    node_id: str,
    peer_address: str,
    /,
    *,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Admit a node, which then joins as a learner.

    The node is then started with synaxis node run --node-id NODE_ID
    --join URL and becomes a voter by itself once it has caught up.

    Args:
        node_id: the new node's name; one that was never used in this cluster.
        peer_address: host:port at which the other nodes reach it.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        _tell(out, node_id, await client.add_member(node_id, peer_address))
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def remove(
    node_id: str,
    /,
    *,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Retire a node id for ever.

    Args:
        node_id: the member; a new node in its place needs a new id.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    if not confirm(f"Remove {node_id} from the cluster for ever?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        _tell(out, node_id, await client.remove_member(node_id))
        return ExitCode.OK

    return run_with_cluster(cluster, body)


@app.command
def transfer(
    node_id: str,
    /,
    *,
    group: str | None = None,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Hand leadership to another node.

    Args:
        node_id: the voter that shall lead.
        group: only this group, such as locks/0; default: every group that the node is a voter of.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        view = await client.status()
        known = [each.group for each in view.groups if node_id in each.voters]
        if group is not None and group not in known:
            raise NotFound(f"{node_id} is no voter of {group}")
        if not known:
            raise NotFound(f"{node_id} is no voter of any group")
        for each in known if group is None else [group]:
            _tell(out, each, await client.transfer_leadership(each, node_id))
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def _tell(out: OutputOptions, subject: str, answer: str) -> None:
    printer = out.printer()
    if printer.for_programs:
        printer.rows([{"subject": subject, "message": answer}], ())
    elif not out.quiet:
        output.message(f"{subject}: {answer}")


# --- what the nodes say of themselves --------------------------------------------------------


async def _ask_everybody(
    client: synaxis.AsyncSynaxis, options: ClusterOptions
) -> tuple[NodeStatus, list[NodeStatus]]:
    """Return one node's view, and the views of all that answer (that one's included)."""
    first = await client.status()
    others = [
        member
        for member in first.members
        if member.node_id != first.node_id and member.state != "removed" and member.api_url
    ]
    answers = await asyncio.gather(*(_ask(member, options) for member in others))
    return first, [first, *(answer for answer in answers if answer is not None)]


async def _ask(member: MemberStatus, options: ClusterOptions) -> NodeStatus | None:
    try:
        timeout_s = min(options.timeout, SINGLE_NODE_TIMEOUT_S)
        async with connect(options, member.api_url, timeout_s) as client:
            answer = await client.status()
    except SynaxisError:
        return None
    # A client that knows other nodes too may have asked one of those.
    return answer if answer.node_id == member.node_id else None


def status_rows(first: NodeStatus, statuses: Sequence[NodeStatus]) -> list[dict[str, Any]]:
    """Return a row per node and group, in that order; unknown values are None.

    Args:
        first: whose view tells the state of nodes that did not answer.
        statuses: what each node that answered says of itself.
    """
    by_node = {view.node_id: view for view in statuses}
    commits: dict[str, int] = {}
    for view in statuses:
        for each in view.groups:
            commits[each.group] = max(commits.get(each.group, 0), each.commit_index)
    rows = []
    for member in sorted(first.members, key=lambda member: member.node_id):
        if member.state == "removed":
            continue
        own = by_node.get(member.node_id)
        groups = own.groups if own is not None else _groups_of(member, first)
        rows += [_status_row(member, own, each, commits) for each in groups]
    return rows


def _groups_of(member: MemberStatus, view: NodeStatus) -> list[GroupStatus]:
    return [
        each
        for each in view.groups
        if member.node_id in (*each.voters, *each.outgoing, *each.learners)
    ]


def _status_row(
    member: MemberStatus, own: NodeStatus | None, group: GroupStatus, commits: dict[str, int]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "node_id": member.node_id,
        "group": group.group,
        "role": None,
        "state": member.state,
        "leader": group.leader == member.node_id,
        "term": None,
        "commit_index": None,
        "applied_index": None,
        "lag_entries": None,
        "uptime_s": None,
        "version": member.version or None,
        "api_url": member.api_url,
    }
    if own is not None:
        row |= {
            "role": group.role,
            "state": "alive",
            "leader": group.role == "leader",
            "term": group.term,
            "commit_index": group.commit_index,
            "applied_index": group.applied_index,
            "lag_entries": commits[group.group] - group.commit_index,
            "uptime_s": round(own.uptime_s, 1),
            "version": own.version,
        }
    return row


def member_rows(view: NodeStatus) -> list[dict[str, Any]]:
    """Return a row per member, removed ones included."""
    return [
        {
            "node_id": member.node_id,
            "state": member.state,
            "phi": round(member.phi, 2),
            "voter_in": [each.group for each in view.groups if member.node_id in each.voters],
            "learner_in": [each.group for each in view.groups if member.node_id in each.learners],
            "peer_address": member.peer_address,
            "api_url": member.api_url,
            "version": member.version or None,
        }
        for member in view.members
    ]
