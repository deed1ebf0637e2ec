"""What clients of caches do: every operation by every way, on few keys, so that they meet."""

from random import Random

import msgspec

from synaxis.caches.bus import Reserved
from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    Add,
    Clear,
    Item,
    Lookup,
    Put,
    Readings,
    Remove,
)
from synaxis.simulation.caches.client import CacheClient
from synaxis.simulation.caches.ledger import Ledger
from synaxis.simulation.caches.setup import CacheSetup
from synaxis.simulation.caches.watch import Watch
from synaxis.simulation.client import Client, ClientConfig, ClientSite
from synaxis.simulation.task import Script, Task

__all__ = ["CacheWorkload"]

ACTIONS: tuple[tuple[str, int], ...] = (
    ("read_near", 40),
    ("read", 10),
    ("read_at_node", 20),
    ("put", 10),
    ("put_at_node", 12),
    ("swap", 6),
    ("swap_at_node", 6),
    ("remove", 3),
    ("count", 6),
    ("count_at_node", 8),
    ("put_several", 3),
    ("read_several", 4),
    ("clear", 2),
    ("put_aged", 4),
    ("write_back", 24),
    ("read_back", 10),
    ("fill", 8),
    ("read_stale", 2),
)
PATIENCE_US = 3_000_000
POLL_US = 50_000
NEAR_CHANCE = 0.7
TAG_CHANCE = 0.4


class CacheWorkload:
    """Implements ``cluster.Workload``."""

    def __init__(self, random: Random, setup: CacheSetup, ledger: Ledger, watch: Watch) -> None:
        self.setup = setup
        self.stopping = False
        self._ledger = ledger
        self._watch = watch
        self._values = 0
        chosen = [each for each in ACTIONS if each[0] == "read_near" or random.random() < 0.75]
        self._names = [name for name, _ in chosen]
        self._weights = [weight * random.choice((1, 1, 3)) for _, weight in chosen]

    def wants_more(self) -> bool:
        """Return whether a client that comes now would have anything to do."""
        return not self.stopping

    def enlist(self, name: str, site: ClientSite, config: ClientConfig, *, reader: bool) -> Client:
        """Return a new client, at work."""
        del reader
        client = CacheClient(name, site, config, self.setup, self._ledger)
        if client.random.random() < NEAR_CHANCE:
            client.keep_near(self._watch)
            client.run(self.script, self.near_script)
        else:
            client.run(self.script)
        return client

    def script(self, task: Task) -> Script:
        """Return the life of a client."""
        client = task.client
        assert isinstance(client, CacheClient)
        while not self.stopping:
            if not task.has_session():
                yield from client.open_session()
            yield 1 + int(task.random.random() * task.config.think_max)
            if task.has_session():
                (name,) = task.random.choices(self._names, self._weights)
                yield from getattr(self, f"_{name}")(client)
        while not client.others_finished(task):
            yield POLL_US
        yield from client.leave()

    def near_script(self, task: Task) -> Script:
        """Return what else a client with a near cache does: it reads, while others wait for it."""
        client = task.client
        assert isinstance(client, CacheClient)
        while not self.stopping:
            yield 1 + int(task.random.random() * task.config.think_max)
            yield from self._read_near(client)

    # --- pieces -----------------------------------------------------------------------------

    def _value(self) -> bytes:
        self._values += 1
        return b"v%d" % self._values

    def _item(self, client: CacheClient, key: str, if_version: int = ANY_VERSION) -> Item:
        tags = tuple(tag for tag in self.setup.tags if client.random.random() < TAG_CHANCE)
        return Item(key, self._value(), tags=tags, if_version=if_version)

    def _plain(self, client: CacheClient) -> str:
        return client.random.choice(self.setup.plain)

    def _any(self, client: CacheClient) -> str:
        setup = self.setup
        return client.random.choice((*setup.plain, *setup.counts, *setup.aged, *setup.back))

    def _at_node(self, client: CacheClient, command: msgspec.Struct, *, back: bool) -> Script:
        """Delegate, half of the time to the node that all choose; give up in the end."""
        node = (
            client.nodes[0] if client.random.random() < 0.5 else client.random.choice(client.nodes)
        )
        pending = client.delegate(node, command, back=back)
        outcome = yield pending, PATIENCE_US
        if pending.answered:
            return outcome
        yield from self._read(client)  # perhaps the node is cut off
        return None

    # --- reading ----------------------------------------------------------------------------

    def _read_near(self, client: CacheClient) -> Script:
        if client.near is None:
            yield from self._read(client)
            return
        key = self._any(client)
        for _ in range(client.random.randrange(1, 6)):
            pending = client.read_near(key)
            yield pending, PATIENCE_US
            yield 1 + client.random.randrange(20_000)

    def _read(self, client: CacheClient) -> Script:
        yield client.ask(Lookup((self._any(client),)))

    def _read_several(self, client: CacheClient) -> Script:
        setup = self.setup
        yield client.ask(Lookup((*setup.plain, *setup.counts, *setup.back)))

    def _read_stale(self, client: CacheClient) -> Script:
        client.coverage.hit("client.stale_read")
        yield client.ask(Lookup((self._plain(client),)), stale=True)

    def _read_at_node(self, client: CacheClient) -> Script:
        setup = self.setup
        key = client.random.choice((*setup.plain, *setup.counts, *setup.aged))
        yield from self._at_node(client, Lookup((key,)), back=False)

    def _read_back(self, client: CacheClient) -> Script:
        key = client.random.choice(self.setup.back)
        yield from self._at_node(client, Lookup((key,)), back=True)

    # --- writing ----------------------------------------------------------------------------

    def _put(self, client: CacheClient) -> Script:
        yield client.submit(Put((self._item(client, self._plain(client)),)))

    def _put_several(self, client: CacheClient) -> Script:
        items = tuple(self._item(client, key) for key in self.setup.plain)
        yield client.submit(Put(items))

    def _put_at_node(self, client: CacheClient) -> Script:
        put = Put((self._item(client, self._plain(client)),))
        yield from self._at_node(client, put, back=False)

    def _put_aged(self, client: CacheClient) -> Script:
        """Store what ends by itself, and perhaps again before it has ended."""
        random, key = client.random, client.random.choice(self.setup.aged)
        for _ in range(random.randrange(1, 4)):
            ttl_ms, idle_ms = random.choice(((300, 0), (1_500, 0), (0, 1_000), (5_000, 0)))
            item = Item(key, self._value(), ttl_ms=ttl_ms, soft_ms=ttl_ms // 2, idle_ms=idle_ms)
            if random.random() < 0.5:
                yield from self._at_node(client, Put((item,)), back=False)
            elif client.has_session():
                yield client.submit(Put((item,)))

    def _remove(self, client: CacheClient) -> Script:
        setup = self.setup
        key = client.random.choice((*setup.plain, *setup.counts))
        if client.random.random() < 0.5:
            yield client.submit(Remove((key,)))
        else:
            yield from self._at_node(client, Remove((key,)), back=False)

    def _clear(self, client: CacheClient) -> Script:
        tag = client.random.choice(("", *self.setup.tags))
        yield client.submit(Clear("plain", tag))

    def _version_seen(self, client: CacheClient, key: str) -> Script:
        """Read the version of a record, nearby if possible."""
        if client.near is not None:
            pending = client.read_near(key)
            found = yield pending, PATIENCE_US
        else:
            found = yield client.ask(Lookup((key,)))
        if isinstance(found, Readings):
            (reading,) = found.readings
            return ABSENT if reading is None else reading.version
        return None

    def _swap(self, client: CacheClient) -> Script:
        key = self._plain(client)
        version = yield from self._version_seen(client, key)
        if version is not None and client.has_session():
            yield client.submit(Put((self._item(client, key, version),)))

    def _swap_at_node(self, client: CacheClient) -> Script:
        key = self._plain(client)
        version = yield from self._version_seen(client, key)
        if version is not None:
            put = Put((self._item(client, key, version),))
            yield from self._at_node(client, put, back=False)

    def _count(self, client: CacheClient) -> Script:
        yield client.submit(Add(client.random.choice(self.setup.counts), 1))

    def _count_at_node(self, client: CacheClient) -> Script:
        add = Add(client.random.choice(self.setup.counts), 1)
        yield from self._at_node(client, add, back=False)

    def _write_back(self, client: CacheClient) -> Script:
        """Write several times at one node, as an owner can do fast."""
        key = client.random.choice(self.setup.back)
        for _ in range(client.random.randrange(1, 5)):
            if client.random.random() < 0.9:
                command: Put | Remove = Put((Item(key, self._value()),))
            else:
                command = Remove((key,))
            yield from self._at_node(client, command, back=True)

    def _fill(self, client: CacheClient) -> Script:
        """Compute a value that the cache lacks, as the only one."""
        if client.near is None:
            return
        key = self._plain(client)
        pending, request = client.reserve(key)
        reserved = yield pending, PATIENCE_US
        if not pending.answered:
            client.near.surrender(key, request=request)
        elif isinstance(reserved, Reserved) and reserved.token:
            client.coverage.hit("cache.reserved")
            yield 1 + int(client.random.random() * 400_000)
            if client.has_session() and client.random.random() < 0.8:
                item = self._item(client, key)
                yield client.submit(Put((item,), fill=reserved.token))
            else:
                client.near.surrender(key, token=reserved.token)
