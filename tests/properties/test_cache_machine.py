"""Whatever agents and clients do one after another, the caches answer as one dictionary does."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from properties.naive_caches import NaiveCaches
from support.cache_shard import CacheShard
from synaxis.caches.agent import Agent, AgentConfig
from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    Add,
    AgentId,
    AgentKind,
    Clear,
    Item,
    Lookup,
    Put,
    Remove,
)
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.caches.machine import CacheMachine
from synaxis.effects import Refused
from synaxis.ids import LogTime

O, S = AgentKind.OWNER, AgentKind.SHARER  # noqa: E741
PLAIN = ("c/a", "c/b", "c/d", "e/a")
NUMBERS = ("c/n", "e/n")
KEYS = st.sampled_from(PLAIN + NUMBERS)
TAGS = st.lists(st.sampled_from(["red", "blue"]), max_size=2, unique=True).map(tuple)
DURATIONS = st.sampled_from([0, 0, 1, 700, 3_000])
SMALL = AgentConfig(entries_max=3, bytes_max=2_500)


@st.composite
def items(draw: st.DrawFn, condition: int = ANY_VERSION) -> Item:
    key = draw(st.sampled_from(PLAIN))
    value = draw(st.binary(max_size=40))
    durations = draw(DURATIONS), draw(DURATIONS), draw(st.sampled_from([0, 0, 0, 2_000]))
    return Item(key, value, 0, *durations, draw(TAGS), condition)


class Caches(RuleBasedStateMachine):
    """Two agents that may own, one that shares, clients at the home; and whatever can happen."""

    @initialize()
    def start(self) -> None:
        limits = CacheLimits(records_max=6, bytes_max=400, tags_max=3)
        self.shard = CacheShard(limits, HomeLimits(lines_max=6, sharers_per_key_max=2))
        self.model = NaiveCaches(self.shard.now)
        self.evictions = 0
        self.numbers = iter(range(10, 10_000))
        self.agents: list[Agent] = []
        for kind in (O, O, S):
            self.agents.append(self.shard.agent(next(self.numbers), kind, SMALL))

    # --- plumbing -------------------------------------------------------------------------

    def do(self, who: int, command: Any, *, back: bool = False) -> Any:
        """Have an agent that may own do it, or a client at the home; forget what was evicted."""
        if who < 2:
            outcome = self.shard.do(self.agents[who], command, back=back)
        else:
            token = self.shard.propose(command)
            self.shard.run()
            outcome = self.shard.answers.get(token)
        assert outcome is not None, "not answered"
        return outcome

    def follow_evictions(self) -> None:
        """The home may let go of what it likes, and says how much."""
        machine = self.shard.machine
        dirty = {line.key for agent in self.agents for line in agent.busy.values() if line.dirty}
        gone = [
            key
            for key in list(self.model.records)
            if self.model.live(key) and key not in machine.records.by_key and key not in dirty
        ]
        assert len(gone) <= machine.evictions - self.evictions, gone
        self.evictions = machine.evictions
        for key in gone:
            del self.model.records[key]

    def condition(self, key: str, kind: str) -> int:
        known = self.model.version(key)
        if self.model.live(key) is not None and not known:
            return ANY_VERSION  # only its owner knows it
        return {"any": ANY_VERSION, "absent": ABSENT, "same": known, "other": known + 7}[kind]

    # --- operations -----------------------------------------------------------------------

    @rule(
        who=st.integers(0, 2),
        item=items(),
        kind=st.sampled_from(["any"] * 3 + ["absent", "same", "other"]),
    )
    def put(self, who: int, item: Item, kind: str) -> None:
        item = msgspec.structs.replace(item, if_version=self.condition(item.key, kind))
        self.apply_put(who, Put((item,)))

    @rule(several=st.lists(items(), min_size=2, max_size=3, unique_by=lambda item: item.key))
    def put_many(self, several: list[Item]) -> None:
        self.apply_put(2, Put(tuple(several)))

    def apply_put(self, who: int, command: Put) -> None:
        outcome = self.do(who, command)
        if not isinstance(outcome, Refused):  # full: nothing was done
            self.model.put(command, outcome)
        self.follow_evictions()

    @rule(
        who=st.integers(0, 1), key=st.sampled_from(PLAIN), value=st.binary(max_size=20), tags=TAGS
    )
    def put_back(self, who: int, key: str, value: bytes, tags: tuple[str, ...]) -> None:
        item = Item(key, value, tags=tags)
        outcome = self.do(who, Put((item,)), back=True)
        if not isinstance(outcome, Refused):
            self.model.store(item, 0)

    @rule(
        who=st.integers(0, 2), key=st.sampled_from(NUMBERS), delta=st.integers(-9, 9), ttl=DURATIONS
    )
    def add(self, who: int, key: str, delta: int, ttl: int) -> None:
        command = Add(key, delta, 5, ttl)
        outcome = self.do(who, command)
        if not isinstance(outcome, Refused):
            self.model.add(command, outcome)
        self.follow_evictions()

    @rule(who=st.integers(0, 2), key=KEYS, kind=st.sampled_from(["any", "any", "same", "other"]))
    def remove(self, who: int, key: str, kind: str) -> None:
        command = Remove((key,), self.condition(key, kind))
        self.model.remove(command, self.do(who, command))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=3, unique=True))
    def remove_many(self, keys: list[str]) -> None:
        command = Remove(tuple(keys))
        self.model.remove(command, self.do(2, command))

    @rule(who=st.integers(0, 2), key=KEYS)
    def read(self, who: int, key: str) -> None:
        self.model.read((key,), self.shard.do(self.agents[who], Lookup((key,))))

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4))
    def ask(self, keys: list[str]) -> None:
        self.model.read(tuple(keys), self.shard.ask(Lookup(tuple(keys))))

    @rule(cache=st.sampled_from(["c", "e"]), tag=st.sampled_from(["", "red", "blue"]))
    def clear(self, cache: str, tag: str) -> None:
        self.do(2, Clear(cache, tag))
        self.model.clear(cache, tag)

    # --- what else happens ----------------------------------------------------------------

    @rule(ms=st.sampled_from([1, 300, 1_000, 4_000]))
    def pass_time(self, ms: int) -> None:
        self.shard.pass_time(ms)
        self.model.now = self.shard.now
        self.follow_evictions()

    @rule(who=st.integers(0, 2), key=KEYS)
    def drop(self, who: int, key: str) -> None:
        self.agents[who].drop(key)
        self.shard.send(self.agents[who])
        self.shard.run()
        self.follow_evictions()

    @rule(who=st.integers(0, 2))
    def break_stream(self, who: int) -> None:
        self.shard.attach(self.agents[who])
        self.shard.run()
        self.follow_evictions()

    @rule()
    def fail_over(self) -> None:
        self.shard.fail_over()
        for agent in self.agents:
            self.shard.attach(agent)
        self.shard.run()
        if self.shard.home.is_recovering:
            self.pass_time(self.shard.limits.patience_ms + 2)  # for those that were stopped
        self.follow_evictions()

    @rule(who=st.integers(0, 2))
    def stop(self, who: int) -> None:
        """An agent goes without a word, but with nothing unflushed; another takes its place."""
        agent = self.agents[who]
        agent.flush_all()
        self.shard.send(agent)
        self.shard.run()
        del self.shard.agents[AgentId(agent.id)]
        self.agents[who] = self.shard.agent(next(self.numbers), S if who == 2 else O, SMALL)
        self.pass_time(self.shard.limits.patience_ms + 2)

    # --- invariants -----------------------------------------------------------------------

    @invariant()
    def agents_hold_what_is_newest(self) -> None:
        if not hasattr(self, "agents"):
            return
        for agent in self.agents:
            assert agent.lines.currsize <= SMALL.bytes_max
            assert len(agent.lines) <= SMALL.entries_max
            for key, line in agent.lines.items():
                record = self.model.live(key)
                if line.is_readable(self.shard.now):  # type: ignore[arg-type]
                    held = None if line.reading is None else line.reading.value
                    assert held == (None if record is None else record.item.value)

    @invariant()
    def a_snapshot_is_the_whole_state(self) -> None:
        if not hasattr(self, "shard"):
            return
        data = self.shard.machine.snapshot()
        twin = CacheMachine(self.shard.machine.limits)
        twin.restore(data)
        assert twin.snapshot() == data
        for machine in (self.shard.machine, twin):
            machine.advance(LogTime(self.shard.now))
            machine.check_invariants()
        assert twin.snapshot() == self.shard.machine.snapshot()


TestCaches = Caches.TestCase
TestCaches.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)
