"""Log and message store on real files: what a killed or damaged node comes back with."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import NamedTuple

import pytest

from support.log_script import CLUSTER_ID, LOCKS, NODE_ID, entry, persist
from support.stored_units import QUEUES, StoredMachine
from synaxis.errors import StorageError
from synaxis.ids import GroupId
from synaxis.ports import RecoveredGroup
from synaxis.storage.files import OsDirectory
from synaxis.storage.message_store import MessageStore, StoreLimits
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog


class Node(NamedTuple):
    """What a process has open."""

    store: MessageStore
    log: WriteAheadLog
    recovered: dict[GroupId, RecoveredGroup]

    @property
    def group(self) -> RecoveredGroup:
        return self.recovered.get(QUEUES, RecoveredGroup())

    def write(self, index: int, payload: bytes, machine: StoredMachine) -> None:
        """Make an entry durable and apply it."""
        self.log.append(QUEUES, persist(entry(index, 1, payload)))
        self._flush()
        self.store.execute(QUEUES, machine.apply(payload))

    def compact(self, index: int, machine: StoredMachine) -> None:
        taken = machine.take_snapshot(index)
        self.store.hold(QUEUES, taken.meta)
        self.log.append(QUEUES, persist(taken=taken))
        self._flush()

    def _flush(self) -> None:
        batch = self.log.take()
        assert batch is not None
        self.log.write(batch)

    def wait_for_background(self) -> None:
        """Wait for the flushes and removals that have begun."""
        ended = Event()
        self.store._executor.submit(ended.set)
        assert ended.wait(10)

    def kill(self) -> None:
        """End as a killed process does: what was written stays, what was buffered is gone."""
        self.log._abandon()
        self.store.close()


class Machine(NamedTuple):
    """A directory, and the processes that ran on it."""

    path: Path
    nodes: list[Node]

    def start(self, flush_bytes: int = 1, log_segment_bytes: int = 1024) -> Node:
        store = MessageStore(
            OsDirectory.create(self.path / "messages"), StoreLimits(flush_bytes=flush_bytes)
        )
        wal = OsDirectory.create(self.path / "wal")
        options = WalOptions(segment_bytes_max=log_segment_bytes)
        log, recovered = WriteAheadLog.open(wal, CLUSTER_ID, NODE_ID, options, store)
        node = Node(store, log, recovered)
        self.nodes.append(node)
        return node

    def segments(self) -> list[Path]:
        return sorted((self.path / "messages").iterdir())

    def fill(self, log_segment_bytes: int = 1024) -> StoredMachine:
        """Live once: forty entries, a snapshot of most of them, and the end."""
        node = self.start(log_segment_bytes=log_segment_bytes)
        machine = StoredMachine()
        for index in range(1, 41):
            node.write(index, b"entry %d" % index, machine)
            if index == 35:
                node.compact(index, machine)
        node.wait_for_background()
        node.kill()
        return machine


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, [])
    yield made
    for node in made.nodes:
        node.kill()


def replayed(node: Node) -> StoredMachine:
    """Apply what was recovered, as a replica does."""
    group = node.group
    machine = StoredMachine(group.snapshot.data if group.snapshot else None)
    for each in group.entries:
        node.store.execute(QUEUES, machine.apply(each.payload))
    return machine


def test_a_killed_node_has_every_unit_again(disk: Machine) -> None:
    before = disk.fill()
    node = disk.start()
    assert not node.group.damaged
    assert node.group.snapshot is not None
    machine = replayed(node)
    assert machine.stored() == before.stored()
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


def test_a_node_that_was_killed_before_anything_was_flushed_has_it_too(disk: Machine) -> None:
    node, before = disk.start(flush_bytes=1 << 30), StoredMachine()
    for index in range(1, 10):
        node.write(index, b"entry %d" % index, before)
    node.kill()
    assert disk.segments() == []
    node = disk.start()
    machine = replayed(node)
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


def test_a_torn_tail_behind_the_snapshot_is_written_again(disk: Machine) -> None:
    before = disk.fill()
    last = disk.segments()[-1]
    last.write_bytes(last.read_bytes()[:-7] + b"torn")
    node = disk.start()
    assert not node.group.damaged
    machine = replayed(node)
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_segment_makes_a_damaged_group(disk: Machine, damage: str) -> None:
    disk.fill()
    first = disk.segments()[0]
    content = bytearray(first.read_bytes())
    content[len(content) // 3] ^= 4
    if damage == "flip":
        first.write_bytes(content)
    elif damage == "cut":
        first.write_bytes(content[: len(content) // 2])
    else:
        first.unlink()
    node = disk.start()
    assert node.group.damaged
    assert node.group.snapshot is None
    assert list((disk.path / "wal").glob("*.snapshot.damaged")), "set aside, not thrown away"
    node.kill()
    assert disk.start().group.damaged, "it stays so until somebody repairs it"


def test_a_log_that_reaches_back_far_enough_makes_up_for_a_damaged_segment(disk: Machine) -> None:
    before = disk.fill(log_segment_bytes=1 << 20)
    disk.segments()[0].unlink()
    node = disk.start()
    assert not node.group.damaged
    assert node.group.snapshot is None
    machine = replayed(node)
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


def test_damage_behind_the_snapshot_is_none(disk: Machine) -> None:
    before = disk.fill()
    last = disk.segments()[-1]
    content = bytearray(last.read_bytes())
    content[-3] ^= 1
    last.write_bytes(content)
    node = disk.start()
    assert not node.group.damaged
    machine = replayed(node)
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


def test_other_groups_do_not_mind_a_damaged_segment(disk: Machine) -> None:
    disk.fill()
    node = disk.start()
    node.log.append(LOCKS, persist(entry(1)))
    node._flush()
    node.kill()
    disk.segments()[0].unlink()
    node = disk.start()
    assert node.group.damaged
    assert not node.recovered[LOCKS].damaged
    assert len(node.recovered[LOCKS].entries) == 1


def test_a_damaged_node_is_repaired_by_what_its_peers_have(disk: Machine) -> None:
    before = disk.fill()
    whole = {segment: bytes(content) for segment, content in before.content.items()}
    disk.segments()[0].unlink()
    node = disk.start()
    snapshot = before.take_snapshot(40)
    for segment, position, length in node.store.missing(QUEUES, snapshot.meta):
        part = whole[segment][position : position + length]
        assert node.store.receive(QUEUES, segment, position, part)
    assert all(node.store.adopt(QUEUES, each) for each in snapshot.meta.attachments)
    node.store.reset(QUEUES, snapshot.meta.attachments)
    node.compact(40, before)
    node.write(41, b"entry 41", before)
    node.kill()
    node = disk.start()
    assert node.group.snapshot is not None
    machine = replayed(node)
    assert node.store.read_blocking(QUEUES, machine.ranges()) == before.stored()


def test_files_that_nothing_needs_go_after_a_snapshot(disk: Machine) -> None:
    machine = disk.fill()
    (disk.path / "messages" / "queues%2F0-00000999.messages").write_bytes(b"left behind")
    node = disk.start()
    machine = replayed(node)
    node.compact(40, machine)
    node.wait_for_background()
    names = [f"queues%2F0-{segment:08x}.messages" for segment in sorted(machine.content)]
    assert [path.name for path in disk.segments()] == names


def test_a_snapshot_is_not_written_when_its_attachments_cannot_be_synced(disk: Machine) -> None:
    node, machine = disk.start(flush_bytes=1 << 30), StoredMachine()
    node.write(1, b"entry 1", machine)
    (disk.path / "messages").rmdir()
    with pytest.raises(StorageError):
        node.compact(1, machine)
    assert not list((disk.path / "wal").glob("*.snapshot"))
    with pytest.raises(StorageError):
        node.store.execute(QUEUES, machine.apply(b"more"))
