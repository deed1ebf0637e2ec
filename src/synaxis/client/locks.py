"""``async with cluster.lock(name)``: the one-shot context managers around grants.

The body is never entered without the lock. When the lock is lost while the body runs, its task is
cancelled the way ``asyncio.timeout`` does it, and ``LockLost`` leaves the ``async with``; an outer
cancellation wins over the loss. See ``Lock`` for the other two ways of being told.
"""

import asyncio
import logging
from math import inf
from types import TracebackType

import msgspec

from synaxis.client.acquiring import acquire
from synaxis.client.clock import now
from synaxis.client.grants import Grant, GrantState, OnLoss, released
from synaxis.client.owners import owner_of_task
from synaxis.client.pool import SessionPool
from synaxis.client.session import SessionState
from synaxis.errors import LockLost, SynaxisError
from synaxis.ids import GroupId
from synaxis.locks.commands import Acquire

__all__ = ["Lock"]

log = logging.getLogger(__name__)


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
            SynaxisError: see ``acquiring.acquire``.
        """
        task = asyncio.current_task()
        grant = await self.acquire()
        assert task is not None
        self._cancelling = task.cancelling()
        grant.protect(task)
        return grant

    def asked_by(self, owner: int) -> None:
        """Name the owner that waits and holds, unless the user did; default: the asyncio task."""
        if not self._command.task:
            # The command is ours alone, and was not sent yet.
            msgspec.structs.force_setattr(self._command, "task", owner)

    def give_back(self) -> None:
        """Release in the background what may have been granted to a caller that has gone."""
        if self._grant is not None:
            self._grant.begin_release()

    async def acquire(self) -> Grant:
        """Wait for the lock, and leave its release to the caller; see ``__aenter__``."""
        if self._grant is not None:
            raise RuntimeError("a lock object serves once; call cluster.lock() again")
        command = self._command
        if not command.task and (task := asyncio.current_task()) is not None:
            self.asked_by(owner_of_task(task))
        pool = self._pool
        session = pool.session(self._group)
        if session.state is not SessionState.OPEN:
            patience = inf if self._wait is None else self._wait + self._timeout_s
            await session.ready(now() + patience)
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
