"""Messages as consumers see them. Contents are decoded when they are first looked at."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from synaxis.client.queues.codecs import Codec, Record, Value, codec_named, read_record
from synaxis.client.queues.outgoing import key_bytes
from synaxis.errors import InvalidArgument, SynaxisError
from synaxis.queues.placement import hash_of_key

if TYPE_CHECKING:
    import asyncio

__all__ = ["PLACE_SHIFT", "Keeper", "Message", "Source", "StoredMessage", "Waiter", "describe"]

log = logging.getLogger(__name__)

PLACE_SHIFT = 48
"""``place`` is partition << 48 | offset: one number to sort by and to tell neighbours by."""

_UNREAD: Any = object()


@dataclass(frozen=True, slots=True)
class Source:
    """What all messages of a topic handle share: the topic's name and its own codec."""

    topic: str
    codec: Codec | None = None

    def decode(self, record: Record) -> Value:
        """Return the value of a record.

        Raises:
            InvalidArgument: it was written with a codec that we do not have.
        """
        name = record.codec
        if not name:
            return record.payload
        if self.codec is not None and self.codec.name == name:
            return self.codec.decode(record.payload)
        try:
            codec = codec_named(name)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"the message was written with codec {name!r}: give it to cluster.topic()"
            ) from error
        assert codec is not None
        return codec.decode(record.payload)


class StoredMessage:
    """A message as it is stored, to be looked at."""

    __slots__ = ("_at_ms", "_raw", "_record", "_source", "_value", "failures", "place")

    def __init__(self, source: Source, place: int, raw: bytes, at_ms: int, failures: int) -> None:
        self._source = source
        self._raw = raw
        self._at_ms = at_ms
        self._record: Record | None = None
        self._value = _UNREAD
        self.place = place
        self.failures = failures
        """Deliveries of it that failed so far (in this group)."""

    def __repr__(self) -> str:
        where = f"{self.topic}/{self.partition}@{self.offset}"
        return f"<{type(self).__name__} {where} failures={self.failures}>"

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self._source.topic

    @property
    def partition(self) -> int:
        """Number of the partition."""
        return self.place >> PLACE_SHIFT

    @property
    def offset(self) -> int:
        """Number of the message within its partition."""
        return self.place & ((1 << PLACE_SHIFT) - 1)

    @property
    def published_at(self) -> datetime:
        """When it was stored (UTC)."""
        return datetime.fromtimestamp(self._at_ms / 1000, UTC)

    def _read(self) -> Record:
        record = self._record
        if record is None:
            record = self._record = read_record(self._raw)
        return record

    @property
    def payload(self) -> bytes:
        """The bytes that the producer's codec made."""
        return self._read().payload

    @property
    def value(self) -> Value:
        """What was published, decoded by the codec whose name travelled with it.

        Raises:
            InvalidArgument: we do not have this codec.
        """
        if self._value is _UNREAD:
            self._value = self._source.decode(self._read())
        return self._value

    @property
    def key(self) -> str | bytes | None:
        """The key, as the producer wrote it."""
        key: str | bytes | None = self._read().key
        return key

    @property
    def headers(self) -> Mapping[str, str]:
        """The producer's headers."""
        return self._read().headers or {}

    @property
    def message_id(self) -> str | None:
        """The id by which duplicates are recognised."""
        return self._read().message_id or None

    @property
    def deliveries(self) -> int:
        """How often it was delivered, this time included; returns without blame do not count."""
        return self.failures + 1

    def key_hash(self) -> int:
        """Return the number by which the cluster tells keys apart; 0 without a key."""
        key = self._read().key
        return 0 if key is None else hash_of_key(key_bytes(key))


class Waiter(Protocol):
    """Who waits for the cluster to confirm a fate: a future of None, or many in one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: None, /) -> None:
        """One message is confirmed."""
        ...

    def set_exception(self, error: SynaxisError, /) -> None:
        """One message is not ours any more."""
        ...

    def exception(self) -> BaseException | None:
        """Note that the error was looked at."""
        ...


class _Unattended:
    """Nobody waits: a refusal is logged."""

    def done(self) -> bool:
        """Return False: it wants to be told."""
        return False

    def set_result(self, result: None, /) -> None:
        """Do nothing."""

    def set_exception(self, error: SynaxisError, /) -> None:
        """Log it."""
        log.warning("an acknowledgement did not count: %s", error)

    def exception(self) -> BaseException | None:
        """Return None."""
        return None


UNATTENDED = _Unattended()


class Keeper(Protocol):
    """Who holds a message on behalf of the user; see ``Tenure``."""

    error: SynaxisError | None
    """Why nothing can be settled any more."""
    max_deliveries: int
    """A message that fails as often becomes a dead letter."""

    def announce(self, message: "Message") -> None:
        """Tell the cluster that the user begins with a message that failed before."""
        ...

    def ack(self, message: "Message") -> "asyncio.Future[None]":
        """Begin to finish a message."""
        ...

    def begin_ack(self, message: "Message", waiter: Waiter) -> None:
        """Begin to finish a message; ``waiter`` is told."""
        ...

    def nack(self, message: "Message", delay: float | None, error: str) -> "asyncio.Future[None]":
        """Begin to count a failure."""
        ...

    def reject(self, message: "Message", error: str) -> "asyncio.Future[None]":
        """Begin to make it a dead letter."""
        ...

    def release(self, message: "Message") -> None:
        """Give a message back."""
        ...

    async def extend(self, message: "Message", seconds: float) -> None:
        """Keep it for longer."""
        ...


class Message(StoredMessage):
    """A message that is ours until it is settled: by ``ack``, ``nack``, ``reject`` or ``release``.

    ``async with message:`` does it by the outcome of its body: success acknowledges, an exception
    counts a failure, a cancellation gives the message back without blame. It does not wait for the
    cluster to confirm an acknowledgement, or a loop would spend its time waiting: one that is
    refused is logged, and one that is lost makes the message come again. Who must know awaits
    ``ack()``; leaving the consumer waits for what is not confirmed yet.
    """

    __slots__ = ("fate", "keeper", "out", "waiter")

    def __init__(  # one call per message: what it takes is passed, not packed
        self, keeper: Keeper, source: Source, place: int, raw: bytes, at_ms: int, failures: int
    ) -> None:
        # The base class in line: this runs once for each message.
        self._source = source
        self._raw = raw
        self._at_ms = at_ms
        self._record = None
        self._value = _UNREAD
        self.place = place
        self.failures = failures
        self.keeper = keeper
        self.fate = ""
        """``acknowledged``, ``nacked``, ``rejected`` or ``released``; empty while it is held."""
        self.out = False
        """Whether it was handed to the user and the cluster has not confirmed its fate."""
        self.waiter: Waiter | None = None
        """Who waits for the cluster to confirm the fate."""

    def ack(self) -> "asyncio.Future[None]":
        """Finish the message. Takes effect at once; await it to know that a majority has it.

        Acknowledgements of one loop turn travel together, so many may be begun before one is
        awaited.

        Raises:
            LeaseLost: it is not ours any more, or settled already.
            OutcomeUnknown: (awaited) no answer in time; it goes on in the background.
        """
        return self.keeper.ack(self)

    def nack(self, delay: float | None = None, *, error: str = "") -> "asyncio.Future[None]":
        """Count a failure: it comes again after ``delay`` seconds, or the topic's back-off.

        Raises:
            LeaseLost: it is not ours any more, or settled already.
        """
        return self.keeper.nack(self, delay, error)

    def reject(self, error: str = "") -> "asyncio.Future[None]":
        """Make it a dead letter at once: it will never succeed.

        Raises:
            LeaseLost: it is not ours any more, or settled already.
        """
        return self.keeper.reject(self, error)

    async def release(self) -> None:
        """Give it back without blame: another member, or we, will get it soon.

        Raises:
            LeaseLost: it is not ours any more, or settled already.
        """
        self.keeper.release(self)

    async def extend(self, seconds: float) -> None:
        """Keep it for ``seconds`` from now, however long the group's visibility is.

        Raises:
            LeaseLost: it is not ours any more.
        """
        await self.keeper.extend(self, seconds)

    async def __aenter__(self) -> Self:
        """Do nothing: the message is held already."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Settle the message by the outcome of the body, unless the body did.

        Raises:
            LeaseLost: the body succeeded, but it is known that the message is not ours any more.
        """
        if self.fate:
            return
        if error is None:
            self.keeper.begin_ack(self, UNATTENDED)
            return
        try:
            if isinstance(error, Exception):
                await self.nack(error=describe(error))
            else:
                self.keeper.release(self)
        except SynaxisError as trouble:  # the body's own error is what the user must see
            log.warning("%r: its failure could not be told: %s", self, trouble)


def describe(error: BaseException) -> str:
    """Return what is kept of an exception with a failed message."""
    return f"{type(error).__name__}: {error}"
