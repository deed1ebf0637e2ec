"""The lock service once more, without any index: a list of requests and one rule.

A request may have its names when nobody it is incompatible with holds one of them or stands
ahead of it. After every change the rule is tried on all who wait until nothing moves. Tokens are
not predicted. Victims of deadlocks are not predicted either: they are judged.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from synaxis.effects import Refused
from synaxis.locks.commands import Acquire, LockKind, LockMode

S, X = LockMode.SHARED, LockMode.EXCLUSIVE
Owner = tuple[int, int]


@dataclass(eq=False)
class NaiveRequest:
    """An acquire; ``upgrade`` is its waiting conversion, ``upgraded`` its finished one."""

    session: int
    sequence: int
    command: Acquire
    mode: LockMode
    place: int
    since: int
    deadline: int | None
    held: bool = False
    holds: int = 1
    entries: tuple[int, ...] = ()
    upgrade: "NaiveRequest | None" = None
    upgraded: int | None = None

    @property
    def owner(self) -> Owner:
        return self.session, self.command.task

    @property
    def waits(self) -> bool:
        return not self.held or self.upgrade is not None


class NaiveLocks:
    """Call the methods; ``outcomes`` collects late replies as (session, sequence) -> code."""

    permits = 2

    def __init__(self) -> None:
        self.now = 0
        self.place = 0
        self.requests: list[NaiveRequest] = []
        self.delays: dict[tuple[LockKind, str], tuple[int, int]] = {}
        self.abandoned: set[tuple[int, int]] = set()
        self.outcomes: dict[tuple[int, int], str] = {}

    # --- the rule -------------------------------------------------------------------------

    def obstacles(self, one: NaiveRequest, name: str) -> Iterator[NaiveRequest]:
        kind = one.command.kind
        rivals = [r for r in self.requests if r.command.kind == kind and name in r.command.names]
        others = [r for r in rivals if r is not one]
        if one.held:
            yield from (r for r in others if r.held)
        elif kind == LockKind.SEMAPHORE:
            used = sum(r.command.weight for r in others if r.held)
            yield from (r for r in others if r.held and used + one.command.weight > self.permits)
            yield from (r for r in others if not r.held and r.place < one.place)
        else:
            for r in others:
                strongest = X if r.upgrade else r.mode
                if (r.held or r.place < one.place) and X in (strongest, one.mode):
                    yield r

    def blocked(self, one: NaiveRequest) -> bool:
        keys = [(one.command.kind, name) for name in one.command.names]
        return any(key in self.delays or any(self.obstacles(one, key[1])) for key in keys)

    def settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for one in sorted((r for r in self.requests if r.waits), key=lambda r: not r.held):
                if not self.blocked(one):
                    self.succeed(one)
                    moved = True
                    break

    def succeed(self, one: NaiveRequest) -> None:
        if one.upgrade is not None:
            self.outcomes[one.session, one.upgrade.sequence] = "granted"
            one.mode, one.upgraded, one.upgrade = X, one.upgrade.sequence, None
        else:
            self.outcomes[one.session, one.sequence] = "granted"
            self.hold(one)

    def hold(self, one: NaiveRequest) -> None:
        one.held = True
        one.deadline = self.now + one.command.max_hold_ms if one.command.max_hold_ms else None

    # --- commands -------------------------------------------------------------------------

    def acquire(self, session: int, sequence: int, command: Acquire) -> str:
        """Return ``granted``, ``waits`` or the code of a refusal; deadlocks come later."""
        if (session, sequence) in self.abandoned:
            self.abandoned.remove((session, sequence))
            return "wait_abandoned"
        if command.reentrant:
            for r in self.requests:
                same = r.held and r.owner == (session, command.task)
                fits = r.command.kind == command.kind and {*command.names} <= {*r.command.names}
                if same and fits and (r.mode == X or command.mode == S):
                    r.entries = (*(r.entries or (r.sequence,)), sequence)
                    r.holds += 1
                    return "granted"
        self.place += 1
        one = NaiveRequest(
            session, sequence, command, command.mode, self.place, self.now, self._end(command)
        )
        self.requests.append(one)
        if not self.blocked(one):
            self.hold(one)
            return "granted"
        if command.wait_ms == 0:
            self.requests.remove(one)
            return "lock_timeout"
        return "waits"

    def convert(self, one: NaiveRequest, sequence: int, mode: LockMode, wait_ms: int) -> str:
        if one.command.kind != LockKind.LOCK or one.upgrade:
            return "invalid_argument"
        if mode == one.mode:
            return "granted"
        one.upgraded = None
        if mode == S:
            one.mode = S
            self.settle()
            return "granted"
        self.place += 1
        end = self.now + wait_ms if wait_ms > 0 else None
        one.upgrade = NaiveRequest(one.session, sequence, one.command, X, self.place, self.now, end)
        if not self.blocked(one):
            one.mode, one.upgraded, one.upgrade = X, sequence, None
            return "granted"
        if wait_ms == 0:
            one.upgrade = None
            return "lock_timeout"
        return "waits"

    def release(self, one: NaiveRequest) -> None:
        one.holds -= 1
        if not one.holds:
            self.end(one, "lock_not_held")

    def abandon(self, session: int, target: int) -> bool:
        for r in [r for r in self.requests if r.session == session]:
            if r.upgrade is not None and r.upgrade.sequence == target:
                self.stop_waiting(r, "wait_abandoned")
                return True
            if r.upgraded == target:
                r.mode, r.upgraded = S, None
                self.settle()
                return True
            if not r.held and r.sequence == target:
                self.stop_waiting(r, "wait_abandoned")
                return True
            if r.held and target in (r.entries or (r.sequence,)):
                r.entries = tuple(e for e in r.entries if e != target)
                self.release(r)
                return True
            if r.held and target == r.sequence:
                return False
        self.abandoned.add((session, target))
        return False

    def end(self, one: NaiveRequest, upgrade_code: str, *, forced: bool = False) -> None:
        self.drop(one, upgrade_code, forced=forced)
        self.settle()

    def drop(self, one: NaiveRequest, upgrade_code: str, *, forced: bool = False) -> None:
        self.requests.remove(one)
        if one.upgrade is not None:
            self.outcomes[one.session, one.upgrade.sequence] = upgrade_code
        if forced and one.command.lock_delay_ms:
            for name in one.command.names:
                key = (one.command.kind, name)
                until = self.now + one.command.lock_delay_ms
                if until > self.delays.get(key, (0, 0))[0]:
                    self.place += 1
                    self.delays[key] = (until, self.place)

    def stop_waiting(self, one: NaiveRequest, code: str) -> None:
        if one.upgrade is not None:
            self.outcomes[one.session, one.upgrade.sequence] = code
            one.upgrade = None
        else:
            self.outcomes[one.session, one.sequence] = code
            self.requests.remove(one)
        self.settle()

    def end_session(self, session: int) -> None:
        self.abandoned = {key for key in self.abandoned if key[0] != session}
        mine = [r for r in self.requests if r.session == session]
        for r in sorted(mine, key=lambda r: r.sequence):
            r.upgrade = None
            self.drop(r, "", forced=r.held)
        self.settle()

    def advance(self, now: int) -> None:
        self.now = now
        while due := sorted(self._due(), key=lambda entry: entry[:3]):
            due[0][3]()

    def _due(self) -> Iterator[tuple[int, int, int, Callable[[], None]]]:
        """Yield (time, rank, place, what happens) for all that is due."""
        for r in self.requests:
            if r.deadline is not None and r.deadline <= self.now:
                lose = partial(self.end, r, "lock_lost", forced=True)
                give_up = partial(self.stop_waiting, r, "lock_timeout")
                yield (
                    (r.deadline, 0, r.place, lose) if r.held else (r.deadline, 2, r.place, give_up)
                )
            wait = r.upgrade
            if wait is not None and wait.deadline is not None and wait.deadline <= self.now:
                give_up = partial(self.stop_waiting, r, "lock_timeout")
                yield wait.deadline, 2, wait.place, give_up
        for key, (until, place) in self.delays.items():
            if until <= self.now:
                yield until, 1, place, partial(self._end_delay, key)

    def _end_delay(self, key: tuple[LockKind, str]) -> None:
        del self.delays[key]
        self.settle()

    def _end(self, command: Acquire) -> int | None:
        return self.now + command.wait_ms if command.wait_ms > 0 else None

    # --- deadlocks ------------------------------------------------------------------------

    def stuck(self) -> set[Owner]:
        """Return the owners who would wait for ever if everybody else let go of everything."""
        stuck = {r.owner for r in self.requests if r.waits}
        while True:
            free = {o for o in stuck if not any(self._hopeless(r, stuck) for r in self.waits_of(o))}
            if not free:
                return stuck
            stuck -= free

    def waits_of(self, owner: Owner) -> list[NaiveRequest]:
        return [r for r in self.requests if r.waits and r.owner == owner]

    def _hopeless(self, one: NaiveRequest, stuck: set[Owner]) -> bool:
        for name in one.command.names:
            obstacles = [r for r in self.obstacles(one, name) if r.owner in stuck]
            queued = any(not r.held for r in obstacles)
            if obstacles and (one.command.kind != LockKind.SEMAPHORE or queued):
                return True
            kept = sum(r.command.weight for r in obstacles)
            if kept and kept + one.command.weight > self.permits:
                return True
        return False

    def judge_victim(self, session: int, sequence: int, refused: Refused) -> None:
        """Check the cycle that a deadlock refusal names, and let the victim's wait fail."""
        cycle = [(int(m["session"], 16), m["task"]) for m in refused.details["cycle"]]
        names = [m["waits_for"] for m in refused.details["cycle"]]
        assert set(cycle) <= self.stuck(), "somebody in the cycle could still go on"
        for here, there, name in zip(cycle, cycle[1:] + cycle[:1], names, strict=True):
            blockers = [b.owner for r in self.waits_of(here) for b in self._on(r, name)]
            assert there in blockers, f"{here} does not wait for {there} because of {name}"
        victim = next(
            r
            for r in self.requests
            if r.session == session
            and sequence == (r.upgrade.sequence if r.upgrade else r.sequence)
        )
        assert victim.owner in cycle
        self.stop_waiting(victim, "deadlock")

    def _on(self, one: NaiveRequest, name: str) -> list[NaiveRequest]:
        return list(self.obstacles(one, name)) if name in one.command.names else []
