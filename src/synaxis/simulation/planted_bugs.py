"""Bugs that the simulator must find: if it misses one, it would miss the real one too.

``python -m synaxis.simulation planted-bugs`` plants each in turn and prints the seed that found it
and the rule that was broken. A bug that survives ``SEEDS_MAX`` seeds fails the command.
"""

from synaxis.simulation import (
    planted_in_caches,
    planted_in_consensus,
    planted_in_locks,
    planted_in_queues,
    planted_in_volatile,
)
from synaxis.simulation.planting import BUGS, SEEDS_MAX, PlantedBug, hunt

__all__ = ["BUGS", "SEEDS_MAX", "PlantedBug", "hunt"]

CATALOGUES = (
    planted_in_consensus,
    planted_in_locks,
    planted_in_queues,
    planted_in_volatile,
    planted_in_caches,
)
"""Importing them fills ``BUGS``."""
