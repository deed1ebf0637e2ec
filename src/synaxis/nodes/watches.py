"""Who watches what, and the recent history that lets a watcher resume.

A watch delivers events of one group whose name starts with its prefix, in log order, from any
replica. The history is bounded; a watcher that asks for more is told so and must read anew.
"""

from collections import deque
from collections.abc import Callable

import msgspec

from synaxis.cluster.commands import NodeChanged
from synaxis.errors import InvalidArgument, LimitExceeded, NotFound
from synaxis.ids import GroupId, LogIndex, LogTime
from synaxis.locks.commands import LockEvent
from synaxis.wire.client import Notice, Watch

__all__ = ["Event", "WatchHub"]

PREFIX_CHARACTERS_MAX = 4096
"""A watch keeps its prefix; this is beyond every name."""

Event = tuple[LogIndex, int, LogTime, msgspec.Struct]


class _Watcher(msgspec.Struct, eq=False):
    watch: Watch
    send: Callable[[Notice], None]
    owner: object

    def wants(self, event: msgspec.Struct) -> bool:
        if isinstance(event, LockEvent):
            return event.kind == self.watch.kind and event.name.startswith(self.watch.prefix)
        return isinstance(event, NodeChanged) and event.node.node_id.startswith(self.watch.prefix)


class _History:
    def __init__(self, length: int) -> None:
        self.events: deque[Event] = deque(maxlen=length)
        self.from_index = LogIndex(0)
        """Everything after this index is in ``events``."""

    def add(self, event: Event) -> None:
        if len(self.events) == self.events.maxlen:
            self.from_index = self.events[0][0]
        self.events.append(event)


class WatchHub:
    """All watches of one node."""

    def __init__(self, groups: list[GroupId], history_events_max: int, watchers_max: int) -> None:
        self._histories = {group: _History(history_events_max) for group in groups}
        self._watchers: dict[GroupId, list[_Watcher]] = {group: [] for group in groups}
        self._watchers_max = watchers_max

    @property
    def count(self) -> int:
        """Open watches."""
        return sum(len(watchers) for watchers in self._watchers.values())

    def reset(self, group: GroupId, index: LogIndex) -> None:
        """Forget the history up to ``index``: a snapshot jumped over it."""
        history = self._histories[group]
        history.events.clear()
        history.from_index = index

    def publish(self, group: GroupId, events: list[Event]) -> None:
        """Take the events of an applied entry."""
        history = self._histories[group]
        watchers = self._watchers[group]
        for event in events:
            history.add(event)
            for watcher in watchers:
                if watcher.wants(event[3]):
                    watcher.send(_notice(watcher.watch.id, event))

    def open(
        self, watch: Watch, applied: LogIndex, send: Callable[[Notice], None], owner: object
    ) -> None:
        """Begin ``watch``; ``owner`` is whom ``close_all`` names.

        Raises:
            InvalidArgument: no name is as long as the prefix.
            LimitExceeded: too many watches on this node.
            NotFound: the history that ``watch.after`` asks for is gone.
        """
        if len(watch.prefix) > PREFIX_CHARACTERS_MAX:
            raise InvalidArgument(f"a prefix has at most {PREFIX_CHARACTERS_MAX} characters")
        if self.count >= self._watchers_max:
            raise LimitExceeded(
                f"this node serves at most {self._watchers_max} watches",
                limit="watchers_max",
                maximum=self._watchers_max,
            )
        history = self._histories[watch.group]
        if 0 <= watch.after < history.from_index:
            raise NotFound(
                f"events after {watch.after} are no longer kept (oldest: {history.from_index}); "
                "read the present state, then watch from now",
                oldest=history.from_index,
            )
        watcher = _Watcher(watch, send, owner)
        start = applied if watch.after < 0 else LogIndex(watch.after)
        send(Notice(watch.id, start, 0, LogTime(0)))
        if watch.after >= 0:
            for event in history.events:
                if event[0] > watch.after and watcher.wants(event[3]):
                    send(_notice(watch.id, event))
        self._watchers[watch.group].append(watcher)

    def close(self, owner: object, number: int) -> None:
        """End the watch ``number`` of ``owner``."""
        for group, watchers in self._watchers.items():
            self._watchers[group] = [
                each for each in watchers if each.owner is not owner or each.watch.id != number
            ]

    def close_all(self, owner: object) -> None:
        """End every watch of ``owner``."""
        for group, watchers in self._watchers.items():
            self._watchers[group] = [each for each in watchers if each.owner is not owner]


def _notice(number: int, event: Event) -> Notice:
    index, rank, at, body = event
    return Notice(number, index, rank, at, body)  # type: ignore[arg-type]  # the wire's union
