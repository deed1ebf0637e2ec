"""Losses of caches are told once, a line per shard and look."""

import structlog

from synaxis.caches.home import CacheHome
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.ids import GroupId
from synaxis.nodes.cache_losses import CacheLosses


def test_what_was_lost_since_the_last_look_is_one_line() -> None:
    groups = [GroupId("caches/0"), GroupId("caches/1")]
    homes = {group: CacheHome(CacheMachine(CacheLimits()), HomeLimits()) for group in groups}
    losses = CacheLosses(homes)
    with structlog.testing.capture_logs() as lines:
        losses.look()
        homes[groups[0]].tally.lease_expiries += 1
        homes[groups[0]].tally.dirty_lost += 1_000
        homes[groups[1]].tally.lease_expiries += 2
        losses.look()
        losses.look()
        homes[groups[0]].tally.dirty_lost += 1
        losses.look()
    told = [(line["group"], line.get("agents"), line.get("writes")) for line in lines]
    assert told == [
        (groups[0], 1, None),
        (groups[0], None, 1_000),
        (groups[1], 2, None),
        (groups[0], None, 1),
    ]
