"""Every exception that Synaxis raises, and the one table that maps them to wire codes and HTTP.

::

    SynaxisError
    |-- ClientError                  the caller can mend it
    |   |-- InvalidArgument          (also ValueError) a value is out of range or malformed
    |   |-- LimitExceeded            a named limit of the cluster was reached
    |   |-- NotFound                 (also LookupError)
    |   |-- AuthenticationRequired
    |   |-- PermissionDenied
    |   |-- LockTimeout              (also TimeoutError) the lock was not granted in time
    |   |-- DeadlockError            the wait would never have ended; names the cycle
    |   |-- LockLost                 a lock that was held is held no longer
    |   |-- LockNotHeld              release, upgrade or downgrade of something not held
    |   |-- StaleFencingToken        a guarded resource has seen a higher token
    |   |-- AlreadyExists            something else has this name
    |   |-- LeaseLost                a message that was held belongs to nobody or another by now
    |   |-- ConsumerFenced           the member was removed from its group, or never joined it
    |   |-- SessionExpired           the session ended; its locks were released
    |   `-- WaitAbandoned            the waiting command was cancelled by its own client
    |-- ClusterError                 the cluster cannot do it now; see ``retryable``
    |   |-- NotLeader
    |   |-- NoQuorum
    |   |-- Overloaded
    |   |-- ConnectionFailed         (also ConnectionError)
    |   |-- RequestTimeout           (also TimeoutError)
    |   |-- OutcomeUnknown           the command may or may not have been applied
    |   `-- MembershipRefused        a change of members that is not allowed now
    |-- ProtocolViolation            the other side broke the protocol: that is a bug over there
    |-- ConfigError                  exit code 78
    `-- StorageError                 the node must stop
        |-- StorageCorrupt
        `-- IdentityMismatch         this data directory belongs to another node or cluster
"""

from typing import Any, ClassVar

__all__ = [
    "ERRORS_BY_CODE",
    "AlreadyExists",
    "AuthenticationRequired",
    "ClientError",
    "ClusterError",
    "ConfigError",
    "ConnectionFailed",
    "ConsumerFenced",
    "DeadlockError",
    "IdentityMismatch",
    "InvalidArgument",
    "LeaseLost",
    "LimitExceeded",
    "LockLost",
    "LockNotHeld",
    "LockTimeout",
    "MembershipRefused",
    "NoQuorum",
    "NotFound",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "PermissionDenied",
    "ProtocolViolation",
    "RequestTimeout",
    "SessionExpired",
    "StaleFencingToken",
    "StorageCorrupt",
    "StorageError",
    "SynaxisError",
    "VersionConflict",
    "WaitAbandoned",
    "error_from_wire",
]


class SynaxisError(Exception):
    """Something that Synaxis refused or could not do.

    ``details`` holds plain values (str, int, float, bool, None, lists and dicts of them) and
    travels over the wire with ``code``; subclasses give the interesting ones a property.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without the caller changing anything."""

    def __init__(self, message: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details

    def __reduce__(self) -> tuple[Any, ...]:
        return error_from_wire, (self.code, self.message, self.details)


class ClientError(SynaxisError):
    """The caller can mend it."""

    code = "client_error"
    http_status = 400


class InvalidArgument(ClientError, ValueError):
    """A value is out of range or malformed; the message names it and what is allowed."""

    code = "invalid_argument"
    http_status = 400


class LimitExceeded(ClientError):
    """A named limit of the cluster was reached: ``limit`` names it, ``maximum`` is its value."""

    code = "limit_exceeded"
    http_status = 429


class NotFound(ClientError, LookupError):
    """What was asked for does not exist."""

    code = "not_found"
    http_status = 404


class AuthenticationRequired(ClientError):
    """No credentials, or credentials that are not valid."""

    code = "authentication_required"
    http_status = 401


class PermissionDenied(ClientError):
    """The credentials do not allow this."""

    code = "permission_denied"
    http_status = 403


class LockTimeout(ClientError, TimeoutError):
    """The lock was not granted within ``wait``. Nothing is held and nothing is queued."""

    code = "lock_timeout"
    http_status = 409
    retryable = True


class DeadlockError(ClientError):
    """The wait could never have ended. Locks already held stay held: release them and retry."""

    code = "deadlock"
    http_status = 409
    retryable = True

    @property
    def cycle(self) -> list[dict[str, Any]]:
        """One ``{"session", "owner", "holds", "waits_for"}`` per member, in wait order."""
        return list(self.details.get("cycle", ()))


class LockLost(ClientError):
    """A lock that was held is held no longer; work under it must stop."""

    code = "lock_lost"
    http_status = 409

    @property
    def token(self) -> int | None:
        """Fencing token of the lost grant."""
        return self.details.get("token")

    @property
    def reason(self) -> str:
        """``session_expired``, ``max_hold``, ``force_released`` or ``not_confirmed``."""
        return str(self.details.get("reason", ""))


class LockNotHeld(ClientError):
    """The token names no grant of this session: it was released, lost or never granted."""

    code = "lock_not_held"
    http_status = 409


class StaleFencingToken(ClientError):
    """The resource has already seen a higher token: the caller lost its lock."""

    code = "stale_fencing_token"
    http_status = 412


class AlreadyExists(ClientError):
    """Something else has this name; look at it, or choose another name."""

    code = "already_exists"
    http_status = 409


class LeaseLost(ClientError):
    """What was leased is another's by now.

    A message that is delivered again, or the right to compute a cached value.
    """

    code = "lease_lost"
    http_status = 409


class VersionConflict(ClientError):
    """The record is not of the version that the write demanded; nothing was stored."""

    code = "version_conflict"
    http_status = 409

    @property
    def version(self) -> int:
        """The version that is there; 0: there is no record."""
        return int(self.details.get("version", 0))


class ConsumerFenced(ClientError):
    """The member does not belong to the group any more: join again and start with nothing."""

    code = "consumer_fenced"
    http_status = 409


class SessionExpired(ClientError):
    """The cluster ended the session; every lock it held is released. Open a new one."""

    code = "session_expired"
    http_status = 409


class WaitAbandoned(ClientError):
    """The waiting command was cancelled by its own client."""

    code = "wait_abandoned"
    http_status = 409


class ClusterError(SynaxisError):
    """The cluster cannot do it now."""

    code = "cluster_error"
    http_status = 503
    retryable = True


class NotLeader(ClusterError):
    """This node does not lead the group. The SDK follows the hint by itself."""

    code = "not_leader"
    http_status = 421

    @property
    def leader(self) -> str | None:
        """Id of the leading node, when known."""
        return self.details.get("leader")


class NoQuorum(ClusterError):
    """No majority of the group's nodes can be reached."""

    code = "no_quorum"


class Overloaded(ClusterError):
    """A bounded queue of the cluster is full; try again after ``retry_after`` seconds."""

    code = "overloaded"

    @property
    def retry_after(self) -> float:
        """Seconds to wait before the next try."""
        return float(self.details.get("retry_after", 0.1))


class ConnectionFailed(ClusterError, ConnectionError):
    """No node could be reached."""

    code = "connection_failed"


class RequestTimeout(ClusterError, TimeoutError):
    """No answer in time, for a call that changes nothing."""

    code = "request_timeout"
    http_status = 504


class OutcomeUnknown(ClusterError):
    """No answer in time: the command may or may not have been applied. Look before repeating."""

    code = "outcome_unknown"
    http_status = 504
    retryable = False


class BackingUnavailable(ClusterError):
    """The store behind the cache does not answer."""

    code = "backing_unavailable"


class MembershipRefused(ClusterError):
    """The change of members is not allowed now, for example while another one runs."""

    code = "membership_refused"
    http_status = 409


class ProtocolViolation(SynaxisError):
    """The other side broke the protocol."""

    code = "protocol_violation"
    http_status = 400


class ConfigError(SynaxisError):
    """A setting is wrong; the message names it. Processes exit with code 78."""

    code = "config_error"


class StorageError(SynaxisError):
    """The disk failed; the node must stop, because what is durable is no longer known."""

    code = "storage_error"


class StorageCorrupt(StorageError):
    """Data on disk is damaged in a way that no crash can explain."""

    code = "storage_corrupt"


class IdentityMismatch(StorageError):
    """This data directory belongs to another node or another cluster."""

    code = "identity_mismatch"


def _concrete(root: type[SynaxisError]) -> dict[str, type[SynaxisError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_concrete(child))
    return found


ERRORS_BY_CODE: dict[str, type[SynaxisError]] = _concrete(SynaxisError)


def error_from_wire(code: str, message: str, details: dict[str, Any]) -> SynaxisError:
    """Return the exception that ``code`` stands for; an unknown code gives a SynaxisError."""
    return ERRORS_BY_CODE.get(code, SynaxisError)(message, **details)
