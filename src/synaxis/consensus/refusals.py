"""The replica's own refusals."""

from synaxis.effects import Refused, Reply, refusal
from synaxis.errors import LimitExceeded, OutcomeUnknown, SessionExpired
from synaxis.ids import LogIndex

__all__ = ["ALREADY_ACKNOWLEDGED", "SESSION_EXPIRED", "limit_exceeded", "not_executed"]

SESSION_EXPIRED = refusal(SessionExpired("the session has ended; open a new one"))
ALREADY_ACKNOWLEDGED = refusal(
    OutcomeUnknown("the reply to this sequence was acknowledged before and is gone")
)


def limit_exceeded(name: str, maximum: int) -> Refused:
    """Return the refusal of what exceeds a named limit."""
    return refusal(
        LimitExceeded(f"{name} is {maximum}; nothing was changed", limit=name, maximum=maximum)
    )


def not_executed(handle: object, body: Refused) -> Reply:
    """Return the answer to a command that never entered the log."""
    return Reply(handle, LogIndex(0), 0, body)
