"""The members of consumer groups that a client has attached, and what they are told."""

from collections.abc import Callable
from functools import partial

from synaxis.api.payloads import Payloads
from synaxis.effects import Refused, Reply
from synaxis.errors import NotLeader, Overloaded, SynaxisError
from synaxis.ids import GroupId
from synaxis.nodes.base_node import BaseNode
from synaxis.queues.commands import Assignment, Attach, Delivery, Records
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


class MemberStreams:
    """See the module. A stream is open from its Attach until a Failure or the connection's end."""

    def __init__(
        self, node: BaseNode, payloads: Payloads, push: Callable[[ServerMessage], None]
    ) -> None:
        self._node = node
        self._payloads = payloads
        self._push = push
        self._open: dict[int, tuple[GroupId, object]] = {}
        """By the number of the Attach."""

    def take(self, request: Member) -> None:
        """Hand to the leader what a member says.

        Raises:
            SynaxisError: it is refused, and the client waits for an answer.
        """
        number, message = request.id, request.message
        if type(message) is Attach and len(self._open) >= STREAMS_MAX:
            raise Overloaded(f"{STREAMS_MAX} members are attached here", retry_after=1.0)
        handle = (self._deliver, (number, request.group))
        try:
            self._node.driver.demand(request.group, request.session, message, handle)
        except SynaxisError:
            if number:
                raise
            return  # what it is about will be settled by the end of the stream
        if type(message) is Attach:
            self._open[number] = request.group, handle

    def close(self) -> None:
        """The connection ended."""
        for group, handle in self._open.values():
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

    def _deliver(self, reminder: tuple[int, GroupId], reply: Reply) -> None:
        number, group = reminder
        body = reply.body
        if type(body) is Delivery:
            self._payloads.resolve(group, body.slices, partial(self._push_records, number))
        elif type(body) is Assignment:
            self._push(Assigned(number, body))
        elif type(body) is Refused:
            self._open.pop(number, None)
            self._push(self._failure(number, group, body))
        else:
            self._push(Answer(number, reply.index, reply.rank, body))  # type: ignore[arg-type]  # Extended

    def _push_records(self, number: int, records: tuple[Records, ...]) -> None:
        if records:
            self._push(Delivered(number, records))

    def _failure(self, number: int, group: GroupId, body: Refused) -> Failure:
        if body.code == NotLeader.code:
            error = self._node.not_leader(group)
            return Failure(number, error.code, error.message, error.details)
        return Failure(number, body.code, body.message, body.details)
