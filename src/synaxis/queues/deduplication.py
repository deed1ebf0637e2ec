"""What a partition remembers so that nothing is stored twice.

Two memories: batches by (producer, sequence), which the SDK numbers by itself, and messages by an
id that the user gives. Both are bounded; what was forgotten is refused (sequences: an older one
than any remembered has an unknown outcome) or stored anew (ids: the window is over).
"""

import msgspec

from synaxis.errors import OutcomeUnknown
from synaxis.ids import LogTime
from synaxis.queues.commands import Published
from synaxis.queues.limits import QueueLimits

__all__ = ["MessageIds", "Producers", "SavedProducer"]


class SavedProducer(msgspec.Struct, array_like=True):
    """What is remembered of one producer: replies by sequence, oldest first."""

    producer: int
    forgotten: int
    """Sequences up to this one are not remembered any more."""
    replies: dict[int, Published]
    at: LogTime = LogTime(0)
    """When it published last."""


class Producers:
    """The last batches of the producers of one partition, the longest unused producer first."""

    __slots__ = ("_by_id", "_limits", "batches")

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._by_id: dict[int, SavedProducer] = {}
        self.batches = 0
        """How many are remembered."""

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, producer: int, sequence: int) -> Published | None:
        """Return the reply to a batch that was stored before.

        Raises:
            OutcomeUnknown: the batch may have been stored; the memory of it is gone.
        """
        known = self._by_id.get(producer)
        if known is None:
            return None
        reply = known.replies.get(sequence)
        if reply is not None:
            return msgspec.structs.replace(reply, duplicate=True)
        if sequence <= known.forgotten:
            raise OutcomeUnknown(
                f"batch {sequence} of this producer is older than the "
                f"{self._limits.sequences_per_producer_max} that are remembered"
            )
        return None

    def note(self, producer: int, sequence: int, reply: Published, now: LogTime) -> None:
        """Remember a batch that was stored now, and forget producers that went away."""
        by_id, limits = self._by_id, self._limits
        known = by_id.pop(producer, None)
        if known is None:
            known = SavedProducer(producer, 0, {})
        while by_id and (
            len(by_id) >= limits.producers_per_partition_max
            or by_id[next(iter(by_id))].at + limits.producer_idle_ms_max <= now
        ):
            self.batches -= len(by_id.pop(next(iter(by_id))).replies)
        by_id[producer] = known
        known.at = now
        known.replies[sequence] = reply
        self.batches += 1
        if len(known.replies) > limits.sequences_per_producer_max:
            oldest = next(iter(known.replies))
            del known.replies[oldest]
            known.forgotten = max(known.forgotten, oldest)
            self.batches -= 1

    def save(self) -> list[SavedProducer]:
        """Return the memory, in order."""
        return list(self._by_id.values())

    def load(self, saved: list[SavedProducer]) -> None:
        """Become what ``save`` returned."""
        self._by_id = {each.producer: each for each in saved}
        self.batches = sum(len(each.replies) for each in saved)


class MessageIds:
    """Message ids of one partition within the window, oldest first."""

    __slots__ = ("_at_most", "_seen")

    def __init__(self, at_most: int) -> None:
        self._at_most = at_most
        self._seen: dict[str, tuple[int, LogTime]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, message_id: str, now: LogTime, window_ms: int) -> int | None:
        """Return the offset of a message with this id that is within the window."""
        found = self._seen.get(message_id)
        return None if found is None or found[1] + window_ms <= now else found[0]

    def note(self, message_id: str, offset: int, now: LogTime, window_ms: int) -> None:
        """Remember a message that was stored now, and forget what is too old."""
        seen = self._seen
        seen.pop(message_id, None)
        seen[message_id] = (offset, now)
        while seen:
            oldest = next(iter(seen))
            if len(seen) <= self._at_most and seen[oldest][1] + window_ms > now:
                break
            del seen[oldest]

    def save(self) -> list[tuple[str, int, LogTime]]:
        """Return the memory, in order."""
        return [(message_id, *seen) for message_id, seen in self._seen.items()]

    def load(self, saved: list[tuple[str, int, LogTime]]) -> None:
        """Become what ``save`` returned."""
        self._seen = {message_id: (offset, at) for message_id, offset, at in saved}
