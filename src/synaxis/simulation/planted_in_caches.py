"""Planted bugs of the cache shards: of agents, homes, the gate between them and the log."""

# The replacements touch what is private to the machines, which is their whole purpose.
# ruff: noqa: SLF001

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import msgspec

from synaxis.caches.agent import Agent
from synaxis.caches.barrier import Barriers, Origin
from synaxis.caches.bus import Down, Flush, Flushed, Grant, Inv, LineState, ProbeAck, Renewed
from synaxis.caches.commands import ABSENT, AgentId, AgentKind, Clear, Put, Version
from synaxis.caches.desk import Desk
from synaxis.caches.directory import Directory, HomeLine
from synaxis.caches.gate import CacheGate
from synaxis.caches.holders import Holder, Holders
from synaxis.caches.home import CacheHome
from synaxis.caches.limits import HomeLimits
from synaxis.caches.line import Line, Outbox
from synaxis.caches.mesi import Event
from synaxis.caches.recovery import Recovery
from synaxis.caches.reservations import Reservations
from synaxis.ids import Instant, LogTime
from synaxis.simulation.planting import LOSS, Patch, planted
from synaxis.simulation.seeds import CACHES

Patches = Sequence[Patch]
in_caches = partial(planted, world=CACHES)


# --- leases ---------------------------------------------------------------------------------


@in_caches("silent-let-go-early", "a home gives lines away before the lease ended", "partition")
def _silent_let_go_early() -> Patches:
    def impatient(self: Holders, now: LogTime) -> list[Holder]:
        return [
            each for each in self.by_id.values() if now - each.heard > self._limits.lease_ms // 2
        ]

    return [(Holders, "silent", impatient)]


@in_caches(
    "no-margin", "a home does not reckon with clocks of different speed", "drift", "partition"
)
def _no_margin() -> Patches:
    return [(HomeLimits, "patience_ms", property(lambda self: self.lease_ms * 9 // 10))]


@in_caches("new-home-does-not-wait", "a new home serves at once", "transfer", "crash")
def _new_home_does_not_wait() -> Patches:
    begin = Recovery.begin

    def nobody(
        self: Recovery,
        agents: Iterable[tuple[AgentId, AgentKind]],
        ends_at: LogTime,
        *,
        strangers: bool = False,
    ) -> None:
        del agents, strangers
        begin(self, (), ends_at)

    return [(Recovery, "begin", nobody)]


@in_caches("recovery-waits-for-one", "one agent that is back ends the waiting", "transfer", "crash")
def _recovery_waits_for_one() -> Patches:
    def first(self: Recovery, agent: AgentId) -> bool:
        known = self._agents.pop(agent, None) is not None
        if known:
            self._agents.clear()
        return known

    return [(Recovery, "attached", first)]


@in_caches(
    "lease-from-arrival",
    "a lease runs from when its answer came",
    "client_pause",
    "pause",
    "partition",
    LOSS,
)
def _lease_from_arrival() -> Patches:
    def later(self: Agent, nonce: int) -> None:
        if self._sent_at.pop(nonce, None) is not None:
            self.lease_until = Instant(self._now + self._lease_ms)

    return [(Agent, "_renewed", later)]


@in_caches(
    "grant-without-lease",
    "a grant counts though the lease is over",
    "client_pause",
    "pause",
    LOSS,
)
def _grant_without_lease() -> Patches:
    def trusting(self: Agent, grant: Grant, now: Instant) -> None:
        line = self.busy.get(grant.key)
        if line is not None and line.request == grant.request:
            self.lease_until = max(self.lease_until, Instant(now + self._lease_ms // 2))
            line.granted(grant, self._out, now)
            self._note_changes()
            self._settle(line)

    return [(Agent, "_granted", trusting)]


@in_caches(
    "renewed-unproved", "a lease is prolonged by who may lead no longer", "partition", "pause"
)
def _renewed_unproved() -> Patches:
    take = CacheHome.take_replies

    def at_once(self: CacheHome) -> list[tuple[object, msgspec.Struct]]:
        wanted, self._unconfirmed = self._unconfirmed, []
        for holder, renew in wanted:
            self._desk.tell(holder, Renewed(renew.nonce))
        return take(self)

    return [(CacheHome, "take_replies", at_once)]


@in_caches("lines-outlive-the-stream", "lines are kept from one stream to the next", "crash", LOSS)
def _lines_outlive_the_stream() -> Patches:
    def kept(self: Line, out: Outbox) -> None:
        del out
        self.request = self.floor = self.grant = 0

    return [(Line, "lost", kept)]


# --- probes ---------------------------------------------------------------------------------


@in_caches("probes-not-awaited", "a write goes into the log before all have dropped the line")
def _probes_not_awaited() -> Patches:
    def hasty(self: Directory, _: HomeLine, agent: AgentId, probe: Inv | Down) -> None:
        self.orders.messages.append((agent, probe))

    return [(Directory, "_send", hasty)]


@in_caches("clear-not-awaited", "a cache is cleared before all have dropped its lines")
def _clear_not_awaited() -> Patches:
    begin = Barriers.begin

    def hasty(
        self: Barriers,
        cache: str,
        origin: Origin,
        seq: int,
        waiting: set[AgentId],
        release: Callable[[], None],
    ) -> None:
        del waiting
        begin(self, cache, origin, seq, set(), release)

    return [(Barriers, "begin", hasty)]


@in_caches("inv-keeps-the-line", "an owner that is to drop its line keeps a copy")
def _inv_keeps_the_line() -> Patches:
    probed = Line.probed

    def reluctant(self: Line, event: Event, seq: int, out: Outbox) -> None:
        was_owner = self.state is LineState.E
        probed(self, Event.DOWN if was_owner else event, seq, out)

    return [(Line, "probed", reluctant)]


@in_caches("dirty-not-given", "an owner that gives way keeps what only it knows")
def _dirty_not_given() -> Patches:
    probed = Line.probed

    def mean(self: Line, event: Event, seq: int, out: Outbox) -> None:
        probed(self, event, seq, out)
        answer = out.messages[-1]
        if isinstance(answer, ProbeAck) and answer.dirty is not None:
            out.messages[-1] = ProbeAck(answer.key, answer.seq)
            self.held.pop(answer.dirty.write_id)

    return [(Line, "probed", mean)]


@in_caches("probe-overtakes-grant", "a probe that follows a grant is sent before it")
def _probe_overtakes_grant() -> Patches:
    carry_out = Desk.carry_out

    def probes_first(self: Desk) -> None:
        self.directory.orders.messages.sort(key=lambda each: isinstance(each[1], Grant))
        carry_out(self)

    return [(Desk, "carry_out", probes_first)]


# --- writes ---------------------------------------------------------------------------------


@in_caches(
    "former-owner-writes",
    "a home takes the write of who owned the line before",
    "transfer",
    "partition",
)
def _former_owner_writes() -> Patches:
    def anybody(self: Directory, agent: AgentId, flush: Flush) -> bool:
        return bool(agent) and flush.grant <= self.seq

    return [(Directory, "accepts", anybody)]


@in_caches(
    "fate-forgotten", "an owner that asks is told that its write is not done", "partition", LOSS
)
def _fate_forgotten() -> Patches:
    return [(Desk, "version_of", lambda *_: Version(ABSENT))]


@in_caches("owner-not-asked", "a question is answered though an owner may know more")
def _owner_not_asked() -> Patches:
    return [(CacheGate, "holds_query", lambda *_: False)]


@in_caches(
    "loss-not-counted", "an owner does not count what others wrote over", "pause", "partition"
)
def _loss_not_counted() -> Patches:
    flushed = Agent._flushed

    def silent(self: Agent, news: Flushed, now: Instant) -> None:
        lost = self.tally.dirty_lost
        flushed(self, news, now)
        self.tally.dirty_lost = lost

    return [(Agent, "_flushed", silent)]


@in_caches("late-read-served-old", "what may not be kept is served to reads that came later", LOSS)
def _late_read_served_old() -> Patches:
    serve = Line._serve_once

    def generous(self: Line, grant: Grant, out: Outbox) -> None:
        for operation in self.operations:
            operation.asked = True
        serve(self, grant, out)

    return [(Line, "_serve_once", generous)]


# --- reservations ----------------------------------------------------------------------------


@in_caches("token-survives-write", "who computes a value may store it over a newer one")
def _token_survives_write() -> Patches:
    def unmoved(self: Reservations, key: str) -> None:
        del self, key

    return [(Reservations, "touched", unmoved), (Reservations, "written", unmoved)]


@in_caches("token-checked-once", "a token that is void by now is not looked at again")
def _token_checked_once() -> Patches:
    def unchecked(self: CacheGate, origin: Origin, command: Put | Clear, token: object) -> None:
        del origin, command
        self._held.release(token)

    return [(CacheGate, "_release", unchecked)]
