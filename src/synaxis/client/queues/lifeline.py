"""Signs of life that no handler can hold up: a thread with its own loop and its own connections.

It proves that the sessions of members live; with each proof the cluster extends the leases of
what they hold. So a handler that blocks the event loop keeps its messages, and a process that is
stopped loses them, because this thread is stopped too.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

from synaxis.client.clock import now
from synaxis.client.portal import Portal
from synaxis.client.requests import Request
from synaxis.client.routing import Router
from synaxis.client.session import Session
from synaxis.errors import SessionExpired, SynaxisError
from synaxis.ids import GroupId, SessionId
from synaxis.wire.client import AdminAnswer, Answer, ClientMessage, KeepAlive, KeptAlive

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Lifeline"]

log = logging.getLogger(__name__)

PULSE_S = 0.1
SIGN_EVERY = 1 / 3
"""Part of the shorter of TTL and visibility after which the next sign is due."""
REACH_TIMEOUT_S = 5.0


class _Patient:
    """A session that must be kept alive. Of the thread."""

    __slots__ = ("due", "every_s", "group", "request", "session_id", "wishes")

    def __init__(self, group: GroupId, session_id: SessionId) -> None:
        self.group = group
        self.session_id = session_id
        self.wishes: dict[int, float] = {}
        """Who wants it -> seconds between signs."""
        self.every_s = inf
        self.due = -inf
        self.request: _Sign | None = None


class _Sign(Request):
    """A keep-alive; the next one replaces it."""

    __slots__ = ("gone", "patient")

    def __init__(self, patient: _Patient, gone: Callable[[_Patient], None]) -> None:
        super().__init__(patient.group, inf)
        self.patient = patient
        self.gone = gone

    def message(self, number: int) -> ClientMessage:
        """Return the KeepAlive."""
        return KeepAlive(number, self.group, self.patient.session_id)

    def answered(self, message: Answer | KeptAlive | AdminAnswer) -> None:
        """Note that the cluster has heard, or that the session is gone."""
        assert isinstance(message, KeptAlive)
        if self.patient.request is self:
            self.patient.request = None
            if not message.alive:
                self.gone(self.patient)

    def failed(self, error: SynaxisError) -> None:
        """Try again when the next sign is due."""
        if self.patient.request is self:
            self.patient.request = None
            if isinstance(error, SessionExpired):
                self.gone(self.patient)

    def wanted(self) -> bool:
        """Until the next one."""
        return self.patient.request is self


class Lifeline:
    """See the module. All methods are for the main loop's thread."""

    def __init__(self, make_router: Callable[[], Router]) -> None:
        self._make_router = make_router
        self._portal: Portal | None = None
        self._reaching: Future[None] | None = None
        self._watched: dict[int, Session] = {}
        self._loop = asyncio.get_running_loop()
        # What follows belongs to the thread.
        self._patients: dict[SessionId, _Patient] = {}
        self._router: Router | None = None
        self._pulse: asyncio.TimerHandle | None = None

    def watch(self, who: object, session: Session, visibility_ms: int) -> None:
        """Keep ``session`` alive on behalf of ``who``, and the leases of its members with it."""
        if self._portal is None:
            self._portal = Portal()
            self._portal.start()
            self._reaching = self._portal.submit(self._reach())
        every_s = min(session.ttl_ms, visibility_ms) / 1000 * SIGN_EVERY
        group, session_id, wish = session.group, session.id, id(who)
        self._watched[wish] = session
        self._portal.post(lambda: self._add(group, session_id, wish, every_s))

    def unwatch(self, who: object) -> None:
        """Stop doing so."""
        wish = id(who)
        self._watched.pop(wish, None)
        if self._portal is not None:
            self._portal.post(lambda: self._remove(wish))

    async def close(self) -> None:
        """End the thread and its connections."""
        portal, self._portal = self._portal, None
        if portal is None or self._reaching is None:
            return
        self._reaching.cancel()
        await asyncio.wrap_future(portal.submit(self._shut()))
        portal.stop()

    def _gone(self, session_id: SessionId) -> None:
        """Of the main loop: the cluster does not know the session any more."""
        for session in list(self._watched.values()):
            if session.id == session_id:
                session.end("session_expired")

    # --- the thread -------------------------------------------------------------------------

    def _add(self, group: GroupId, session_id: SessionId, wish: int, every_s: float) -> None:
        patient = self._patients.setdefault(session_id, _Patient(group, session_id))
        patient.wishes[wish] = every_s
        patient.every_s = min(patient.wishes.values())

    def _remove(self, wish: int) -> None:
        for patient in list(self._patients.values()):
            if patient.wishes.pop(wish, None) is not None:
                self._rest(patient)

    def _rest(self, patient: _Patient) -> None:
        if patient.wishes:
            patient.every_s = min(patient.wishes.values())
            return
        del self._patients[patient.session_id]
        self._forget(patient)

    def _forget(self, patient: _Patient) -> None:
        request, patient.request = patient.request, None
        if request is not None and self._router is not None:
            self._router.forget(request)

    async def _reach(self) -> None:
        while self._router is None:
            router = self._make_router()
            try:
                await router.start(REACH_TIMEOUT_S)
            except SynaxisError as error:
                log.warning("signs of life cannot be given: %s", error)
                await router.close()
            except asyncio.CancelledError:
                await router.close()
                raise
            else:
                self._router = router
        self._beat()

    def _beat(self) -> None:
        moment, router = now(), self._router
        assert router is not None
        self._pulse = asyncio.get_running_loop().call_later(PULSE_S, self._beat)
        for patient in list(self._patients.values()):
            if moment >= patient.due:
                self._forget(patient)  # a node that answers pings, but not this
                patient.due = moment + patient.every_s
                patient.request = _Sign(patient, self._lost)
                router.send(patient.request)
        router.sweep(moment)

    def _lost(self, patient: _Patient) -> None:
        self._patients.pop(patient.session_id, None)
        with suppress(RuntimeError):  # the main loop has ended without closing its client
            self._loop.call_soon_threadsafe(self._gone, patient.session_id)

    async def _shut(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
        if self._router is not None:
            await self._router.close()
