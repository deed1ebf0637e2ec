"""What operators and onlookers do to topics and groups, and what they look at."""

from typing import TYPE_CHECKING

import msgspec

from synaxis.effects import Refused
from synaxis.ids import LogTime
from synaxis.queues.commands import (
    ABSENT,
    END,
    DeleteGroup,
    GroupMode,
    Join,
    Joined,
    Leave,
    Purge,
    PurgeDead,
    Redrive,
    Seek,
)
from synaxis.queues.questions import Browse, BrowseDead, DescribeTopic, TopicInfo
from synaxis.simulation.queues.plan import ConsumerRole, OperatorRole, Plan, ReaderRole
from synaxis.simulation.task import Script, Task

if TYPE_CHECKING:
    from synaxis.topics import TopicConfig

__all__ = ["Operator", "Reader"]

PASSING = "passing"
"""A group that comes and goes."""
READER_PAUSE_MAX = 400_000
STALE_CHANCE = 0.2
PAGE_MAX = 12


class Operator:
    """Changes things that run, now and then."""

    def __init__(self, plan: Plan, role: OperatorRole) -> None:
        self._plan = plan
        self._role = role

    def script(self, task: Task) -> Script:
        """Return the life of an operator."""
        client, random = task.client, task.random
        while not self._plan.stopping:
            if not task.has_session():
                yield from client.open_session()
                yield from self._end_passing(task)
            yield 1 + int(random.random() * self._role.pause_max)
            if task.has_session() and not self._plan.stopping:
                yield from getattr(self, f"_{random.choice(self._role.actions)}")(task)
        while not (yield from self._end_passing(task)):
            if not task.has_session():
                yield from client.open_session()
        yield from client.close_session()

    def _any_group(self, task: Task) -> ConsumerRole:
        groups = [role for role in self._plan.roles if isinstance(role, ConsumerRole)]
        return task.random.choice(groups)

    def _partition(self, task: Task, topic: str) -> int:
        count = self._plan.partitions(topic)
        return ABSENT if task.random.random() < 0.5 else task.random.randrange(count)

    # --- actions -----------------------------------------------------------------------------

    def _seek(self, task: Task) -> Script:
        random, group = task.random, self._any_group(task)
        partition = self._partition(task, group.topic)
        info = yield task.client.ask(DescribeTopic(group.topic))
        if not isinstance(info, TopicInfo) or not task.has_session():
            return
        end = max(each.next for each in info.partitions)
        offset = random.choice((0, END, random.randrange(end + 1)))
        command = Seek(group.topic, group.group, partition, offset)
        if random.random() < 0.3:
            ago_ms = random.randrange(5_000)
            moment = LogTime(self._plan.wall_ms - ago_ms)
            command = Seek(group.topic, group.group, partition, time=moment)
        yield task.submit(command)

    def _redrive(self, task: Task) -> Script:
        random, group = task.random, self._any_group(task)
        limit = random.choice((ABSENT, 1, 3))
        partition, reason = self._partition(task, group.topic), random.choice(("", "", "rejected"))
        offsets: tuple[int, ...] = ()
        if partition != ABSENT and random.random() < 0.5:
            question = BrowseDead(group.topic, group.group, partition, 0, PAGE_MAX)
            page = yield task.client.ask(question)
            dead = [letter.offset for letter in getattr(page, "dead", ())]
            offsets = tuple(random.sample(dead, min(2, len(dead))))
        if task.has_session():
            command = Redrive(group.topic, group.group, limit, partition, offsets, reason)
            yield task.submit(command)

    def _purge_dead(self, task: Task) -> Script:
        random, group = task.random, self._any_group(task)
        limit = random.choice((ABSENT, 1, 3))
        partition = self._partition(task, group.topic)
        yield task.submit(PurgeDead(group.topic, group.group, limit, partition))

    def _purge(self, task: Task) -> Script:
        topic = self._any_group(task).topic
        yield task.submit(Purge(topic, self._partition(task, topic)))

    def _passing(self, task: Task) -> Script:
        """Let a group be there for a while; what it does not finish must stay as long."""
        random, topic = task.random, self._any_group(task).topic
        member, mode = random.getrandbits(62) + 1, random.choice(list(GroupMode))
        from_end = random.random() < 0.5
        joined = yield task.submit(Join(topic, PASSING, member, mode, from_end=from_end))
        if not isinstance(joined, Joined):
            return
        yield int(random.random() * self._role.pause_max)
        if task.has_session():
            yield task.submit(DeleteGroup(topic, PASSING))  # refused: it has a member
        if task.has_session():
            yield task.submit(Leave(topic, PASSING, member))
        yield from self._end_passing(task)

    def _end_passing(self, task: Task) -> Script:
        """Delete the passing groups; returns whether none is left."""
        for topic in self._plan.setup.topics:
            if not task.has_session():
                return False
            reply = yield task.submit(DeleteGroup(topic, PASSING))
            if reply is None or (isinstance(reply, Refused) and reply.code != "not_found"):
                return False
        return True

    def _change(self, task: Task) -> Script:
        """Change a topic; the cluster group would have decided about it."""
        random, setup = task.random, self._plan.setup
        name = random.choice(list(setup.topics))
        config = setup.topics[name].config
        what = random.choice(("deliveries", "backoff", "expired"))
        if what == "deliveries":
            config = msgspec.structs.replace(config, max_deliveries=random.choice((1, 2, 4)))
        elif what == "backoff":
            config = msgspec.structs.replace(config, backoff_first_ms=random.choice((1, 200)))
        else:
            dead = not config.expired_to_dead
            config = msgspec.structs.replace(config, expired_to_dead=dead)
        setup.change(name, config)
        yield 1

    def _pause(self, task: Task) -> Script:
        """Pause a topic for a while."""
        setup = self._plan.setup
        name = task.random.choice(list(setup.topics))
        for paused in (True, False):
            config: TopicConfig = setup.topics[name].config
            setup.change(name, msgspec.structs.replace(config, paused=paused))
            yield 1 + int(task.random.random() * 2_000_000)


class Reader:
    """Asks about everything, any node, all the time: it notices a leader that is none."""

    def __init__(self, plan: Plan, role: ReaderRole) -> None:
        self._plan = plan
        self._topic = role.topic

    def script(self, task: Task) -> Script:
        """Return the life of an onlooker."""
        random = task.random
        while not self._plan.stopping:
            yield 1 + int(random.random() * READER_PAUSE_MAX)
            stale = random.random() < STALE_CHANCE
            if stale:
                task.coverage.hit("client.stale_read")
            yield task.client.ask(self._question(task), stale=stale, anywhere=True)

    def _question(self, task: Task) -> msgspec.Struct:
        random, topic = task.random, self._topic
        partition = random.randrange(self._plan.partitions(topic))
        offset, limit = random.randrange(20), random.randrange(1, PAGE_MAX)
        groups = [
            role.group
            for role in self._plan.roles
            if isinstance(role, ConsumerRole) and role.topic == topic
        ]
        return random.choice(
            (
                DescribeTopic(topic),
                Browse(topic, partition, random.choice((0, offset, 10 * offset)), limit),
                BrowseDead(topic, random.choice(groups), partition, offset, limit),
            )
        )
