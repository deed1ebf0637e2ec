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
from synaxis.simulation.client import Client, Script

__all__ = ["LockWorkload"]

ACTIONS: tuple[tuple[str, int], ...] = (
    ("exclusive", 24),
    ("shared", 10),
    ("attempt", 10),
    ("convert", 8),
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

    def script(self, client: Client) -> Script:
        """Return the life of a client: sessions, and actions until ``stopping``."""
        random = client.random
        while not self.stopping:
            if not client.has_session:
                yield from client.open_session()
            yield 1 + int(random.random() * client.config.think_max)
            if client.has_session:
                (name,) = random.choices(self._names, self._weights)
                yield from getattr(self, f"_{name}")(client)
        yield from client.close_session()

    def reader_script(self, client: Client) -> Script:
        """Return the life of a client that only asks, all the time and any node.

        It is the one who notices a leader that does not know that it was replaced.
        """
        while not self.stopping:
            yield 1 + int(client.random.random() * READER_INTERVAL_MAX)
            yield client.ask(DescribeLock(client.random.choice(self.plain)), anywhere=True)

    # --- pieces --------------------------------------------------------------------------------

    def _hold(self, client: Client) -> int:
        return 1 + int(client.random.random() * client.config.hold_max)

    def _wait_ms(self, client: Client) -> int:
        return client.random.choice(WAIT_CHOICES_MS)

    def _release(self, client: Client, grant: object) -> Script:
        if isinstance(grant, Granted) and client.has_session:
            done = yield client.submit(Release(grant.token))
            return done
        return None

    def _hold_and_release(self, client: Client, grant: object) -> Script:
        if isinstance(grant, Granted):
            yield self._hold(client)
        yield from self._release(client, grant)

    def _take(self, client: Client, acquire: Acquire) -> Script:
        grant = yield client.submit(acquire)
        yield from self._hold_and_release(client, grant)

    # --- actions -------------------------------------------------------------------------------

    def _exclusive(self, client: Client) -> Script:
        name = client.random.choice(self.plain)
        yield from self._take(client, Acquire((name,), self._wait_ms(client)))

    def _shared(self, client: Client) -> Script:
        name = client.random.choice(self.plain)
        acquire = Acquire((name,), self._wait_ms(client), LockMode.SHARED)
        yield from self._take(client, acquire)

    def _attempt(self, client: Client) -> Script:
        mode = client.random.choice((LockMode.EXCLUSIVE, LockMode.SHARED))
        yield from self._take(client, Acquire((client.random.choice(self.plain),), 0, mode))

    def _convert(self, client: Client) -> Script:
        name = client.random.choice(self.plain)
        shared = yield client.submit(Acquire((name,), self._wait_ms(client), LockMode.SHARED))
        if not isinstance(shared, Granted):
            return
        yield self._hold(client) // 2
        if not client.has_session:
            return
        convert = Convert(shared.token, LockMode.EXCLUSIVE, self._wait_ms(client))
        upgraded = yield client.submit(convert)
        held = upgraded if isinstance(upgraded, Granted) else shared
        yield self._hold(client) // 2
        if held is upgraded and client.random.random() < 0.5 and client.has_session:
            down = yield client.submit(Convert(held.token, LockMode.SHARED))
            held = down if isinstance(down, Granted) else held
        yield from self._hold_and_release(client, held)

    def _several(self, client: Client) -> Script:
        count = client.random.randrange(1, len(self.plain) + 1)
        names = tuple(client.random.sample(self.plain, count))
        yield from self._take(client, Acquire(names, self._wait_ms(client)))

    def _nested(self, client: Client) -> Script:
        """Take two locks one after the other, in any order: clients doing so can deadlock."""
        names = client.random.sample(self.plain, min(2, len(self.plain)))
        grants = []
        for name in names:
            if not client.has_session:
                return
            grant = yield client.submit(
                Acquire((name,), self._wait_ms(client), priority=client.random.randrange(3))
            )
            if isinstance(grant, Granted):
                grants.append(grant)
                yield self._hold(client)
        for grant in reversed(grants):
            yield from self._release(client, grant)

    def _reentrant(self, client: Client) -> Script:
        name = client.random.choice(self.plain)
        acquire = Acquire((name,), self._wait_ms(client), reentrant=True)
        first = yield client.submit(acquire)
        if not isinstance(first, Granted) or not client.has_session:
            return
        second = yield client.submit(acquire)
        for grant in (second, first):
            yield from self._hold_and_release(client, grant)

    def _semaphore(self, client: Client) -> Script:
        weight = client.random.randrange(1, self.permits + 1)
        acquire = Acquire(
            ("gpu",),
            self._wait_ms(client),
            kind=LockKind.SEMAPHORE,
            weight=weight,
            permits=self.permits,
        )
        yield from self._take(client, acquire)

    def _impatient(self, client: Client) -> Script:
        """Give up waiting and abandon the request, whether it was granted meanwhile or not."""
        waiting = client.submit(Acquire((client.random.choice(self.plain),)))
        grant = yield waiting, 1 + int(client.random.random() * 200_000)
        if not client.has_session:
            return
        operation = waiting.operation
        assert operation is not None
        yield client.submit(Abandon(operation.sequence))
        if not waiting.answered:
            grant = yield waiting
        done = yield from self._release(client, grant)
        if done == Done(changed=False):
            client.coverage.hit("client.abandoned_grant")

    def _limited_hold(self, client: Client) -> Script:
        limit_ms = 20 + client.random.randrange(200)
        acquire = Acquire(
            (client.random.choice(self.odd),), self._wait_ms(client), max_hold_ms=limit_ms
        )
        yield from self._take(client, acquire)

    def _delayed(self, client: Client) -> Script:
        acquire = Acquire(
            (client.random.choice(self.odd),),
            self._wait_ms(client),
            max_hold_ms=30,
            lock_delay_ms=50 + client.random.randrange(300),
        )
        yield from self._take(client, acquire)

    def _take_away(self, client: Client) -> Script:
        name = client.random.choice(self.odd)
        yield client.submit(ForceRelease(name, "simulated operator"))

    def _resize(self, client: Client) -> Script:
        yield client.submit(SetPermits("gpu", client.random.randrange(1, 6)))
        for permits in (self.permits, 0):
            yield self._hold(client)
            if not client.has_session:
                return
            yield client.submit(SetPermits("gpu", permits))

    def _read(self, client: Client) -> Script:
        answer = yield client.ask(DescribeLock(client.random.choice(self.plain)))
        assert not isinstance(answer, Refused), answer

    def _stale_read(self, client: Client) -> Script:
        client.coverage.hit("client.stale_read")
        yield client.ask(DescribeLock(client.random.choice(self.plain)), stale=True)
