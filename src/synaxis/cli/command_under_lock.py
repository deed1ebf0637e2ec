"""Runs a command for as long as a lock is held: what ``synaxis lock run`` does with its grant.

The command ends by itself: its exit code is ours. The lock is lost first: the command gets
SIGTERM, after the grace SIGKILL, and we exit with 6. We are signalled: the signal is passed on and
the command decides.

With a terminal in the foreground the command stays in our process group, so that it can read the
terminal; Ctrl-C then reaches it from the terminal itself. Without one it leads a group of its own
and signals go to the whole group.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from typing import Protocol

from synaxis.cli import child, output
from synaxis.cli.exit_codes import ExitCode

__all__ = ["HeldLock", "run_under_lock"]

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FROM_TERMINAL = (signal.SIGINT,)


class HeldLock(Protocol):
    """What is needed of a grant."""

    @property
    def lost(self) -> asyncio.Event:
        """Set when the lock is held no longer."""
        ...


async def run_under_lock(
    held: HeldLock, command: Sequence[str], variables: Mapping[str, str], grace_s: float
) -> int:
    """Run ``command`` with ``variables`` added to its environment, unless the lock is lost.

    Args:
        held: the lock.
        command: program and arguments.
        variables: added to the environment of the command.
        grace_s: seconds between SIGTERM and SIGKILL after the loss.

    Returns:
        The exit code for ``synaxis lock run``.
    """
    own_group = not _is_in_foreground()
    process = await child.spawn(
        command, death_signal=signal.SIGTERM, own_group=own_group, variables=variables
    )
    loop = asyncio.get_running_loop()
    for number in FORWARDED:
        loop.add_signal_handler(number, _forward, process, number, own_group)
    try:
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(process.wait())
            lost = tasks.create_task(held.lost.wait())
            await asyncio.wait((ended, lost), return_when=asyncio.FIRST_COMPLETED)
            lost.cancel()
            if held.lost.is_set():
                output.error("the lock was lost; the command is being stopped")
                await _terminate(process, own_group, grace_s)
                return ExitCode.CONFLICT
        return child.exit_code_of(ended.result())
    finally:
        for number in FORWARDED:
            loop.remove_signal_handler(number)
        if process.returncode is None:
            child.send_signal(process, signal.SIGKILL, own_group=own_group)


async def _terminate(process: Process, own_group: bool, grace_s: float) -> None:
    child.send_signal(process, signal.SIGTERM, own_group=own_group)
    try:
        async with asyncio.timeout(grace_s):
            await process.wait()
    except TimeoutError:
        output.error(f"the command did not end within {grace_s:g} s; it is being killed")
    # Also after a graceful end: whatever the command left behind in its group works unlocked.
    child.send_signal(process, signal.SIGKILL, own_group=own_group)
    await process.wait()


def _forward(process: Process, number: signal.Signals, own_group: bool) -> None:
    if number in FROM_TERMINAL and not own_group:
        return  # the terminal has sent it to the command as well
    child.send_signal(process, number, own_group=own_group)


def _is_in_foreground() -> bool:
    """Whether stdin is a terminal whose Ctrl-C goes to our process group."""
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # stdin is closed or something strange
        return False
