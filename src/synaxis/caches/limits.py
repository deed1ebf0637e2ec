"""Every bound of the cache, with its unit, its reason and what goes wrong beyond it.

Danger: all fields of ``CacheLimits`` decide what ``apply`` answers. All replicas of a shard must
run with the same values, so they belong to the founding record of the cluster. ``HomeLimits`` are
the leader's own.
"""

from dataclasses import dataclass, fields

from synaxis.errors import ConfigError

__all__ = ["CacheLimits", "HomeLimits"]

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """Limits of one cache shard. See the module."""

    key_bytes_max: int = 512
    """A key with the name of its cache, in UTF-8."""
    value_bytes_max: int = 1 * _MIB
    """One value. It must fit a frame together with the rest."""
    items_max: int = 10_000
    """Records in one command or question."""
    tags_per_record_max: int = 16
    tag_bytes_max: int = 200
    tags_max: int = 100_000
    """Stamps of cleared tags and caches; beyond it Clear sweeps the shard instead."""
    records_max: int = 2_000_000
    """Records of a shard; the home evicts before, and a put beyond it is refused as overloaded."""
    bytes_max: int = 512 * _MIB
    """Keys and values of a shard; as above."""
    ttl_ms_max: int = 366 * 24 * 3_600_000
    """Longest life of a record."""
    agents_max: int = 10_000
    """Agents that may hold lines of a shard."""
    pending_max: int = 100_000
    """Writes that the backing store does not have yet; more are refused as overloaded."""
    write_ids_per_agent_max: int = 10_000
    """Writes of one agent whose fate it may not know yet."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Refuse limits that cannot work.

        Raises:
            ConfigError: names the field.
        """
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"{field.name} must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeLimits:
    """How a home treats its agents; may differ between nodes, but for the margin's promise."""

    lease_ms: int = 3_000
    """How long an agent may use its lines after it asked for more time. A write waits for as long
    when a holder falls silent, and so does a new home (Gray & Cheriton 1989)."""
    margin_percent: int = 10
    """What the home waits longer than that, for clocks that run at different speed ..."""
    margin_ms_min: int = 250
    """... and at least so much."""
    sharers_per_key_max: int = 64
    """Agents that may hold one key; others read it without keeping it."""
    lines_max: int = 1_000_000
    """(key, agent) pairs of a directory; beyond it the oldest key is taken from its sharers."""
    fill_lease_ms: int = 10_000
    """How long one agent may compute a value while others wait."""
    waiting_per_key_max: int = 10_000
    """Transactions and reservations that wait for one key; more are refused as overloaded."""
    held_max: int = 100_000
    """Commands and questions that wait for agents; more are refused as overloaded."""
    retire_ms: int = 60_000
    """An agent silent for longer is forgotten, with its write ids."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(f"{field.name} must be at least 1")

    @property
    def patience_ms(self) -> int:
        """How long after it was last heard an agent may still be using its lines."""
        return self.lease_ms + max(self.margin_ms_min, self.lease_ms * self.margin_percent // 100)
