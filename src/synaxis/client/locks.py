"""``async with cluster.lock(name)``: the one-shot context managers around grants.

The body is never entered without the lock. When the lock is lost while the body runs, its task is
cancelled the way ``asyncio.timeout`` does it, and ``LockLost`` leaves the ``async with``; an outer
cancellation wins over the loss. See ``Lock`` for the other two ways of being told.
"""

import asyncio
import logging
from types import TracebackType
from typing import TypedDict

import msgspec

from synaxis.client.clock import now
from synaxis.client.grants import (
    MODES,
    Grant,
    GrantState,
    Mode,
    OnLoss,
    acquire,
    milliseconds,
    released,
    wait_milliseconds,
)
from synaxis.client.owners import owner_of_task, owner_of_text
from synaxis.client.pool import SessionPool
from synaxis.client.session import SessionState
from synaxis.errors import InvalidArgument, LockLost, SynaxisError
from synaxis.ids import GroupId
from synaxis.locks.commands import Acquire

__all__ = ["DEFAULT_WAIT_S", "Lock", "LockOptions", "lock_command"]

log = logging.getLogger(__name__)

DEFAULT_WAIT_S = 10.0


class LockOptions(TypedDict, total=False):
    """What may be said about how to hold a lock; durations are seconds."""

    wait: float | None
    """How long to wait for it, at most: None = for ever, 0 = not at all. Default 10."""
    mode: Mode
    """``"exclusive"`` (default) or ``"shared"``."""
    max_hold: float | None
    """The cluster takes the lock back after this long, even from a healthy holder."""
    lock_delay: float | None
    """After a forced loss nobody gets the lock for this long: time for stray writes to arrive."""
    priority: int
    """In a deadlock the lowest loses. It does not reorder the queue."""
    reentrant: bool
    """The same owner may enter again and gets the same token."""
    owner: str | None
    """Who asks, where the asyncio task is not the answer (see ``owners``)."""


def lock_command(  # noqa: PLR0913  # the one place where the options have names and defaults
    names: tuple[str, ...],
    value: bytes = b"",
    *,
    wait: float | None = DEFAULT_WAIT_S,
    mode: Mode = "exclusive",
    max_hold: float | None = None,
    lock_delay: float | None = None,
    priority: int = 0,
    reentrant: bool = False,
    owner: str | None = None,
) -> Acquire:
    """Return the command that asks for ``names``.

    Raises:
        InvalidArgument: an option is out of range.
    """
    if mode not in MODES:
        raise InvalidArgument(f'mode must be "exclusive" or "shared", not {mode!r}')
    return Acquire(
        names,
        wait_milliseconds(wait),
        MODES[mode],
        max_hold_ms=0 if max_hold is None else milliseconds(max_hold, "max_hold"),
        lock_delay_ms=0 if lock_delay is None else milliseconds(lock_delay, "lock_delay"),
        priority=priority,
        reentrant=reentrant,
        value=value,
        task=0 if owner is None else owner_of_text(owner),
    )


class Lock:
    """Holds a lock while its body runs. Usable once; ``cluster.lock`` makes them.

    ``on_loss`` says what happens when the lock is lost under the body:

    * ``"cancel"``: the body's task is cancelled and ``LockLost`` leaves the ``async with``, also
      when the body had finished in ignorance of the loss.
    * ``"event"``: ``held.lost`` is set, ``held.ensure()`` raises; leaving raises nothing.
    * a function: like ``"event"``, and it is called with the ``LockLost``.
    """

    __slots__ = (
        "_cancelling",
        "_command",
        "_grant",
        "_group",
        "_on_loss",
        "_pool",
        "_timeout_s",
        "_wait",
    )

    def __init__(
        self,
        pool: SessionPool,
        group: GroupId,
        command: Acquire,
        wait: float | None,
        on_loss: OnLoss,
        timeout_s: float,
    ) -> None:
        self._pool = pool
        self._group = group
        self._command = command
        self._wait = wait
        self._on_loss = on_loss
        self._timeout_s = timeout_s
        self._grant: Grant | None = None
        self._cancelling = 0

    async def __aenter__(self) -> Grant:
        """Wait for the lock.

        Raises:
            LockTimeout: not granted within ``wait`` seconds.
            DeadlockError: the wait could never have ended.
            SynaxisError: see ``grants.acquire``.
        """
        task = asyncio.current_task()
        grant = await self.acquire()
        assert task is not None
        self._cancelling = task.cancelling()
        grant.protect(task)
        return grant

    async def acquire(self) -> Grant:
        """Wait for the lock, and leave its release to the caller; see ``__aenter__``."""
        if self._grant is not None:
            raise RuntimeError("a lock object serves once; call cluster.lock() again")
        command = self._command
        if not command.task and (task := asyncio.current_task()) is not None:
            # The command is ours alone, and this is its first use.
            msgspec.structs.force_setattr(command, "task", owner_of_task(task))
        pool = self._pool
        session = pool.session(self._group)
        if session.state is not SessionState.OPEN:
            await session.ready(now() + self._timeout_s)
        grant = await acquire(session, command, self._wait, self._on_loss, self._timeout_s)
        self._grant = grant
        return grant

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the lock, or tell that it was lost.

        Raises:
            LockLost: with ``on_loss="cancel"``.
        """
        grant = self._grant
        assert grant is not None
        request = grant.begin_release()
        if request is None:
            self._leave_lost(grant, error)
            return
        grant.protect(None)
        if now() >= grant.valid_until:
            still_held = False  # nobody can know; the release goes on by itself
        else:
            try:
                still_held = released(await request.future)
            except SynaxisError as failure:
                log.warning("%r: the release goes on in the background: %s", grant, failure)
                return
        if not still_held and error is None and self._on_loss == "cancel":
            raise grant.loss()

    def _leave_lost(self, grant: Grant, error: BaseException | None) -> None:
        task = grant.unprotect()
        if task is not None and task.uncancel() > self._cancelling:
            return  # somebody else cancelled the task as well: that goes first
        if grant.state is not GrantState.LOST or self._on_loss != "cancel":
            return
        if error is None or isinstance(error, asyncio.CancelledError):
            raise grant.loss() from error
        if not isinstance(error, LockLost):
            error.add_note(str(grant.loss()))
