"""Whether an answer to a question, or what a replica stores, is what the model knows."""

from synaxis.effects import Refused
from synaxis.queues.commands import ABSENT
from synaxis.queues.questions import (
    Browse,
    BrowseDead,
    DeadLetter,
    DescribeTopic,
    GroupInfo,
    GroupPartitionInfo,
    TopicInfo,
)
from synaxis.simulation.history import HistoryViolation
from synaxis.simulation.queues.ledger import Census
from synaxis.simulation.queues.model import NaiveTopic, QueueModel, require
from synaxis.simulation.queues.naive_group import NaiveGroup
from synaxis.simulation.queues.records import unpack
from synaxis.simulation.queues.streams import PageRead

__all__ = ["judge_answer", "judge_census"]


def judge_census(model: QueueModel, census: Census) -> None:
    """Demand that a replica stores exactly what somebody may still want.

    Raises:
        HistoryViolation: Q1 something is gone, or Q10 something was not given back.
    """
    wanted = {
        (name, number, batch.first, batch.last)
        for name, topic in model.topics.items()
        for number, log in topic.logs.items()
        for batch in log.stored()
    }
    stored = set(census.units)
    require(wanted <= stored, f"Q1: not stored any more: {sorted(wanted - stored)}")
    require(stored <= wanted, f"Q10: stored for nobody: {sorted(stored - wanted)}")


def judge_answer(model: QueueModel, question: object, answer: object) -> None:
    """Demand that the answer describes the state of the model.

    Raises:
        HistoryViolation: it does not.
    """
    topic = model.topics.get(getattr(question, "topic", ""))
    if topic is None:
        _require_not_found(question, answer)
    elif isinstance(question, DescribeTopic):
        if not isinstance(answer, TopicInfo):
            raise HistoryViolation(f"no answer to {question!r}: {answer!r}")
        _judge_topic(topic, answer)
    elif isinstance(question, Browse):
        _judge_page(topic, question, answer)
    elif isinstance(question, BrowseDead):
        group = topic.groups.get(question.group)
        if group is None:
            _require_not_found(question, answer)
        else:
            _judge_dead(topic, group, question, answer)


def _require_not_found(question: object, answer: object) -> None:
    is_right = isinstance(answer, Refused) and answer.code == "not_found"
    require(is_right, f"{question!r} was answered {answer!r}")


def _judge_topic(topic: NaiveTopic, info: TopicInfo) -> None:
    require(info.record.config == topic.config, f"{info.record!r} is not {topic.config!r}")
    for each in info.partitions:
        log = topic.logs[each.partition]
        stored = log.stored()
        first = stored[0].first if stored else log.end
        messages = sum(batch.last - batch.first + 1 for batch in stored)
        right = (first, log.end, messages, log.size)
        told = (each.first, each.next, each.messages, each.size)
        require(told == right, f"{each!r}, but first, next, messages and size are {right}")
    names = [group.group for group in info.groups]
    require(sorted(names) == sorted(topic.groups), f"groups {names}, not {list(topic.groups)}")
    for told_group in info.groups:
        _judge_group(topic.groups[told_group.group], told_group)


def _judge_group(group: NaiveGroup, info: GroupInfo) -> None:
    told = (info.mode, info.epoch, info.acked, info.redelivered, info.dead_lettered)
    right = (group.mode, group.epoch, group.acked, group.redelivered, group.dead_lettered)
    require(told == right, f"{info!r}: mode, epoch and counts are {right}")
    members = {each.member: each.session for each in info.members}
    known = {number: member.session for number, member in group.members.items()}
    require(members == known, f"members {members}, not {known}")
    for each in info.partitions:
        _judge_progress(group, each)


def _judge_progress(group: NaiveGroup, info: GroupPartitionInfo) -> None:
    number = info.partition
    floor, lag, dead = group.floor(number), len(group.open_in(number)), len(group.dead_in(number))
    right = f"floor, lag and dead letters are {floor}, {lag} and {dead}"
    require((info.floor, info.lag) == (floor, lag), f"Q11: {info!r}: {right}")
    require(info.dead == dead, f"Q9: {info!r}: {right}")
    if info.owner:
        group.learn_owner(number, info.owner, "as a question was answered")


def _judge_page(topic: NaiveTopic, question: Browse, answer: object) -> None:
    if not isinstance(answer, PageRead):
        raise HistoryViolation(f"no page: {answer!r} to {question!r}")
    log = topic.logs[question.partition]
    there = [
        message
        for batch in log.stored()
        for message in log.messages_of(batch)
        if message.offset >= question.offset
    ]
    told = [(place.offset, data) for place, _, data in unpack(answer.records)]
    right = [(message.offset, message.record) for message in there[: question.limit]]
    require(told == right, f"Q1: a browse shows {told}, stored is {right}")
    following = there[question.limit].offset if len(there) > question.limit else ABSENT
    require(answer.next_offset == following, f"{answer!r} goes on at {following}")


def _judge_dead(topic: NaiveTopic, group: NaiveGroup, question: BrowseDead, answer: object) -> None:
    if not isinstance(answer, PageRead):
        raise HistoryViolation(f"no page: {answer!r} to {question!r}")
    number = question.partition
    offsets = [offset for offset in group.dead_in(number) if offset >= question.offset]
    following = offsets[question.limit] if len(offsets) > question.limit else ABSENT
    right = []
    for offset in offsets[: question.limit]:
        way = group.ways[number][offset]
        right.append(
            DeadLetter(
                number,
                offset,
                way.reason,
                way.failures,
                way.first_failed_at,
                way.dead_at,
                way.error,
            )
        )
    require(list(answer.dead) == right, f"Q9: dead letters {answer.dead!r}, not {right!r}")
    require(answer.next_offset == following, f"{answer!r} goes on at {following}")
    told = [(place.offset, data) for place, _, data in unpack(answer.records)]
    log = topic.logs[number]
    records = [(letter.offset, log.messages[letter.offset].record) for letter in right]
    require(told == records, f"Q1: dead letters {told}, stored is {records}")
