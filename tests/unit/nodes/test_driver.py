"""The driver keeps the order of ``Effects``; the replica here is a script."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from support.raft_network import make_snapshot, members
from synaxis.effects import Effects, Persist, PersistMark, Reply, SnapshotMeta, StoreAppend
from synaxis.errors import Overloaded, ProtocolViolation, SynaxisError
from synaxis.ids import GroupId, Instant, LogIndex, LogTime, NodeId, SessionId, Term
from synaxis.nodes.driver import NodeDriver
from synaxis.wire.peer import Envelope, PeerFrame

if TYPE_CHECKING:
    from synaxis.consensus.commands import Proposal
    from synaxis.consensus.replica import Replica

GROUP = GroupId("locks/0")
PEER = NodeId("n2")
FAR = Instant(2**40)
HANDLE: Any = (lambda *_: None, None)


class Word(msgspec.Struct, frozen=True):
    text: str


class ScriptedReplica:
    """Returns the effects of its script, one batch per drain."""

    def __init__(self, *script: Effects) -> None:
        self.group = GROUP
        self.log = SimpleNamespace(leader=None, ready=False)
        self.script = list(script)
        self.heard: list[object] = []
        self.marks: list[PersistMark] = []
        self.ticked = asyncio.Event()
        self.next_tick = FAR
        self.is_restless = False
        self.error: Exception | None = None

    def _refuse(self, *_: object, **options: object) -> None:
        del options
        if self.error is not None:
            raise self.error

    propose = query = demand = _refuse

    def take_effects(self) -> Effects:
        return self.script.pop(0) if self.script else Effects()

    def deadline(self) -> Instant:
        return self.next_tick

    def tick(self, now: Instant) -> None:
        assert now > 0
        self.ticked.set()
        self.next_tick = FAR

    def persisted(self, mark: PersistMark, now: Instant) -> None:
        del now
        self.marks.append(mark)

    def handle(self, sender: NodeId, message: object, now: Instant) -> None:
        del sender, now
        if isinstance(message, Exception):
            raise message
        self.heard.append(message)


class StoreOf:
    """A message store that only tells what it was told."""

    def __init__(self, happened: list[str]) -> None:
        self.happened = happened

    def execute(self, group: GroupId, operations: Sequence[object]) -> None:
        self.happened.append(f"store {len(operations)} of {group}")

    def reset(self, group: GroupId, attachments: Sequence[object]) -> None:
        self.happened.append(f"{group} has {len(attachments)} segments")

    def hold(self, group: GroupId, meta: SnapshotMeta) -> None:
        self.happened.append(f"hold {meta.index} of {group}")


class World:
    """Everything around the driver, in one list of what happened."""

    pinning_group = None

    def __init__(self, *script: Effects) -> None:
        self.happened: list[str] = []
        self.durable: list[Callable[[], None]] = []
        self.replica = ScriptedReplica(*script)
        replicas = {GROUP: cast("Replica", self.replica)}
        self.store = StoreOf(self.happened)
        self.driver = NodeDriver(replicas, self, self, self, self.store, self)

    def submit(self, group: GroupId, persist: Persist, done: Callable[[], None]) -> None:
        assert group == GROUP
        self.happened.append(f"persist {persist.mark.index}")
        self.durable.append(done)

    def send(self, node: NodeId, group: GroupId, message: msgspec.Struct) -> None:
        assert (node, group) == (PEER, GROUP)
        assert isinstance(message, Word)
        self.happened.append(f"send {message.text}")

    def publish(self, group: GroupId, events: list[Any]) -> None:
        self.happened.append(f"{len(events)} event of {group}")

    def reset(self, group: GroupId, index: LogIndex) -> None:
        self.happened.append(f"reset {group} to {index}")

    def gather(self, group: GroupId, meta: SnapshotMeta) -> None:
        self.happened.append(f"gather {meta.index} of {group}")

    def leadership(self, group: GroupId) -> None:
        self.happened.append(f"{group} led by {self.replica.log.leader}")

    def broken(self, error: Exception) -> None:
        self.happened.append(f"broken: {error}")

    async def turn(self) -> None:
        self.driver.touch(GROUP)
        await asyncio.sleep(0)


def batch(now: str = "", after: str = "", persist: int = 0) -> Effects:
    mark = PersistMark(LogIndex(persist), Term(1), LogIndex(0))
    return Effects(
        send_now=[(PEER, Word(now))] if now else [],
        persist=Persist(mark) if persist else None,
        send_after=[(PEER, Word(after))] if after else [],
    )


async def test_what_may_leave_at_once_leaves_before_the_disk_is_asked() -> None:
    world = World(batch(now="append", after="vote", persist=1))
    await world.turn()
    assert world.happened == ["send append", "persist 1"]


async def test_promises_leave_only_when_their_records_are_durable() -> None:
    world = World(batch(after="vote", persist=1))
    await world.turn()
    assert world.happened == ["persist 1"]
    world.durable.pop(0)()
    assert world.happened == ["persist 1", "send vote"]
    assert [mark.index for mark in world.replica.marks] == [1]


async def test_a_promise_without_records_waits_for_the_records_before_it() -> None:
    world = World(
        batch(after="one", persist=1), batch(after="two"), batch(after="three", persist=2)
    )
    for _ in range(3):
        await world.turn()
    assert world.happened == ["persist 1", "persist 2"]
    world.durable.pop(0)()
    assert world.happened[2:] == ["send one", "send two"]
    world.durable.pop(0)()
    assert world.happened[4:] == ["send three"]


async def test_a_promise_with_nothing_under_way_leaves_at_once() -> None:
    world = World(batch(after="refusal"))
    await world.turn()
    assert world.happened == ["send refusal"]


async def test_many_inputs_of_one_turn_are_drained_once() -> None:
    world = World(batch(now="both"), batch(now="never in this turn"))
    world.driver.deliver(PEER, frame_with(Word("a")))
    world.driver.deliver(PEER, frame_with(Word("b")))
    await asyncio.sleep(0)
    assert world.replica.heard == [Word("a"), Word("b")]
    assert world.happened == ["send both"]


def frame_with(message: object, group: GroupId = GROUP) -> PeerFrame:
    return PeerFrame([Envelope(group, cast("Any", message))])


async def test_messages_for_a_group_that_is_not_here_are_ignored() -> None:
    world = World()
    world.driver.deliver(PEER, frame_with(Word("lost"), GroupId("locks/9")))
    assert world.replica.heard == []


async def test_replies_go_to_their_handles_and_handles_may_be_missing() -> None:
    given: list[tuple[object, object]] = []
    handle = (lambda reminder, reply: given.append((reminder, reply.body)), "request 5")
    replies = [Reply(None, LogIndex(1), 0, Word("")), Reply(handle, LogIndex(1), 1, Word("ok"))]
    world = World(Effects(replies=replies))
    await world.turn()
    assert given == [("request 5", Word("ok"))]


async def test_events_are_published_and_leadership_is_told_once() -> None:
    world = World(Effects(events=[(LogIndex(1), 0, LogTime(0), Word("e"))]))
    world.replica.log.leader = PEER
    await world.turn()
    await world.turn()
    assert world.happened == ["1 event of locks/0", "locks/0 led by n2"]


async def test_the_replica_is_woken_when_its_deadline_comes() -> None:
    world = World()
    world.replica.next_tick = Instant(world.driver.now() + 10)
    async with asyncio.timeout(2):
        await world.turn()
        await world.replica.ticked.wait()
    world.driver.stop()


async def test_a_rule_that_fails_stops_everything() -> None:
    world = World(batch(now="never"))
    world.driver.deliver(PEER, frame_with(ValueError("two leaders")))
    await world.turn()
    assert world.happened == ["broken: two leaders"]


@pytest.mark.parametrize("request_", ["propose", "query", "demand"])
async def test_a_rule_that_fails_for_a_client_stops_everything_but_a_refusal_does_not(
    request_: str,
) -> None:
    world = World(batch(now="never"))
    calls: dict[str, Callable[[], None]] = {
        "propose": lambda: world.driver.propose(GROUP, cast("Proposal", Word("a")), None),
        "query": lambda: world.driver.query(GROUP, Word("a"), HANDLE, stale=False),
        "demand": lambda: world.driver.demand(GROUP, SessionId(1), Word("a"), HANDLE),
    }
    world.replica.error = Overloaded("later")
    with pytest.raises(Overloaded):
        calls[request_]()
    assert world.happened == []
    world.replica.error = ValueError("two owners")
    with pytest.raises(SynaxisError, match="stops"):
        calls[request_]()
    await world.turn()
    assert world.happened == ["broken: two owners"]


async def test_whoever_follows_a_group_hears_of_every_turn() -> None:
    world = World(batch(now="append"))
    world.driver.follow(GROUP, lambda: world.happened.append("drained"))
    await world.turn()
    await world.turn()
    assert world.happened == ["send append", "drained", "drained"]


async def test_a_peer_that_breaks_the_protocol_is_the_callers_business() -> None:
    world = World(batch(now="still here"))
    try:
        world.driver.deliver(PEER, frame_with(ProtocolViolation("gibberish")))
    except ProtocolViolation:
        await world.turn()
    assert world.happened == ["send still here"]


async def test_the_store_holds_a_snapshot_before_the_log_hears_of_it() -> None:
    taken = make_snapshot(5, 1, members("a"), b"", attached=True)
    effects = batch(persist=5)
    assert effects.persist is not None
    effects.persist = msgspec.structs.replace(effects.persist, snapshot=taken)
    effects.store = [StoreAppend(1, 0, b"unit")]
    told: list[str] = []
    effects.replies = [Reply((lambda *_: told.append("reply"), None), LogIndex(1), 0, Word(""))]
    world = World(effects)
    world.store.happened = world.happened = told
    await world.turn()
    assert world.happened == ["hold 5 of locks/0", "persist 5", "store 1 of locks/0", "reply"]


async def test_a_restored_snapshot_reaches_the_store_before_what_was_applied_behind_it() -> None:
    restored = make_snapshot(5, 1, members("a"), b"", attached=True)
    world = World(Effects(restore=restored, store=[StoreAppend(1, 5, b"unit")]))
    await world.turn()
    assert world.happened == ["locks/0 has 1 segments", "reset locks/0 to 5", "store 1 of locks/0"]


async def test_attachments_are_gathered_and_the_log_hears_what_came_of_it() -> None:
    wanted = make_snapshot(5, 1, members("a"), b"", attached=True)
    world = World(Effects(gather=wanted))
    await world.turn()
    assert world.happened == ["gather 5 of locks/0"]
    heard: list[dict[str, Any]] = []
    world.replica.log.gathered = lambda meta, **news: heard.append({"meta": meta, **news})
    world.driver.gathered(GROUP, wanted.meta, True)
    assert (heard[0]["meta"], heard[0]["complete"]) == (wanted.meta, True)


async def test_after_the_stop_nothing_leaves_even_when_the_disk_answers() -> None:
    world = World(batch(after="vote", persist=1))
    await world.turn()
    world.driver.stop()
    world.durable.pop(0)()
    assert world.happened == ["persist 1"]
    assert world.replica.marks == []
