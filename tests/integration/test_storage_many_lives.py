"""A log on the simulator's disk lives and dies many times, in every way that the disk knows.

After each death the next life must find what was acknowledged, or that and the write that was
under way; and nothing is ever called damaged, because no crash damages anything.
"""

from random import Random

import pytest

from support.log_script import (
    CLUSTER,
    LOCKS,
    Groups,
    Write,
    as_known,
    entries,
    entry,
    open_log,
    persist,
    snapshot,
    stage,
    vote,
)
from synaxis.effects import Entry, HardState, Persist, Snapshot
from synaxis.errors import StorageError
from synaxis.ports import RecoveredGroup
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.disk import DiskFaults, PowerLost, SimulatedDirectory

NOTHING = RecoveredGroup()


class Lives:
    """One disk, and what it must hold."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        choice = self.random.choice
        faults = DiskFaults(
            write_error=choice([0, 0, 0.01]),
            sync_error=choice([0, 0, 0.02, 0.1]),
            space_error=choice([0, 0, 0.01]),
            crash_point=choice([0, 0.01, 0.05]),
        )
        self.disk = SimulatedDirectory(self.random, Coverage(), faults)
        self.segment_bytes_max = choice([1024, 4096, 1 << 26])
        self.acknowledged: Groups = {}
        self.possible: Groups = {}

    def live(self) -> None:
        """Open, write some, and die."""
        try:
            self._write_some()
        except StorageError:
            self._die(power_lost=self.random.random() < 0.5)
        except PowerLost:
            self._die(power_lost=True)
        else:
            self._die(power_lost=self.random.random() < 0.5)

    def _die(self, *, power_lost: bool) -> None:
        if power_lost:
            self.disk.crash()
        else:
            self.disk.kill()

    def _write_some(self) -> None:
        log, recovered = open_log(self.disk, self.segment_bytes_max)
        self._check(recovered)
        self.acknowledged = self.possible = recovered
        for _ in range(self.random.randrange(1, 12)):
            write = self._draw_write()
            self.possible = as_known(self.acknowledged, write)
            stage(log, write)
            self.acknowledged = self.possible
        if self.random.random() < 0.3:
            log.close()

    def _check(self, recovered: Groups) -> None:
        before, after = self.acknowledged, self.possible
        for name in {*recovered, *after}:
            found = recovered.get(name, NOTHING)
            old, new = before.get(name, NOTHING), after.get(name, NOTHING)
            assert not found.damaged
            assert found.hard_state in (old.hard_state, new.hard_state)
            assert (found.snapshot, found.entries) in (
                (old.snapshot, old.entries),
                (new.snapshot, new.entries),
            )

    def _draw_write(self) -> Write:
        groups = self.random.sample([LOCKS, CLUSTER], self.random.randint(1, 2))
        return [(g, self._draw_persist(self.acknowledged.get(g, NOTHING))) for g in groups]

    def _draw_persist(self, old: RecoveredGroup) -> Persist:
        random = self.random
        hard_state = self._draw_vote(old.hard_state) if random.random() < 0.2 else None
        base = old.snapshot.meta.index if old.snapshot else 0
        base_term = old.snapshot.meta.term if old.snapshot else 1
        last = base + len(old.entries)
        last_term = old.entries[-1].term if old.entries else base_term
        if random.random() < 0.05:
            return persist(hard_state=hard_state, taken=snapshot(last + 10, last_term + 3))
        first = last + 1 if random.random() < 0.8 else random.randint(base + 1, last + 1)
        term = last_term + (first <= last or random.random() < 0.2)
        written = self._draw_entries(first, term)
        return persist(*written, hard_state=hard_state, taken=self._draw_snapshot(old, first))

    def _draw_vote(self, old: HardState) -> HardState:
        return vote(old.term + self.random.randint(1, 2), self.random.choice([None, "a", "b"]))

    def _draw_entries(self, first: int, term: int) -> tuple[Entry, ...]:
        if self.random.random() < 0.1:
            return (entry(first, term, bytes(self.random.choice([500, 2000]))),)
        last = first + self.random.randint(0, 6)
        return entries(first, last, term, self.random.choice([3, 100, 700]))

    def _draw_snapshot(self, old: RecoveredGroup, first: int) -> Snapshot | None:
        below = [old_entry for old_entry in old.entries if old_entry.index < first]
        if not below or self.random.random() < 0.8:
            return None
        covered = self.random.choice(below)
        return snapshot(covered.index, covered.term, self.random.choice([10, 2000]))


@pytest.mark.parametrize("seed", [*range(30), 154])
def test_no_life_of_a_log_loses_what_an_earlier_one_acknowledged(seed: int) -> None:
    lives = Lives(seed)
    for _ in range(25):
        lives.live()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_life_of_three_hundred_logs_loses_what_an_earlier_one_acknowledged() -> None:
    for seed in range(1000, 1300):
        lives = Lives(seed)
        for _ in range(25):
            lives.live()
