"""Limits of a replica."""

import msgspec

from synaxis.errors import ConfigError, InvalidArgument

__all__ = ["ReplicaConfig", "SessionLimits"]


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that ``apply`` obeys: they must be equal on all replicas of a group."""

    sessions_max: int = 100_000
    """Sessions per group."""
    replies_per_session_max: int = 20_000
    """Commands of one session whose replies the client has not acknowledged."""

    def validate(self) -> None:
        """Refuse limits that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for name in ("sessions_max", "replies_per_session_max"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")


class ReplicaConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Every field names its unit; the defaults suit a lock service on one disk."""

    snapshot_bytes_min: int = 32 * 1024 * 1024
    """Log bytes applied since the last snapshot before a new one is worth its pause."""
    snapshot_ratio: float = 4.0
    """... and at least this many times the last snapshot's size (thesis 5.1.2)."""
    session_ttl_ms_min: int = 1_000
    """Shorter leases would expire from ordinary scheduling hiccups."""
    session_ttl_ms_max: int = 24 * 3_600_000
    sessions: SessionLimits = SessionLimits()
    stall_ms: int = 500
    """A leader that did not run for longer than this gives sessions the time back."""
    wall_offset_ms: int | None = None
    """What to add to this node's Instant for milliseconds since 1970. Log time then follows the
    wall clock of whoever leads, and never goes back; a leader whose clock is far ahead takes it
    there for good. None: log time counts from the founding and stands still without a leader."""

    def validate(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ConfigError: names the field.
        """
        if not 100 <= self.session_ttl_ms_min <= self.session_ttl_ms_max:
            raise ConfigError("session_ttl_ms_min must be from 100 to session_ttl_ms_max")
        self.sessions.validate()
        for name in ("snapshot_bytes_min", "stall_ms"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1")
        if self.snapshot_ratio < 1:
            raise ConfigError("snapshot_ratio must be at least 1")

    def validate_ttl(self, ttl_ms: int) -> None:
        """Refuse a session TTL outside the allowed range.

        Raises:
            InvalidArgument: says what is allowed.
        """
        if not self.session_ttl_ms_min <= ttl_ms <= self.session_ttl_ms_max:
            raise InvalidArgument(
                f"session ttl must be from {self.session_ttl_ms_min} to "
                f"{self.session_ttl_ms_max} ms, not {ttl_ms}",
                ttl_ms=ttl_ms,
            )

    def snapshot_after(self, last_bytes: int) -> float:
        """Return how many log bytes justify the next snapshot."""
        return max(self.snapshot_bytes_min, self.snapshot_ratio * last_bytes)
