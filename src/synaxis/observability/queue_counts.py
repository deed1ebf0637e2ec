"""What happened to messages while this node led their shards.

The tallies of a shard are replicated: every replica has them, and they survive restarts. Told as
they are, one node's number would leap when it takes a shard over and fall when it gives one up. So
each node counts only by how much they grew under its own leadership. Such a counter never falls
while the process lives, and a sum over the nodes is what happened in the cluster.

Nothing is counted twice: what a replica applied to catch up counted for the leader before. What the
last moments of a leader would have counted is missing when it was cut off in the middle of them.
"""

from collections.abc import Collection, Hashable
from operator import add
from typing import Generic, TypeVar

import msgspec

from synaxis.queues.shard import Shard, Tally

__all__ = ["OTHER", "LabelSlots", "LedCounts"]

Key = TypeVar("Key", bound=Hashable)

OTHER = "(other)"
"""Stands for everything beyond the limit of label values; no topic and no group is called so."""

Numbers = tuple[int, ...]
"""The fields of a ``Tally``."""
Seen = tuple[int, Numbers]
"""(id of the topic, its tally)."""
_NOTHING: Numbers = msgspec.structs.astuple(Tally())


class LabelSlots(Generic[Key]):
    """Which names have a label of their own: the first ones that came, until they are forgotten.

    A fixed choice such as "the largest" would make series come and go all the time.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._taken: set[Key] = set()

    def has_room_for(self, key: Key) -> bool:
        """Return whether ``key`` has a label of its own, giving it one if there is room."""
        if key in self._taken:
            return True
        if len(self._taken) >= self._maximum:
            return False
        self._taken.add(key)
        return True

    def keep(self, known: Collection[Key]) -> None:
        """Take the labels of all others back."""
        self._taken.intersection_update(known)


class LedCounts:
    """See the module. ``by_topic`` is what this node has counted since it started."""

    def __init__(self, slots: LabelSlots[str]) -> None:
        self.by_topic: dict[str, Numbers] = {}
        self._slots = slots
        self._seen: dict[str, dict[str, Seen]] = {}
        """By shard that is led: its tallies when they were looked at last."""

    def begin(self, group: str, shard: Shard) -> None:
        """This node leads ``group`` from now on."""
        self._seen[group] = _look(shard)

    def end(self, group: str, shard: Shard, *, complete: bool) -> None:
        """This node does not lead ``group`` any more.

        Args:
            group: its name.
            shard: its state.
            complete: whether all that was applied until now was decided under its leadership.
        """
        if complete:
            self.look(group, shard)
        self._seen.pop(group, None)

    def look(self, group: str, shard: Shard) -> None:
        """Count what has happened in a shard since the last look, if this node leads it."""
        before = self._seen.get(group)
        if before is None:
            return
        seen = self._seen[group] = _look(shard)
        for topic, (number, tally) in seen.items():
            old_number, old = before.get(topic, (0, _NOTHING))
            if old_number != number:  # created meanwhile
                old = _NOTHING
            self._add(topic, [new - past for new, past in zip(tally, old, strict=True)])

    def _add(self, topic: str, grown: list[int]) -> None:
        """Count also what is nothing: the rate of a counter begins with its first zero."""
        label = topic if self._slots.has_room_for(topic) else OTHER
        counted = self.by_topic.get(label, _NOTHING)
        self.by_topic[label] = tuple(map(add, counted, grown))

    def keep(self, topics: Collection[str]) -> None:
        """Forget topics that do not exist any more."""
        self._slots.keep(topics)
        for topic in self.by_topic.keys() - {*topics, OTHER}:
            del self.by_topic[topic]


def _look(shard: Shard) -> dict[str, Seen]:
    return {
        name: (topic.record.topic_id, msgspec.structs.astuple(shard.tallies[name]))
        for name, topic in shard.topics.items()
    }
