"""The members of consumer groups that a client has attached, and what they are told."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from synaxis.api.payloads import Payloads
from synaxis.effects import Refused, Reply
from synaxis.errors import NotLeader, Overloaded, SynaxisError
from synaxis.ids import GroupId
from synaxis.nodes.base_node import BaseNode
from synaxis.queues.commands import (
    Assignment,
    Attach,
    Delivery,
    Detach,
    Part,
    Records,
    Release,
    Slice,
)
from synaxis.queues.questions import Page
from synaxis.wire.client import (
    Answer,
    Assigned,
    Delivered,
    Failure,
    Member,
    RecordPage,
    ServerMessage,
)

__all__ = ["MemberStreams"]

STREAMS_MAX = 10_000
"""Streams of one connection."""


_Name = tuple[GroupId, str, str, int]
"""Group of the log, topic, consumer group, member: each has one stream, the last one."""


class MemberStreams:
    """See the module.

    A stream is open from its Attach until a Failure, a Detach, another Attach of the member, or the
    end of the connection.
    """

    def __init__(
        self, node: BaseNode, payloads: Payloads, push: Callable[[ServerMessage], None]
    ) -> None:
        self._node = node
        self._payloads = payloads
        self._push = push
        self._open: dict[_Name, object] = {}
        """The handle of each stream."""

    def take(self, request: Member) -> None:
        """Hand to the leader what a member says.

        Raises:
            SynaxisError: it is refused, and the client waits for an answer.
        """
        message, name = request.message, _name(request)
        is_new = type(message) is Attach and name not in self._open
        if is_new and len(self._open) >= STREAMS_MAX:
            raise Overloaded(f"{STREAMS_MAX} members are attached here", retry_after=1.0)
        handle = (self._deliver, request)
        try:
            self._node.driver.demand(request.group, request.session, message, handle)
        except SynaxisError:
            if request.id:
                raise
            return  # what it is about will be settled by the end of the stream
        if type(message) is Attach:
            self._open[name] = handle
        elif type(message) is Detach:
            self._open.pop(name, None)

    def close(self) -> None:
        """The connection ended."""
        for (group, _, _, _), handle in self._open.items():
            self._node.replicas[group].disconnected(handle)
        self._open.clear()

    def complete(self, group: GroupId, reply: Reply, answer: Callable[[Reply], None]) -> None:
        """Put the messages into the answer to a browse."""
        page = reply.body
        assert isinstance(page, Page)

        def deliver(records: tuple[Records, ...]) -> None:
            body = RecordPage(records, page.dead, page.next_offset)
            answer(Reply(None, reply.index, reply.rank, body))

        self._payloads.resolve(group, page.slices, deliver)

    def _deliver(self, request: Member, reply: Reply) -> None:
        number, body = request.id, reply.body
        if type(body) is Delivery:
            deliver = partial(self._push_records, request, body.slices)
            self._payloads.resolve(request.group, body.slices, deliver)
        elif type(body) is Assignment:
            self._push(Assigned(number, body))
        elif type(body) is Refused:
            name = _name(request)
            if self._open.get(name) == (self._deliver, request):
                del self._open[name]
            self._push(self._failure(number, request.group, body))
        else:
            self._push(Answer(number, reply.index, reply.rank, body))  # type: ignore[arg-type]  # Extended

    def _push_records(
        self, request: Member, slices: Sequence[Slice], records: tuple[Records, ...]
    ) -> None:
        if records:
            self._push(Delivered(request.id, records))
        if len(records) < len(slices):
            self._give_back(request, slices, records)

    def _give_back(
        self, request: Member, slices: Sequence[Slice], records: tuple[Records, ...]
    ) -> None:
        """What has moved to another segment on its way, or was forgotten, did not arrive."""
        found = {(each.partition, each.first) for each in records}
        missing = (each for each in slices if (each.partition, each.first) not in found)
        parts = tuple(part for each in missing for part in _parts(each))
        message = request.message
        release = Release(message.topic, message.group, message.member, parts)
        with suppress(SynaxisError):  # then the end of the stream settles it
            handle = (self._deliver, request)
            self._node.driver.demand(request.group, request.session, release, handle)

    def _failure(self, number: int, group: GroupId, body: Refused) -> Failure:
        if body.code == NotLeader.code:
            error = self._node.not_leader(group)
            return Failure(number, error.code, error.message, error.details)
        return Failure(number, body.code, body.message, body.details)


def _name(request: Member) -> _Name:
    message = request.message
    return request.group, message.topic, message.group, message.member


def _parts(each: Slice) -> Iterator[Part]:
    """Yield the messages of a slice as the member would speak of them."""
    failures = dict(each.failures)
    for offset in range(each.first, each.first + each.count):
        yield Part(each.partition, offset, offset, failures.get(offset, 0))
