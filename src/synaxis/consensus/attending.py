"""A replica's attendant, if it has one, and where it stands with the proof of leadership.

The attendant may act only after a quorum has confirmed the leadership; the replica asks for that
as for a read, with ``CONFIRMATION`` as the question. One is under way at a time: what comes up
meanwhile is done with the next one.

Source: Ongaro, thesis 6.4.
"""

import msgspec

from synaxis.consensus.commands import Proposal
from synaxis.effects import Reply
from synaxis.errors import InvalidArgument
from synaxis.ids import LogIndex, LogTime, Sequence, SessionId
from synaxis.ports import Attendant

__all__ = ["CONFIRMATION", "Attending"]


class _Confirmation(msgspec.Struct, frozen=True):
    """The attendant's question: do I still lead?"""


CONFIRMATION = _Confirmation()
_NODE_ITSELF = SessionId(0)


class Attending:
    """See the module. Every call is harmless without an attendant."""

    __slots__ = ("_attendant", "_fresh", "_leading", "_proposals", "_waiting")

    def __init__(self, attendant: Attendant | None) -> None:
        self._attendant = attendant
        self._leading = False
        self._waiting = False
        self._proposals: list[Proposal] = []
        self._fresh = False
        """Whether some of them have not been offered to the log yet."""

    def begin(self, now: LogTime) -> None:
        """The replica leads and is up to date."""
        if self._attendant is not None:
            self._leading = True
            self._attendant.begin(now)

    def end(self) -> None:
        """The replica leads no longer."""
        if self._leading and self._attendant is not None:
            self._attendant.end()
        self._leading = False
        self._waiting = False
        self._proposals = []
        self._fresh = False

    def see(self, now: LogTime) -> None:
        """Pass the time on."""
        if self._leading and self._attendant is not None:
            self._attendant.see(now)

    def tick(self, now: LogTime) -> None:
        """Let its timers fire."""
        if self._leading and self._attendant is not None:
            self._attendant.tick(now)

    def deadline(self) -> LogTime | None:
        """Return when ``tick`` is due."""
        if self._leading and self._attendant is not None:
            return self._attendant.deadline()
        return None

    def heard(self, session: SessionId) -> None:
        """A session is alive."""
        if self._leading and self._attendant is not None:
            self._attendant.heard(session)

    def demand(self, session: SessionId, message: msgspec.Struct, handle: object) -> None:
        """Pass a demand on.

        Raises:
            ClientError: it is refused, or the group has no attendant.
        """
        if self._attendant is None:
            raise InvalidArgument("this group delivers nothing")
        self._attendant.demand(session, message, handle)

    def disconnected(self, handle: object) -> None:
        """Nobody listens to ``handle`` any more."""
        if self._leading and self._attendant is not None:
            self._attendant.disconnected(handle)

    @property
    def is_eager(self) -> bool:
        """Whether a confirmation should be asked for now."""
        if self._waiting or not self._leading or self._attendant is None:
            return False
        return self._attendant.wants_confirmation()

    def asked(self) -> None:
        """A confirmation was asked for."""
        self._waiting = True
        if self._attendant is not None:
            self._attendant.asked()

    def failed(self) -> None:
        """The confirmation did not come."""
        self._waiting = False

    def confirmed(self, now: LogTime) -> None:
        """The confirmation came."""
        self._waiting = False
        if self._leading and self._attendant is not None:
            self._attendant.confirmed(now)

    def gather(self) -> None:
        """Take up what the attendant wants to be put into the log."""
        if self._attendant is None or not self._leading:
            return
        nothing = Sequence(0)
        for command in self._attendant.take_commands():
            self._proposals.append(Proposal(_NODE_ITSELF, nothing, nothing, command))
            self._fresh = True

    @property
    def is_restless(self) -> bool:
        """Whether the replica should be drained again at once."""
        return self._fresh or self.is_eager

    def take_proposals(self) -> list[Proposal]:
        """Drain what the leader should put into its log, in its own name."""
        self.gather()
        proposals, self._proposals = self._proposals, []
        self._fresh = False
        return proposals

    def refused(self, proposals: list[Proposal]) -> None:
        """Take back what the log would not take now: the attendant counts on its being decided."""
        if self._leading:
            self._proposals = proposals + self._proposals

    def take_replies(self) -> list[Reply]:
        """Drain what is to be said to clients."""
        if self._attendant is None:
            return []
        said = self._attendant.take_replies()
        return [Reply(handle, LogIndex(0), 0, body) for handle, body in said]
