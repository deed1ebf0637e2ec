"""Asks before what cannot be undone."""

import sys

from synaxis.errors import InvalidArgument

__all__ = ["confirm"]


def confirm(question: str, *, yes: bool) -> bool:
    """Return whether the user wants it; ``yes`` answers in advance.

    Raises:
        InvalidArgument: nobody is there to be asked, and ``--yes`` was not given.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InvalidArgument(f"{question} Say --yes to do it without being asked.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
