"""What a seed draws for a world of caches: short leases, and limits that are reached soon."""

from dataclasses import dataclass
from random import Random

from synaxis.caches.agent import AgentConfig
from synaxis.caches.limits import CacheLimits, HomeLimits

__all__ = ["WALL_CLOCK_MS", "CacheSetup", "draw_setup"]

WALL_CLOCK_MS = 1_700_000_000_000
"""What the wall clock says at the beginning of a run."""
SKEWS_MS = (0, 0, 50, 3_000, 3_600_000)
MARGIN_SPARE_PERCENT = 2


@dataclass(slots=True)
class CacheSetup:
    """See the module."""

    limits: CacheLimits
    home: HomeLimits
    node_agent: AgentConfig
    client_agent: AgentConfig
    wall_skew_ms: int
    """Wall clocks of nodes are off by up to this."""
    client_drift: float
    """Clocks of clients run at 1 +- this."""
    tags: tuple[str, ...] = ("t0", "t1")
    plain: tuple[str, ...] = ()
    """Keys that nothing but clients changes."""
    counts: tuple[str, ...] = ()
    """Keys that hold integers."""
    aged: tuple[str, ...] = ()
    """Keys whose records end by themselves."""
    back: tuple[str, ...] = ()
    """Keys that their owners write without telling the home at once."""


def draw_setup(random: Random, drift_max: float) -> CacheSetup:
    """Draw everything; clocks of nodes run at 1 +- ``drift_max``."""
    # The slowest clock of an agent against the fastest one of a home.
    needed = int(100 * ((1 + drift_max) / (1 - drift_max) - 1)) + 1
    home = HomeLimits(
        lease_ms=random.choice((150, 400, 1_000, 2_500)),
        margin_percent=needed + MARGIN_SPARE_PERCENT,
        margin_ms_min=random.choice((1, 10, 250)),
        sharers_per_key_max=random.choice((1, 2, 64, 64)),
        lines_max=random.choice((4, 12, 1_000, 1_000)),
        fill_lease_ms=random.choice((300, 1_500)),
        retire_ms=random.choice((30_000, 60_000)),
    )
    limits = CacheLimits(
        records_max=random.choice((4, 8, 100, 100)), tags_max=random.choice((1, 2, 100))
    )
    setup = CacheSetup(
        limits,
        home,
        _draw_agent(random),
        _draw_agent(random),
        random.choice(SKEWS_MS),
        drift_max,
    )
    setup.plain = _keys(random, "plain", 4)
    setup.counts = _keys(random, "count", 2)
    setup.aged = _keys(random, "aged", 2)
    setup.back = _keys(random, "back", 3)
    return setup


def _draw_agent(random: Random) -> AgentConfig:
    return AgentConfig(
        entries_max=random.choice((1, 2, 4, 1_000, 1_000)),
        flush_ms=random.choice((20, 200, 1_000)),
        renewals_per_lease=random.choice((2, 4, 8)),
    )


def _keys(random: Random, cache: str, most: int) -> tuple[str, ...]:
    return tuple(f"{cache}/k{n}" for n in range(random.randrange(1, most + 1)))
