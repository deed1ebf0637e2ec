"""How a bug is planted: methods of the real machines are replaced for the length of a run.

Production code knows nothing of it: there is no switch that could be left on. A bug names the
faults under which it matters; they are added to what a seed draws, so that short runs find it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synaxis.simulation.faults import FaultMix, draw_mix
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.run import RunResult, run_seed
from synaxis.simulation.seeds import LOCKS, Seed

__all__ = ["BUGS", "SEEDS_MAX", "Patch", "PlantedBug", "hunt", "planted"]

Patch = tuple[Any, str, Any]
"""Class or module, attribute, replacement."""

SEEDS_MAX = 500
SECONDS = 8.0
FOCUS_INTERVAL_US = 1_200_000
DUPLICATES = "duplicates"
DISORDER = "disorder"
LOSS = "loss"
"""Faults of links, next to the kinds of events of ``faults``."""


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A way in which the cluster could be wrong."""

    name: str
    description: str
    faults: tuple[str, ...]
    patches: Callable[[], Sequence[Patch]]
    world: str = LOCKS

    @contextmanager
    def plant(self) -> Iterator[None]:
        """Replace what the bug replaces, and put it back."""
        planted_here = [
            (owner, attribute, vars(owner)[attribute], replacement)
            for owner, attribute, replacement in self.patches()
        ]
        for owner, attribute, _, replacement in planted_here:
            setattr(owner, attribute, replacement)
        try:
            yield
        finally:
            for owner, attribute, original, _ in planted_here:
                setattr(owner, attribute, original)

    def mix_for(self, seed: int) -> FaultMix:
        """Return the faults that matter to this bug, with every second seed's own ones."""
        mix = draw_mix(Kernel(Seed(seed, self.world)).stream("mix"))
        if seed % 2:
            mix = FaultMix(partitions=("isolate", "one_way", "split"))
        for fault in self.faults:
            if fault == DUPLICATES:
                mix.links.duplicate = 0.3
            elif fault == LOSS:
                mix.links.loss = 0.2
            elif fault == DISORDER:
                mix.links.reorder = True
                mix.links.delay_max = 60_000
            else:
                mix.intervals_us[fault] = FOCUS_INTERVAL_US * (1 + seed % 3)
        return mix

    def run(self, seed: int) -> RunResult:
        """Run one seed with the bug."""
        with self.plant():
            return run_seed(Seed(seed, self.world), SECONDS, mix=self.mix_for(seed))


BUGS: dict[str, PlantedBug] = {}
"""By name, in the order in which they were written down."""


def planted(
    name: str, description: str, *faults: str, world: str = LOCKS
) -> Callable[[Callable[[], Sequence[Patch]]], Callable[[], Sequence[Patch]]]:
    """Register the decorated function, which returns the patches of a bug."""

    def register(patches: Callable[[], Sequence[Patch]]) -> Callable[[], Sequence[Patch]]:
        assert name not in BUGS, name
        BUGS[name] = PlantedBug(name, description, faults, patches, world)
        return patches

    return register


def hunt(bug: PlantedBug, seeds: int = SEEDS_MAX) -> RunResult | None:
    """Return the first run that finds the bug, or None."""
    for seed in range(1, seeds + 1):
        result = bug.run(seed)
        if result.failure is not None:
            return result
    return None
