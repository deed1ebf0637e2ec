"""Whoever leads a queue shard tells it, once, what the cluster knows of its topics."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import msgspec

from synaxis.cluster.machine import ClusterMachine
from synaxis.effects import Reply
from synaxis.errors import Overloaded
from synaxis.ids import GroupId, LogIndex, LogTime, Sequence, SessionId
from synaxis.nodes.topic_keeper import TopicKeeper
from synaxis.queues.commands import ConfigureTopic, RemoveTopic
from synaxis.queues.limits import QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.queues.placement import shard_of
from synaxis.topics import TopicConfig, TopicLimits, TopicRecord

if TYPE_CHECKING:
    from synaxis.consensus.replica import Replica

PLAIN = TopicConfig(partitions=2)


class Node:
    """A node with replicas of two queue shards and one that is none; it leads what it is told."""

    def __init__(self, leads: tuple[int, ...] = (0, 1)) -> None:
        self.cluster = ClusterMachine([], 1, 3, 2, TopicLimits())
        self.topics = self.cluster.topics
        self.shards = {
            GroupId(f"queues/{number}"): QueueMachine(number, 2, QueueLimits()) for number in (0, 1)
        }
        self.logs = [SimpleNamespace(ready=number in leads) for number in (0, 1)]
        replicas = {
            group: SimpleNamespace(machine=machine, log=log)
            for (group, machine), log in zip(self.shards.items(), self.logs, strict=True)
        }
        replicas[GroupId("cluster")] = SimpleNamespace(
            machine=self.cluster, log=SimpleNamespace(ready=True)
        )
        self.proposed: list[tuple[GroupId, msgspec.Struct]] = []
        self.answers: list[Callable[[Reply], None]] = []
        self.broken = False
        self.keeper = TopicKeeper(
            self.cluster, cast("dict[GroupId, Replica]", replicas), self._propose
        )

    def _propose(
        self, group: GroupId, command: msgspec.Struct, answer: Callable[[Reply], None]
    ) -> None:
        if self.broken:
            raise Overloaded("later", retry_after=1.0)
        self.proposed.append((group, command))
        self.answers.append(answer)

    def step(self) -> list[tuple[GroupId, msgspec.Struct]]:
        """Return what is proposed now."""
        self.proposed.clear()
        self.keeper.step()
        return list(self.proposed)

    def apply(self, *, execute: bool = True) -> None:
        """Let the logs decide what was proposed last."""
        for group, command in self.proposed if execute else ():
            self.shards[group].apply(SessionId(0), Sequence(0), command, LogTime(1))
        answers, self.answers = self.answers, []
        for answer in answers:
            answer(Reply(None, LogIndex(1), 0, msgspec.Struct()))


def test_every_shard_with_partitions_of_a_topic_is_told() -> None:
    node = Node()
    record = node.topics.create("jobs", PLAIN)
    assert node.step() == [(group, ConfigureTopic(record)) for group in node.shards]


def test_a_shard_without_partitions_of_a_topic_is_not_told() -> None:
    node = Node()
    node.topics.create("jobs", TopicConfig(partitions=1))
    (told,) = node.step()
    assert told[0] == f"queues/{shard_of('jobs', 0, 2)}"


def test_what_is_under_way_is_not_proposed_again() -> None:
    node = Node()
    node.topics.create("jobs", PLAIN)
    assert len(node.step()) == 2
    assert node.step() == []


def test_what_a_shard_knows_is_not_proposed_again() -> None:
    node = Node()
    node.topics.create("jobs", PLAIN)
    node.step()
    node.apply()
    assert node.step() == []


def test_what_was_answered_without_effect_is_proposed_again() -> None:
    node = Node()
    node.topics.create("jobs", PLAIN)
    first = node.step()
    node.apply(execute=False)
    assert node.step() == first


def test_what_could_not_be_proposed_is_tried_again() -> None:
    node = Node()
    node.topics.create("jobs", PLAIN)
    node.broken = True
    assert node.step() == []
    node.broken = False
    assert len(node.step()) == 2


def test_only_the_leader_of_a_shard_tells_it() -> None:
    node = Node(leads=(1,))
    node.topics.create("jobs", PLAIN)
    assert [group for group, _ in node.step()] == ["queues/1"]
    node.logs[0].ready = True
    assert [group for group, _ in node.step()] == ["queues/0"]


def test_a_newer_version_is_told_though_the_older_is_under_way() -> None:
    node = Node(leads=(0,))
    node.topics.create("jobs", PLAIN)
    node.step()
    changed = node.topics.update("jobs", TopicConfig(partitions=2, paused=True))
    assert node.step() == [(GroupId("queues/0"), ConfigureTopic(changed))]


def test_a_removal_is_told_to_shards_that_have_the_topic() -> None:
    node = Node(leads=(0,))
    record = node.topics.create("jobs", PLAIN)
    node.step()
    node.apply()
    node.topics.delete("jobs")
    assert node.step() == [(GroupId("queues/0"), RemoveTopic("jobs", record.topic_id))]
    assert node.step() == []
    node.proposed.append((GroupId("queues/0"), RemoveTopic("jobs", record.topic_id)))
    node.apply()
    assert node.shards[GroupId("queues/0")].shard.topics == {}
    assert node.step() == []


def test_a_removal_of_what_a_shard_never_had_is_not_told() -> None:
    node = Node()
    node.topics.create("jobs", PLAIN)
    node.topics.delete("jobs")
    assert node.step() == []


def test_a_topic_that_was_created_again_is_told() -> None:
    node = Node(leads=(0,))
    node.topics.create("jobs", PLAIN)
    node.step()
    node.apply()
    node.topics.delete("jobs")
    again = node.topics.create("jobs", PLAIN)
    assert node.step() == [(GroupId("queues/0"), ConfigureTopic(again))]
    node.apply()
    known = node.shards[GroupId("queues/0")].shard.topics["jobs"]
    assert known.record == again


def test_a_node_that_is_behind_removes_no_newer_topic() -> None:
    node = Node(leads=(0,))
    group = GroupId("queues/0")
    node.proposed = [(group, ConfigureTopic(TopicRecord("jobs", 2, 1, PLAIN)))]
    node.apply()
    node.topics.create("jobs", PLAIN)
    node.topics.delete("jobs")
    assert node.step() == []
