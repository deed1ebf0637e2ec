"""Inputs that cannot be indexed, published among the good ones; each must end as a dead letter."""

from dataclasses import dataclass

__all__ = ["CRASHING", "CRASH_CODE", "POISONS", "Poison"]

CRASHING = "synaxis-demo/crashes_its_reader.py"
"""Whoever reads this file dies of it, without a word and without cleaning up."""
CRASH_CODE = 70


_HOLDER_DIED = ("session_lost", "lease_expired")


@dataclass(frozen=True)
class Poison:
    """The file that a poisoned message names, and what its dead letter will say."""

    file: str
    reason: str
    errors: tuple[str, ...]
    """How the error of the letter may begin. Its last holder may have died of something else."""


POISONS = (
    Poison(CRASHING, "max_deliveries", _HOLDER_DIED),
    Poison("synaxis-demo/no_such_file.py", "max_deliveries", ("FileNotFoundError", *_HOLDER_DIED)),
    Poison("../synaxis-demo/outside.py", "rejected", ("it names a file outside",)),
)
