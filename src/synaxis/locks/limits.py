"""Every bound of the lock service, with its unit, its reason and what goes wrong beyond it.

Danger: ``waiters_per_lock_max``, ``requests_per_session_max``, ``latches_max``,
``pinned_semaphores_max``, ``barrier_parties_max``, ``deadlock_visits_max`` and ``victim_policy``
decide what ``apply`` answers. All replicas of a group must run with the same values, or their
states drift apart.
"""

from dataclasses import dataclass, fields
from enum import StrEnum

from synaxis.errors import ConfigError

__all__ = ["LockLimits", "VictimPolicy"]


class VictimPolicy(StrEnum):
    """Which criterion chooses first; the others break ties in the order of ``LOWEST_PRIORITY``."""

    LOWEST_PRIORITY = "lowest_priority"
    """Lowest priority, then fewest locks held, then youngest wait, then session id."""
    FEWEST_LOCKS = "fewest_locks"
    YOUNGEST = "youngest"
    REQUESTER = "requester"
    """Always the request that closed the cycle, whatever the others look like."""


@dataclass(frozen=True, slots=True)
class LockLimits:
    """Limits of one lock group. See the module docstring for which must be equal everywhere."""

    name_bytes_max: int = 512
    """UTF-8 bytes of a resource name. Names are keys in memory, snapshots and metrics."""
    names_per_acquire_max: int = 64
    """Names of one atomic acquire; every one costs a place in a queue."""
    waiters_per_lock_max: int = 10_000
    """Requests that queue for one name. Beyond it ``limit_exceeded`` instead of a longer queue."""
    requests_per_session_max: int = 100_000
    """Acquires, held or waiting, of one session; it bounds what one lost client costs to clean."""
    value_bytes_max: int = 4096
    """Bytes shown with a grant. They are replicated, kept in snapshots and sent to watchers."""
    reason_bytes_max: int = 1024
    """UTF-8 bytes of the reason of a force-release."""
    permits_max: int = 1_000_000
    """Capacity of a semaphore."""
    reentries_max: int = 10_000
    """Holds that one grant counts; more is an unbounded recursion in the caller."""
    wait_ms_max: int = 7 * 24 * 3_600_000
    """Longest finite wait in milliseconds; ``-1`` waits for ever."""
    max_hold_ms_max: int = 30 * 24 * 3_600_000
    """Longest ``max_hold_ms``; 0 means that the session's life is the only limit."""
    lock_delay_ms_max: int = 60_000
    """Longest pause after a forced loss in milliseconds; nobody can use the name meanwhile."""
    priority_max: int = 1_000_000
    """Priorities go from minus this to plus this."""
    barrier_parties_max: int = 10_000
    """Entries that one barrier may wait for."""
    latch_count_max: int = 1_000_000_000
    """Initial count of a latch."""
    latches_max: int = 100_000
    """Latches of the group. They stay until they are deleted, so they need a bound."""
    pinned_semaphores_max: int = 10_000
    """Semaphores whose capacity was set by ``SetPermits``; they stay until they are unpinned."""
    abandoned_per_session_max: int = 256
    """Commands of a session that were abandoned before they arrived. The oldest is forgotten
    beyond it; then a very late retry of it could be executed."""
    deadlock_visits_max: int = 10_000
    """Edges that one deadlock search looks at. Beyond it the wait goes on unchecked, is counted,
    and only its timeout ends a cycle."""
    list_limit_max: int = 10_000
    """Resources in one answer of ``ListLocks``."""
    list_rows_max: int = 50_000
    """Holders and waiters in one answer of ``ListLocks``; a page ends early beyond it."""
    wait_edges_max: int = 20_000
    """Edges in one answer of ``DescribeWaits``."""
    victim_policy: VictimPolicy = VictimPolicy.LOWEST_PRIORITY
    """Whose wait fails in a deadlock."""

    def validate(self) -> None:
        """Check every field.

        Raises:
            ConfigError: the message names the field and what is allowed.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "victim_policy":
                if value not in set(VictimPolicy):
                    allowed = ", ".join(VictimPolicy)
                    raise ConfigError(f"victim_policy is {value!r}; allowed are {allowed}")
            elif not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{field.name} is {value!r}; it must be a whole number above 0")
