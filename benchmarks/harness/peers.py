"""The lock services that a user would pick instead, each through its usual Python client.

Each is given its fastest documented form: etcd one lease for all locks instead of one per lock,
Redis hiredis and a connection for every worker, PostgreSQL prepared statements.
"""

import asyncio
import json
import os
import shutil
import zlib
from collections.abc import AsyncIterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from pathlib import Path

import aetcd
import asyncpg
import redis.asyncio
from asyncpg.prepared_stmt import PreparedStatement

from benchmarks.harness.processes import (
    ServerProcess,
    free_ports,
    http_get,
    listens,
    scratch_directory,
    wait_until,
)
from benchmarks.harness.systems import LockClient

__all__ = ["Etcd", "Postgres", "Redis"]

_LOCK_TTL_S = 60
_FAILOVER_TRY_S = 0.25
"""How long a node may stay silent before the next one is asked, while the leader is dead."""
_FAILOVER_PAUSE_S = 0.01


class Etcd:
    """Three etcd nodes and aetcd: create-if-absent transactions under one shared lease."""

    name = "etcd"
    durability = "fsync on majority of 3"

    def __init__(self) -> None:
        self._directory: Path | None = None
        self.nodes: list[ServerProcess] = []
        self.client_ports: list[int] = []

    def unavailable(self) -> str | None:
        """See LockSystem."""
        return None if shutil.which("etcd") else "etcd is not installed (Debian: etcd-server)"

    def start(self) -> None:
        """See LockSystem."""
        self._directory = scratch_directory("etcd")
        ports = free_ports(6)
        self.client_ports, peer_ports = ports[:3], ports[3:]
        initial = ",".join(f"n{i}=http://127.0.0.1:{port}" for i, port in enumerate(peer_ports))
        self.nodes = []
        for i, (client_port, peer_port) in enumerate(
            zip(self.client_ports, peer_ports, strict=True)
        ):
            client_url = f"http://127.0.0.1:{client_port}"
            peer_url = f"http://127.0.0.1:{peer_port}"
            arguments = ["etcd", "--name", f"n{i}", "--data-dir", str(self._directory / f"n{i}")]
            arguments += ["--listen-client-urls", client_url, "--advertise-client-urls", client_url]
            arguments += ["--listen-peer-urls", peer_url, "--initial-cluster", initial]
            arguments += ["--initial-advertise-peer-urls", peer_url, "--log-level", "error"]
            self.nodes.append(ServerProcess(arguments, self._directory / f"n{i}.log"))
        for node in self.nodes:
            node.start()
        self.wait_ready()

    def stop(self) -> None:
        """See LockSystem."""
        for node in self.nodes:
            node.kill()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See LockSystem."""
        return [node.pid for node in self.nodes if node.alive]

    def leader(self) -> int | None:
        """Return the index of the leading node, None while nobody leads."""
        for index, node in enumerate(self.nodes):
            if node.alive and _etcd_leads(self.client_ports[index]):
                return index
        return None

    def wait_ready(self) -> float:
        """Wait until every running node serves; return the seconds that took."""
        running = [
            (node, port)
            for node, port in zip(self.nodes, self.client_ports, strict=True)
            if node.alive
        ]
        return wait_until(
            lambda: all(_etcd_healthy(port) for _, port in running),
            "etcd serves",
            processes=[node for node, _ in running],
        )

    @asynccontextmanager
    async def connect_any(self) -> AsyncIterator[LockClient]:
        """Connect to every node: aetcd itself does not fail over."""
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(
                    aetcd.Client("127.0.0.1", port, timeout=_FAILOVER_TRY_S)
                )
                for port in self.client_ports
            ]
            yield EtcdAnyNode(clients)

    @asynccontextmanager
    async def connect(self, workers: int) -> AsyncIterator[LockClient]:
        """Connect to the leader, so that no request is forwarded. One channel serves all."""
        del workers
        leader = self.leader()
        assert leader is not None, "etcd has no leader"
        async with aetcd.Client("127.0.0.1", self.client_ports[leader]) as client:
            lease = await client.lease(_LOCK_TTL_S)
            try:
                yield EtcdLocks(client, lease)
            finally:
                await lease.revoke()


class EtcdLocks:
    """aetcd's own lock recipe, without a new lease for every attempt."""

    def __init__(self, client: aetcd.Client, lease: aetcd.Lease) -> None:
        self._client = client
        self._lease = lease

    @asynccontextmanager
    async def hold(self, worker: int, name: str) -> AsyncIterator[None]:
        """Create the key, or watch for its deletion and try again; delete it in the end."""
        del worker
        key = name.encode()
        while not await self._created(key):
            pass
        yield
        await self._client.delete(key)

    async def _created(self, key: bytes) -> bool:
        """Try once; when somebody else has the key, return False only after it was deleted."""
        operations = self._client.transactions
        created, responses = await self._client.transaction(
            compare=[operations.create(key) == 0],
            success=[operations.put(key, b"held", lease=self._lease)],
            failure=[operations.get(key)],
        )
        if not created and responses[0]:
            with suppress(aetcd.WatchTimeoutError):
                await self._client.watch_once(
                    key,
                    timeout=10,
                    start_revision=responses[0][0][1].mod_revision + 1,
                    kind=aetcd.EventKind.DELETE,
                )
        return bool(created)


class EtcdAnyNode:
    """The same locks without a lease, asked of one node after the other until one answers."""

    def __init__(self, clients: list[aetcd.Client]) -> None:
        self._clients = clients
        self._turn = 0

    @asynccontextmanager
    async def hold(self, worker: int, name: str) -> AsyncIterator[None]:
        """Create the key with a value of our own; found there, an unanswered try had worked."""
        key, value = name.encode(), f"{worker}".encode()
        while not await self._created(key, value):
            self._turn += 1
            await asyncio.sleep(_FAILOVER_PAUSE_S)
        yield
        with suppress(aetcd.ClientError):
            await self._client.delete(key)

    @property
    def _client(self) -> aetcd.Client:
        return self._clients[self._turn % len(self._clients)]

    async def _created(self, key: bytes, value: bytes) -> bool:
        client = self._client
        try:
            created, found = await client.transaction(
                compare=[client.transactions.create(key) == 0],
                success=[client.transactions.put(key, value)],
                failure=[client.transactions.get(key)],
            )
        except aetcd.ClientError:
            return False
        return bool(created or (found[0] and found[0][0][0] == value))


def _etcd_healthy(port: int) -> bool:
    status, body = http_get(f"http://127.0.0.1:{port}/health")
    return status == 200 and json.loads(body).get("health") == "true"


def _etcd_leads(port: int) -> bool:
    status, body = http_get(f"http://127.0.0.1:{port}/v3/maintenance/status", post=b"{}")
    answer = json.loads(body) if status == 200 else {}
    return "leader" in answer and answer["leader"] == answer["header"]["member_id"]


class Redis:
    """One redis-server, if ``durable`` with its append-only file, and redis-py's asyncio Lock."""

    name = "redis"
    durability = "none at grant (one node, fsync each second)"

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._directory: Path | None = None
        self._server: ServerProcess | None = None
        self.port = 0

    def unavailable(self) -> str | None:
        """See LockSystem."""
        if shutil.which("redis-server"):
            return None
        return "redis-server is not installed (Debian: redis-server)"

    def start(self) -> None:
        """See LockSystem."""
        self._directory = scratch_directory("redis")
        [self.port] = free_ports(1)
        arguments = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        arguments += ["--dir", str(self._directory), "--save", ""]
        if self._durable:
            arguments += ["--appendonly", "yes", "--appendfsync", "everysec"]
        self._server = ServerProcess(arguments, self._directory / "redis.log")
        self._server.start()
        wait_until(lambda: listens(self.port), "redis serves", processes=[self._server])

    def stop(self) -> None:
        """See LockSystem."""
        if self._server is not None:
            self._server.terminate()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See LockSystem."""
        assert self._server is not None
        return [self._server.pid]

    @asynccontextmanager
    async def connect(self, workers: int) -> AsyncIterator[LockClient]:
        """Let the pool grow to a connection per worker (redis-py stops at 100 by default)."""
        client = redis.asyncio.Redis(
            host="127.0.0.1", port=self.port, max_connections=max(workers, 16)
        )
        async with client:
            yield RedisLocks(client)


class RedisLocks:
    """``redis.asyncio.lock.Lock`` as its documentation shows it, polling every 0.1 s."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client

    def hold(self, worker: int, name: str) -> AbstractAsyncContextManager[object]:
        """See LockClient."""
        del worker
        return self._client.lock(name, timeout=_LOCK_TTL_S)


class Postgres:
    """One PostgreSQL server, and session-level advisory locks through asyncpg."""

    name = "postgresql"
    durability = "none (in memory of one node, not fenced)"

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._server: ServerProcess | None = None
        self._port = 0

    def unavailable(self) -> str | None:
        """See LockSystem."""
        if _postgres_binaries() is not None:
            return None
        return "initdb and postgres are not installed (Debian: postgresql-15)"

    def start(self) -> None:
        """See LockSystem. PostgreSQL refuses to run as root: then it runs as nobody."""
        binaries = _postgres_binaries()
        assert binaries is not None, "see unavailable()"
        user = "nobody" if os.geteuid() == 0 else None
        self._directory = scratch_directory("postgres", user)
        cluster = self._directory / "data"
        log = self._directory / "postgres.log"
        initdb = [str(binaries / "initdb"), "-D", str(cluster), "-U", "bench"]
        creation = ServerProcess([*initdb, "--auth=trust", "--no-sync"], log, user)
        creation.start()
        wait_until(lambda: not creation.alive, "initdb ends")
        [self._port] = free_ports(1)
        arguments = [str(binaries / "postgres"), "-D", str(cluster), "-p", str(self._port)]
        for setting in (
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
        ):
            arguments += ["-c", setting]
        self._server = ServerProcess(arguments, log, user)
        self._server.start()
        wait_until(lambda: listens(self._port), "PostgreSQL serves", processes=[self._server])

    def stop(self) -> None:
        """See LockSystem."""
        if self._server is not None:
            self._server.terminate()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def server_pids(self) -> list[int]:
        """See LockSystem. The processes of the connections are children of this one."""
        assert self._server is not None
        return [self._server.pid]

    @asynccontextmanager
    async def connect(self, workers: int) -> AsyncIterator[LockClient]:
        """Open a connection per worker: the connection is what owns an advisory lock."""
        connections = [await self._connection() for _ in range(workers)]
        try:
            yield PostgresLocks(
                [await one.prepare("SELECT pg_advisory_lock($1)") for one in connections],
                [await one.prepare("SELECT pg_advisory_unlock($1)") for one in connections],
            )
        finally:
            for one in connections:
                await one.close()

    async def _connection(self) -> asyncpg.Connection:
        async with asyncio.timeout(30):
            while True:
                try:
                    return await asyncpg.connect(
                        host="127.0.0.1", port=self._port, user="bench", database="postgres"
                    )
                except asyncpg.CannotConnectNowError:
                    await asyncio.sleep(0.05)


class PostgresLocks:
    """One prepared pair of statements per worker."""

    def __init__(
        self,
        lock: list[PreparedStatement],
        unlock: list[PreparedStatement],
    ) -> None:
        self._lock = lock
        self._unlock = unlock

    @asynccontextmanager
    async def hold(self, worker: int, name: str) -> AsyncIterator[None]:
        """Lock and unlock the hash of the name: advisory locks are numbers."""
        number = zlib.crc32(name.encode())
        await self._lock[worker].fetchval(number)
        yield
        await self._unlock[worker].fetchval(number)


def _postgres_binaries() -> Path | None:
    """Return the directory that holds ``initdb``: Debian keeps it out of PATH."""
    on_path = shutil.which("initdb")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None
