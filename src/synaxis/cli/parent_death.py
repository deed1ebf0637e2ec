"""Become another program, and receive a signal when the parent process dies.

Run as a script by ``child.py`` between fork and the program proper: ``parent_death.py PARENT
SIGNAL PROGRAM ARGS...``. Without it, ``kill -9`` of ``synaxis up`` would leave nodes behind that
keep their ports, and ``kill -9`` of ``synaxis lock run`` a command that works without its lock.
A script of its own rather than ``preexec_fn``, because code between fork and exec of a process
with threads can deadlock.

Source: prctl(2), PR_SET_PDEATHSIG: survives exec, tied to the thread that forked.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
NOT_EXECUTABLE = 126
COMMAND_NOT_FOUND = 127


def main(arguments: list[str]) -> int:
    """Arm the signal and execute the program; returns only when that fails."""
    parent, signal_number, *command = arguments
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
    if os.getppid() != int(parent):
        return 1  # the parent died before the signal was armed
    try:
        os.execvp(command[0], command)  # noqa: S606 - running this command is the whole purpose
    except FileNotFoundError:
        sys.stderr.write(f"synaxis: {command[0]}: command not found\n")
        return COMMAND_NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"synaxis: {command[0]}: {error.strerror}\n")
        return NOT_EXECUTABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
