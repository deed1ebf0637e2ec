"""KEYED and EXCLUSIVE: the messages of a key in order, with one consumer at a time.

Unfinished messages are loaded in order of offset into a queue per key; in EXCLUSIVE mode the whole
partition is one key, in KEYED mode a message without a key is a key of its own. A key is *owned*
while messages of it are in flight: only the owner may get more of it, and not even the owner once
the end of a lease is proposed, because that message comes again. The head of a queue decides: if
it failed and has to wait, or is delayed, everything behind it waits too.

Source: PIP-379 (a key's unacknowledged messages are with one consumer); blocking the key behind a
failed message is ours.
"""

from bisect import insort
from collections import OrderedDict, deque
from itertools import pairwise

from synaxis.ids import LogTime
from synaxis.queues.commands import Part
from synaxis.queues.delivery.consumer import Consumer, Lease
from synaxis.queues.delivery.lane import Lane, Ranges, WakeAt, ranges_of
from synaxis.queues.group import Ownership
from synaxis.queues.partition import Partition
from synaxis.queues.progress import Progress

__all__ = ["OrderedLane"]

WHOLE_PARTITION = 0


class _Line(OrderedDict[int, "_Key"]):
    """Keys whose head may be taken by ``owner`` (None: by anybody), first come first served."""

    def __init__(self, owner: Consumer | None) -> None:
        super().__init__()
        self.owner = owner


class _Key:
    """A key with messages that are loaded or in flight."""

    __slots__ = ("due", "ending", "inflight", "line", "number", "owner", "strange", "waiting")

    def __init__(self, number: int) -> None:
        self.number = number
        self.waiting: deque[int] = deque()
        """Ascending; what was finished meanwhile is dropped when it comes to the head."""
        self.inflight = 0
        self.ending = 0
        """How many of those in flight wait for the log to decide that their lease is over."""
        self.owner: Consumer | None = None
        self.strange = 0
        """How many of those in flight are with others than the owner: members who said so to a new
        leader, because they did not hear of a seek. Nobody gets more until that is over."""
        self.line: _Line | None = None
        """Where it stands: that of its owner, or that of the free keys."""
        self.due = LogTime(0)
        """Else, when its head may be taken; an entry of ``later`` counts if it says the same."""


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
        super().__init__(partition, progress, wake_at, recovering=recovering)
        self._ownership = ownership
        """EXCLUSIVE: who owns the partition."""
        self._loaded_max = loaded_max
        self._keys: dict[int, _Key] = {}
        self._key_of: dict[int, _Key] = {}
        """By offset, of what is loaded or in flight."""
        self._loaded = 0
        self._free = _Line(None)
        self._owned: dict[Consumer, _Line] = {}
        self._scan = progress.done.floor
        self._now = LogTime(0)
        """When something was taken last; good enough to tell what is ready."""

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
        self._free = _Line(None)
        self._owned = {}
        self._later = []
        self._armed_at = None
        self._scan = self.progress.done.floor
        for offset, lease in sorted(self.inflight.items()):
            key = self._key_for(offset)
            self._key_of[offset] = key
            key.inflight += 1
            key.ending += lease.ending
            key.owner = key.owner or lease.consumer
            key.strange += lease.consumer is not key.owner
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
                        key_hash = column[offset - first] if column else 0
                        self._put(self._named(self._number(offset, key_hash)), offset, now)
            self._scan = last + 1

    def _number(self, offset: int, key_hash: int) -> int:
        if self._ownership is not None:
            return WHOLE_PARTITION
        return key_hash or -1 - offset

    def _named(self, number: int) -> _Key:
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = _Key(number)
        return key

    def _key_for(self, offset: int) -> _Key:
        """Return the key that a message belongs to, by what is stored of it."""
        key_hash = 0
        if self._ownership is None:
            at = self.partition.index.find(offset)
            column = self.partition.key_column(at)
            key_hash = column[offset - self.partition.index.bounds(at)[0]] if column else 0
        return self._named(self._number(offset, key_hash))

    def _put(self, key: _Key, offset: int, now: LogTime) -> None:
        self._key_of[offset] = key
        if key.waiting and offset < key.waiting[-1]:
            insort(key.waiting, offset)
        else:
            key.waiting.append(offset)
        self._loaded += 1
        self._place(key, now)

    def published(self, first: int, last: int, now: LogTime) -> None:
        """See ``Lane``: the next ``take`` loads it."""

    def again(self, offset: int, now: LogTime) -> None:
        """See ``Lane``."""
        # What the scan has not reached yet will be loaded, in order.
        key = self._key_of.get(offset)
        if key is not None:
            self._place(key, now)
        elif not self.recovering and offset < self._scan:
            self._put(self._key_for(offset), offset, now)

    # --- keys in lines ----------------------------------------------------------------------

    def _place(self, key: _Key, now: LogTime) -> None:
        """Let a key stand where those who may take from it will look, whatever has changed."""
        waiting = key.waiting
        if waiting and waiting[0] in self.progress.done:
            self._drop_finished(key)
        if not waiting:
            self._unplace(key)
            if not key.inflight:
                del self._keys[key.number]
            return
        if key.ending or key.strange:
            self._unplace(key)
            return
        at = self.ready_at(waiting[0])
        if at > now:
            if key.due != at:
                self._unplace(key)
                key.due = at
                self._push_later(at, key.number)
            return
        if key.line is None or key.line.owner is not key.owner:
            self._unplace(key)
            line = self._line_of(key.owner)
            key.line = line
            line[key.number] = key

    def _line_of(self, owner: Consumer | None) -> _Line:
        if owner is None:
            return self._free
        return self._owned.get(owner) or self._owned.setdefault(owner, _Line(owner))

    def _unplace(self, key: _Key) -> None:
        key.due = LogTime(0)
        line, key.line = key.line, None
        if line is not None:
            del line[key.number]
            self._tidy(line)

    def _tidy(self, line: _Line) -> None:
        if not line and line.owner is not None:
            del self._owned[line.owner]

    def _drop_finished(self, key: _Key) -> None:
        waiting, done = key.waiting, self.progress.done
        while waiting and waiting[0] in done:
            self._key_of.pop(waiting.popleft(), None)
            self._loaded -= 1

    def ripen(self, now: LogTime) -> None:
        """See ``Lane``."""
        for number in self._pop_due(now):
            key = self._keys.get(number)
            if key is not None and 0 < key.due <= now:
                key.due = LogTime(0)
                self._place(key, now)

    def finished(self, first: int, last: int, now: LogTime) -> None:
        """See ``Lane``. A head for whose time its key has waited may be among them."""
        super().finished(first, last, now)
        if last - first < len(self._key_of):
            touched = map(self._key_of.get, range(first, last + 1))
            keys = list(dict.fromkeys(key for key in touched if key is not None))
        else:
            keys = list(self._keys.values())
        for key in keys:
            if key.due and first <= key.waiting[0] <= last:
                self._place(key, now)

    def end(self, offset: int) -> None:
        """See ``Lane``."""
        super().end(offset)
        key = self._key_of.get(offset)
        if key is not None:
            key.ending += 1
            self._unplace(key)

    def returned(self, offset: int, lease: Lease) -> None:
        """See ``Lane``."""
        key = self._key_of.pop(offset, None)
        if key is None:
            return
        key.inflight -= 1
        key.ending -= lease.ending
        if key.strange:
            self._find_owner(key)
        elif key.inflight == 0:
            key.owner = None
            if not key.waiting:
                del self._keys[key.number]
                return
        elif not lease.ending:
            return
        self._place(key, self._now)

    def _find_owner(self, key: _Key) -> None:
        holders = [
            lease.consumer
            for offset, lease in self.inflight.items()
            if self._key_of.get(offset) is key
        ]
        key.owner = holders[0]
        key.strange = len(holders) - holders.count(key.owner)

    # --- taking -----------------------------------------------------------------------------

    def estimate(self) -> int:
        """See ``Lane``."""
        if self.recovering or self._is_changing_hands():
            return 0
        ready = len(self._free) + sum(len(line) for line in self._owned.values())
        unseen = self.partition.next_offset - self._scan
        return ready + (unseen if self._loaded < self._loaded_max else 0)

    def _is_changing_hands(self) -> bool:
        """Return whether the owner has to yield: what it gives back must not come straight back."""
        ownership = self._ownership
        return ownership is not None and ownership.owner != ownership.target

    def blocked_keys(self) -> int:
        """See ``Lane``."""
        return sum(1 for key in self._keys.values() if key.waiting and (key.owner or key.due))

    def take(self, consumer: Consumer, limit: int, now: LogTime) -> Ranges:
        """See ``Lane``."""
        if self.recovering or self._is_changing_hands():
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
        line = self._owned.get(consumer) or self._free
        if not line:
            return None
        key = line.popitem(last=False)[1]
        key.line = None
        self._tidy(line)
        return key

    def _take_from(
        self, key: _Key, consumer: Consumer, limit: int, now: LogTime, taken: list[int]
    ) -> None:
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
            else:
                del self._key_of[offset]  # finished, or about to expire
            waiting.popleft()
            self._loaded -= 1
        if waiting or not key.inflight:
            self._place(key, now)

    # --- checking ---------------------------------------------------------------------------

    def check_reach(self, now: LogTime) -> None:
        """See ``Lane``."""
        for offset in self.unfinished():
            key = self._key_of.get(offset)
            if offset in self.inflight:
                assert key is not None
                assert offset not in key.waiting, f"{offset} is in flight, and waits"
            elif offset >= self._scan:
                assert key is None, f"{offset} is loaded, and will be again"
            elif self.is_wanted(offset, now):
                assert key is not None, f"{offset} is in no place"
                assert offset in key.waiting
        assert self._loaded == sum(len(key.waiting) for key in self._keys.values())
        counts: dict[int, int] = {}
        ending: dict[int, int] = {}
        strange: dict[int, int] = {}
        for offset, lease in self.inflight.items():
            number = self._key_of[offset].number
            counts[number] = counts.get(number, 0) + 1
            ending[number] = ending.get(number, 0) + lease.ending
            is_strange = lease.consumer is not self._keys[number].owner
            strange[number] = strange.get(number, 0) + is_strange
        plans = set(self._later)
        for number, key in self._keys.items():
            assert key.number == number
            assert key.inflight == counts.get(number, 0)
            assert key.ending == ending.get(number, 0)
            assert key.strange == strange.get(number, 0)
            assert (key.owner is not None) == (key.inflight > 0)
            assert all(one < other for one, other in pairwise(key.waiting))
            self._check_place(key, plans)
        lines = [self._free, *self._owned.values()]
        assert sum(map(len, lines)) == sum(key.line is not None for key in self._keys.values())

    def _check_place(self, key: _Key, plans: set[tuple[LogTime, int]]) -> None:
        assert key.waiting or key.inflight, "a key without messages is kept"
        has_place = key.line is not None or key.due > 0
        is_blocked = key.ending > 0 or key.strange > 0
        assert has_place == bool(key.waiting and not is_blocked), "a key stands nowhere"
        if key.line is not None:
            assert not key.due, "a key stands in two places"
            assert key.line is (self._owned[key.owner] if key.owner else self._free)
            assert key.line.owner is key.owner
            assert key.line[key.number] is key
        elif key.due:
            assert key.due == self.ready_at(key.waiting[0]), "a key waits for a time of the past"
            assert (key.due, key.number) in plans
