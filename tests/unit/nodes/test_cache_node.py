"""Those who use the agents of a node: answered once, bounded, and forgotten when they go."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from synaxis.caches.agent import AgentConfig
from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    Attached,
    BusRd,
    BusRdX,
    Detach,
    Flush,
    Flushed,
    Grant,
    HomeMessage,
    LineState,
)
from synaxis.caches.commands import (
    Add,
    Backing,
    Item,
    Lookup,
    Put,
    Reading,
    Readings,
    Remove,
    Stored,
    Version,
)
from synaxis.caches.limits import CacheLimits
from synaxis.effects import Refused, Reply
from synaxis.errors import (
    BackingUnavailable,
    ConnectionFailed,
    InvalidArgument,
    LimitExceeded,
    Overloaded,
)
from synaxis.ids import GroupId, NodeId
from synaxis.nodes.cache_node import CacheNode, CacheNodeConfig, Single

HERE, THERE = NodeId("n1"), NodeId("n2")
GROUP = GroupId("caches/0")
CONFIG = CacheNodeConfig(
    node_id=HERE, shards=1, limits=CacheLimits(value_bytes_max=1_000), agent=AgentConfig()
)
PUT = Put((Item("c/k", b"x" * 100),))


class Host:
    """A node whose agents have their home at ``there``; it grants E as soon as it is asked."""

    def __init__(self, **options: Any) -> None:
        self.heard: list[AgentMessage] = []
        self.failures: list[Exception] = []
        self.answers: list[tuple[str, msgspec.Struct]] = []
        self.reachable = True
        self.silent: tuple[type, ...] = ()
        """What the home does not answer to."""
        self.answer = self._answer
        self._seq = 0
        self.node = CacheNode(msgspec.structs.replace(CONFIG, **options), self)

    # CacheHost

    def say_to_home(self, home: NodeId, group: GroupId, stream: int, message: Any) -> bool:
        if not self.reachable:
            return False
        self.heard.append(message)
        reply = self._reply(message)
        if reply is not None and not isinstance(message, self.silent):
            loop = asyncio.get_running_loop()
            loop.call_soon(self.node.heard, home, group, stream, reply)
        return True

    def home_candidates(self, group: GroupId) -> tuple[NodeId | None, Sequence[NodeId]]:
        return (THERE if self.reachable else None), ()

    def broken(self, error: Exception) -> None:
        self.failures.append(error)

    def _reply(self, message: AgentMessage) -> HomeMessage | None:
        self._seq += 1
        match message:
            case Attach():
                return Attached(5_000)
            case BusRd(request, key) | BusRdX(request, key):
                return Grant(request, key, self._seq, LineState.E, None)
            case Flush(key, _, _, dirty):
                return Flushed(key, dirty.write_id, Version(self._seq))
            case _:
                return None

    # users

    def _answer(self, who: str, reply: Reply) -> None:
        assert (reply.index, reply.rank) == (0, 0)
        self.answers.append((who, reply.body))

    def call(self, command: Single, who: str = "me", *, back: bool = False) -> None:
        self.node.call(command, (self.answer, who), back=back)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110  # many things may make it true
                await asyncio.sleep(0.001)

    async def answered(self, count: int) -> list[msgspec.Struct]:
        await self.until(lambda: len(self.answers) >= count)
        return [body for _, body in self.answers]


async def test_operations_are_answered_when_the_home_has_granted_the_line() -> None:
    host = Host()
    host.call(Lookup(("c/k",)))
    host.call(PUT)
    host.call(Lookup(("c/k",)))
    none, stored, found = await host.answered(3)
    assert none == Readings((None,))
    assert isinstance(stored, Stored)
    assert isinstance(found, Readings)
    assert found.readings == (Reading(b"x" * 100, 0, stored.versions[0]),)
    assert (host.node.hits, host.node.misses, host.node.waiting) == (1, 1, 0)


async def test_what_the_agent_holds_costs_no_message() -> None:
    host = Host()
    host.call(PUT)
    await host.answered(1)
    said = len(host.heard)
    for _ in range(10):
        host.call(Lookup(("c/k",)))
    await host.answered(11)
    assert len(host.heard) == said


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Lookup(("c/a", "c/b")), InvalidArgument),
        (Lookup(()), InvalidArgument),
        (Put((Item("c/a", b""), Item("c/b", b""))), InvalidArgument),
        (Put((Item("c/a", b""),), fill=3), InvalidArgument),
        (Remove(()), InvalidArgument),
        (Remove(("c/a", "c/b")), InvalidArgument),
        (Lookup(("k",)), InvalidArgument),
        (Remove(("c/" + "k" * 1_000,)), LimitExceeded),
        (Add("k", 1), InvalidArgument),
        (Put((Item("c/a", b"x" * 1_001),)), LimitExceeded),
        (Put((Item("c/a", b""),), Backing.BEHIND), BackingUnavailable),
        (Lookup(("c/a",), load=True), BackingUnavailable),
    ],
)
async def test_what_is_wrong_by_itself_is_refused(command: Single, error: type[Exception]) -> None:
    host = Host()
    with pytest.raises(error):
        host.call(command)
    assert host.node.waiting == 0
    assert host.node.agents == []


async def test_so_many_operations_wait_and_no_more() -> None:
    host = Host(waiting_max=3)
    host.reachable = False
    for _ in range(3):
        host.call(Lookup(("c/k",)))
    with pytest.raises(Overloaded):
        host.call(Lookup(("c/k",)))
    host.reachable = True
    await host.answered(3)
    host.call(Lookup(("c/k",)))
    await host.answered(4)


async def test_so_many_bytes_wait_and_no_more() -> None:
    host = Host(waiting_bytes_max=250)
    host.reachable = False
    host.call(PUT)
    host.call(PUT)
    with pytest.raises(Overloaded):
        host.call(PUT)
    host.call(Lookup(("c/k",)))
    host.reachable = True
    await host.answered(3)
    host.call(PUT)


async def test_who_hangs_up_waits_for_nothing_any_more() -> None:
    host = Host()
    host.reachable = False
    other: list[Reply] = []

    def deliver(_: str, reply: Reply) -> None:
        other.append(reply)

    for key in ("c/a", "c/b", "c/a"):
        host.call(Lookup((key,)))
        host.node.call(Lookup((key,)), (deliver, key))
    host.node.cancel(host.answer)
    assert host.node.waiting == 3
    host.reachable = True
    await host.until(lambda: len(other) == 3)
    assert host.answers == []
    assert host.node.waiting == 0
    host.node.cancel(deliver)


async def test_a_write_that_was_begun_goes_on_without_whoever_wanted_it() -> None:
    host = Host()
    host.silent = (Flush,)
    host.call(PUT)
    await host.until(lambda: any(isinstance(each, Flush) for each in host.heard))
    host.node.cancel(host.answer)
    assert host.node.waiting == 1
    (flush,) = [each for each in host.heard if isinstance(each, Flush)]
    stream = host.node.agents[0].stream
    assert stream is not None
    host.node.heard(THERE, GROUP, stream, Flushed("c/k", flush.dirty.write_id, Version(9)))
    await host.until(lambda: host.node.waiting == 0)


async def test_when_the_home_goes_down_what_waits_is_asked_again() -> None:
    host = Host()
    host.silent = (BusRd,)
    host.call(Lookup(("c/k",)))
    await host.until(lambda: any(isinstance(each, BusRd) for each in host.heard))
    host.silent = ()
    host.node.down(HERE)  # another one
    host.node.down(THERE)
    assert await host.answered(1) == [Readings((None,))]
    assert [type(each) for each in host.heard] == [Attach, BusRd, Attach, BusRd]


async def test_a_node_that_leaves_first_brings_home_what_only_it_knows() -> None:
    host = Host()
    host.call(PUT, back=True)
    await host.answered(1)
    assert not any(isinstance(each, Flush) for each in host.heard)
    await host.node.leave(5)
    assert [type(each) for each in host.heard[-2:]] == [Flush, Detach]
    with pytest.raises(ConnectionFailed):
        host.call(PUT)


async def test_it_does_not_wait_for_ever_and_refuses_who_waits() -> None:
    host = Host()
    host.call(PUT, back=True)
    await host.answered(1)
    host.silent = (Flush, BusRd)
    host.call(Lookup(("c/other",)), "reader")
    host.call(Put((Item("c/through", b""),)), "writer")
    await host.until(lambda: isinstance(host.heard[-1], Flush))
    begun = asyncio.get_running_loop().time()
    await host.node.leave(0.05)
    assert asyncio.get_running_loop().time() - begun < 1
    codes = {who: body.code for who, body in host.answers[1:] if isinstance(body, Refused)}
    assert codes == {"reader": "connection_failed", "writer": "outcome_unknown"}
    assert host.node.waiting == 0


async def test_from_then_on_writes_of_policy_back_wait_for_the_home() -> None:
    host = Host()
    host.call(PUT, back=True)
    await host.answered(1)
    host.silent = (Flush,)
    leaving = asyncio.get_running_loop().create_task(host.node.leave(0.05))
    await asyncio.sleep(0.01)
    host.call(Put((Item("c/k", b"later"),)), back=True)
    await asyncio.sleep(0.01)
    assert len(host.answers) == 1
    await leaving


async def test_a_broken_rule_stops_the_node() -> None:
    host = Host()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    host.node.call(Lookup(("c/k",)), (fail, ""))
    await host.until(lambda: bool(host.failures))
    (error,) = host.failures
    assert isinstance(error, ZeroDivisionError)
    with pytest.raises(ConnectionFailed):
        host.call(PUT)


async def test_a_lease_is_renewed_while_nobody_does_anything() -> None:
    host = Host()
    host.call(Lookup(("c/k",)))
    await host.answered(1)
    assert host.node.agents[0].is_usable(host.node._now())
    host.node.stop()
    await asyncio.sleep(0)
    assert host.node.agents == []
