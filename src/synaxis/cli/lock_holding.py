"""The commands that hold a lock: ``lock run``, ``lock acquire``, ``lock release``."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Literal, NoReturn

from cyclopts import Parameter

import synaxis
from synaxis.cli import output
from synaxis.cli.command_under_lock import run_under_lock
from synaxis.cli.connection import SESSION_TTL_S, run_with_cluster
from synaxis.cli.durations import format_duration
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.lock_rows import session_text
from synaxis.cli.options import (
    ClusterOptions,
    Duration,
    OptionalDuration,
    OutputOptions,
    Switch,
)
from synaxis.cli.output import Column, Format
from synaxis.errors import InvalidArgument, LockTimeout, SynaxisError

__all__ = ["acquire", "release", "run"]

Mode = Literal["exclusive", "shared"]
GRANT_COLUMNS = (
    Column("NAME", "name"),
    Column("TOKEN", "token", number=True),
    Column("MODE", "mode"),
    Column("SESSION", "session"),
)
SAY_THAT_WE_WAIT_AFTER_S = 1.0


def run(  # noqa: PLR0913 - one parameter per option
    name: str,
    /,
    *command: str,
    wait: OptionalDuration = None,
    mode: Mode = "exclusive",
    max_hold: OptionalDuration = None,
    lock_delay: OptionalDuration = None,
    session_ttl: Duration = SESSION_TTL_S,
    grace: Duration = 10.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative="")] = False,
) -> int:
    """Run a command while holding a lock.

    The command stands after -- and finds SYNAXIS_LOCK_NAME and
    SYNAXIS_LOCK_TOKEN (the fencing token) in its environment, as in
    synaxis lock run nightly --wait 10 -- ./report.sh

    The exit code is the command's; 7 when the lock was not granted in time;
    6 when it is held (with --wait 0) or was lost: the command is then
    stopped. SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 are passed on.

    Args:
        name: the lock.
        command: program and arguments, after --.
        wait: how long to wait for the lock; 0: not at all; default: for ever.
        mode: shared holders exclude only exclusive ones.
        max_hold: the cluster takes the lock back after this long.
        lock_delay: after a forced loss nobody gets the lock for this long.
        session_ttl: how long the cluster keeps the lock when it hears nothing from us.
        grace: time between SIGTERM and SIGKILL for a command whose lock was lost.
        quiet: no messages on stderr but errors.
        cluster: which cluster.
    """
    if not command:
        raise InvalidArgument("say what to run after --, as in: synaxis lock run NAME -- ls -l")

    async def body(client: synaxis.AsyncSynaxis) -> int:
        with _say_that_we_wait(name, quiet=quiet):
            grant = await client.acquire(
                name, wait=wait, mode=mode, max_hold=max_hold, lock_delay=lock_delay
            )
        variables = {"SYNAXIS_LOCK_NAME": name, "SYNAXIS_LOCK_TOKEN": str(grant.token)}
        try:
            return await run_under_lock(grant, command, variables, grace)
        finally:
            await _give_back(grant)

    return _told(name, wait, lambda: run_with_cluster(cluster, body, session_ttl))


def acquire(  # noqa: PLR0913 - one parameter per option
    name: str,
    /,
    *,
    wait: OptionalDuration = None,
    mode: Mode = "exclusive",
    max_hold: OptionalDuration = None,
    detach: Switch = False,
    ttl: Duration = 300.0,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Take a lock and hold it until Ctrl-C.

    Name, token, mode and session are printed as soon as the lock is held.
    Ctrl-C or SIGTERM gives it back and exits with 0; a loss exits with 6.

    With --detach the command returns at once and the lock stays held until
    synaxis lock release NAME --token TOKEN, but for --ttl at most.

    Args:
        name: the lock.
        wait: how long to wait for the lock; 0: not at all; default: for ever.
        mode: shared holders exclude only exclusive ones.
        max_hold: the cluster takes the lock back after this long.
        detach: leave the lock held and return.
        ttl: with --detach: how long the cluster keeps the lock when nobody releases it; the
            cluster's session_ttl_ms_max is the limit.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        with _say_that_we_wait(name, quiet=out.quiet):
            grant = await client.acquire(name, wait=wait, mode=mode, max_hold=max_hold)
        _print_grant(out, grant)
        if detach:
            _leave_session_behind()
        try:
            lost = await _until_told_to_end(grant.lost)
        finally:
            await _give_back(grant)
        if lost:
            output.error(str(grant.loss()))
        return ExitCode.CONFLICT if lost else ExitCode.OK

    session_ttl_s = ttl if detach else SESSION_TTL_S
    return _told(name, wait, lambda: run_with_cluster(cluster, body, session_ttl_s))


def release(
    name: str,
    /,
    *,
    token: int,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Give back a lock taken with `lock acquire --detach`.

    The fencing token says which grant is meant, so a late release never
    frees a later holder's lock; when that grant is held no longer, the exit
    code is 6.

    Args:
        name: the lock.
        token: what `lock acquire --detach` printed.
        cluster: which cluster.
        out: how to print.
    """

    async def body(client: synaxis.AsyncSynaxis) -> int:
        released = await client.locks.force_release(
            name, reason="synaxis lock release", token=token
        )
        if not released:
            output.error(f"{name} is not held under token {token}")
            return ExitCode.CONFLICT
        if not out.quiet:
            output.message(f"{name}: released")
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def _told(name: str, wait: float | None, command: Callable[[], int]) -> int:
    """Run ``command``; say in the words of this command that the lock was not granted."""
    try:
        return command()
    except LockTimeout as failure:
        if wait == 0:
            output.error(f"{name} is held by somebody else")
            return ExitCode.CONFLICT
        assert wait is not None
        raise LockTimeout(f"{name} was not granted within {format_duration(wait)}") from failure


@contextmanager
def _say_that_we_wait(name: str, *, quiet: bool) -> Iterator[None]:
    """Tell a person why nothing happens, once a second has passed."""
    if quiet:
        yield
        return
    loop = asyncio.get_running_loop()
    timer = loop.call_later(
        SAY_THAT_WE_WAIT_AFTER_S, output.message, f"synaxis: waiting for {output.printable(name)}"
    )
    try:
        yield
    finally:
        timer.cancel()


async def _give_back(grant: synaxis.Grant) -> None:
    """Release; a cluster that does not answer must not hide how the command ended."""
    try:
        await grant.release()
    except SynaxisError as failure:
        output.error(f"{grant.name} ends with its session: {failure}")


def _print_grant(out: OutputOptions, grant: synaxis.Grant) -> None:
    row = {
        "name": grant.name,
        "token": grant.token,
        "mode": grant.mode,
        "session": session_text(grant.session_id),
    }
    printer = out.printer()
    if printer.format is Format.PLAIN:
        printer.rows([row], GRANT_COLUMNS)
    else:
        printer.record(row, GRANT_COLUMNS)


async def _until_told_to_end(lost: asyncio.Event) -> bool:
    """Wait for Ctrl-C, SIGTERM or the loss; return whether it was the loss."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(event.wait()) for event in (told, lost)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
    return lost.is_set()


def _leave_session_behind() -> NoReturn:
    """End the process without closing the session, whose TTL now guards the lock."""
    sys.stdout.flush()
    sys.stderr.flush()
    # Every orderly way out gives the lock back: that is what they are for.
    os._exit(ExitCode.OK)
