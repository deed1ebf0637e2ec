"""The refusals of the lock service, worded for people and with details for programs.

Every text and detail is made from replicated state, so all replicas word it alike.
"""

from collections.abc import Callable

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, SessionId
from synaxis.locks.requests import Request
from synaxis.locks.table import LockTable, Resource

__all__ = [
    "ABANDONED",
    "OwnerNames",
    "invalid",
    "limit_reached",
    "lost",
    "not_held",
    "session_hex",
    "timed_out",
    "waited_too_long",
]

OwnerNames = Callable[[SessionId], str]
"""Gives a session's name for people; must be a function of replicated state."""

ABANDONED = Refused("wait_abandoned", "the command was abandoned by its own client")


def session_hex(session: SessionId) -> str:
    """Return the form in which sessions are shown to people."""
    return f"{session:016x}"


def invalid(message: str, **details: object) -> Refused:
    """Refuse what can never be granted as it stands."""
    return Refused("invalid_argument", message, details)


def limit_reached(limit: str, maximum: int) -> Refused:
    """Refuse because a named limit is reached."""
    message = f"{limit} is {maximum}, and that many exist already"
    return Refused("limit_exceeded", message, {"limit": limit, "maximum": maximum})


def not_held(token: FencingToken) -> Refused:
    """Refuse a change of a grant that this session does not have."""
    message = f"token {token} names no grant of this session: released, lost or never granted"
    return Refused("lock_not_held", message, {"token": token})


def lost(token: FencingToken, reason: str) -> Refused:
    """Refuse an upgrade whose grant was taken away while it waited."""
    message = f"the grant {token} was lost while its upgrade waited: {reason}"
    return Refused("lock_lost", message, {"token": token, "reason": reason})


def timed_out(name: str, what: str, waited_ms: int) -> Refused:
    """Refuse a wait at a barrier or latch whose time is over."""
    message = f"{what} {name!r} did not open within {waited_ms} ms"
    return Refused("lock_timeout", message, {"name": name, "waited_ms": waited_ms})


def waited_too_long(
    table: LockTable, request: Request, now: LogTime, owner_of: OwnerNames
) -> Refused:
    """Refuse a wait for a lock whose time is over; says who is in the way."""
    conversion = request.conversion
    since = conversion.since if request.token and conversion is not None else request.since
    waited_ms = now - since
    resource = _obstacle(table, request)
    name = request.names[0] if resource is None else resource.name
    holder = None if resource is None else _in_the_way(resource, request)
    details = {
        "name": name,
        "waited_ms": waited_ms,
        "session": "" if holder is None else session_hex(holder.session),
        "holder": "" if holder is None else owner_of(holder.session),
    }
    whose = "nobody may have it until its lock delay ends"
    if holder is not None:
        state = "held" if holder.token else "waited for earlier"
        whose = f"it is {state} by {details['holder']}"
    return Refused("lock_timeout", f"{name!r} was not granted in {waited_ms} ms: {whose}", details)


def _obstacle(table: LockTable, request: Request) -> Resource | None:
    for resource in table.resources_of(request):
        if resource.blocks_upgrade if request.token else resource.blocks(request):
            return resource
    return None


def _in_the_way(resource: Resource, request: Request) -> Request | None:
    return next(resource.blockers(request), None)
