"""Which faults a seed has, and the nemesis that lets them happen.

Swarm testing: each seed first draws which kinds of fault exist at all and how often they come, so
that some runs are calm enough to go deep and others meet combinations that a fixed mix never
would. Everything is drawn from the seed; shrinking a failure means switching kinds off.

Source: Groce et al., "Swarm Testing" (ISSTA 2012).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from synaxis.simulation.disk import DiskFaults
from synaxis.simulation.kernel import MICROSECONDS_PER_SECOND, Kernel
from synaxis.simulation.network import PARTITIONS, LinkFaults

__all__ = ["FaultMix", "Nemesis", "draw_mix"]

EVENT_KINDS = (
    "crash",
    "power_cut",
    "pause",
    "partition",
    "slow_disk",
    "bad_disk",
    "drift",
    "transfer",
    "replace",
    "rotate",
    "damage",
    "client_death",
    "client_pause",
    "snapshot",
)
INTERVAL_MIN_S = 1.5
INTERVAL_MAX_S = 25.0
KIND_CHANCE = 0.45


@dataclass(slots=True)
class FaultMix:
    """What a seed has drawn."""

    links: LinkFaults = field(default_factory=LinkFaults)
    intervals_us: dict[str, int] = field(default_factory=dict)
    """Kind of event -> mean time between two; a missing kind never happens."""
    partitions: tuple[str, ...] = PARTITIONS
    disk: DiskFaults = field(default_factory=DiskFaults)
    """What a bad disk does while it is bad."""
    drift_max: float = 0.0
    """Clocks run at 1 +- this."""

    def describe(self) -> str:
        """Return one line for people."""
        kinds = ", ".join(
            f"{kind} every {interval / MICROSECONDS_PER_SECOND:.1f} s"
            for kind, interval in self.intervals_us.items()
        )
        links = self.links
        return (
            f"delay {links.delay_min}-{links.delay_max} us, loss {links.loss:.2f}, "
            f"duplicates {links.duplicate:.2f}, clogs {links.clog:.4f}, "
            f"{'any order' if links.reorder else 'in order'}, drift {self.drift_max:.2f}; {kinds}"
        )


def draw_mix(random: Random) -> FaultMix:
    """Draw the faults of a seed."""
    mix = FaultMix()
    low, high = random.choice(((100, 600), (200, 1_500), (500, 8_000), (1_000, 60_000)))
    mix.links.delay_min, mix.links.delay_max = low, high
    if random.random() < KIND_CHANCE:
        mix.links.loss = random.choice((0.005, 0.02, 0.1, 0.25))
    if random.random() < KIND_CHANCE:
        mix.links.duplicate = random.choice((0.01, 0.05, 0.3))
    if random.random() < KIND_CHANCE:
        mix.links.clog = random.choice((0.0005, 0.002, 0.01))
    mix.links.reorder = random.random() < KIND_CHANCE
    mix.drift_max = random.choice((0.0, 0.02, 0.1))
    for kind in EVENT_KINDS:
        if random.random() < KIND_CHANCE:
            seconds = INTERVAL_MIN_S * (INTERVAL_MAX_S / INTERVAL_MIN_S) ** random.random()
            mix.intervals_us[kind] = int(seconds * MICROSECONDS_PER_SECOND)
    count = random.randrange(1, len(PARTITIONS) + 1)
    mix.partitions = tuple(sorted(random.sample(PARTITIONS, count)))
    mix.disk = DiskFaults(
        write_error=random.choice((0.0, 0.02)),
        sync_error=random.choice((0.0, 0.05)),
        space_error=random.choice((0.0, 0.02)),
        crash_point=random.choice((0.0, 0.02)),
    )
    return mix


class Nemesis:
    """Lets each kind of event happen at random times until it is stopped."""

    def __init__(
        self, kernel: Kernel, mix: FaultMix, actions: dict[str, Callable[[], None]]
    ) -> None:
        self._kernel = kernel
        self._random = kernel.stream("nemesis")
        self._actions = actions
        self._stopped = False
        for kind, interval in mix.intervals_us.items():
            self._plan(kind, interval)

    def stop(self) -> None:
        """Let nothing happen any more."""
        self._stopped = True

    def _plan(self, kind: str, interval: int) -> None:
        delay = int(self._random.expovariate(1.0) * interval)
        self._kernel.after(delay, self._strike, kind, interval)

    def _strike(self, kind: str, interval: int) -> None:
        if not self._stopped:
            self._actions[kind]()
            self._plan(kind, interval)
