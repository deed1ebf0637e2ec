"""A log and a message store on one simulated disk live and die many times, in every way it knows.

After each death the next life must find what was acknowledged, and applying the log from the
recovered snapshot on must give a store that holds every unit. Nothing is ever called damaged.
"""

from random import Random
from typing import TYPE_CHECKING

import pytest

from support.log_script import CLUSTER_ID, NODE_ID, entry, persist
from support.stored_units import QUEUES, StoredMachine
from synaxis.errors import StorageError
from synaxis.ports import RecoveredGroup
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.disk import DiskFaults, PowerLost, SimulatedDirectory
from synaxis.storage.message_store import InlineExecutor, MessageStore, StoreLimits
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog

if TYPE_CHECKING:
    from synaxis.effects import Persist


class Running:
    """One life: entries and snapshots wait for the log, and are applied some time later."""

    def __init__(
        self,
        lives: "Lives",
        log: WriteAheadLog,
        store: MessageStore,
        machine: StoredMachine,
        applied: int,
    ) -> None:
        self.lives = lives
        self.random = lives.random
        self.log = log
        self.store = store
        self.machine = machine
        self.applied = applied
        self.snapshot_index = applied
        self.waiting: list[Persist] = []

    def step(self) -> None:
        action = self.random.choice([self.propose, self.write, self.apply_some, self.compact])
        action()

    def propose(self) -> None:
        payloads = self.lives.payloads
        payloads.append(self.random.randbytes(8))
        self.waiting.append(persist(entry(len(payloads), 1, payloads[-1])))

    def write(self) -> None:
        count = self.random.randint(0, len(self.waiting))
        written, self.waiting = self.waiting[:count], self.waiting[count:]
        for each in written:
            self.log.append(QUEUES, each)
        batch = self.log.take()
        if batch is not None:
            self.log.write(batch)
            lasts = [each.entries[-1].index for each in written if each.entries]
            self.lives.acknowledged = max([self.lives.acknowledged, *lasts])

    def apply_some(self) -> None:
        self.apply(self.random.randint(self.applied, max(self.applied, self.lives.acknowledged)))

    def apply(self, last: int) -> None:
        for payload in self.lives.payloads[self.applied : last]:
            self.store.execute(QUEUES, self.machine.apply(payload))
        self.applied = last

    def compact(self) -> None:
        if self.snapshot_index < self.applied:
            self.snapshot_index = self.applied
            taken = self.machine.take_snapshot(self.applied)
            self.store.hold(QUEUES, taken.meta)
            self.waiting.append(persist(taken=taken))
            self.lives.snapshots += 1


class Lives:
    """One disk, and what it must hold."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        choice = self.random.choice
        faults = DiskFaults(
            write_error=choice([0, 0, 0.01]),
            sync_error=choice([0, 0, 0.02]),
            space_error=choice([0, 0, 0.01]),
            crash_point=choice([0, 0.005, 0.02]),
        )
        self.disk = SimulatedDirectory(self.random, Coverage(), faults)
        self.limits = StoreLimits(
            flush_bytes=choice([1, 500, 5000]),
            recent_bytes_max=choice([0, 1000, 100_000]),
            unsynced_bytes_max=choice([1, 3000, 1 << 20]),
        )
        self.payloads: list[bytes] = []
        """What was acknowledged, and at most one more."""
        self.acknowledged = 0
        self.snapshots = 0

    def live(self) -> None:
        """Begin with what the disk holds, store some, and die."""
        try:
            self._live()
        except PowerLost:
            self.disk.crash()
        except StorageError:
            self._die()
        else:
            self._die()

    def _die(self) -> None:
        if self.random.random() < 0.5:
            self.disk.crash()
        else:
            self.disk.kill()

    def _live(self) -> None:
        store = MessageStore(self.disk, self.limits, InlineExecutor())
        log, recovered = WriteAheadLog.open(
            self.disk, CLUSTER_ID, NODE_ID, WalOptions(segment_bytes_max=4096), store
        )
        group = recovered.get(QUEUES, RecoveredGroup())
        assert not group.damaged
        base = group.snapshot.meta.index if group.snapshot else 0
        machine = StoredMachine(group.snapshot.data if group.snapshot else None)
        last = base + len(group.entries)
        assert last >= self.acknowledged
        assert [each.payload for each in group.entries] == self.payloads[base:last]
        del self.payloads[last:]
        running = Running(self, log, store, machine, base)
        running.apply(last)
        self._check(store, machine)
        for _ in range(self.random.randrange(1, 40)):
            running.step()
        self._check(store, machine)

    def _check(self, store: MessageStore, machine: StoredMachine) -> None:
        ranges = machine.ranges()
        in_memory = store.read(QUEUES, ranges)
        assert in_memory is None or in_memory == machine.stored()
        assert store.read_blocking(QUEUES, ranges) == machine.stored()


@pytest.mark.parametrize("seed", range(20))
def test_no_life_loses_a_unit_that_an_earlier_one_acknowledged(seed: int) -> None:
    lives = Lives(seed)
    for _ in range(20):
        lives.live()
    assert lives.snapshots > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_life_of_three_hundred_stores_loses_a_unit() -> None:
    for seed in range(1000, 1300):
        lives = Lives(seed)
        for _ in range(25):
            lives.live()
