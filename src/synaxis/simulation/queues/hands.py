"""Who may have a message in hand, and whether a leader was right to hand it out.

What a leader acquires for a member is in that member's hands until it is settled, released or
its loss is counted, until the member is gone, or until it attaches without it. A message may only
be handed out while it is in nobody's hands, whoever led when it got there: so a leader that does
not wait to hear what its predecessor handed out is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from synaxis.ids import Term
from synaxis.queues.commands import (
    ABSENT,
    Ack,
    Attach,
    Begin,
    Credit,
    DeleteGroup,
    Detach,
    Expire,
    GroupMode,
    Leave,
    Nack,
    Part,
    Reject,
    Release,
    Seek,
    Settled,
    Slice,
)
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation, MachineCall, MachineCallKind
from synaxis.simulation.queues.ledger import Delivering, Demanded, Dropped
from synaxis.simulation.queues.model import NaiveTopic, QueueModel, require
from synaxis.simulation.queues.naive_group import Fate, NaiveGroup

__all__ = ["Hands"]

GroupName = tuple[str, str]
"""Topic and group."""
Place = tuple[int, int]
"""Partition and offset."""


@dataclass(slots=True)
class _Grip:
    """A member has a message in hand."""

    member: int
    term: Term
    """Of the leader that gave it, or heard last that the member has it."""
    begun: bool = True
    """Whether its loss is the message's failure: a member that announces has to say so of what
    failed before."""
    lost: bool = False
    """The member is gone; its failure is to be counted, unless another node leads."""


@dataclass(slots=True)
class _Hands:
    """What the members of a group hold."""

    grips: dict[Place, list[_Grip]] = field(default_factory=dict)
    attached: dict[int, Term] = field(default_factory=dict)
    """By member: the leader that it attached to last."""
    credit: dict[tuple[int, Term], int] = field(default_factory=dict)


class Hands:
    """See the module."""

    def __init__(self, model: QueueModel, coverage: Coverage) -> None:
        self._model = model
        self._coverage = coverage
        self._groups: dict[GroupName, _Hands] = {}
        self._ended = 0

    def _of(self, name: GroupName) -> _Hands:
        return self._groups.setdefault(name, _Hands())

    # --- what members and the log say ----------------------------------------------------------

    def demanded(self, deed: Demanded, term: Term) -> None:
        """Take what a member told its leader."""
        message = deed.message
        hands, member = self._of((message.topic, message.group)), message.member
        if isinstance(message, Attach):
            self._attach(hands, message, term)
        elif isinstance(message, Credit):
            known = hands.credit.get((member, term), 0)
            hands.credit[member, term] = max(0, known + message.more)
        elif isinstance(message, Detach):
            hands.credit[member, term] = 0
        elif isinstance(message, Begin):
            for place in {*_places(message.parts)} - {*_places(deed.stale)}:
                for grip in hands.grips.get(place, ()):
                    grip.begun |= grip.member == member
        elif isinstance(message, Release):
            group = self._model.topics[message.topic].groups[message.group]
            for place in _present(group, message.parts):
                self._let_go(hands, place, member)

    def _attach(self, hands: _Hands, message: Attach, term: Term) -> None:
        member, group = message.member, self._model.topics[message.topic].groups[message.group]
        holding = set(_present(group, message.holding))
        is_first = hands.attached.get(member) != term
        hands.attached[member] = term
        hands.credit[member, term] = message.credit
        for place in list(hands.grips):
            if place not in holding:
                self._let_go(hands, place, member)
        if is_first or group.mode is GroupMode.SHARED:
            self._believe(hands, group, message, term)

    def _believe(self, hands: _Hands, group: NaiveGroup, message: Attach, term: Term) -> None:
        """A new leader believes what a member says, as far as nobody else has it."""
        for part in message.holding:
            if not group.owns(part.partition, message.member):
                continue
            ways = group.ways[part.partition]
            for offset in range(part.first, min(part.last + 1, len(ways))):
                way, grips = ways[offset], hands.grips.get((part.partition, offset), [])
                if (
                    way.fate is Fate.OPEN
                    and way.failures == part.failures
                    and all(grip.member == message.member or grip.term < term for grip in grips)
                ):
                    hands.grips[part.partition, offset] = [
                        *(grip for grip in grips if grip.member != message.member),
                        _Grip(message.member, term),
                    ]

    def _let_go(self, hands: _Hands, place: Place, member: int) -> None:
        left = [grip for grip in hands.grips.pop(place, ()) if grip.member != member]
        if left:
            hands.grips[place] = left

    def dropped(self, deed: Dropped, term: Term) -> None:
        """The leader has noticed that a stream is gone."""
        attach = deed.attach
        self._of((attach.topic, attach.group)).credit[attach.member, term] = 0

    def called(self, call: MachineCall) -> None:
        """Take over what a call did, after the model has."""
        command = call.command
        if isinstance(command, Ack | Nack | Reject | Expire):
            self._settled(command, call.reply)
        elif isinstance(command, Leave):
            hands = self._of((command.topic, command.group))
            for place in list(hands.grips):
                self._let_go(hands, place, command.member)
        elif isinstance(command, Seek):
            self._sought(command)
        elif isinstance(command, DeleteGroup):
            self._groups.pop((command.topic, command.group), None)
        elif call.kind is MachineCallKind.END_SESSION:
            self._lost()
        elif self._model.ended != self._ended:
            self._ended = self._model.ended
            self._sweep()

    def _settled(self, command: Ack | Nack | Reject | Expire, reply: object) -> None:
        """Nobody has in hand any more what a command decided about."""
        if isinstance(reply, Settled):
            stale = set(_places(reply.stale))
            grips = self._of((command.topic, command.group)).grips
            for place in _places(command.parts):
                if place not in stale:
                    grips.pop(place, None)

    def _sought(self, command: Seek) -> None:
        """Whoever holds something: what it says of it counts for nothing any more."""
        grips = self._of((command.topic, command.group)).grips
        for place in list(grips):
            if command.partition in (ABSENT, place[0]):
                del grips[place]

    def _lost(self) -> None:
        """Members are gone without a word."""
        for (topic, name), hands in self._groups.items():
            group = self._model.topics[topic].groups.get(name)
            for grips in hands.grips.values():
                for grip in grips:
                    grip.lost = group is None or grip.member not in group.members

    def _sweep(self) -> None:
        """Messages have ended their lives: nobody has them in hand."""
        for (topic, name), hands in self._groups.items():
            group = self._model.topics[topic].groups.get(name)
            for partition, offset in list(hands.grips):
                if group is None or group.ways[partition][offset].fate is not Fate.OPEN:
                    del hands.grips[partition, offset]

    # --- deliveries ----------------------------------------------------------------------------

    def delivered(self, deed: Delivering, term: Term) -> None:
        """Judge a delivery.

        Raises:
            HistoryViolation: it must not have been made.
        """
        attach = deed.attach
        topic = self._model.topics.get(attach.topic)
        group = topic.groups.get(attach.group) if topic is not None else None
        if topic is None or group is None:
            raise HistoryViolation(f"delivered of a topic or for a group that is not: {deed!r}")
        member = attach.member
        require(member in group.members, f"Q4: delivered to {member:x}, which is no member")
        require(not topic.config.paused, f"delivered of a paused topic: {deed!r}")
        hands = self._of((attach.topic, attach.group))
        places = [(s.partition, s.first + n) for s in deed.slices for n in range(s.count)]
        credit = hands.credit.get((member, term), 0)
        require(len(places) <= credit, f"{len(places)} messages delivered for a credit of {credit}")
        hands.credit[member, term] = credit - len(places)
        for each in deed.slices:
            self._judge_slice(topic, group, each, deed)
        for place in places:
            self._judge_hands(hands, group, place, member, term)
        if group.mode is GroupMode.SHARED:
            self._judge_priority(topic, group, hands, term, deed)
        else:
            _Order(topic, group, hands, term).judge(places, deed)
        if hands.attached.get(member, Term(0)) <= term:
            for place in places:
                failed = group.ways[place[0]][place[1]].failures
                begun = not (group.members[member].announces and failed)
                hands.grips[place] = [_Grip(member, term, begun)]

    def _judge_slice(
        self, topic: NaiveTopic, group: NaiveGroup, each: Slice, deed: Delivering
    ) -> None:
        """Demand that each message is open, due, and what the slice says of it."""
        log, member, failures = topic.logs[each.partition], deed.attach.member, dict(each.failures)
        if group.mode is GroupMode.EXCLUSIVE:
            group.learn_owner(each.partition, member, "is served")
        for offset in range(each.first, each.first + each.count):
            what = f"{each.partition}/{offset} to {member:x} of {group.name} at {deed.now}"
            known = offset < len(log.messages)
            require(known, f"Q1: delivered {what}, which nobody published")
            message, way = log.messages[offset], group.ways[each.partition][offset]
            require(way.fate is Fate.OPEN, f"Q2: delivered {what}, which is {way}")
            told = failures.get(offset, 0)
            require(told == way.failures, f"Q7: delivered {what} with {told} failures, not {way}")
            require(message.batch.at == each.at, f"{what} was published at {message.batch.at}")
            # A former leader, whose clock was ahead, may have delivered it for the first time.
            due = way.ready_from if way.failures else message.deliver_at
            require(deed.now >= due, f"Q8: delivered {what}, {due - deed.now} ms too early")
            alive = not 0 < message.expires_at <= deed.now
            require(alive, f"delivered {what}, whose ttl is over since {message.expires_at}")
            if way.failures:
                self._coverage.hit("queue.redelivered")
            elif message.deliver_at:
                self._coverage.hit("queue.delayed")

    def _judge_priority(
        self, topic: NaiveTopic, group: NaiveGroup, hands: _Hands, term: Term, deed: Delivering
    ) -> None:
        """Demand that nothing more urgent was left waiting."""
        if any(hands.attached.get(member) != term for member in group.members):
            return  # it may wait for their word
        for partition in {each.partition for each in deed.slices}:
            messages = topic.logs[partition].messages
            given = {
                each.first + n
                for each in deed.slices
                if each.partition == partition
                for n in range(each.count)
            }
            least = min(messages[offset].priority for offset in given)
            for offset in set(group.open_in(partition)) - given:
                message = messages[offset]
                is_due = message.deliver_at <= deed.now and not message.expires_at
                if message.priority > least and is_due and not hands.grips.get((partition, offset)):
                    failed = group.ways[partition][offset].failures
                    require(failed > 0, f"{partition}/{offset} is more urgent: {deed!r}")

    def _judge_hands(
        self, hands: _Hands, group: NaiveGroup, place: Place, member: int, term: Term
    ) -> None:
        for grip in hands.grips.get(place, ()):
            if _counts(grip, group, member, term):
                rule = "Q7" if grip.lost else "Q4"
                raise HistoryViolation(
                    f"{rule}: {place} delivered to {member:x} in term {term} while {grip} has it"
                )


def _counts(grip: _Grip, group: NaiveGroup, member: int, term: Term) -> bool:
    """Return whether a grip stands against a delivery to ``member``."""
    if not grip.begun:
        return False  # it may have been taken back without a word in the log
    if grip.term == term:
        return True
    if grip.lost:
        return False  # a new leader cannot know what it had
    # In EXCLUSIVE mode whoever does not own the partition any more is fenced by that.
    return group.mode is not GroupMode.EXCLUSIVE or grip.member == member


class _Order:
    """The order of the messages that one member is given of a key, or of a partition."""

    def __init__(self, topic: NaiveTopic, group: NaiveGroup, hands: _Hands, term: Term) -> None:
        self._topic = topic
        self._group = group
        self._hands = hands
        self._term = term

    def judge(self, places: list[Place], deed: Delivering) -> None:
        """Demand that nothing of the same key is before these, or with somebody else.

        Raises:
            HistoryViolation: Q4 or Q5.
        """
        given = set(places)
        for partition in {place[0] for place in places}:
            last: dict[int, int] = {}
            for _, offset in (place for place in places if place[0] == partition):
                key = self._key(partition, offset)
                last[key] = max(offset, last.get(key, 0))
            for offset in self._group.open_in(partition):
                key = self._key(partition, offset)
                if key in last and (partition, offset) not in given:
                    self._judge_neighbour((partition, offset), last[key], deed)

    def _key(self, partition: int, offset: int) -> int:
        if self._group.mode is GroupMode.EXCLUSIVE:
            return 0
        return self._topic.logs[partition].messages[offset].key_hash or -1 - offset

    def _judge_neighbour(self, place: Place, last: int, deed: Delivering) -> None:
        member, mine = deed.attach.member, False
        for grip in self._hands.grips.get(place, ()):
            if grip.member == member and not grip.lost:
                mine = True
            elif _counts(grip, self._group, member, self._term):
                raise HistoryViolation(
                    f"Q4: {grip} has {place}, and {member:x} gets {last} of the same key: {deed!r}"
                )
        message = self._topic.logs[place[0]].messages[place[1]]
        is_over = 0 < message.expires_at <= deed.now
        if not mine and place[1] < last and not is_over:
            raise HistoryViolation(
                f"Q5: {last} delivered to {member:x} before {place} of the same key: {deed!r}"
            )


def _present(group: NaiveGroup, parts: tuple[Part, ...]) -> Iterator[Place]:
    """Yield what parts speak of, but for deliveries that were overtaken."""
    for part in parts:
        for offset in range(part.first, part.last + 1):
            if group.failures((part.partition, offset)) == part.failures:
                yield part.partition, offset


def _places(parts: tuple[Part, ...]) -> Iterator[Place]:
    for part in parts:
        for offset in range(part.first, part.last + 1):
            yield part.partition, offset
