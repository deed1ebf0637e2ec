"""Whatever producers, members, operators and leaders do, the queue keeps its promises.

The invariants Q1 to Q11 are checked one by one, against the naive model of ``naive_queues``: what
a command must do by the model as it is applied, the rest after every step.
"""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from properties.naive_queues import DEAD, OPEN, NaiveGroup, NaiveQueue, Place, spread
from support.queue_service import (
    EXCLUSIVE,
    KEYED,
    LEADER,
    SHARED,
    QueueService,
    TestMember,
    parts_of,
)
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.queues.commands import (
    ABSENT,
    END,
    Ack,
    DeleteGroup,
    Expire,
    Publish,
    Purge,
    PurgeDead,
    Redrive,
    Revoke,
    Seek,
)
from synaxis.queues.delivery.flow import Flow
from synaxis.queues.delivery.leases import LOOK_EVERY_MS
from synaxis.queues.limits import DeliveryLimits, QueueLimits
from synaxis.queues.machine import QueueMachine
from synaxis.queues.questions import Browse, BrowseDead, Page
from synaxis.topics import Retention, TopicConfig

GROUPS = {"s": SHARED, "k": KEYED, "x": EXCLUSIVE}
PARTITIONS = 2
VISIBILITY_MS = 1_000
LIMITS = QueueLimits(segment_bytes_max=80)

keys = st.sampled_from(("", "a", "a", "b"))
groups = st.sampled_from(sorted(GROUPS))
members = st.integers(0, 2)
partitions = st.integers(0, PARTITIONS - 1)
some_partition = st.sampled_from((ABSENT, *range(PARTITIONS)))
milliseconds = st.sampled_from((1, 7, 20, 60, 300, 1_200))


class Watched(QueueMachine):
    """Shows all that it does to the model, and to a twin that lives on snapshots."""

    def __init__(self, world: "World") -> None:
        super().__init__(0, 1, LIMITS)
        self.world = world
        self.twin = QueueMachine(0, 1, LIMITS)

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        reply = super().apply(session, sequence, command, now)
        assert self.twin.apply(session, sequence, command, now) == reply
        self.world.model.apply(session, command, reply)
        self._applied()
        return reply

    def end_session(self, session: SessionId, now: LogTime) -> None:
        super().end_session(session, now)
        self.twin.end_session(session, now)
        self.world.model.end_session(session)
        self._applied()

    def advance(self, now: LogTime) -> None:
        super().advance(now)
        self.twin.advance(now)
        self.world.model.advance(now)
        self._applied()

    def restore(self, data: bytes) -> None:
        super().restore(data)
        self.twin.restore(data)

    def _applied(self) -> None:
        model = self.world.model
        model.note_forgotten()
        topic = self.shard.topics.get("t")
        for name, group in topic.groups.items() if topic else ():
            owners = {p: (each.owner, each.epoch) for p, each in group.owners.items()}
            model.see_owners(model.groups[name], owners)


class World(QueueService):
    """A queue service whose deliveries the model judges."""

    def __init__(self, **config: Any) -> None:
        self.configured = config
        self.lagging = False
        """What the leader wants in the log is not decided until ``catch_up``."""
        self.backlog: list[msgspec.Struct] = []
        super().__init__(limits=LIMITS, delivery=DeliveryLimits(yield_ms=300))

    def build(self) -> QueueMachine:
        return Watched(self)

    def begin(self, model: NaiveQueue) -> None:
        self.model = model
        self.configure(**self.configured)

    def follow(self) -> None:
        for command in self.dispatcher.take_commands():
            self.backlog.append(command)
            if isinstance(command, Expire):
                self.judge_expiry(command)
        while self.backlog and not self.lagging:
            self.machine.apply(LEADER, Sequence(0), self.backlog.pop(0), self.now)
            self.check()
            self.follow()

    def catch_up(self) -> None:
        self.lagging = False
        self.machine.advance(self.now)
        self.pump()

    def fail_over(self) -> None:
        """What was not decided is forgotten with the leader."""
        self.lagging = False
        self.backlog.clear()
        self.model.fail_over()
        super().fail_over()

    def flow(self, group: str) -> Flow:
        return self.dispatcher._desk.flows["t", group]

    def delivering(self, member: TestMember, partition: int, offset: int, failures: int) -> None:
        model, group = self.model, self.model.groups[member.group]
        consumer = self.flow(member.group).consumers[member.number]
        assert consumer.silent_at > self.dispatcher._desk.live, "a silent member is fed"
        place, fate = (partition, offset), group.fates[partition, offset]
        assert fate.state == OPEN, f"Q2: {place} is delivered though it is {fate.state}"
        assert place not in group.holders, f"{place} is with somebody else"
        assert not model.is_blocked(group, place), "a former leader may have delivered it"
        assert fate.failures == failures < model.config.max_deliveries, "Q7"
        assert model.is_ready(group, place), "Q8: too early, or too late"
        assert model.rivals_of(group, place) <= {member.number}, "Q4: the key is with another"
        if group.mode is EXCLUSIVE:
            assert group.owners[partition][0] == member.number, "Q4: not the owner"
        for other in model.line_of(group, place):
            assert group.holders.get(other) == member.number, f"Q5: {place} overtakes {other}"
        group.holders[place] = member.number
        assert not model.config.paused

    def judge_expiry(self, command: Expire) -> None:
        """Whatever is to be taken from a member is with it, and its time is over."""
        group, flow = self.model.groups[command.group], self.flow(command.group)
        for part, place in spread(command.parts):
            assert group.holders[place] == command.member
            lease = flow.lanes[part.partition].inflight[place[1]]
            assert lease.ending
            group.ending.add(place)
            if command.reason == "lease_expired" and group.mode is not EXCLUSIVE:
                assert lease.over_at <= self.dispatcher._desk.live, "a lease ended early"


class Queues(RuleBasedStateMachine):
    """See the module."""

    @initialize(
        retention=st.sampled_from(Retention),
        retention_ms=st.sampled_from((0, 0, 400)),
        bytes_max=st.sampled_from((0, 0, 150)),
        expired_to_dead=st.booleans(),
        max_deliveries=st.integers(1, 3),
    )
    def start(
        self,
        retention: Retention,
        retention_ms: int,
        bytes_max: int,
        max_deliveries: int,
        *,
        expired_to_dead: bool,
    ) -> None:
        self.world = World(
            partitions=PARTITIONS,
            retention=retention,
            retention_ms=retention_ms,
            partition_bytes_max=bytes_max,
            expired_to_dead=expired_to_dead,
            max_deliveries=max_deliveries,
            visibility_ms=VISIBILITY_MS,
            backoff_first_ms=10,
            backoff_max_ms=40,
            dedup_window_ms=100,
        )
        self.model = NaiveQueue(TopicConfig(**self.world.configured))
        self.model.now = self.world.now
        self.world.begin(self.model)
        self.members: dict[tuple[str, int], TestMember] = {}
        self.published: list[Publish] = []
        self.bodies = 0
        for group in GROUPS:
            for index in range(2):
                self.do_join(group, index, auto_extend=bool(index))

    # --- producers ------------------------------------------------------------------------

    @rule(partition=partitions, keys=st.lists(keys, min_size=1, max_size=4))
    def publish(self, partition: int, keys: list[str]) -> None:
        self.do_publish(partition, keys)

    @rule(
        partition=partitions,
        rows=st.lists(
            st.tuples(
                keys,
                st.sampled_from((0, 0, 3, 9)),
                st.sampled_from((0, 0, 30, 500)),
                st.sampled_from((0, 0, 40, 700)),
                st.sampled_from(("", "one", "two")),
            ),
            min_size=1,
            max_size=4,
        ),
        columns=st.sets(st.sampled_from(("priorities", "delays", "ttls", "ids")), min_size=1),
    )
    def publish_specials(
        self, partition: int, rows: list[tuple[str, int, int, int, str]], columns: set[str]
    ) -> None:
        names, values = ("priorities", "delays", "ttls", "ids"), list(zip(*rows, strict=True))
        chosen = dict(zip(names, values[1:], strict=True))
        self.do_publish(partition, values[0], **{name: chosen[name] for name in columns})

    def do_publish(self, partition: int, keys: Iterable[str], **columns: Any) -> None:
        keys = list(keys)
        bodies = [b"%d" % (self.bodies + n) for n in range(len(keys))]
        self.bodies += len(keys)
        command = self.world.publishing(*bodies, partition=partition, keys=keys, **columns)
        self.world.do(command)
        self.published.append(command)

    @rule(data=st.data())
    @precondition(lambda self: self.published)
    def publish_again(self, data: st.DataObject) -> None:
        """Q6: what was stored is not stored again, under whichever leader."""
        self.world.do(data.draw(st.sampled_from(self.published)))

    # --- members --------------------------------------------------------------------------

    def joined(self) -> list[TestMember]:
        return [each for _, each in sorted(self.members.items()) if self.is_known(each)]

    def is_known(self, member: TestMember) -> bool:
        return member.number in self.members_of(member.group)

    def members_of(self, group: str) -> dict[int, int]:
        found = self.model.groups.get(group)
        return {} if found is None else found.members

    @rule(group=groups, index=members, auto=st.booleans(), end=st.booleans(), more=st.booleans())
    def join(self, group: str, index: int, *, auto: bool, end: bool, more: bool) -> None:
        visibility = VISIBILITY_MS * (2 if more else 1)
        self.do_join(group, index, auto_extend=auto, from_end=end, visibility_ms=visibility)

    def do_join(self, group: str, index: int, **options: Any) -> None:
        """Members 0 and 2 of a group have one session."""
        member = self.members.get((group, index))
        if member is None:
            session = SessionId(1 + index % 2)
            member = TestMember(self.world, "t", group, 10 + index, session)
            self.members[group, index] = member
        if not self.is_known(member):
            member.held.clear()
        member.join(GROUPS[group], **options)
        self.do_attach(member, 4, sorted(member.held))

    def do_attach(self, member: TestMember, credit: int, holding: Iterable[Place]) -> None:
        claims = {place: member.held[place] for place in holding}
        self.model.attach(self.model.groups[member.group], member.number, claims)
        member.attach(credit, claims)

    @rule(data=st.data(), more=st.integers(-2, 8))
    @precondition(lambda self: self.joined())
    def grant(self, data: st.DataObject, more: int) -> None:
        data.draw(st.sampled_from(self.joined())).credit(more)

    @rule(
        data=st.data(),
        what=st.sampled_from(("attach", "detach", "vanish", "leave", "lose session", "yield")),
    )
    @precondition(lambda self: self.joined())
    def come_and_go(self, data: st.DataObject, what: str) -> None:
        member = data.draw(st.sampled_from(self.joined()))
        match what:
            case "attach":
                holding = sorted(member.held)
                if holding:
                    holding = data.draw(st.lists(st.sampled_from(holding), unique=True))
                self.do_attach(member, 4, holding)
            case "detach":
                member.detach()
            case "vanish":
                member.disconnect()
            case "leave":
                member.leave()
            case "lose session":
                self.world.end_session(member.session)
            case _:
                if member.group == "x":
                    member.give_up(*range(PARTITIONS))

    # --- settling -------------------------------------------------------------------------

    def holding(self) -> list[TestMember]:
        return [each for _, each in sorted(self.members.items()) if each.held]

    @rule(data=st.data(), what=st.sampled_from(("ack", "ack", "nack", "reject", "release")))
    @precondition(lambda self: self.holding())
    def settle(self, data: st.DataObject, what: str) -> None:
        member = data.draw(st.sampled_from(self.holding()))
        held = st.sampled_from(sorted(member.held))
        places = data.draw(st.lists(held, min_size=1, unique=True))
        self.do_settle(member, what, places, delay=data.draw(st.sampled_from((ABSENT, 0, 25))))

    @rule(data=st.data(), what=st.sampled_from(("ack", "nack", "reject", "release", "extend")))
    @precondition(lambda self: self.holding())
    def settle_all(self, data: st.DataObject, what: str) -> None:
        member = data.draw(st.sampled_from(self.holding()))
        self.do_settle(member, what, sorted(member.held), delay=ABSENT)
        if self.is_known(member):
            member.credit(4)

    def do_settle(
        self, member: TestMember, what: str, places: Iterable[Place], *, delay: int
    ) -> None:
        if what != "ack" and not self.is_known(member):
            return
        for partition in range(PARTITIONS):
            offsets = [offset for p, offset in places if p == partition]
            if not offsets:
                continue
            match what:
                case "nack":
                    member.nack(*offsets, partition=partition, delay=delay)
                case "reject":
                    member.reject(*offsets, partition=partition)
                case "extend":
                    member.extend(1_500, *offsets, partition=partition)
                case "release":
                    self.model.release(member.group, member.number, partition, offsets)
                    member.release(*offsets, partition=partition)
                case _:
                    self.ack(member, partition, offsets)

    def ack(self, member: TestMember, partition: int, offsets: Iterable[int]) -> None:
        """Acknowledge, as a member or as a former one."""
        parts = member.parts(tuple(offsets), partition)
        for part in parts:
            del member.held[part.partition, part.first]
        if member.group in self.model.groups:
            self.world.do(Ack("t", member.group, member.number, parts), member.session)

    @rule(
        group=groups,
        index=members,
        partition=partitions,
        offset=st.integers(0, 12),
        failures=st.integers(0, 2),
    )
    def settle_at_random(
        self, group: str, index: int, partition: int, offset: int, failures: int
    ) -> None:
        """An acknowledgement from another life."""
        if group in self.model.groups:
            parts = parts_of(partition, range(offset, offset + 2), failures)
            self.world.do(Ack("t", group, 10 + index, parts), SessionId(9))

    # --- operators ------------------------------------------------------------------------

    @rule(
        group=groups,
        partition=some_partition,
        offset=st.sampled_from((ABSENT, END, 0, 3, 10)),
        back=st.sampled_from((0, 50, 1_000)),
    )
    def seek(self, group: str, partition: int, offset: int, back: int) -> None:
        time = LogTime(self.world.now - back if offset == ABSENT else ABSENT)
        self.world.do(Seek("t", group, partition, offset, time))

    @rule(
        group=groups,
        partition=some_partition,
        limit=st.sampled_from((ABSENT, ABSENT, 1, 3)),
        reason=st.sampled_from(("", "", "rejected", "expired")),
        away=st.sampled_from((False, False, True)),
    )
    @precondition(lambda self: any(map(self.has_dead, GROUPS)))
    def move_dead(self, group: str, partition: int, limit: int, reason: str, *, away: bool) -> None:
        if self.has_dead(group):
            kind = PurgeDead if away else Redrive
            self.world.do(kind("t", group, limit, partition, (), reason))

    def has_dead(self, name: str) -> bool:
        group = self.model.groups.get(name)
        return group is not None and any(f.state == DEAD for f in group.fates.values())

    @rule(
        what=st.sampled_from(("nothing", "nothing", "purge", "delete group", "pause")),
        group=groups,
        partition=some_partition,
    )
    def operate(self, what: str, group: str, partition: int) -> None:
        match what:
            case "purge":
                self.world.do(Purge("t", partition))
            case "delete group":
                self.world.do(DeleteGroup("t", group))
            case "pause":
                self.set_paused(paused=True)
            case _:
                self.set_paused(paused=False)

    def set_paused(self, *, paused: bool) -> None:
        if paused != self.model.config.paused:
            self.model.config = msgspec.structs.replace(self.model.config, paused=paused)
            self.world.configure(paused=paused)

    # --- time and leaders -----------------------------------------------------------------

    @rule(by=milliseconds, heard=st.sampled_from(((), (1,), (1, 2), (1, 2))))
    def advance(self, by: int, heard: tuple[int, ...]) -> None:
        self.set_paused(paused=False)
        alive = [each for each in self.members.values() if each.session in heard]
        self.world.advance(by, heard=alive)

    @rule()
    def lag(self) -> None:
        """The log takes its time, or has caught up."""
        if self.world.lagging:
            self.world.catch_up()
        else:
            self.world.lagging = True

    @rule(recovers=st.booleans())
    def fail_over(self, *, recovers: bool) -> None:
        """A leader goes; with ``recovers`` every member comes to the next one."""
        self.world.fail_over()
        for member in self.joined() if recovers else ():
            self.do_attach(member, 4, sorted(member.held))

    # --- the promises ---------------------------------------------------------------------

    def started(self) -> bool:
        return hasattr(self, "model")

    @invariant()
    def q1_what_may_be_wanted_is_readable(self) -> None:
        if not self.started():
            return
        stored: dict[Place, bytes] = {}
        for partition in range(PARTITIONS):
            page = self.world.machine.query(Browse("t", partition, 0, 1_000), self.world.now)
            assert isinstance(page, Page)
            offsets = [
                offset
                for each in page.slices
                for offset in range(each.first, each.first + each.count)
            ]
            bodies = self.world.store.records(page.slices)
            stored.update({(partition, o): b for o, b in zip(offsets, bodies, strict=True)})
        wanted = {
            m.place: m.body
            for b in self.model.batches
            for m in b.messages
            if self.model.is_needed(b)
        }
        assert stored == wanted

    @invariant()
    def q3_every_message_is_in_one_state_for_each_group(self) -> None:
        if not self.started():
            return
        topic = self.world.machine.shard.topics["t"]
        assert topic.groups.keys() == self.model.groups.keys()
        for name, group in self.model.groups.items():
            for partition in range(PARTITIONS):
                found = self.world.unfinished(partition, name)
                assert found == sorted(o for p, o in group.open() if p == partition)
                dead = [offset for _, offset in group.dead(partition)]
                assert sorted(self.world.dead(partition, name)) == sorted(dead)
                failures = topic.groups[name].progress[partition].failures
                counts = {offset: each.count for offset, each in failures.items()}
                fates = {o: f for (p, o), f in group.fates.items() if p == partition}
                failed = {o: f.failures for o, f in fates.items() if f.state == OPEN and f.failures}
                assert counts == failed

    @invariant()
    def q6_the_log_has_each_message_once(self) -> None:
        if self.started():
            topic = self.world.machine.shard.topics["t"]
            ends = {number: each.next_offset for number, each in topic.partitions.items()}
            assert ends == self.model.next

    @invariant()
    def q9_dead_letters_are_whole(self) -> None:
        if not self.started():
            return
        for name, group in self.model.groups.items():
            for partition in range(PARTITIONS):
                question = BrowseDead("t", name, partition, 0, 1_000)
                page = self.world.machine.query(question, self.world.now)
                assert isinstance(page, Page)
                bodies = self.world.store.records(page.slices)
                assert bodies == [
                    self.model.messages[partition, letter.offset].body for letter in page.dead
                ]
                states = {group.fates[partition, letter.offset].state for letter in page.dead}
                assert states <= {DEAD}

    @invariant()
    def q10_memory_follows_what_is_stored(self) -> None:
        if not self.started():
            return
        shard = self.world.machine.shard
        topic = shard.topics["t"]
        mortal = sum(len(each.specials) for each in topic.partitions.values())
        assert len(shard.expiries) <= 2 * mortal + 1_024
        assert len(shard.ages) <= 2 * PARTITIONS + self.world.now // 100
        for partition in topic.partitions.values():
            living = [at for at in partition.index.rows if partition.index.is_alive(at)]
            assert len(partition.index) <= 2 * len(living) + 1_026
            assert len(partition.specials) <= partition.messages

    @invariant()
    def q11_the_cursor_does_not_pass_what_is_unfinished(self) -> None:
        if not self.started():
            return
        for name, group in self.model.groups.items():
            for partition in range(PARTITIONS):
                first = min((o for p, o in group.open() if p == partition), default=10**9)
                assert self.world.progress(partition, name).floor <= first

    @invariant()
    def nobody_waits_for_what_is_there(self) -> None:
        """Q8 from the other side, and the opposite of everything getting stuck."""
        if not self.started() or self.model.config.paused:
            return
        live = self.world.dispatcher._desk.live
        for name, group in self.model.groups.items():
            flow = self.world.flow(name)
            owners = flow.group.owners
            changing = {p for p, each in owners.items() if each.owner != each.target}
            for number, consumer in flow.consumers.items():
                if flow.is_open(consumer, live):
                    waiting = [place for place in group.open() if place[0] not in changing]
                    missed = [p for p in waiting if self.deserves(group, p, number)]
                    assert not missed, f"{number:x} of {name} could have {missed}"

    def deserves(self, group: NaiveGroup, place: Place, member: int) -> bool:
        blocked = group.rewound or self.model.is_blocked(group, place)
        return not blocked and self.model.may_have(group, place, member)

    @invariant()
    def the_leader_knows_who_holds_what(self) -> None:
        if not self.started():
            return
        live = self.world.dispatcher._desk.live
        for name, group in self.model.groups.items():
            held = {}
            for partition, lane in self.world.flow(name).lanes.items():
                for offset, lease in lane.inflight.items():
                    held[partition, offset] = lease.consumer.member.number
                    assert lease.ending == ((partition, offset) in group.ending)
                    assert lease.ending or lease.over_at + LOOK_EVERY_MS > live, (
                        "a lease did not end"
                    )
            assert held == group.holders
            pending = {
                place
                for each in self.world.backlog
                if isinstance(each, Expire) and each.group == name
                for _, place in spread(each.parts)
            }
            assert group.ending & held.keys() <= pending, "an end that nobody will decide"

    @invariant()
    def whoever_must_yield_will_be_made_to(self) -> None:
        topic = self.world.machine.shard.topics["t"] if self.started() else None
        group = topic.groups.get("x") if topic else None
        for partition, ownership in group.owners.items() if group else ():
            due = self.world.flow("x").yielding.get(partition)
            revoked = any(isinstance(each, Revoke) for each in self.world.backlog)
            assert ownership.owner == ownership.target or due is not None or revoked

    @invariant()
    def equal_states_give_equal_bytes(self) -> None:
        if not self.started():
            return
        machine = self.world.machine
        assert isinstance(machine, Watched)
        data = machine.snapshot()
        assert machine.twin.snapshot() == data
        machine.twin = QueueMachine(0, 1, LIMITS)
        machine.twin.restore(data)
        assert machine.twin.snapshot() == data
        machine.twin.check_invariants()


Queues.TestCase.settings = settings(max_examples=70, stateful_step_count=50, deadline=None)
TestQueues = Queues.TestCase
