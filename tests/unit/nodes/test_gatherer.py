"""Several gatherers on stores in memory; the network between them is a function."""

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from support.faulty_directory import FaultyDirectory
from support.stored_units import QUEUES, Script
from synaxis.effects import Members, SnapshotMeta
from synaxis.errors import ProtocolViolation
from synaxis.ids import GroupId, LogIndex, NodeId
from synaxis.nodes.gatherer import READS_PER_PEER_MAX, Gatherer, GathererConfig
from synaxis.storage.message_store import InlineExecutor, MessageStore
from synaxis.wire.peer import SEGMENT_PART_BYTES_MAX, SegmentAsk, SegmentMessage, SegmentPart

if TYPE_CHECKING:
    from synaxis.consensus.replica import Replica

LEADER, FOLLOWER, OTHER = NodeId("a"), NodeId("b"), NodeId("c")
QUICK = GathererConfig(ask_timeout_s=0.05, retry_s=0.001)


class FakeReplica:
    """What a gatherer sees of a group on one node."""

    def __init__(self, leader: NodeId | None, *, leads: bool) -> None:
        members = Members(voters=(LEADER, FOLLOWER, OTHER))
        self.log = SimpleNamespace(ready=leads)
        self.known = SimpleNamespace(members=members, leader=leader, commit_index=LogIndex(0))
        self.snapshots_asked = 0

    def status(self) -> SimpleNamespace:
        return self.known

    def snapshot_soon(self) -> None:
        self.snapshots_asked += 1


class Member:
    """A node: store, gatherer, and what the gatherer has told."""

    def __init__(self, world: "World", node: NodeId) -> None:
        self.node = node
        self.world = world
        self.directory = FaultyDirectory()
        self.store = MessageStore(self.directory, None, InlineExecutor())
        self.store.restart({})
        self.replica = FakeReplica(LEADER, leads=node == LEADER)
        replicas = {QUEUES: cast("Replica", self.replica)}
        self.gatherer = Gatherer(node, replicas, self.store, self, self, QUICK)
        self.told: list[tuple[int, bool]] = []
        self.news = asyncio.Event()
        self.touched = 0
        self.failures: list[Exception] = []

    # SegmentOutlet

    @property
    def connected(self) -> list[NodeId]:
        return [node for node in self.world.members if node != self.node]

    def send_segment(self, node: NodeId, message: SegmentMessage) -> None:
        self.world.deliver(self.node, node, message)

    # GathererHost

    def gathered(self, group: GroupId, meta: SnapshotMeta, complete: bool) -> None:
        assert group == QUEUES
        self.told.append((meta.index, complete))
        self.news.set()

    def touch(self, group: GroupId) -> None:
        self.touched += 1

    def broken(self, error: Exception) -> None:
        self.failures.append(error)
        self.news.set()

    async def outcome(self) -> tuple[int, bool]:
        async with asyncio.timeout(5):
            await self.news.wait()
        self.news.clear()
        assert not self.failures
        return self.told[-1]


class World:
    """Three nodes; ``filters`` may lose or change a message by returning None or another one."""

    def __init__(self) -> None:
        self.members: dict[NodeId, Member] = {}
        self.busy = asyncio.Event()
        self.sent: list[tuple[NodeId, NodeId, SegmentMessage]] = []
        self.filters: list[Callable[[NodeId, SegmentMessage], SegmentMessage | None]] = []
        for node in (LEADER, FOLLOWER, OTHER):
            self.members[node] = Member(self, node)

    @property
    def leader(self) -> Member:
        return self.members[LEADER]

    @property
    def follower(self) -> Member:
        return self.members[FOLLOWER]

    def deliver(self, sender: NodeId, target: NodeId, message: SegmentMessage) -> None:
        self.sent.append((sender, target, message))
        self.busy.set()
        for each in self.filters:
            passed = each(sender, message)
            if passed is None:
                return
            message = passed
        loop = asyncio.get_running_loop()
        loop.call_soon(self.members[target].gatherer.received, sender, message)

    def asked(self) -> list[NodeId]:
        """Whom the follower has asked, in order, once for each time in a row."""
        targets = [to for _, to, message in self.sent if isinstance(message, SegmentAsk)]
        return [each for i, each in enumerate(targets) if i == 0 or targets[i - 1] != each]

    async def close(self) -> None:
        for member in self.members.values():
            await member.gatherer.aclose()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.close()


def stored_on(script: Script, *members: Member) -> SnapshotMeta:
    """Let ``members`` hold three segments, one of them larger than a part."""
    operations = [
        *script.fill(1, 3),
        *script.fill(2, 6, SEGMENT_PART_BYTES_MAX // 2),
        *script.fill(5, 1, 10),
    ]
    for member in members:
        member.store.execute(QUEUES, operations)
    return script.meta(50)


async def test_a_follower_gathers_everything_from_the_leader(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)
    assert world.asked() == [LEADER]
    world.follower.store.reset(QUEUES, meta.attachments)
    ranges = script.ranges()
    assert world.follower.store.read_blocking(QUEUES, ranges) == script.stored()
    disk = FaultyDirectory(world.follower.directory.after_crash())
    assert [bytes(disk.files[name]) for name in disk.names()] == list(script.content.values())


async def test_only_what_is_missing_is_asked_for(world: World) -> None:
    script = Script()
    operations = script.fill(1, 5)
    world.leader.store.execute(QUEUES, operations)
    world.follower.store.execute(QUEUES, operations[:3])
    world.follower.gatherer.gather(QUEUES, script.meta(50))
    assert await world.follower.outcome() == (50, True)
    (ask,) = [message for _, _, message in world.sent if isinstance(message, SegmentAsk)]
    start = script.ranges()[3][1]
    assert (ask.position, ask.length) == (start, len(script.content[1]) - start)


async def test_nothing_missing_needs_no_peer(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.follower)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)
    assert world.sent == []


async def test_a_few_parts_are_under_way_and_no_more(world: World) -> None:
    script = Script()
    script.fill(1, 10, SEGMENT_PART_BYTES_MAX)
    world.filters.append(lambda *_: None)
    world.follower.gatherer.gather(QUEUES, script.meta(50))
    await world.busy.wait()
    asks = [message for _, _, message in world.sent]
    assert len(asks) == QUICK.window
    assert all(message.length <= SEGMENT_PART_BYTES_MAX for message in asks)  # type: ignore[union-attr]


async def test_another_voter_is_asked_when_the_leader_is_silent(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.members[OTHER])
    world.filters.append(lambda sender, message: None if sender == LEADER else message)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)
    assert world.asked() == [LEADER, OTHER]


async def test_a_voter_that_lags_behind_is_no_reason_to_give_up(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader)
    world.follower.replica.known.leader = None
    world.leader.replica.log.ready = False
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)


async def test_a_lost_answer_is_asked_for_again(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader, world.members[OTHER])
    lost: list[SegmentMessage] = []

    def lose_the_first_two(_: NodeId, message: SegmentMessage) -> SegmentMessage | None:
        if isinstance(message, SegmentPart) and len(lost) < 2:
            lost.append(message)
            return None
        return message

    world.filters.append(lose_the_first_two)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)


async def test_what_the_leader_has_dropped_ends_the_gathering_and_it_takes_a_snapshot(
    world: World,
) -> None:
    script = Script()
    meta = stored_on(script, world.leader)
    world.leader.store.execute(QUEUES, [script.drop(2)])
    world.leader.store.keep(QUEUES, script.meta(60))
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, False)
    assert world.leader.replica.snapshots_asked >= 1
    assert world.leader.touched >= 1


async def test_a_peer_with_a_damaged_segment_is_not_believed(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader, world.members[OTHER])

    def spoil(sender: NodeId, message: SegmentMessage) -> SegmentMessage:
        if sender == LEADER and isinstance(message, SegmentPart) and message.segment == 5:
            data = bytes(len(message.data))
            return SegmentPart(message.group, message.segment, message.position, data)
        return message

    world.filters.append(spoil)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)
    assert world.asked()[-1] == OTHER


async def test_a_segment_that_is_damaged_everywhere_is_given_up(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader)
    script.append(5)
    script.append(5)
    wrong = script.meta(50)
    meta = SnapshotMeta(
        meta.index, meta.term, meta.members, 0, 0, (*meta.attachments[:2], wrong.attachments[2])
    )
    garbage = b"x" * (wrong.attachments[2].length)

    def invent(_: NodeId, message: SegmentMessage) -> SegmentMessage:
        if isinstance(message, SegmentPart) and message.segment == 5:
            return SegmentPart(message.group, 5, message.position, garbage[message.position :])
        return message

    world.filters.append(invent)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, False)


async def test_our_own_log_may_go_on_while_we_gather(world: World) -> None:
    script = Script()
    operations = script.fill(1, 6, SEGMENT_PART_BYTES_MAX // 2)
    world.leader.store.execute(QUEUES, operations)
    world.follower.store.execute(QUEUES, operations[:1])
    mine = iter(operations[1:3])

    def apply_one(_: NodeId, message: SegmentMessage) -> SegmentMessage:
        own = next(mine, None) if isinstance(message, SegmentPart) else None
        if own is not None:
            world.follower.store.execute(QUEUES, [own])
        return message

    world.filters.append(apply_one)
    meta = script.meta(50)
    world.follower.gatherer.gather(QUEUES, meta)
    assert await world.follower.outcome() == (50, True)
    world.follower.store.reset(QUEUES, meta.attachments)
    ranges = script.ranges()
    assert world.follower.store.read_blocking(QUEUES, ranges) == script.stored()


async def test_gathering_ends_when_the_log_has_brought_everything(world: World) -> None:
    script = Script()
    meta = stored_on(script, world.leader)
    world.filters.append(lambda *_: None)
    world.follower.gatherer.gather(QUEUES, meta)
    await world.busy.wait()
    world.follower.replica.known.commit_index = LogIndex(50)
    assert await world.follower.outcome() == (50, False)


async def test_a_newer_snapshot_takes_the_place_of_the_one_under_way(world: World) -> None:
    script = Script()
    stored_on(script, world.leader)
    silent = True
    world.filters.append(lambda _, message: None if silent else message)
    world.follower.gatherer.gather(QUEUES, script.meta(50))
    await world.busy.wait()
    world.leader.store.execute(QUEUES, script.fill(5, 2))
    silent = False
    world.follower.gatherer.gather(QUEUES, script.meta(60))
    assert await world.follower.outcome() == (60, True)
    assert world.follower.told == [(60, True)]


@pytest.mark.parametrize(
    "ask",
    [
        SegmentAsk(QUEUES, 1, 0, 0),
        SegmentAsk(QUEUES, 1, 0, SEGMENT_PART_BYTES_MAX + 1),
        SegmentAsk(QUEUES, 1, -1, 10),
        SegmentAsk(QUEUES, 1, 2**63, 10),
        SegmentAsk(QUEUES, -1, 0, 10),
        SegmentPart(QUEUES, 1, 0, bytes(SEGMENT_PART_BYTES_MAX + 1)),
    ],
    ids=str,
)
async def test_what_no_node_says_closes_the_link(world: World, ask: SegmentMessage) -> None:
    with pytest.raises(ProtocolViolation):
        world.leader.gatherer.received(FOLLOWER, ask)


async def test_strange_groups_and_unasked_answers_are_ignored(world: World) -> None:
    world.leader.gatherer.received(FOLLOWER, SegmentAsk(GroupId("../etc"), 1, 0, 10))
    world.leader.gatherer.received(FOLLOWER, SegmentPart(QUEUES, 1, 0, b"unasked"))
    await asyncio.sleep(0)
    assert world.sent == []
    assert world.leader.directory.names() == []


async def test_one_peer_cannot_make_a_node_read_without_end(world: World) -> None:
    script = Script()
    stored_on(script, world.leader)
    for _ in range(100):
        world.leader.gatherer.received(FOLLOWER, SegmentAsk(QUEUES, 1, 0, 10))
    assert len(world.leader.gatherer._readers[FOLLOWER]) == READS_PER_PEER_MAX
