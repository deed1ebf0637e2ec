"""Rules of the cache, each taken out of the real classes alone, and bounds in which that shows.

``MUTATIONS`` maps a name to (who takes the rule out, bounds, how the violation begins).
"""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from support.cache_search import Bounds, O, S
from synaxis.caches.agent import Agent
from synaxis.caches.bus import Flushed, LineState, ProbeAck
from synaxis.caches.commands import ABSENT, AgentId, Put, Version
from synaxis.caches.desk import Desk
from synaxis.caches.directory import Directory
from synaxis.caches.gate import CacheGate
from synaxis.caches.home import CacheHome
from synaxis.caches.line import Line
from synaxis.caches.machine import CacheMachine
from synaxis.caches.mesi import Action, Event
from synaxis.caches.recovery import Recovery

__all__ = ["MUTATIONS"]

Patch = pytest.MonkeyPatch


def around(patch: Patch, kind: type, name: str, new: Callable[..., Any]) -> None:
    """Have ``new(original, self, ...)`` called in the place of a method."""
    original = getattr(kind, name)
    patch.setattr(kind, name, lambda self, *args, **named: new(original, self, *args, **named))


def no_floor(event: Event) -> Callable[[Patch], None]:
    def give_way(original: Any, line: Line, what: Event, seq: int, out: Any) -> None:
        floor = line.floor
        original(line, what, seq, out)
        if what is event:
            line.floor = floor

    return lambda patch: around(patch, Line, "_give_way", give_way)


def grants_without_request(patch: Patch) -> None:
    def granted(original: Any, agent: Agent, grant: Any, now: Any) -> None:
        line = agent.busy.get(grant.key)
        if line is not None and line.request:
            grant = msgspec.structs.replace(grant, request=line.request)
        original(agent, grant, now)

    around(patch, Agent, "_granted", granted)


def acks_without_seq(patch: Patch) -> None:
    def acknowledged(original: Any, home: CacheHome, holder: Any, ack: ProbeAck) -> None:
        line = home.directory.lines.get(ack.key)
        seq = ack.seq if line is None else line.acks.get(holder.id, ack.seq)
        original(home, holder, msgspec.structs.replace(ack, seq=seq))

    around(patch, CacheHome, "_acknowledged", acknowledged)


def flush_without_grant(patch: Patch) -> None:
    patch.setattr(Directory, "accepts", lambda *_: True)


def flush_of_owner_without_grant(patch: Patch) -> None:
    def accepts(directory: Directory, agent: AgentId, flush: Any) -> bool:
        line = directory.lines.get(flush.key)
        return line is not None and line.owner == agent

    patch.setattr(Directory, "accepts", accepts)


def answered_before_replicated(patch: Patch) -> None:
    def write(original: Any, desk: Desk, holder: Any, key: str, dirty: Any, floor: int) -> None:
        original(desk, holder, key, dirty, floor)
        desk.directory.write_done(key)
        desk.tell(holder, Flushed(key, dirty.write_id, Version(desk.machine._version + 1)))

    around(patch, Desk, "write", write)
    patch.setattr(Directory, "write_done", lambda *_: None)
    patch.setattr(Directory, "write_begun", lambda *_: None)


def write_ids_forgotten(patch: Patch) -> None:
    original = CacheMachine._write_back

    def _write_back(machine: CacheMachine, command: Any, now: Any) -> Any:
        machine.agents[command.agent].answers.clear()
        machine.agents[command.agent].floor = 0
        return original(machine, command, now)

    patch.setattr(CacheMachine, "_write_back", _write_back)


def floor_forgotten(patch: Patch) -> None:
    original = CacheMachine._write_back

    def _write_back(machine: CacheMachine, command: Any, now: Any) -> Any:
        machine.agents[command.agent].floor = 0
        return original(machine, command, now)

    patch.setattr(CacheMachine, "_write_back", _write_back)


def owner_demoted_at_home_only(patch: Patch) -> None:
    def grant_read(original: Any, directory: Directory, line: Any, transaction: Any) -> None:
        if line.owner == transaction.agent:
            directory._disown(line)
            directory._share(line, transaction.agent)
            directory._grant(transaction, line.key, directory.next_seq(), LineState.S)
            return
        original(directory, line, transaction)

    around(patch, Directory, "_grant_read", grant_read)


def grant_anew(patch: Patch) -> None:
    def own(original: Any, directory: Directory, line: Any, transaction: Any) -> None:
        if line.owner == transaction.agent:
            line.owner_grant = directory.next_seq()
        original(directory, line, transaction)

    around(patch, Directory, "_own", own)


def upgrade_without_data(patch: Patch) -> None:
    def drop(line: Line, out: Any) -> None:
        if line.state is not LineState.I:
            line.state = LineState.I
            out.changed.append(line)

    def granted(original: Any, line: Line, grant: Any, out: Any, now: Any) -> None:
        if line.wish is Action.BUS_UPGR and line.reading is not None:
            grant = msgspec.structs.replace(grant, reading=line.reading)
        original(line, grant, out, now)

    patch.setattr(Line, "_drop", drop)
    around(patch, Line, "granted", granted)


def nothing(patch: Patch) -> None:
    """The bounds take the rule out."""


def no_recovery(patch: Patch) -> None:
    patch.setattr(Recovery, "begin", lambda *_, **__: None)


def old_streams_believed(patch: Patch) -> None:
    def receive(original: Any, agent: Agent, _: int, message: Any, now: Any) -> None:
        original(agent, agent.stream, message, now)

    around(patch, Agent, "receive", receive)


def old_streams_heard(patch: Patch) -> None:
    def demand(original: Any, home: CacheHome, session: Any, message: Any, handle: Any) -> None:
        holder = home._desk.holders.by_id.get(handle[0])
        if holder is not None and type(message).__name__ != "Attach":
            handle = holder.handle
        original(home, session, message, handle)

    around(patch, CacheHome, "demand", demand)


def dead_awaited(patch: Patch) -> None:
    patch.setattr(Recovery, "is_late", lambda *_: False)


def owned_during_recovery(patch: Patch) -> None:
    patch.setattr(Desk, "_may_own", lambda *_: True)


def evicted_unflushed(patch: Patch) -> None:
    def evicted(original: Any, agent: Agent, line: Line) -> None:
        if line.dirty is not None:
            line.dirty, line.state = None, LineState.E
            agent._out.unsettled.clear()
            agent.busy.pop(line.key, None)
        original(agent, line)

    around(patch, Agent, "_evicted", evicted)


def not_held(patch: Patch) -> None:
    def probed(original: Any, line: Line, event: Any, seq: int, out: Any) -> None:
        original(line, event, seq, out)
        line.held.clear()

    around(patch, Line, "probed", probed)


def second_answer_clean(patch: Patch) -> None:
    def probed(original: Any, line: Line, event: Any, seq: int, out: Any) -> None:
        again = any(at == seq for at, _ in line.held.values())
        original(line, event, seq, out)
        if again:
            out.messages[-1] = ProbeAck(line.key, seq)

    around(patch, Line, "probed", probed)


def dropped_at_view_change(patch: Patch) -> None:
    def lost(original: Any, line: Line, out: Any) -> None:
        line.dirty = None
        line.held.clear()
        original(line, out)

    around(patch, Line, "lost", lost)


def not_taken_over(patch: Patch) -> None:
    patch.setattr(CacheHome, "_take_over", lambda *_: None)


def many_flushes(patch: Patch) -> None:
    def flush(original: Any, line: Line, out: Any) -> None:
        if line.dirty is not None and line.sent != line.dirty.write_id:
            line.sent = 0
        original(line, out)

    around(patch, Line, "flush", flush)


def old_probes_obeyed(patch: Patch) -> None:
    def probed(original: Any, line: Line, event: Any, seq: int, out: Any) -> None:
        line.grant, grant = 0, line.grant
        original(line, event, seq, out)
        line.grant = grant

    around(patch, Line, "probed", probed)


def flush_done_again(patch: Patch) -> None:
    def flushed(original: Any, line: Line, news: Flushed, out: Any) -> None:
        write = line.writing
        original(line, news, out)
        if write is not None and news.version == ABSENT:
            line.operations[0]._command = Put((write.item,))

    around(patch, Line, "flushed", flushed)


def writes_on_their_way_unseen(patch: Patch) -> None:
    def must_ask(gate: CacheGate, key: str, _: Any) -> bool:
        line = gate._desk.directory.lines.get(key)
        return line is not None and line.owner is not None

    patch.setattr(CacheGate, "_must_ask", must_ask)


def late_reads_served(patch: Patch) -> None:
    def serve_once(original: Any, line: Line, *arguments: Any) -> None:
        for operation in line.operations:
            operation.asked = True
        original(line, *arguments)

    around(patch, Line, "_serve_once", serve_once)


Mutation = tuple[Callable[[Patch], None], Bounds, str]
MUTATIONS: dict[str, Mutation] = {
    "Inv raises no floor": (no_floor(Event.INV), Bounds(operations=2, overtakes=1), "two owners"),
    "Down raises no floor": (
        no_floor(Event.DOWN),
        Bounds(operations=2, overtakes=1),
        "an owner and another reader",
    ),
    "grants are for any request": (
        grants_without_request,
        Bounds(operations=2, overtakes=1, duplicates=1),
        "two owners",
    ),
    "acks are for any probe": (
        acks_without_seq,
        Bounds(operations=2, overtakes=2, duplicates=1),
        "an owner and another reader",
    ),
    "flushes need no grant": (
        flush_without_grant,
        Bounds(operations=2, overtakes=1),
        "is readable, older than",
    ),
    "flushes need no present grant": (
        flush_of_owner_without_grant,
        Bounds(kinds=(O,), operations=3, client_writes=1, overtakes=3, back=True),
        "is stored after a newer one",
    ),
    "writes are answered before they are replicated": (
        answered_before_replicated,
        Bounds(operations=1, slow_log=True),
        "is acknowledged and not in the store",
    ),
    "write ids are forgotten": (
        write_ids_forgotten,
        Bounds(operations=1, duplicates=1),
        "was applied twice",
    ),
    "settled write ids are forgotten": (
        floor_forgotten,
        Bounds(operations=2, duplicates=1, overtakes=1),
        "was applied twice",
    ),
    "an owner that asks again is demoted at home": (
        owner_demoted_at_home_only,
        Bounds(operations=1, duplicates=1),
        "an owner and another reader",
    ),
    "an owner that asks again gets a new number": (
        grant_anew,
        Bounds(operations=1, duplicates=1, back=True),
        "is lost",
    ),
    "upgrades carry no data": (
        upgrade_without_data,
        Bounds(operations=3, adds=True),
        "an addition is lost",
    ),
    "suspects are let go": (nothing, Bounds(operations=1, suspects=True), "two owners"),
    "a new home does not wait": (no_recovery, Bounds(operations=1, fail_overs=1), "two owners"),
    "old streams are believed": (
        old_streams_believed,
        Bounds(operations=1, lapses=1, forgets=False),
        "two owners",
    ),
    "old streams are heard": (
        old_streams_heard,
        Bounds(operations=1, fail_overs=1, forgets=False),
        "was applied twice",
    ),
    "a new home waits for the dead": (
        dead_awaited,
        Bounds(operations=1, fail_overs=1, crashes=1),
        "stuck",
    ),
    "lines are owned during the recovery": (
        owned_during_recovery,
        Bounds(kinds=(O, S), operations=1, reads=1, client_writes=1, fail_overs=1),
        "an owner and another reader",
    ),
    "back: evicted unflushed": (
        evicted_unflushed,
        Bounds(operations=1, back=True, evictions=1),
        "is lost",
    ),
    "back: not held until confirmed": (
        not_held,
        Bounds(operations=1, back=True, lapses=1, prompt=True),
        "is lost",
    ),
    "back: stale writes are taken": (
        flush_without_grant,
        Bounds(operations=2, back=True, overtakes=1),
        "is stored after a newer one",
    ),
    "back: the second answer is clean": (
        second_answer_clean,
        Bounds(operations=1, back=True, duplicates=1, overtakes=1),
        "older than what it could know",
    ),
    "back: dropped at a view change": (
        dropped_at_view_change,
        Bounds(operations=1, back=True, fail_overs=1, prompt=True),
        "is lost",
    ),
    "back: the home lets an owner go that attaches anew": (
        not_taken_over,
        Bounds(operations=1, back=True, lapses=1, prompt=True),
        "older than what it could know",
    ),
    "back: many flushes at a time": (
        many_flushes,
        Bounds(operations=2, back=True, overtakes=1),
        "is stored after a newer one",
    ),
    "back: old probes are obeyed": (
        old_probes_obeyed,
        Bounds(operations=1, back=True, duplicates=1, overtakes=1),
        "stuck",
    ),
    "a grant for once serves who came later": (
        late_reads_served,
        Bounds(kinds=(O, S), reads=2, at_once=2, client_writes=1, overtakes=2),
        "older than what it could know",
    ),
    "a refused write is sent as it was": (
        flush_done_again,
        Bounds(operations=1, adds=True, overtakes=1),
        "an addition is lost",
    ),
    "back: writes on their way are not asked for": (
        writes_on_their_way_unseen,
        Bounds(kinds=(O, O), operations=1, back=True, client_reads=1, slow_log=True),
        "older than what it could know",
    ),
}
