"""The replica's own refusals."""

from synaxis.consensus.sessions import Session
from synaxis.effects import Refused, Reply, refusal
from synaxis.errors import LimitExceeded, OutcomeUnknown, SessionExpired
from synaxis.ids import LogIndex, Sequence

__all__ = ["SESSION_EXPIRED", "limit_exceeded", "not_executed", "refuse_sequence"]

SESSION_EXPIRED = refusal(SessionExpired("the session has ended; open a new one"))
_ALREADY_ACKNOWLEDGED = refusal(
    OutcomeUnknown("the reply to this sequence was acknowledged before and is gone")
)


def limit_exceeded(name: str, maximum: int) -> Refused:
    """Return the refusal of what exceeds a named limit."""
    return refusal(
        LimitExceeded(f"{name} is {maximum}; nothing was changed", limit=name, maximum=maximum)
    )


def refuse_sequence(session: Session, sequence: Sequence, replies_max: int) -> Refused | None:
    """Return why a sequence that ``session`` keeps no reply for is not executed, or None."""
    acked = session.acked
    if sequence <= acked.floor or (acked.ranges and sequence in acked):
        return _ALREADY_ACKNOWLEDGED
    if len(session.replies) >= replies_max:
        return limit_exceeded("replies_per_session_max", replies_max)
    return None


def not_executed(handle: object, body: Refused) -> Reply:
    """Return the answer to a command that never entered the log."""
    return Reply(handle, LogIndex(0), 0, body)
