"""Planted bugs of the lock machine and of the disk log."""

# The replacements touch what is private to the machines, which is their whole purpose.
# ruff: noqa: SLF001

from collections.abc import Iterator, Sequence

from synaxis.effects import Refused
from synaxis.ids import FencingToken, LogTime, SessionId
from synaxis.locks.converting import Converting
from synaxis.locks.deadlines import HOLD_END, Deadlines, Timed
from synaxis.locks.deadlock import Referee
from synaxis.locks.granting import Granting
from synaxis.locks.machine import LockMachine
from synaxis.locks.requests import Request
from synaxis.locks.table import Resource
from synaxis.locks.tokens import FencingTokens
from synaxis.locks.wait_graph import Step
from synaxis.simulation.planting import LOSS, Patch, planted
from synaxis.storage.scan import BatchEnd
from synaxis.storage.segment_writer import SegmentWriter
from synaxis.storage.segments import Segment, segment_name

Patches = Sequence[Patch]


@planted("lost-waiter", "a release does not wake who waits")
def _lost_waiter() -> Patches:
    def silent(self: Granting, request: Request, resources: list[Resource], _: LogTime) -> None:
        self._forget(request)
        for resource in resources:
            self.table.drop_if_idle(resource)

    return [(Granting, "_finish", silent)]


@planted(
    "second-queue-asleep",
    "a grant of several semaphores wakes nobody behind it in the other queues",
)
def _second_queue_asleep() -> Patches:
    wake_queue = Granting._wake_queue

    def one_queue(self: Granting, resource: Resource, now: LogTime) -> list[Resource]:
        wake_queue(self, resource, now)
        return []

    return [(Granting, "_wake_queue", one_queue)]


@planted(
    "tokens-not-in-snapshot", "the token counter starts again after a restore", "snapshot", "crash"
)
def _tokens_not_in_snapshot() -> Patches:
    return [(FencingTokens, "resume", lambda *_: None)]


@planted("tokens-reused", "an upgrade gives out the last token again")
def _tokens_reused() -> Patches:
    def sticky(self: FencingTokens) -> FencingToken:
        self.last += 1
        return FencingToken(self.last - (self.last & 7 == 5))

    return [(FencingTokens, "issue", sticky)]


@planted("grant-to-the-dead", "the waits of an ended session stay in the queue", "client_death")
def _grant_to_the_dead() -> Patches:
    def holds_only(self: LockMachine, session: SessionId, now: LogTime) -> None:
        tenant = self.table.tenants.get(session)
        for request in [] if tenant is None else tenant.distinct():
            if request.token:
                self.granting.lose(request, now, "session_expired")

    return [(LockMachine, "end_session", holds_only)]


@planted("locks-survive-sessions", "an ended session keeps what it holds", "client_death")
def _locks_survive_sessions() -> Patches:
    return [(LockMachine, "end_session", lambda *_: None)]


@planted("queue-edges-forgotten", "the wait-for graph has no edges to earlier waiters")
def _queue_edges_forgotten() -> Patches:
    blockers = Resource.blockers

    def holders_only(self: Resource, request: Request) -> Iterator[Request]:
        yield from (one for one in blockers(self, request) if one.token)

    return [(Resource, "blockers", holders_only)]


@planted("deadlock-not-searched", "waits are never judged")
def _deadlock_not_searched() -> Patches:
    return [(Referee, "judge", lambda *_: None)]


@planted("innocent-victim", "a wait is refused as deadlocked without a cycle")
def _innocent_victim() -> Patches:
    judge = Referee.judge

    def nervous(self: Referee, request: Request, now: LogTime) -> Refused | None:
        refused = judge(self, request, now)
        if refused is None and request.waiting and request.arrival % 7 == 0:
            resource = self._granting.table.resources_of(request)[0]
            cycle = [Step(request.owner, request, resource)]
            return self._break(cycle, request, request, now)
        return refused

    return [(Referee, "judge", nervous)]


@planted("readers-barge", "shared requests overtake an exclusive waiter")
def _readers_barge() -> Patches:
    return [(Resource, "_overtakes", lambda *_: False)]


@planted("upgrade-in-company", "an upgrade does not wait for the other readers")
def _upgrade_in_company() -> Patches:
    return [(Resource, "blocks_upgrade", lambda *_: False)]


@planted("max-hold-ignored", "a limited hold never ends")
def _max_hold_ignored() -> Patches:
    watch = Deadlines.watch

    def lenient(self: Deadlines, deadline: LogTime, rank: int, number: int, subject: Timed) -> None:
        if rank != HOLD_END:
            watch(self, deadline, rank, number, subject)

    return [(Deadlines, "watch", lenient)]


@planted("abandon-keeps-the-grant", "abandoning a granted acquire leaves it held")
def _abandon_keeps_the_grant() -> Patches:
    return [(Converting, "_undo_entry", lambda *_: True)]


@planted("early-abandon-forgotten", "an acquire that arrives after its abandon is executed", LOSS)
def _early_abandon_forgotten() -> Patches:
    return [(LockMachine, "_was_abandoned", lambda *_: False)]


@planted("torn-tail-kept", "a torn tail is not cut off before the log is continued", "crash")
def _torn_tail_kept() -> Patches:
    resume = SegmentWriter.resume

    def keeping(
        self: SegmentWriter, segments: list[Segment], end: BatchEnd, *, sealed: bool
    ) -> None:
        name = segment_name(segments[-1].number)
        whole = self._directory.read(name)
        resume(self, segments, end, sealed=sealed)
        if not sealed and len(whole) > end.length:
            self._directory.replace(name, whole)
            self._file = self._directory.append(name)

    return [(SegmentWriter, "resume", keeping)]


@planted("write-without-sync", "the log is written and not synced", "crash", "power_cut")
def _write_without_sync() -> Patches:
    def lazy(self: SegmentWriter, content: bytes) -> None:
        assert self._file is not None
        self._file.write(content)

    return [(SegmentWriter, "_write", lazy)]
