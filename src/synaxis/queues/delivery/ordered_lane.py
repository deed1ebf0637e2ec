"""KEYED and EXCLUSIVE: the messages of a key in order, with one consumer at a time.

Unfinished messages are loaded in order of offset into a queue per key; in EXCLUSIVE mode the whole
partition is one key, in KEYED mode a message without a key is a key of its own. A key is *owned*
while messages of it are in flight: only the owner may get more of it. The head of a queue decides:
if it failed and has to wait, or is delayed, everything behind it waits too.

Source: PIP-379 (a key's unacknowledged messages are with one consumer); blocking the key behind a
failed message is ours.
"""

from bisect import insort
from collections import deque

from synaxis.ids import LogTime
from synaxis.queues.commands import Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.lane import Lane, Ranges, WakeAt, ranges_of
from synaxis.queues.group import Ownership
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["OrderedLane"]

WHOLE_PARTITION = 0


class _Key:
    """A key with messages that are loaded or in flight."""

    __slots__ = ("inflight", "number", "owner", "queued", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[int] = deque()
        self.inflight = 0
        self.owner: Consumer | None = None
        self.queued = False
        """Whether it stands in a queue of keys, or its time is in ``later``."""


class OrderedLane(Lane):
    """See the module."""

    def __init__(
        self,
        partition: Partition,
        progress: Progress,
        wake_at: WakeAt,
        loaded_max: int,
        *,
        ownership: Ownership | None = None,
        recovering: bool,
    ) -> None:
        super().__init__(partition, progress, wake_at)
        self._ownership = ownership
        """EXCLUSIVE: who owns the partition."""
        self._loaded_max = loaded_max
        self._keys: dict[int, _Key] = {}
        self._key_of: dict[int, _Key] = {}
        """By offset, of what is loaded or in flight."""
        self._loaded = 0
        self._free: deque[_Key] = deque()
        self._owned: dict[int, deque[_Key]] = {}
        """By member: keys it owns that have more for it."""
        self._scan = progress.done.floor
        self._now = LogTime(0)
        """When something was taken last; good enough to tell what is ready."""
        self.recovering = recovering

    def hold(self, part: Part, lease: Lease) -> None:
        """See ``Lane``. Later than at the beginning it would break into what others do."""
        if self.recovering:
            super().hold(part, lease)

    # --- loading ----------------------------------------------------------------------------

    def reload(self, now: LogTime) -> None:
        """See ``Lane``."""
        self.recovering = False
        self._keys = {}
        self._key_of = {}
        self._loaded = 0
        self._free.clear()
        self._owned = {}
        self._later = []
        self._armed_at = None
        self._scan = self.progress.done.floor
        for offset, lease in sorted(self.inflight.items()):
            key = self._key(offset)
            key.inflight += 1
            key.owner = lease.consumer
        self._load(now)

    def _load(self, now: LogTime) -> None:
        partition, index = self.partition, self.partition.index
        end = partition.next_offset
        while self._loaded < self._loaded_max and self._scan < end:
            at = next(index.alive(self._scan, end), None)
            if at is None:
                self._scan = end
                return
            first, last = index.bounds(at)
            column = None if self._ownership is not None else partition.key_column(at)
            for low, high in list(self.progress.done.missing(max(first, self._scan), last)):
                for offset in range(low, high + 1):
                    if offset not in self._key_of:
                        number = self._number(offset, column[offset - first] if column else 0)
                        self._put(number, offset, now)
            self._scan = last + 1

    def _number(self, offset: int, key_hash: int) -> int:
        if self._ownership is not None:
            return WHOLE_PARTITION
        return key_hash or -1 - offset

    def _put(self, number: int, offset: int, now: LogTime) -> None:
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = _Key(number)
        self._key_of[offset] = key
        if key.waiting and offset < key.waiting[-1]:
            insort(key.waiting, offset)
        else:
            key.waiting.append(offset)
        self._loaded += 1
        self._queue(key, now)

    def _key(self, offset: int) -> _Key:
        """Return the key of an offset, loaded or not."""
        key = self._key_of.get(offset)
        if key is None:
            key_hash = 0
            if self._ownership is None:
                at = self.partition.index.find(offset)
                column = self.partition.key_column(at)
                key_hash = column[offset - self.partition.index.bounds(at)[0]] if column else 0
            number = self._number(offset, key_hash)
            key = self._keys.get(number) or self._keys.setdefault(number, _Key(number))
            self._key_of[offset] = key
        return key

    def published(self, first: int, last: int, now: LogTime) -> None:
        """See ``Lane``: the next ``take`` loads it."""

    def again(self, offset: int, now: LogTime) -> None:
        """See ``Lane``."""
        if self.recovering:
            return
        key = self._key_of.get(offset)
        if offset >= self._scan and key is None:
            return  # not loaded yet: it will be, in order
        if key is None or offset not in key.waiting:
            self._put(self._key(offset).number, offset, now)
        else:
            self._queue(key, now)

    # --- keys in queues ---------------------------------------------------------------------

    def _queue(self, key: _Key, now: LogTime) -> None:
        """Let a key stand where those who may take from it will look."""
        if key.queued:
            return
        self._drop_finished(key)
        if not key.waiting:
            if not key.inflight:
                self._keys.pop(key.number, None)
            return
        key.queued = True
        at = self.ready_at(key.waiting[0])
        if at > now:
            self._push_later(at, key.number)
        elif key.owner is not None:
            self._owned.setdefault(key.owner.member.number, deque()).append(key)
        else:
            self._free.append(key)

    def _drop_finished(self, key: _Key) -> None:
        waiting, done = key.waiting, self.progress.done
        while waiting and waiting[0] in done:
            self._key_of.pop(waiting.popleft(), None)
            self._loaded -= 1

    def ripen(self, now: LogTime) -> None:
        """See ``Lane``."""
        for number in self._pop_due(now):
            key = self._keys.get(number)
            if key is not None and key.queued:
                key.queued = False
                self._queue(key, now)

    def returned(self, offset: int) -> None:
        """See ``Lane``."""
        key = self._key_of.pop(offset, None)
        if key is None:
            return
        key.inflight -= 1
        if key.inflight == 0:
            if key.queued and key.owner is not None:
                self._unqueue(key)
            key.owner = None
            self._queue(key, self._now)

    def _unqueue(self, key: _Key) -> None:
        assert key.owner is not None
        queue = self._owned.get(key.owner.member.number)
        if queue is not None and key in queue:
            queue.remove(key)
            key.queued = False

    # --- taking -----------------------------------------------------------------------------

    def estimate(self) -> int:
        """See ``Lane``."""
        if self.recovering:
            return 0
        ready = len(self._free) + sum(len(queue) for queue in self._owned.values())
        unseen = self.partition.next_offset - self._scan
        return ready + (unseen if self._loaded < self._loaded_max else 0)

    def blocked_keys(self) -> int:
        """See ``Lane``."""
        return sum(
            1
            for key in self._keys.values()
            if key.waiting and (key.owner is not None or self.ready_at(key.waiting[0]) > self._now)
        )

    def take(self, consumer: Consumer, limit: int, now: LogTime) -> Ranges:
        """See ``Lane``."""
        if self.recovering:
            return []
        self._now = now
        if self._ownership is not None and self._ownership.owner != consumer.member.number:
            return []
        self.ripen(now)
        self._load(now)
        taken: list[int] = []
        while len(taken) < limit:
            key = self._next_key(consumer)
            if key is None:
                break
            self._take_from(key, consumer, limit - len(taken), now, taken)
        return ranges_of(sorted(taken))

    def _next_key(self, consumer: Consumer) -> _Key | None:
        owned = self._owned.get(consumer.member.number)
        if owned:
            return owned.popleft()
        return self._free.popleft() if self._free else None

    def _take_from(
        self, key: _Key, consumer: Consumer, limit: int, now: LogTime, taken: list[int]
    ) -> None:
        key.queued = False
        waiting = key.waiting
        while waiting and limit:
            offset = waiting[0]
            if self.is_wanted(offset, now):
                if self.ready_at(offset) > now:
                    break
                taken.append(offset)
                key.inflight += 1
                key.owner = consumer
                limit -= 1
            elif offset not in self.inflight:
                self._key_of.pop(offset, None)  # finished, or about to expire
            waiting.popleft()
            self._loaded -= 1
        self._queue(key, now)
