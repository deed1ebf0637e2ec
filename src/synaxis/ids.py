"""Names for the numbers and strings that travel, so that mypy refuses to mix them.

Two kinds of time exist and never meet:

* ``Instant``: milliseconds of one node's monotonic clock. Timers of a machine use it.
* ``LogTime``: milliseconds of replicated time, stamped into entries by the leader; it never
  goes back, stands still while no leader exists, and is the only time that ``apply`` sees.
"""

from typing import NewType

__all__ = [
    "FencingToken",
    "GroupId",
    "Instant",
    "LogIndex",
    "LogTime",
    "NodeId",
    "Sequence",
    "SessionId",
    "Term",
]

NodeId = NewType("NodeId", str)
GroupId = NewType("GroupId", str)
"""``cluster``, ``locks/0``, ``locks/1`` ...: one replicated state machine."""

SessionId = NewType("SessionId", int)
"""A random number from 1 to 2**63 - 1 drawn by the client; 0 stands for the node itself."""

Sequence = NewType("Sequence", int)
"""Number of a command inside its session, from 1."""

Term = NewType("Term", int)
LogIndex = NewType("LogIndex", int)
FencingToken = NewType("FencingToken", int)
"""``epoch << 40 | counter``, below 2**53."""

Instant = NewType("Instant", int)
LogTime = NewType("LogTime", int)
