"""Fetches what a leader's snapshot refers to, part by part, and serves peers that do the same.

One task per group that gathers: segment by segment, in order of position, a few parts ahead. The
leader is asked first; when it does not answer in time, the other voters are asked in turn, because
segments are equal everywhere. What arrives is written behind the segment's end, and trusted only
when the whole segment matches the snapshot's checksum.

A snapshot may outlive what it refers to: a leader that no longer needs a segment says ``gone``,
takes a new snapshot, and the gathering is given up for that one.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
import structlog

from synaxis.consensus.replica import Replica
from synaxis.effects import Attachment, SnapshotMeta
from synaxis.errors import ProtocolViolation, StorageError
from synaxis.ids import GroupId, NodeId
from synaxis.wire.peer import SEGMENT_PART_BYTES_MAX, SegmentAsk, SegmentMessage, SegmentPart

__all__ = ["Gatherer", "GathererConfig", "GathererHost", "SegmentOutlet", "SegmentStore"]

POSITION_MAX = 2**63
READS_PER_PEER_MAX = 8
"""Parts that are read for one peer at a time; further asks are dropped, and come again."""

log = structlog.stdlib.get_logger("synaxis.node")
Found = TypeVar("Found")


class GathererConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Pace of gathering."""

    ask_timeout_s: float = 2.0
    """Without an answer for so long another peer is asked."""
    retry_s: float = 0.1
    """Pause before the next peer is asked when one does not have the part, or none is there."""
    window: int = 4
    """Parts of a group that are under way."""
    attempts_max: int = 5
    """Times that a segment is fetched which then does not match its checksum."""


class SegmentStore(Protocol):
    """Where segments are; every method may wait for the disk."""

    def missing(self, group: GroupId, meta: SnapshotMeta) -> list[tuple[int, int, int]]:
        """Return the ranges (segment, position, length) that must be fetched."""
        ...

    def receive(self, group: GroupId, number: int, position: int, data: bytes) -> bool:
        """Put bytes behind the end of a segment; False if they do not belong there now."""
        ...

    def adopt(self, group: GroupId, attachment: Attachment) -> bool:
        """Verify a segment and make it durable, or throw away what was received."""
        ...

    def read_blocking(
        self, group: GroupId, ranges: Sequence[tuple[int, int, int]]
    ) -> list[bytes] | None:
        """Return what is at each range, or None if it is not here."""
        ...


class SegmentOutlet(Protocol):
    """The way to the peers."""

    @property
    def connected(self) -> list[NodeId]:
        """Peers that can be asked."""
        ...

    def send_segment(self, node: NodeId, message: SegmentMessage) -> None:
        """Say ``message`` to ``node`` if it can be reached."""
        ...


class GathererHost(Protocol):
    """Who is told."""

    def gathered(self, group: GroupId, meta: SnapshotMeta, complete: bool) -> None:
        """The attachments are there and durable, or cannot be had."""
        ...

    def touch(self, group: GroupId) -> None:
        """The replica of ``group`` was called and wants to be drained."""
        ...

    def broken(self, error: Exception) -> None:
        """A rule failed: the node must not go on."""
        ...


class _Ask:
    """A part that was asked for."""

    __slots__ = ("answer", "length", "position", "segment", "turn")

    def __init__(self, segment: int, position: int, length: int) -> None:
        self.segment = segment
        self.position = position
        self.length = length
        self.turn = -1
        """The turn of the gathering in which it was sent."""
        self.answer: asyncio.Future[SegmentPart] = asyncio.get_running_loop().create_future()


class _Gathering:
    """What is under way for one group."""

    def __init__(self, group: GroupId, meta: SnapshotMeta) -> None:
        self.group = group
        self.meta = meta
        self.asks: dict[tuple[int, int], _Ask] = {}
        """By segment and position."""
        self.turn = 0
        """Whose turn it is to be asked; moves on when a peer does not help."""


class Gatherer:
    """All gathering of a node, in both directions. Lives on the running loop."""

    def __init__(
        self,
        node_id: NodeId,
        replicas: Mapping[GroupId, Replica],
        store: SegmentStore,
        outlet: SegmentOutlet,
        host: GathererHost,
        config: GathererConfig | None = None,
    ) -> None:
        self._node_id = node_id
        self._replicas = replicas
        self._store = store
        self._outlet = outlet
        self._host = host
        self._config = config or GathererConfig()
        self._loop = asyncio.get_running_loop()
        self._gatherings: dict[GroupId, _Gathering] = {}
        self._tasks: dict[GroupId, asyncio.Task[None]] = {}
        self._threads: dict[GroupId, asyncio.Future[Any]] = {}
        """The latest call of the store per group; it runs on when its task is cancelled."""
        self._readers: dict[NodeId, set[asyncio.Task[None]]] = {}

    def gather(self, group: GroupId, meta: SnapshotMeta) -> None:
        """Begin with a snapshot; what was under way for the group is given up."""
        former = self._tasks.get(group)
        if former is not None:
            former.cancel()
        gathering = self._gatherings[group] = _Gathering(group, meta)
        self._tasks[group] = self._loop.create_task(self._run(gathering), name=f"gather {group}")

    def received(self, sender: NodeId, message: SegmentMessage) -> None:
        """Take a peer's ask, or its answer to one of ours.

        Raises:
            ProtocolViolation: no node of this program says that.
        """
        if isinstance(message, SegmentAsk):
            self._asked(sender, message)
            return
        if len(message.data) > SEGMENT_PART_BYTES_MAX:
            raise ProtocolViolation(f"{sender} sends {len(message.data)} bytes of a segment")
        gathering = self._gatherings.get(message.group)
        ask = gathering.asks.get((message.segment, message.position)) if gathering else None
        if ask is not None and not ask.answer.done():
            ask.answer.set_result(message)

    async def aclose(self) -> None:
        """Give everything up."""
        tasks = list(self._tasks.values())
        tasks += [task for readers in self._readers.values() for task in readers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- asking -----------------------------------------------------------------------------

    async def _run(self, gathering: _Gathering) -> None:
        group, meta = gathering.group, gathering.meta
        log.info("gathering", group=group, index=meta.index, segments=len(meta.attachments))
        try:
            complete = await self._fetch_all(gathering)
        except StorageError:
            return  # the store has told; the node is stopping
        except Exception as error:  # noqa: BLE001  # the boundary of the task
            self._host.broken(error)
            return
        log.info("gathered", group=group, index=meta.index, complete=complete)
        self._host.gathered(group, meta, complete)

    async def _fetch_all(self, gathering: _Gathering) -> bool:
        """Return whether every attachment is here, verified and durable."""
        missing = await self._missing(gathering)
        for attachment in gathering.meta.attachments:
            for _ in range(self._config.attempts_max):
                where = missing.get(attachment.segment)
                if where and not await self._fetch(gathering, attachment.segment, where):
                    return False
                if await self._store_call(gathering.group, self._store.adopt, attachment):
                    break
                gathering.turn += 1
                missing = await self._missing(gathering)
            else:
                return False
        return True

    async def _missing(self, gathering: _Gathering) -> dict[int, tuple[int, int]]:
        found = await self._store_call(gathering.group, self._store.missing, gathering.meta)
        return {segment: (position, length) for segment, position, length in found}

    async def _fetch(self, gathering: _Gathering, segment: int, where: tuple[int, int]) -> bool:
        """Fetch the end of a segment; returns False when it cannot be had any more."""
        position, length = where
        end = position + length
        window: deque[_Ask] = deque()
        try:
            while position < end or window:
                while position < end and len(window) < self._config.window:
                    size = min(SEGMENT_PART_BYTES_MAX, end - position)
                    ask = gathering.asks[segment, position] = _Ask(segment, position, size)
                    self._send(gathering, ask)
                    window.append(ask)
                    position += size
                part = await self._answer(gathering, window[0])
                if part is None or part.gone:
                    return False
                del gathering.asks[segment, window.popleft().position]
                receive = self._store.receive
                if not await self._store_call(
                    gathering.group, receive, segment, part.position, part.data
                ):
                    return True  # our own log went on meanwhile: look again at what is missing
        finally:
            gathering.asks.clear()
        return True

    async def _answer(self, gathering: _Gathering, ask: _Ask) -> SegmentPart | None:
        """Wait for a part, asking one peer after the other; None when it is needed no more."""
        config = self._config
        while not self._is_obsolete(gathering):
            try:
                async with asyncio.timeout(config.ask_timeout_s):
                    part = await asyncio.shield(ask.answer)
            except TimeoutError:
                pass
            else:
                if part.gone or len(part.data) == ask.length:
                    return part
                ask.answer = self._loop.create_future()
                await asyncio.sleep(config.retry_s)
            if ask.turn == gathering.turn:
                gathering.turn += 1
            for each in gathering.asks.values():
                if not each.answer.done():
                    self._send(gathering, each)
        return None

    def _send(self, gathering: _Gathering, ask: _Ask) -> None:
        sources = self._sources(gathering.group)
        if sources and ask.turn != gathering.turn:
            ask.turn = gathering.turn
            message = SegmentAsk(gathering.group, ask.segment, ask.position, ask.length)
            self._outlet.send_segment(sources[ask.turn % len(sources)], message)

    def _sources(self, group: GroupId) -> list[NodeId]:
        """Return whom to ask, the leader first."""
        status = self._replicas[group].status()
        members = status.members
        voters = {*members.voters, *members.outgoing}
        reachable = [node for node in self._outlet.connected if node != self._node_id]
        return sorted(
            (node for node in reachable if node in voters or node == status.leader),
            key=lambda node: (node != status.leader, node),
        )

    def _is_obsolete(self, gathering: _Gathering) -> bool:
        """Return whether the log has brought what the snapshot contains."""
        return self._replicas[gathering.group].status().commit_index >= gathering.meta.index

    async def _store_call(
        self, group: GroupId, call: Callable[..., Found], *arguments: object
    ) -> Found:
        """Call the store in a thread, after what a task that was cancelled still does there."""
        before = self._threads.get(group)
        if before is not None and not before.done():
            await asyncio.wait([before])
        call_made = self._loop.run_in_executor(None, call, group, *arguments)
        self._threads[group] = call_made
        return await asyncio.shield(call_made)

    # --- answering --------------------------------------------------------------------------

    def _asked(self, sender: NodeId, ask: SegmentAsk) -> None:
        lengths = 0 < ask.length <= SEGMENT_PART_BYTES_MAX
        if not lengths or ask.segment < 0 or not 0 <= ask.position < POSITION_MAX:
            raise ProtocolViolation(f"{sender} asks for {ask.length} bytes at {ask.position}")
        readers = self._readers.setdefault(sender, set())
        if ask.group in self._replicas and len(readers) < READS_PER_PEER_MAX:
            task = self._loop.create_task(self._serve(sender, ask), name=f"part for {sender}")
            readers.add(task)
            task.add_done_callback(readers.discard)

    async def _serve(self, sender: NodeId, ask: SegmentAsk) -> None:
        where = (ask.segment, ask.position, ask.length)
        try:
            found = await self._loop.run_in_executor(
                None, self._store.read_blocking, ask.group, [where]
            )
        except StorageError:
            return  # the store has told; the node is stopping
        except Exception as error:  # noqa: BLE001  # the boundary of the task
            self._host.broken(error)
            return
        replica = self._replicas[ask.group]
        gone = found is None and replica.log.ready
        data = found[0] if found else b""
        part = SegmentPart(ask.group, ask.segment, ask.position, data, gone)
        self._outlet.send_segment(sender, part)
        if gone:
            replica.snapshot_soon()
            self._host.touch(ask.group)
