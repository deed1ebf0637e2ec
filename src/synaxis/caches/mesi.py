"""The agent's half of MESI as a table: what a line does on each event, in each state.

Pure data. ``line.py`` carries out the actions, ``DESIGN.md`` shows the diagram that
``python -m synaxis.caches.diagram`` draws from this table, and a test checks that it is total.

Source: Papamarcos & Patel, "A low-overhead coherence solution ..." (ISCA 1984); the home in place
of the snooped bus: Lenoski et al., "The directory-based cache coherence protocol for the DASH
multiprocessor" (ISCA 1990).
"""

from enum import Enum

from synaxis.caches.bus import LineState

__all__ = ["TRANSITIONS", "Action", "Event"]

I, S, E, M = LineState.I, LineState.S, LineState.E, LineState.M  # noqa: E741


class Event(Enum):
    """What can happen to a line."""

    READ = "read"
    WRITE = "write"
    EVICT = "evict"
    INV = "Inv"
    DOWN = "Down"
    GRANT_S = "grant S"
    GRANT_E = "grant E"
    FLUSHED = "flushed"
    """The home has the newest write."""


class Action(Enum):
    """What the agent does then."""

    NOTHING = ""
    HIT = "serve"
    BUS_RD = "BusRd"
    BUS_RDX = "BusRdX"
    BUS_UPGR = "BusUpgr"
    WRITE = "write"
    """Take the value; with policy ``through`` flush it and answer afterwards."""
    FLUSH = "Flush"
    """Send the value home first; the event is repeated afterwards."""
    ACK = "ack"
    ACK_DIRTY = "ack with data"
    INSTALL = "install"
    DROP = "drop"
    REFUSE = "refuse"
    """It cannot be an answer to anything that this line wants."""


TRANSITIONS: dict[tuple[LineState, Event], tuple[LineState, Action]] = {
    (I, Event.READ): (I, Action.BUS_RD),
    (I, Event.WRITE): (I, Action.BUS_RDX),
    (I, Event.EVICT): (I, Action.NOTHING),
    (I, Event.INV): (I, Action.ACK),
    (I, Event.DOWN): (I, Action.ACK),
    (I, Event.GRANT_S): (S, Action.INSTALL),
    (I, Event.GRANT_E): (E, Action.INSTALL),
    (I, Event.FLUSHED): (I, Action.NOTHING),
    (S, Event.READ): (S, Action.HIT),
    (S, Event.WRITE): (S, Action.BUS_UPGR),
    (S, Event.EVICT): (I, Action.DROP),
    (S, Event.INV): (I, Action.ACK),
    (S, Event.DOWN): (S, Action.ACK),
    (S, Event.GRANT_S): (S, Action.INSTALL),
    (S, Event.GRANT_E): (E, Action.INSTALL),
    (S, Event.FLUSHED): (S, Action.NOTHING),
    (E, Event.READ): (E, Action.HIT),
    (E, Event.WRITE): (M, Action.WRITE),
    (E, Event.EVICT): (I, Action.DROP),
    (E, Event.INV): (I, Action.ACK),
    (E, Event.DOWN): (S, Action.ACK),
    (E, Event.GRANT_S): (E, Action.REFUSE),
    (E, Event.GRANT_E): (E, Action.REFUSE),
    (E, Event.FLUSHED): (E, Action.NOTHING),
    (M, Event.READ): (M, Action.HIT),
    (M, Event.WRITE): (M, Action.WRITE),
    (M, Event.EVICT): (M, Action.FLUSH),
    (M, Event.INV): (I, Action.ACK_DIRTY),
    (M, Event.DOWN): (S, Action.ACK_DIRTY),
    (M, Event.GRANT_S): (M, Action.REFUSE),
    (M, Event.GRANT_E): (M, Action.REFUSE),
    (M, Event.FLUSHED): (E, Action.INSTALL),
}
"""(state, event) -> (next state, action)."""
