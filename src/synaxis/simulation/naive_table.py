"""Who holds what and who waits, for the lock model: data and the questions about it.

Deliberately naive: lists and loops, nothing cached, so that it can be read at a glance.
"""

from dataclasses import dataclass, field

from synaxis.ids import FencingToken, LogTime, Sequence, SessionId
from synaxis.locks.commands import Acquire, Convert, LockKind, LockMode

__all__ = ["Grant", "Key", "NaiveTable", "Party", "Resource", "Wait"]

_NEVER = LogTime(0)
_NO_SEQUENCE = Sequence(0)
_NO_TOKEN = FencingToken(0)
Key = tuple[LockKind, str]
Request = tuple[SessionId, Sequence]
Party = tuple[SessionId, int]
"""A session, or one of its tasks."""


@dataclass(slots=True, eq=False)
class Grant:
    """Something held."""

    token: FencingToken
    session: SessionId
    keys: tuple[Key, ...]
    mode: LockMode
    weight: int
    task: int
    entries: list[Sequence]
    """The acquires that made it and re-entered it."""
    deadline: LogTime | None
    lock_delay_ms: int
    holds: int = 1
    upgraded_by: Sequence = _NO_SEQUENCE
    token_before: FencingToken = _NO_TOKEN

    @property
    def party(self) -> Party:
        """Who holds."""
        return self.session, self.task


@dataclass(slots=True, eq=False)
class Wait:
    """Something waited for; ``converts`` is the grant that an upgrade wants to change."""

    session: SessionId
    sequence: Sequence
    keys: tuple[Key, ...]
    mode: LockMode
    weight: int
    task: int
    deadline: LogTime | None
    command: Acquire | Convert
    converts: Grant | None = None

    @property
    def party(self) -> Party:
        """Who waits: a node of the wait-for graph."""
        return self.session, self.task


@dataclass(slots=True)
class Resource:
    """One name."""

    holders: dict[FencingToken, Grant] = field(default_factory=dict)
    queue: list[Wait] = field(default_factory=list)
    permits: int = 1
    pinned: bool = False
    delayed_until: LogTime = _NEVER


class NaiveTable:
    """The table; it does what it is told, ``LockModel`` judges."""

    def __init__(self) -> None:
        self.now = LogTime(0)
        self.grants: dict[FencingToken, Grant] = {}
        self.waits: dict[Request, Wait] = {}
        self.resources: dict[Key, Resource] = {}
        self.touched: dict[Key, None] = {}
        """What changed since somebody looked."""

    # --- changing --------------------------------------------------------------------------

    def add(self, grant: Grant) -> None:
        """Enter a grant."""
        self.grants[grant.token] = grant
        for key in grant.keys:
            self.resource(key).holders[grant.token] = grant

    def remove(self, grant: Grant) -> None:
        """End a grant."""
        del self.grants[grant.token]
        for key in grant.keys:
            del self.resource(key).holders[grant.token]
            self.touched[key] = None

    def change(self, grant: Grant, token: FencingToken, mode: LockMode) -> None:
        """Give a grant another token and mode."""
        for key in grant.keys:
            holders = self.resource(key).holders
            del holders[grant.token]
            holders[token] = grant
            self.touched[key] = None
        del self.grants[grant.token]
        self.grants[token] = grant
        grant.token, grant.mode = token, mode
        grant.upgraded_by = _NO_SEQUENCE

    def enqueue(self, wait: Wait) -> None:
        """Put a request into the queues of all its names; upgrades go ahead of the rest."""
        self.waits[wait.session, wait.sequence] = wait
        for key in wait.keys:
            queue = self.resource(key).queue
            place = len(queue)
            if wait.converts is not None:
                place = sum(other.converts is not None for other in queue)
            queue.insert(place, wait)
            self.touched[key] = None

    def stop_waiting(self, wait: Wait) -> None:
        """Take a request out of its queues."""
        self.waits.pop((wait.session, wait.sequence), None)
        for key in wait.keys:
            self.resource(key).queue.remove(wait)
            self.touched[key] = None

    def resource(self, key: Key) -> Resource:
        """Return what is known of a name."""
        found = self.resources.get(key)
        if found is None:
            found = self.resources[key] = Resource()
        return found

    # --- asking ----------------------------------------------------------------------------

    def reentered(self, wait: Wait) -> Grant | None:
        """Return the grant that ``wait`` may enter again."""
        if not isinstance(wait.command, Acquire) or not wait.command.reentrant:
            return None
        for grant in self.resource(wait.keys[0]).holders.values():
            strong = grant.mode == LockMode.EXCLUSIVE or wait.mode == LockMode.SHARED
            if strong and grant.party == wait.party and set(wait.keys) <= set(grant.keys):
                return grant
        return None

    def could_have(self, wait: Wait) -> bool:
        """Return whether the rules let ``wait`` have all it wants now."""
        for key in wait.keys:
            resource = self.resource(key)
            if resource.delayed_until > self.now:
                return False
            if self.blockers(wait, key):
                return False
        return True

    def blockers(self, wait: Wait, key: Key) -> list[Party]:
        """Return who keeps ``wait`` from having ``key``: holders and earlier waiters."""
        resource = self.resource(key)
        others = [g for g in resource.holders.values() if g is not wait.converts]
        ahead = self._ahead(resource, wait)
        if key[0] == LockKind.SEMAPHORE:
            used = sum(grant.weight for grant in others)
            full = used + wait.weight > resource.permits
            return [g.party for g in others if full] + [w.party for w in ahead]
        exclusive = wait.mode == LockMode.EXCLUSIVE
        return [g.party for g in others if exclusive or g.mode == LockMode.EXCLUSIVE] + [
            w.party for w in ahead if exclusive or w.mode == LockMode.EXCLUSIVE
        ]

    def _ahead(self, resource: Resource, wait: Wait) -> list[Wait]:
        if wait in resource.queue:
            return resource.queue[: resource.queue.index(wait)]
        if wait.converts is not None:
            return [other for other in resource.queue if other.converts is not None]
        return resource.queue

    def waits_for(self, party: Party) -> set[Party]:
        """Return whom ``party`` waits for, by whatever it waits for."""
        return {
            blocker
            for wait in self.waits.values()
            if wait.party == party
            for key in wait.keys
            for blocker in self.blockers(wait, key)
        }

    def in_cycle(self, start: Wait) -> bool:
        """Return whether ``start`` waits for itself through locks alone; permits are left out."""
        seen: set[Party] = set()
        stack = [start.party]
        while stack:
            party = stack.pop()
            for wait in self.waits.values():
                if wait.party != party or wait.keys[0][0] == LockKind.SEMAPHORE:
                    continue
                for blocker in (one for key in wait.keys for one in self.blockers(wait, key)):
                    if blocker == start.party:
                        return True
                    if blocker not in seen:
                        seen.add(blocker)
                        stack.append(blocker)
        return False
