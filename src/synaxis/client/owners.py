"""Who inside a session holds and waits: one number per asyncio task, or thread.

All tasks of a process share its session, so the cluster needs to be told which waits and holds
belong together: otherwise two tasks that never wait for each other would look like a deadlock.
Numbers are never used again (``id(task)`` would be, at once).
"""

import threading
from asyncio import Task
from hashlib import blake2b
from itertools import count
from weakref import WeakKeyDictionary

__all__ = ["owner_of_task", "owner_of_text", "owner_of_thread"]

_numbers: WeakKeyDictionary[Task[object], int] = WeakKeyDictionary()
_next = count(1)
_threads = threading.local()


def owner_of_task(task: Task[object]) -> int:
    """Return the number of ``task``, from 1 to below 2**62."""
    number = _numbers.get(task)
    if number is None:
        number = _numbers[task] = next(_next)
    return number


def owner_of_thread() -> int:
    """Return the number of the running thread."""
    number: int | None = getattr(_threads, "number", None)
    if number is None:
        number = _threads.number = next(_next)
    return number


def owner_of_text(owner: str) -> int:
    """Return a number for an owner that the user named, equal for equal names, above 2**62."""
    digest = blake2b(owner.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2 | 1 << 62
