"""The log of a partition, written a second time and naively: one object per message.

Knows what was published, what a producer may be told about it, and which batches must still be
stored. Judged is by message; that the real machine forgets by batch is part of the contract.
"""

from dataclasses import dataclass, field
from operator import attrgetter

from synaxis.effects import Refused
from synaxis.ids import LogTime
from synaxis.queues.commands import Publish, Published, RecordBatch
from synaxis.queues.limits import QueueLimits
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.queues.records import records_of
from synaxis.topics import Retention, TopicConfig

__all__ = ["NaiveBatch", "NaiveLog", "NaiveMessage"]

UNIT_HEAD_BYTES = 12


@dataclass(slots=True)
class NaiveBatch:
    """Messages that were stored together, and go together."""

    first: int
    last: int
    size: int
    """Bytes that it takes up in the store."""
    at: LogTime
    stored: bool = True
    aged: bool = False
    """Retention has let it go: only a group or a dead letter can still want something of it."""


@dataclass(slots=True)
class NaiveMessage:
    """A message. ``gone``: no group will see it any more, unless it is a dead letter redriven."""

    offset: int
    record: bytes
    key_hash: int
    deliver_at: LogTime
    expires_at: LogTime
    priority: int
    batch: NaiveBatch
    gone: bool = False


@dataclass(slots=True)
class NaiveLog:
    """One partition."""

    limits: QueueLimits
    messages: list[NaiveMessage] = field(default_factory=list)
    batches: list[NaiveBatch] = field(default_factory=list)
    _mortal: list[NaiveMessage] = field(default_factory=list)
    """Messages with a ttl that is not over, as far as was looked."""
    _told: dict[tuple[int, int], Published] = field(default_factory=dict)
    _ids: dict[str, tuple[int, LogTime]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """The next offset."""
        return len(self.messages)

    @property
    def size(self) -> int:
        """Bytes stored."""
        return sum(batch.size for batch in self.stored())

    def stored(self) -> list[NaiveBatch]:
        """Return the batches that must be in the store."""
        return [batch for batch in self.batches if batch.stored]

    def messages_of(self, batch: NaiveBatch) -> list[NaiveMessage]:
        """Return the messages of a batch."""
        return self.messages[batch.first : batch.last + 1]

    # --- publishing --------------------------------------------------------------------------

    def publish(
        self, command: Publish, reply: object, config: TopicConfig, now: LogTime
    ) -> NaiveBatch | None:
        """Judge the answer to a publish, and take over what was stored.

        Raises:
            HistoryViolation: Q1 or Q6 is broken.
        """
        name = command.producer, command.sequence
        before = self._told.get(name)
        if isinstance(reply, Refused):
            self._judge_refusal(command, reply, config, before)
            return None
        if not isinstance(reply, Published):
            raise HistoryViolation(f"no answer to a publish: {reply!r}")
        if before is not None or reply.duplicate:
            told = Published(reply.first, False, reply.known)
            if told != before:
                raise HistoryViolation(
                    f"Q6: batch {name} was stored as {before!r}, and now again as {reply!r}"
                )
            return None
        known, kept = self._recognise(command.batch, config, now)
        if known != reply.known or reply.first != self.end:
            raise HistoryViolation(
                f"Q6: the batch belongs at {self.end} without {known!r}, the answer is {reply!r}"
            )
        self._told[name] = reply
        if not kept:
            return None
        if self._is_full(len(command.batch.body), config) and not known:
            raise HistoryViolation(f"Q10: stored although {self.size} bytes are")
        return self._store(command.batch, kept, config, now)

    def _is_full(self, more: int, config: TopicConfig) -> bool:
        is_bounded = config.retention is Retention.WORK and config.partition_bytes_max > 0
        return is_bounded and self.size + more > config.partition_bytes_max

    def _judge_refusal(
        self, command: Publish, reply: Refused, config: TopicConfig, before: Published | None
    ) -> None:
        if reply.code == "outcome_unknown":
            later = sum(producer == command.producer for producer, _ in self._told)
            if later <= self.limits.sequences_per_producer_max:
                raise HistoryViolation(f"Q6: forgotten too early: {command.sequence}, {reply!r}")
        elif reply.code == "overloaded":
            if before is not None or not self._is_full(len(command.batch.body), config):
                raise HistoryViolation(f"refused with {self.size} bytes stored: {reply!r}")
        elif reply.code != "limit_exceeded":
            raise HistoryViolation(f"refused for no reason: {reply!r}")

    def _recognise(
        self, batch: RecordBatch, config: TopicConfig, now: LogTime
    ) -> tuple[tuple[tuple[int, int], ...], list[int]]:
        """Return (position, offset) of messages whose id is known, and the other positions."""
        known: list[tuple[int, int]] = []
        kept: list[int] = []
        for position in range(batch.count):
            name = batch.message_ids[position] if batch.message_ids else ""
            seen = self._ids.get(name)
            if seen is not None and now - seen[1] < config.dedup_window_ms:
                known.append((position, seen[0]))
                continue
            if name:
                self._ids[name] = (self.end + len(kept), now)
            kept.append(position)
        return tuple(known), kept

    def _store(
        self, batch: RecordBatch, kept: list[int], config: TopicConfig, now: LogTime
    ) -> NaiveBatch:
        records = records_of(batch)
        first, size = self.end, UNIT_HEAD_BYTES + sum(4 + len(records[at]) for at in kept)
        stored = NaiveBatch(first, first + len(kept) - 1, size, now)
        self.batches.append(stored)
        for at in kept:
            delay = batch.delays_ms[at] if batch.delays_ms else 0
            ttl = batch.ttls_ms[at] if batch.ttls_ms else 0
            hashes = batch.key_hashes[4 * at : 4 * at + 4]
            message = NaiveMessage(
                self.end,
                records[at],
                int.from_bytes(hashes, "little"),
                LogTime(now + delay if delay else 0),
                LogTime(now + ttl if ttl else 0),
                batch.priorities[at] if batch.priorities else 0,
                stored,
            )
            self.messages.append(message)
            if ttl:
                self._mortal.append(message)
        if config.retention is Retention.LOG and config.partition_bytes_max:
            self._keep_within(config.partition_bytes_max)
        return stored

    # --- forgetting --------------------------------------------------------------------------

    def _keep_within(self, size_max: int) -> None:
        """Let the oldest batches go that a log has no room for; the newest stays."""
        young = [batch for batch in self.stored() if not batch.aged]
        excess = sum(batch.size for batch in young) - size_max
        for batch in young[:-1]:
            if excess <= 0:
                break
            excess -= batch.size
            self._age(batch)

    def grow_old(self, now: LogTime, age_ms: int) -> bool:
        """Let go what is too old; returns whether anything was."""
        old = [b for b in self.batches if not b.aged and age_ms and b.at <= now - age_ms]
        for batch in old:
            self._age(batch)
        return bool(old)

    def _age(self, batch: NaiveBatch) -> None:
        batch.aged = True
        for message in self.messages_of(batch):
            message.gone = True

    def expired(self, now: LogTime) -> list[NaiveMessage]:
        """Return the messages whose ttl is over now, in the order in which it ended."""
        over = [m for m in self._mortal if m.expires_at <= now]
        if over:
            self._mortal = [m for m in self._mortal if m.expires_at > now]
        # Redriven after their end they have no ttl any more.
        over = [m for m in over if m.expires_at and not m.gone]
        return sorted(over, key=attrgetter("expires_at", "offset"))

    def forget(self, batch: NaiveBatch) -> None:
        """Nobody wants anything of a batch any more."""
        batch.stored = False
        for message in self.messages_of(batch):
            message.gone = True
