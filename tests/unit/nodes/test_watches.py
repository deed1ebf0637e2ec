"""Watches: what is delivered, how one resumes, and what is refused."""

import pytest

from synaxis.cluster.commands import NodeChanged, NodeRecord
from synaxis.errors import InvalidArgument, LimitExceeded, NotFound
from synaxis.ids import FencingToken, GroupId, LogIndex, LogTime, NodeId, SessionId
from synaxis.locks.commands import LockEvent, LockEventType, LockKind
from synaxis.nodes.watches import PREFIX_CHARACTERS_MAX, Event, WatchHub
from synaxis.wire.client import Notice, Watch

GROUP = GroupId("locks/0")
CLUSTER = GroupId("cluster")


def event(index: int, name: str = "a", kind: LockKind = LockKind.LOCK) -> Event:
    happened = LockEvent(LockEventType.GRANTED, kind, name, SessionId(1), FencingToken(index))
    return LogIndex(index), 0, LogTime(index), happened


class Watcher:
    """A client with one watch."""

    def __init__(
        self, hub: WatchHub, prefix: str = "", *, after: int = -1, number: int = 1
    ) -> None:
        self.heard: list[Notice] = []
        watch = Watch(number, GROUP, prefix, LockKind.LOCK, after)
        hub.open(watch, LogIndex(100), self.heard.append, self)

    @property
    def indexes(self) -> list[int]:
        return [notice.index for notice in self.heard if notice.event is not None]


@pytest.fixture
def hub() -> WatchHub:
    return WatchHub([GROUP, CLUSTER], history_events_max=3, watchers_max=2)


def test_a_watch_begins_with_the_index_it_starts_at(hub: WatchHub) -> None:
    assert Watcher(hub).heard == [Notice(1, LogIndex(100), 0, LogTime(0))]


def test_events_of_other_names_and_kinds_are_not_told(hub: WatchHub) -> None:
    watcher = Watcher(hub, "jobs/")
    hub.publish(
        GROUP, [event(1, "jobs/1"), event(2, "other"), event(3, "jobs/2", LockKind.ELECTION)]
    )
    assert watcher.indexes == [1]


def test_a_watch_of_members_goes_by_their_id(hub: WatchHub) -> None:
    heard: list[Notice] = []
    hub.open(Watch(1, CLUSTER, "n", LockKind.LOCK), LogIndex(0), heard.append, object())
    change = NodeChanged(NodeRecord(NodeId("n1"), "h:1", ""))
    other = NodeChanged(NodeRecord(NodeId("x1"), "h:2", ""))
    hub.publish(
        CLUSTER, [(LogIndex(1), 0, LogTime(0), change), (LogIndex(2), 0, LogTime(0), other)]
    )
    assert [notice.event for notice in heard] == [None, change]


def test_who_resumes_gets_what_it_missed_and_nothing_twice(hub: WatchHub) -> None:
    hub.publish(GROUP, [event(1), event(2), event(3)])
    watcher = Watcher(hub, after=1)
    hub.publish(GROUP, [event(4)])
    assert watcher.indexes == [2, 3, 4]


def test_who_comes_too_late_is_told_so(hub: WatchHub) -> None:
    hub.publish(GROUP, [event(index) for index in range(1, 6)])
    with pytest.raises(NotFound) as refused:
        Watcher(hub, after=1)
    assert refused.value.details == {"oldest": 2}
    assert Watcher(hub, after=2).indexes == [3, 4, 5]


def test_a_snapshot_that_jumped_over_events_ends_the_history(hub: WatchHub) -> None:
    hub.publish(GROUP, [event(1)])
    hub.reset(GROUP, LogIndex(50))
    with pytest.raises(NotFound):
        Watcher(hub, after=49)
    assert Watcher(hub, after=50).indexes == []


def test_there_is_a_limit_and_closing_gives_room(hub: WatchHub) -> None:
    first, second = Watcher(hub, number=1), Watcher(hub, number=2)
    with pytest.raises(LimitExceeded):
        Watcher(hub)
    hub.close(first, 2)
    assert hub.count == 2, "that number is another owner's"
    hub.close(first, 1)
    hub.publish(GROUP, [event(1)])
    assert (first.indexes, second.indexes) == ([], [1])
    hub.close_all(second)
    assert hub.count == 0


def test_a_prefix_longer_than_any_name_is_not_kept(hub: WatchHub) -> None:
    with pytest.raises(InvalidArgument):
        Watcher(hub, "p" * (PREFIX_CHARACTERS_MAX + 1))
    assert hub.count == 0
