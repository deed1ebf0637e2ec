"""What no cache agent and no home of this program says."""

import msgspec

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    BusRdX,
    BusUpgr,
    Down,
    Flush,
    Flushed,
    Grant,
    HomeMessage,
    Inv,
    InvTag,
    ProbeAck,
    Renew,
    Renewed,
    Reserve,
    Reserved,
    Surrender,
)
from synaxis.errors import ProtocolViolation
from synaxis.wire.peer import BusMessage, ToAgent, ToHome

__all__ = ["check_bus_message", "check_said"]

NUMBER_MAX = 2**63 - 1
LEASE_MS_MAX = 3_600_000
REFUSED_MIN = -1
"""The least that stands in the place of a version for a write that was refused."""
DIRTY_MAX = 10_000
"""Unconfirmed writes that an agent may bring to a new stream."""

_NUMBERS: dict[type[msgspec.Struct], tuple[str, ...]] = {
    BusRd: ("request",),
    BusRdX: ("request",),
    BusUpgr: ("request",),
    ProbeAck: ("seq",),
    Flush: ("grant", "floor"),
    Renew: ("nonce",),
    Reserve: ("request",),
    Surrender: ("token", "request"),
    Grant: ("request", "seq"),
    Inv: ("seq",),
    Down: ("seq",),
    InvTag: ("seq",),
    Flushed: ("write_id",),
    Renewed: ("nonce",),
    Reserved: ("request", "token", "lease_ms"),
}
"""Message -> fields from 0 to ``NUMBER_MAX``."""


def check_said(stream: int, message: AgentMessage | HomeMessage) -> None:
    """Check the numbers of what an agent or a home says on a stream.

    Keys and values of agents are checked by the home.

    Raises:
        ProtocolViolation: it says what none of this program does.
    """
    kind = type(message)
    good = 0 < stream <= NUMBER_MAX
    for name in _NUMBERS.get(kind, ()):
        good = good and 0 <= getattr(message, name) <= NUMBER_MAX
    if isinstance(message, Attached):
        good = good and 0 < message.lease_ms <= LEASE_MS_MAX
    elif isinstance(message, Flushed):
        good = good and REFUSED_MIN <= message.version <= NUMBER_MAX
    elif isinstance(message, Attach):
        good = good and len(message.dirty) <= DIRTY_MAX
    if not good:
        raise ProtocolViolation(f"{kind.__name__} on stream {stream} has a number out of range")


def check_bus_message(message: BusMessage) -> None:
    """Check what a peer says about caches; raises as ``check_said``."""
    if isinstance(message, ToHome | ToAgent):
        check_said(message.stream, message.message)
    elif not 0 < message.id <= NUMBER_MAX:
        raise ProtocolViolation(f"{type(message).__name__} has the number {message.id}")
