"""Child processes that do not outlive us unless they are let go."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["command_with_parent_death", "exit_code_of", "send_signal", "spawn"]

PARENT_DEATH = Path(__file__).with_name("parent_death.py")


def command_with_parent_death(command: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """Return a command that becomes ``command`` and gets ``death_signal`` when we die.

    Only Linux can do that; elsewhere the command is returned as it is.
    """
    if not sys.platform.startswith("linux"):
        return list(command)
    us, number = str(os.getpid()), str(int(death_signal))
    return [sys.executable, "-IS", str(PARENT_DEATH), us, number, *command]


async def spawn(
    command: Sequence[str],
    *,
    death_signal: signal.Signals,
    own_group: bool,
    variables: Mapping[str, str] | None = None,
    output: int | None = None,
) -> Process:
    """Start ``command``; with ``own_group`` it leads a process group, safe from our Ctrl-C.

    Args:
        command: program and arguments.
        death_signal: what the child gets when this process dies.
        own_group: see ``send_signal``.
        variables: added to our environment for the child.
        output: where stdout and stderr go (``asyncio.subprocess.PIPE`` or a file descriptor);
            None = where ours go. With one the child gets no stdin.
    """
    return await asyncio.create_subprocess_exec(
        *command_with_parent_death(command, death_signal),
        stdin=asyncio.subprocess.DEVNULL if output is not None else None,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT if output is not None else None,
        # Handed on, not read: settings come from synaxis.config alone.
        env={**os.environ, **(variables or {})},  # noqa: TID251
        process_group=0 if own_group else None,
    )


def send_signal(process: Process, number: signal.Signals, *, own_group: bool) -> None:
    """Signal the child and, when it leads a group, everything that it started in it."""
    if process.returncode is not None and not own_group:
        return
    try:
        if own_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except ProcessLookupError:
        pass  # it ended in between


def exit_code_of(returncode: int) -> int:
    """Return the code a shell would give: 128 + the number of the signal that killed it."""
    return returncode if returncode >= 0 else 128 - returncode
