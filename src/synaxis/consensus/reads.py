"""Questions that wait for the proof that this replica leads, and for the state to be new enough.

All questions of one loop turn share one ticket of the log, so a thousand keep-alives cost one
round of heartbeats.

Source: Ongaro, thesis 6.4.
"""

from collections.abc import Callable

import msgspec

from synaxis.ids import Instant, LogIndex, SessionId

__all__ = ["Read", "Reads"]


class Read(msgspec.Struct, frozen=True, gc=False):
    """A question (or the session of a keep-alive) and who asked it."""

    handle: object
    question: msgspec.Struct | SessionId
    heard: Instant


class Reads:
    """See the module. ``ticket`` is that of the turn under way, None when nobody asked yet."""

    __slots__ = ("_confirmed", "_unconfirmed", "ticket")

    def __init__(self) -> None:
        self.ticket: int | None = None
        self._unconfirmed: dict[int, list[Read]] = {}
        self._confirmed: list[tuple[LogIndex, Read]] = []

    def begin(self, ticket: int) -> None:
        """Gather the questions of this turn under ``ticket``."""
        self.ticket = ticket
        self._unconfirmed[ticket] = []

    def ask(self, read: Read) -> None:
        """Add a question to this turn's ticket."""
        assert self.ticket is not None, "begin() comes first"
        self._unconfirmed[self.ticket].append(read)

    def confirm(self, ticket: int, index: LogIndex) -> None:
        """Leadership was confirmed: the questions may be answered once ``index`` is applied."""
        self._confirmed.extend((index, read) for read in self._unconfirmed.pop(ticket, ()))

    def drop(self, ticket: int) -> list[Read]:
        """Forget the questions of ``ticket`` and return them."""
        return self._unconfirmed.pop(ticket, [])

    def drop_unconfirmed(self) -> list[Read]:
        """Leadership is gone: forget what was not confirmed, and return it."""
        dropped = [read for reads in self._unconfirmed.values() for read in reads]
        self._unconfirmed.clear()
        self.ticket = None
        return dropped

    def drop_all(self) -> list[Read]:
        """The state that was asked about is gone: forget everything, and return it."""
        confirmed, self._confirmed = self._confirmed, []
        return self.drop_unconfirmed() + [read for _, read in confirmed]

    def due(
        self, applied: LogIndex, fate_of: Callable[[msgspec.Struct | SessionId], LogIndex]
    ) -> list[Read]:
        """Return the questions that the state at ``applied`` may answer.

        ``fate_of`` names an index that must be applied as well: "alive" must not be said of a
        session while the log may already hold its end.
        """
        if not self._confirmed:
            return []
        due: list[Read] = []
        later: list[tuple[LogIndex, Read]] = []
        for index, read in self._confirmed:
            needed = max(index, fate_of(read.question))
            if needed <= applied:
                due.append(read)
            else:
                later.append((needed, read))
        self._confirmed = later
        return due
