"""The composition root of a node process: settings -> disk -> node -> listeners.

Exit codes follow sysexits: 0 clean, 69 a port or the joined cluster cannot be had, 74 the disk
failed, 78 the configuration (or this node's identity) is wrong.
"""

import asyncio
import contextlib
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from ssl import SSLContext

import structlog

from synaxis import event_loop
from synaxis.api.gateway import Gateway, GatewayConfig
from synaxis.api.http import HttpApi
from synaxis.backends.backing_store import BackingStore
from synaxis.backends.opening import open_store
from synaxis.communication.listener import ListenerConfig, open_listener
from synaxis.communication.peer_link import LinkConfig
from synaxis.config import Settings
from synaxis.config.addresses import Address
from synaxis.config.load import environment_remarks
from synaxis.errors import (
    ConfigError,
    ConnectionFailed,
    IdentityMismatch,
    MembershipRefused,
    StorageError,
    SynaxisError,
)
from synaxis.nodes.base_node import BaseNode, NodeStores
from synaxis.nodes.joining import ask_to_join
from synaxis.nodes.node_config import Bootstrap, NodeConfig, found_cluster
from synaxis.observability import NodeCounters, configure_logging
from synaxis.security import tls
from synaxis.security.api_keys import ApiKeys
from synaxis.storage.data_directory import DataDirectory
from synaxis.storage.group_commit import GroupCommit
from synaxis.storage.message_store import MessageStore
from synaxis.storage.write_ahead_log import WalOptions, WriteAheadLog

__all__ = ["exit_code_of", "run"]

HTTP_CONNECTIONS = 100
"""Connections beyond ``connections_max``, so that health and metrics still answer."""
PEER_CONNECTIONS_MAX = 1_000
DESCRIPTORS_KEPT = 128
"""Open files that clients and peers leave to the disk, the links and the runtime."""
EXIT_FAILURE, EXIT_UNAVAILABLE, EXIT_IO, EXIT_CONFIG = 1, 69, 74, 78

log = structlog.stdlib.get_logger("synaxis.server")


def exit_code_of(error: SynaxisError) -> int:
    """Return the exit code that tells a supervisor what went wrong."""
    if isinstance(error, ConfigError | IdentityMismatch | MembershipRefused):
        return EXIT_CONFIG
    if isinstance(error, StorageError):
        return EXIT_IO
    if isinstance(error, ConnectionFailed):
        return EXIT_UNAVAILABLE
    return EXIT_FAILURE


def run(settings: Settings) -> int:
    """Run one node until it is told to stop; return the exit code."""
    configure_logging(settings.log_level, settings.log_format, {"node_id": settings.id})
    try:
        for remark in environment_remarks():
            log.warning("setting without effect", reason=remark)
        return event_loop.run(_Process(settings).run())
    except SynaxisError as error:
        log.critical("node stopped", code=error.code, reason=error.message)
        sys.stderr.write(f"synaxis: {error.message}\n")
        return exit_code_of(error)


class _Process:
    """What lives as long as the process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._failure: SynaxisError | None = None
        self._counters = NodeCounters()

    async def run(self) -> int:
        settings = self._settings
        with contextlib.ExitStack() as resources:
            api_socket = _listen(settings.listen_address, resources)
            peer_socket = _listen(settings.peer_listen_address, resources)
            directory = await self._open_directory()
            resources.callback(directory.close)
            identity = directory.identity
            loop = asyncio.get_running_loop()
            store = MessageStore(
                directory.messages,
                settings.store_limits(),
                on_failure=lambda error: loop.call_soon_threadsafe(self._fail, error),
            )
            resources.callback(store.close)
            wal, recovered = WriteAheadLog.open(
                directory.wal, identity.cluster_id, settings.id, _wal_options(settings), store
            )
            resources.callback(wal.close)
            commit = GroupCommit(wal, loop, self._fail, observe=self._observe_fsync)
            gateway = Gateway(
                GatewayConfig(
                    connections_max=settings.connections_max,
                    frame_bytes_max=settings.frame_bytes_max,
                    handshake_s=settings.handshake_timeout_s,
                ),
                self._counters,
                _keys(settings).admits,
                self._fail,
            )
            config = self._node_config(directory, api_socket)
            async with _backing(settings, identity.cluster_id) as backing:
                stores = NodeStores(store, backing)
                node = BaseNode(config, recovered, commit, directory, gateway, stores)
                gateway.attach(node)
                await self._serve(node, gateway, api_socket, peer_socket)
            await commit.aclose()
        if self._failure is not None:
            raise self._failure
        return 0

    async def _open_directory(self) -> DataDirectory:
        """Open this node's data, founding or joining a cluster when it is new."""
        settings = self._settings
        path = Path(settings.data_dir)
        bootstrap = DataDirectory.bootstrap_of(path, Bootstrap)
        if bootstrap is None and settings.join:
            bootstrap = await ask_to_join(
                settings.join,
                settings.id,
                str(settings.peer_advertised),
                settings.join_api_key.get_secret_value(),
            )
        if bootstrap is None:
            bootstrap = found_cluster(settings.cluster_name, _shape(settings))
        return DataDirectory.open(path, settings.id, bootstrap.cluster_id, bootstrap)

    def _node_config(self, directory: DataDirectory, api_socket: socket.socket) -> NodeConfig:
        settings = self._settings
        bootstrap = DataDirectory.bootstrap_of(directory.path, Bootstrap)
        assert bootstrap is not None
        url = settings.api_url
        if url.endswith(":0"):
            url = f"{url[:-2]}:{api_socket.getsockname()[1]}"
        return NodeConfig(
            node_id=settings.id,
            disk_id=directory.identity.disk_id,
            bootstrap=bootstrap,
            peer_address=str(settings.peer_advertised),
            api_url=url,
            version=version("synaxis"),
            raft=settings.raft_config(),
            replica=settings.replica_config(),
            queue_replica=settings.queue_replica_config(
                settings.replica_config(), _wall_offset_ms()
            ),
            cache_replica=settings.cache_replica_config(
                settings.replica_config(), _wall_offset_ms()
            ),
            delivery=settings.delivery_limits(),
            home=settings.home_limits(),
            agent=settings.agent_config(),
            disk_reserve_bytes=settings.disk_reserve_bytes,
            link=LinkConfig(
                ssl=_peer_client_tls(settings),
                frame_bytes_max=settings.peer_frame_bytes_max,
                handshake_s=settings.handshake_timeout_s,
            ),
            beat_ms=settings.failure_detector_ms,
            history_events_max=settings.history_events_max,
            watchers_max=settings.watchers_max,
        )

    # --- serving ----------------------------------------------------------------------------

    async def _serve(
        self,
        node: BaseNode,
        gateway: Gateway,
        api_socket: socket.socket,
        peer_socket: socket.socket,
    ) -> None:
        settings = self._settings
        api = await open_listener(
            HttpApi(gateway).application(),
            api_socket,
            _api_tls(settings),
            _listener(settings, settings.connections_max + HTTP_CONNECTIONS),
        )
        peers = await open_listener(
            node.peer_application(),
            peer_socket,
            _peer_server_tls(settings),
            _listener(settings, PEER_CONNECTIONS_MAX),
        )
        self._handle_signals()
        await node.start()
        log.info(
            "serving",
            api=node.config.api_url,
            peers=node.config.peer_address,
            roles=sorted(settings.role_names),
        )
        async with asyncio.TaskGroup() as tasks:
            beat = tasks.create_task(node.beat_forever())
            await self._stop.wait()
            if self._failure is None:
                gateway.draining = True
                await node.leave_gracefully(settings.shutdown_timeout_s / 3)
            await gateway.close()
            beat.cancel()
        await node.stop()
        await api.cleanup()
        await peers.cleanup()
        log.info("stopped")

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            raise SystemExit(130)
        self._stop.set()

    def _fail(self, error: SynaxisError) -> None:
        if self._failure is None:
            self._failure = error
            self._stop.set()

    def _observe_fsync(self, seconds: float, size: int) -> None:
        self._counters.fsync.observe(seconds)
        self._counters.wal_bytes += size


def _shape(settings: Settings) -> Bootstrap:
    founders = {node: str(address) for node, address in settings.members.items()}
    return Bootstrap(
        cluster_id="",
        founders=founders or {settings.id: str(settings.peer_advertised)},
        lock_groups=settings.lock_groups,
        queue_groups=settings.queue_groups,
        cache_groups=settings.cache_groups,
        replication_factor=settings.replication_factor,
        token_epoch=settings.token_epoch,
        locks=settings.lock_limits(),
        queues=settings.queue_limits(),
        caches=settings.cache_limits(),
        sessions=settings.session_limits(),
    )


@contextlib.asynccontextmanager
async def _backing(settings: Settings, cluster_id: str) -> AsyncIterator[BackingStore | None]:
    """Yield the store behind the caches, if there is one."""
    url = settings.cache_store_url.get_secret_value()
    store = open_store(url, cluster_id, settings.cache_store_timeout_s)
    try:
        yield store
    finally:
        if store is not None:
            await store.aclose()


def _wall_offset_ms() -> int:
    """Return what to add to the loop's clock for milliseconds since 1970."""
    wall = time.time()  # noqa: TID251  # log time of queues follows it; see decisions/0007
    return int((wall - asyncio.get_running_loop().time()) * 1000)


def _listen(address: Address, resources: contextlib.ExitStack) -> socket.socket:
    """Bind before anything else happens, so that a taken port is told at once."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, sockaddr = found[0]
        bound = socket.socket(family, kind, protocol)
        resources.callback(bound.close)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(sockaddr)
    except OSError as error:
        raise ConnectionFailed(f"cannot listen on {address}: {error.strerror}") from error
    return bound


def _listener(settings: Settings, connections_max: int) -> ListenerConfig:
    return ListenerConfig(
        connections_max=min(connections_max, _descriptors() // 2),
        handshake_s=settings.handshake_timeout_s,
    )


def _descriptors() -> int:
    """Return how many connections the process may have, and let it have as many as it may.

    What is kept back is for the log and the links: a flood of clients must not close the disk.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # some systems allow less than they say
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        limit = sys.maxsize
    return max(limit - DESCRIPTORS_KEPT, limit // 4, 1)


def _keys(settings: Settings) -> ApiKeys:
    if settings.api_keys_file is None:
        return ApiKeys.open_to_all()
    return ApiKeys.load(settings.api_keys_file)


def _wal_options(settings: Settings) -> WalOptions:
    return settings.wal_options()


def _api_tls(settings: Settings) -> SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return tls.server_side(settings.tls_cert, settings.tls_key)


def _peer_server_tls(settings: Settings) -> SSLContext | None:
    files = (settings.peer_ca, settings.peer_cert, settings.peer_key)
    authority, certificate, key = files
    if authority is None or certificate is None or key is None:
        return None
    return tls.peer_side(authority, certificate, key)


def _peer_client_tls(settings: Settings) -> SSLContext | None:
    authority, certificate, key = settings.peer_ca, settings.peer_cert, settings.peer_key
    if authority is None or certificate is None or key is None:
        return None
    return tls.client_side(authority, certificate, key)
