"""What simulated clients do with registers: set and get a few of them, so that they meet."""

from itertools import count
from random import Random

from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.task import Script, Task
from synaxis.simulation.volatile.registers import Get, Put

__all__ = ["RegisterWorkload"]

VALUE_BYTES = (1, 20, 300)
READER_INTERVAL_MAX = 100_000


class RegisterWorkload:
    """Scripts over a drawn number of registers; every value is unique."""

    def __init__(self, random: Random) -> None:
        self._names = [f"r{n}" for n in range(random.randrange(1, 6))]
        self._padding = "x" * random.choice(VALUE_BYTES)
        self._put_chance = random.choice((0.3, 0.6, 0.9))
        self._numbers = count(1)
        self.stopping = False

    def wants_more(self) -> bool:
        """Return whether a client that comes now would have anything to do."""
        return not self.stopping

    def enlist(self, name: str, site: ClientSite, config: ClientConfig, *, reader: bool) -> Client:
        """Return a new client, at work."""
        client = Client(name, site, config)
        client.run(self.reader_script if reader else self.script)
        return client

    def script(self, task: Task) -> Script:
        """Return the life of a client: sessions, and actions until ``stopping``."""
        client, random = task.client, task.random
        while not self.stopping:
            if not task.has_session():
                yield from client.open_session()
            yield 1 + int(random.random() * task.config.think_max)
            name = random.choice(self._names)
            if random.random() >= self._put_chance:
                yield client.ask(Get(name))
            elif random.random() < 0.1:
                task.coverage.hit("client.stale_read")
                yield client.ask(Get(name), stale=True)
            elif task.has_session():
                yield task.submit(Put(name, f"{next(self._numbers)}{self._padding}"))
        yield from client.close_session()

    def reader_script(self, task: Task) -> Script:
        """Return the life of a client that only asks, all the time and any node."""
        while not self.stopping:
            yield 1 + int(task.random.random() * READER_INTERVAL_MAX)
            yield task.client.ask(Get(task.random.choice(self._names)), anywhere=True)
