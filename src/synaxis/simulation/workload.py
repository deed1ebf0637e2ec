"""What simulated clients do with locks: every kind of request, on few names, so that they meet.

Names that begin with ``plain`` see only what the sequential lock of ``lock_history`` can express
(no forced loss), so their histories can be searched for linearizability. Names that begin with
``odd`` see the rest.
"""

from random import Random

from synaxis.effects import Refused
from synaxis.locks.commands import (
    Abandon,
    Acquire,
    Convert,
    DescribeLock,
    Done,
    ForceRelease,
    Granted,
    LockKind,
    LockMode,
    Release,
    SetPermits,
)
from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.task import Script, Task

__all__ = ["LockWorkload"]

ACTIONS: tuple[tuple[str, int], ...] = (
    ("exclusive", 24),
    ("shared", 10),
    ("attempt", 10),
    ("convert", 8),
    ("change_of_mind", 4),
    ("second_thoughts", 3),
    ("several", 6),
    ("nested", 8),
    ("reentrant", 4),
    ("semaphore", 6),
    ("impatient", 8),
    ("limited_hold", 4),
    ("delayed", 3),
    ("take_away", 2),
    ("read", 14),
    ("stale_read", 3),
    ("resize", 1),
)

READER_INTERVAL_MAX = 200_000
POLL_INTERVAL = 50_000
SECOND_TASK_CHANCE = 0.2
SEMAPHORES = ("gpu", "disk")
WAIT_CHOICES_MS = (-1, -1, 150, 600, 2_000)


class LockWorkload:
    """Scripts over a drawn set of names, with a drawn mix of actions."""

    def __init__(self, random: Random) -> None:
        self.plain = [f"plain/{n}" for n in range(random.randrange(1, 5))]
        self.odd = [f"odd/{n}" for n in range(random.randrange(1, 3))]
        self.permits = random.randrange(1, 5)
        names, weights = [], []
        for name, weight in ACTIONS:
            if name == "exclusive" or random.random() < 0.75:
                names.append(name)
                weights.append(weight * random.choice((1, 1, 3)))
        self._names = names
        self._weights = weights
        self.stopping = False

    def wants_more(self) -> bool:
        """Return whether a client that comes now would have anything to do."""
        return not self.stopping

    def enlist(self, name: str, site: ClientSite, config: ClientConfig, *, reader: bool) -> Client:
        """Return a new client, at work."""
        client = Client(name, site, config)
        if reader:
            client.run(self.reader_script)
        elif client.random.random() < SECOND_TASK_CHANCE:
            client.run(self.script, self.second_script)
        else:
            client.run(self.script)
        return client

    def script(self, task: Task) -> Script:
        """Return the life of a client: sessions, and actions until ``stopping``."""
        client = task.client
        while not self.stopping:
            if not task.has_session():
                yield from client.open_session()
            yield from self._act(task)
        while not client.others_finished(task):
            yield POLL_INTERVAL
        yield from client.close_session()

    def second_script(self, task: Task) -> Script:
        """Return what another task of a client does, in the same session."""
        while not self.stopping:
            if task.has_session():
                yield from self._act(task)
            else:
                yield POLL_INTERVAL

    def _act(self, task: Task) -> Script:
        random = task.random
        yield 1 + int(random.random() * task.config.think_max)
        if task.has_session():
            (name,) = random.choices(self._names, self._weights)
            yield from getattr(self, f"_{name}")(task)

    def reader_script(self, task: Task) -> Script:
        """Return the life of a client that only asks, all the time and any node.

        It is the one who notices a leader that does not know that it was replaced.
        """
        while not self.stopping:
            yield 1 + int(task.random.random() * READER_INTERVAL_MAX)
            yield task.client.ask(DescribeLock(task.random.choice(self.plain)), anywhere=True)

    # --- pieces --------------------------------------------------------------------------------

    def _hold(self, task: Task) -> int:
        return 1 + int(task.random.random() * task.config.hold_max)

    def _wait_ms(self, task: Task) -> int:
        return task.random.choice(WAIT_CHOICES_MS)

    def _release(self, task: Task, grant: object) -> Script:
        if isinstance(grant, Granted) and task.has_session():
            done = yield task.submit(Release(grant.token))
            return done
        return None

    def _hold_and_release(self, task: Task, grant: object) -> Script:
        if isinstance(grant, Granted):
            yield self._hold(task)
        yield from self._release(task, grant)

    def _take(self, task: Task, acquire: Acquire) -> Script:
        grant = yield task.submit(acquire)
        yield from self._hold_and_release(task, grant)

    # --- actions -------------------------------------------------------------------------------

    def _exclusive(self, task: Task) -> Script:
        name = task.random.choice(self.plain)
        yield from self._take(task, Acquire((name,), self._wait_ms(task)))

    def _shared(self, task: Task) -> Script:
        name = task.random.choice(self.plain)
        acquire = Acquire((name,), self._wait_ms(task), LockMode.SHARED)
        yield from self._take(task, acquire)

    def _attempt(self, task: Task) -> Script:
        mode = task.random.choice((LockMode.EXCLUSIVE, LockMode.SHARED))
        yield from self._take(task, Acquire((task.random.choice(self.plain),), 0, mode))

    def _convert(self, task: Task) -> Script:
        name = task.random.choice(self.plain)
        shared = yield task.submit(Acquire((name,), self._wait_ms(task), LockMode.SHARED))
        if not isinstance(shared, Granted):
            return
        yield self._hold(task) // 2
        if not task.has_session():
            return
        convert = Convert(shared.token, LockMode.EXCLUSIVE, self._wait_ms(task))
        upgraded = yield task.submit(convert)
        held = upgraded if isinstance(upgraded, Granted) else shared
        yield self._hold(task) // 2
        if held is upgraded and task.random.random() < 0.5 and task.has_session():
            down = yield task.submit(Convert(held.token, LockMode.SHARED))
            held = down if isinstance(down, Granted) else held
        yield from self._hold_and_release(task, held)

    def _change_of_mind(self, task: Task) -> Script:
        """Abandon an upgrade, whether it happened meanwhile or not; hold on to the shared grant."""
        name = task.random.choice(self.plain)
        shared = yield task.submit(Acquire((name,), self._wait_ms(task), LockMode.SHARED))
        if not isinstance(shared, Granted) or not task.has_session():
            return
        upgrade = task.submit(Convert(shared.token, LockMode.EXCLUSIVE))
        yield upgrade, 1 + int(task.random.random() * 100_000)
        if not task.has_session():
            return
        assert upgrade.operation is not None
        yield task.submit(Abandon(upgrade.operation.sequence))
        if not upgrade.answered:
            yield upgrade
        yield from self._hold_and_release(task, shared)

    def _second_thoughts(self, task: Task) -> Script:
        """Re-enter, and abandon the re-entry."""
        acquire = Acquire((task.random.choice(self.plain),), self._wait_ms(task), reentrant=True)
        first = yield task.submit(acquire)
        if not isinstance(first, Granted) or not task.has_session():
            return
        again = task.submit(acquire)
        yield again, 1 + int(task.random.random() * 20_000)
        if not task.has_session():
            return
        assert again.operation is not None
        yield task.submit(Abandon(again.operation.sequence))
        if not again.answered:
            yield again
        yield from self._hold_and_release(task, first)

    def _several(self, task: Task) -> Script:
        count = task.random.randrange(1, len(self.plain) + 1)
        names = tuple(task.random.sample(self.plain, count))
        yield from self._take(task, Acquire(names, self._wait_ms(task)))

    def _nested(self, task: Task) -> Script:
        """Take two locks one after the other, in any order: clients doing so can deadlock."""
        names = task.random.sample(self.plain, min(2, len(self.plain)))
        grants = []
        for name in names:
            if not task.has_session():
                return
            grant = yield task.submit(
                Acquire((name,), self._wait_ms(task), priority=task.random.randrange(3))
            )
            if isinstance(grant, Granted):
                grants.append(grant)
                yield self._hold(task)
        for grant in reversed(grants):
            yield from self._release(task, grant)

    def _reentrant(self, task: Task) -> Script:
        name = task.random.choice(self.plain)
        acquire = Acquire((name,), self._wait_ms(task), reentrant=True)
        first = yield task.submit(acquire)
        if not isinstance(first, Granted) or not task.has_session():
            return
        second = yield task.submit(acquire)
        for grant in (second, first):
            yield from self._hold_and_release(task, grant)

    def _semaphore(self, task: Task) -> Script:
        weight = task.random.randrange(1, self.permits + 1)
        count = 1 if task.random.random() < 0.7 else len(SEMAPHORES)
        acquire = Acquire(
            tuple(task.random.sample(SEMAPHORES, count)),
            self._wait_ms(task),
            kind=LockKind.SEMAPHORE,
            weight=weight,
            permits=self.permits,
        )
        yield from self._take(task, acquire)

    def _impatient(self, task: Task) -> Script:
        """Give up waiting and abandon the request, whether it was granted meanwhile or not."""
        waiting = task.submit(Acquire((task.random.choice(self.plain),)))
        grant = yield waiting, 1 + int(task.random.random() * 200_000)
        if not task.has_session():
            return
        operation = waiting.operation
        assert operation is not None
        yield task.submit(Abandon(operation.sequence))
        if not waiting.answered:
            grant = yield waiting
        done = yield from self._release(task, grant)
        if done == Done(changed=False):
            task.coverage.hit("client.abandoned_grant")

    def _limited_hold(self, task: Task) -> Script:
        limit_ms = 20 + task.random.randrange(200)
        acquire = Acquire(
            (task.random.choice(self.odd),), self._wait_ms(task), max_hold_ms=limit_ms
        )
        yield from self._take(task, acquire)

    def _delayed(self, task: Task) -> Script:
        acquire = Acquire(
            (task.random.choice(self.odd),),
            self._wait_ms(task),
            max_hold_ms=30,
            lock_delay_ms=50 + task.random.randrange(300),
        )
        yield from self._take(task, acquire)

    def _take_away(self, task: Task) -> Script:
        name = task.random.choice(self.odd)
        yield task.submit(ForceRelease(name, "simulated operator"))

    def _resize(self, task: Task) -> Script:
        name = task.random.choice(SEMAPHORES)
        yield task.submit(SetPermits(name, task.random.randrange(1, 6)))
        for permits in (self.permits, 0):
            yield self._hold(task)
            if not task.has_session():
                return
            yield task.submit(SetPermits(name, permits))

    def _read(self, task: Task) -> Script:
        answer = yield task.client.ask(DescribeLock(task.random.choice(self.plain)))
        assert not isinstance(answer, Refused), answer

    def _stale_read(self, task: Task) -> Script:
        task.coverage.hit("client.stale_read")
        yield task.client.ask(DescribeLock(task.random.choice(self.plain)), stale=True)
