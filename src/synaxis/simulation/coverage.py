"""Counters that prove that a fault fired and that a rare branch was taken.

A simulator whose faults never fire passes every test. ``EXPECTED`` names what must be non-zero
over a batch of seeds; a batch in which one of them stayed at zero fails.
"""

from collections.abc import Iterable

from synaxis.simulation.seeds import CACHES, LOCKS, QUEUES, VOLATILE

__all__ = ["EXPECTED", "EXPECTED_BATCH_SEEDS", "EXPECTED_IN", "Coverage", "missing"]

EXPECTED_BATCH_SEEDS = 100
"""Only batches of at least this many seeds (of a world, for what belongs to it) must have seen
everything."""

EXPECTED: tuple[str, ...] = (
    "network.lost",
    "network.duplicated",
    "network.reordered",
    "network.cut",
    "network.clogged",
    "network.partition.split",
    "network.partition.one_way",
    "network.partition.bridge",
    "network.partition.ring",
    "network.partition.isolate",
    "network.partition.full",
    "network.endured.isolate",
    "network.endured.one_way",
    "network.endured.bridge",
    "process.crashed",
    "process.power_cut",
    "process.stopped",
    "process.paused",
    "process.time_jump",
    "process.replaced",
    "process.rotated",
    "clock.drifted",
    "disk.unsynced_lost",
    "disk.torn",
    "disk.sector_lost",
    "disk.eio",
    "disk.enospc",
    "disk.slow",
    "disk.crash_point",
    "disk.bit_flipped",
    "raft.elected",
    "raft.reelected",
    "raft.snapshot_installed",
    "raft.transfer",
    "raft.truncated",
    "raft.compacted",
    "raft.joint",
    "replica.deduplicated",
    "client.retried",
    "client.unknown",
    "client.died",
    "client.session_expired",
    "client.not_leader",
    "client.stale_read",
)
"""In every world."""

_EXPECTED_WITH_LOCKS: tuple[str, ...] = (
    "lock.granted_after_wait",
    "lock.shared_together",
    "lock.timeout",
    "lock.deadlock",
    "lock.abandoned",
    "lock.abandoned_early",
    "lock.upgraded",
    "lock.upgrade_undone",
    "lock.downgraded",
    "lock.multi",
    "lock.reentered",
    "lock.semaphore",
    "lock.max_hold",
    "lock.delayed",
    "lock.force_released",
)

_EXPECTED_WITH_QUEUES: tuple[str, ...] = (
    "queue.attached_with_holdings",
    "queue.dead_purged",
    "queue.delayed",
    "queue.duplicate_recognised",
    "queue.expired",
    "queue.gathered",
    "queue.group_deleted",
    "queue.grown_old",
    "queue.lease_expired",
    "queue.member_lost",
    "queue.poison_killed",
    "queue.poison_stalled",
    "queue.publish_outcome_unknown",
    "queue.publish_overloaded",
    "queue.purged",
    "queue.read_from_disk",
    "queue.redelivered",
    "queue.redriven",
    "queue.revoked",
    "queue.segment_dropped",
    "queue.segment_gone",
    "queue.session_lost",
    "queue.settled_too_late",
    "queue.sought",
    "queue.stream_broken",
    "queue.stream_consumer_fenced",
    "queue.topic_changed",
    "queue.unit_moved",
    "queue.yielded",
)

_EXPECTED_WITH_REGISTERS: tuple[str, ...] = (
    "volatile.era_begun",
    "volatile.forgotten",
    "volatile.repaired",
    "volatile.snapshot_on_demand",
)

_EXPECTED_WITH_CACHES: tuple[str, ...] = (
    "cache.agent_dirty_lost",
    "cache.agent_evictions",
    "cache.attached_with_dirty",
    "cache.detached",
    "cache.evicted",
    "cache.evicted_dirty",
    "cache.expired",
    "cache.gave_dirty_away",
    "cache.grant_unwanted",
    "cache.grant_without_lease",
    "cache.hit",
    "cache.lease_lapsed",
    "cache.owner_crashed_dirty",
    "cache.recovered_by_time",
    "cache.recovering",
    "cache.reserved",
    "cache.revived",
    "cache.served_once",
    "cache.silent_let_go",
    "cache.stream_broken",
    "cache.tag_probed",
    "cache.upgrade",
)

EXPECTED_IN = {
    LOCKS: _EXPECTED_WITH_LOCKS,
    QUEUES: _EXPECTED_WITH_QUEUES,
    VOLATILE: _EXPECTED_WITH_REGISTERS,
    CACHES: _EXPECTED_WITH_CACHES,
}
"""In each world besides."""


class Coverage(dict[str, int]):
    """Name to count; a missing name is zero."""

    __slots__ = ()

    def __missing__(self, name: str) -> int:
        return 0

    def hit(self, name: str, times: int = 1) -> None:
        """Count ``times`` occurrences of ``name``."""
        self[name] = self[name] + times

    def merge(self, other: dict[str, int]) -> None:
        """Add the counts of another run."""
        for name, times in other.items():
            self[name] = self[name] + times


def missing(counts: Coverage, expected: Iterable[str] = EXPECTED) -> list[str]:
    """Return what was expected and never happened."""
    return [name for name in expected if not counts[name]]
