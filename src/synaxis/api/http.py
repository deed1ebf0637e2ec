"""Plain HTTP: health, metrics, facts about the cluster, and joining it."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import orjson
from aiohttp import web

from synaxis.api.cache_http import CacheHttp
from synaxis.api.gateway import Gateway
from synaxis.cluster.commands import AddNode
from synaxis.cluster.placement import CLUSTER_GROUP
from synaxis.errors import (
    AuthenticationRequired,
    InvalidArgument,
    NotLeader,
    OutcomeUnknown,
    RequestTimeout,
    SynaxisError,
)
from synaxis.ids import NodeId
from synaxis.observability import GroupSample, HealthChecks, LockSample, Metrics, NodeSample
from synaxis.observability.metrics import PeerSample
from synaxis.observability.queue_metrics import QueueSample

__all__ = ["HttpApi"]

HEALTH_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/health"})


class HttpApi:
    """Builds the application of the client listener."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._node = gateway.node
        self._metrics = Metrics(gateway.node.config.node_id, gateway.counters, self._sample)
        self._queues = QueueSample()
        self._live = HealthChecks("livez", {"loop": lambda: None})
        self._ready = HealthChecks(
            "readyz",
            {
                "draining": self._is_draining,
                "member": self._is_no_member,
                "leader": self._no_leader,
            },
        )

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[self._guard], client_max_size=64 * 1024)
        application.router.add_get("/v1/client", self._gateway.serve)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/readyz/{check}", self._readyz_one)
        application.router.add_get("/healthz", self._readyz)
        application.router.add_get("/health", self._health)
        application.router.add_get("/metrics", self._scrape)
        application.router.add_get("/v1/cluster", self._cluster)
        application.router.add_post("/v1/cluster/join", self._join)
        application.router.add_get("/raft/state", self._raft_state)
        CacheHttp(self._node, self._gateway.handshake_s).add_routes(application.router)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Check credentials (health is open, clients show theirs in Hello) and shape errors."""
        try:
            if request.path not in HEALTH_PATHS and request.path != "/v1/client":
                scheme, _, key = request.headers.get("Authorization", "").partition(" ")
                if not self._gateway.may_enter(key if scheme.lower() == "bearer" else ""):
                    raise AuthenticationRequired("send Authorization: Bearer <api key>")
            return await handler(request)
        except SynaxisError as error:
            body = {"error": error.code, "message": error.message, "details": error.details}
            return _json(body, status=error.http_status)

    # --- health -----------------------------------------------------------------------------

    async def _livez(self, request: web.Request) -> web.Response:
        report = self._live.report(verbose="verbose" in request.query)
        return web.Response(text=report.text, status=report.status)

    async def _readyz(self, request: web.Request) -> web.Response:
        report = self._ready.report(
            verbose="verbose" in request.query, exclude=request.query.getall("exclude", [])
        )
        return web.Response(text=report.text, status=report.status)

    async def _readyz_one(self, request: web.Request) -> web.Response:
        report = self._ready.report_one(request.match_info["check"])
        return web.Response(text=report.text, status=report.status)

    async def _health(self, request: web.Request) -> web.Response:
        """Answer as the predecessor did: status and node id."""
        del request
        report = self._ready.report()
        status = "healthy" if report.healthy else "unhealthy"
        body = {"status": status, "node_id": self._node.config.node_id, "failures": report.failures}
        return _json(body, status=report.status)

    def _is_draining(self) -> str | None:
        return "the node is shutting down" if self._gateway.draining else None

    def _is_no_member(self) -> str | None:
        member = self._node.config.node_id in self._node.cluster.members
        return None if member else "not yet (or no longer) a member of the cluster"

    def _no_leader(self) -> str | None:
        lost = []
        for group, replica in self._node.replicas.items():
            members = replica.status().members
            leader = replica.log.leader
            takes_part = self._node.config.node_id in (*members.voters, *members.learners)
            leads = leader == self._node.config.node_id
            if takes_part and (leader is None or (leads and not replica.log.ready)):
                lost.append(group)
        return f"no leader known for {', '.join(lost)}" if lost else None

    # --- metrics ----------------------------------------------------------------------------

    async def _scrape(self, request: web.Request) -> web.Response:
        self._queues = await self._gateway.queues.sample()
        self._gather_tallies()
        content_type, make = self._metrics.gather(request.headers.get("Accept", ""))
        # Thousands of topics make a text that takes a tenth of a second: too long for the loop.
        body = await asyncio.get_running_loop().run_in_executor(None, make)
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _gather_tallies(self) -> None:
        counters = self._gateway.counters
        tallies = [replica.tally for replica in self._node.replicas.values()]
        counters.sessions_opened = sum(each.sessions_opened for each in tallies)
        counters.sessions_expired = sum(each.sessions_expired for each in tallies)
        counters.snapshots["taken"] = sum(each.snapshots_taken for each in tallies)
        counters.snapshots["installed"] = sum(each.snapshots_installed for each in tallies)

    def _sample(self) -> NodeSample:
        node = self._node
        now = node.driver.now()
        groups = [
            GroupSample(group, replica.status(), replica.applied_index, len(replica.sessions.by_id))
            for group, replica in node.replicas.items()
        ]
        locks = [
            LockSample(*counts)
            for group, replica in node.replicas.items()
            if replica.log.leading is not None
            and (counts := getattr(replica.machine, "counts", lambda: None)()) is not None
        ]
        peers = [
            PeerSample(peer, state, node.detector.phi(peer, now))
            for peer, state in node.detector.states(now).items()
        ]
        caches = self._gateway.caches.sample()
        return NodeSample(groups, locks, peers, node.watches.count, self._queues, caches)

    # --- cluster ----------------------------------------------------------------------------

    async def _cluster(self, request: web.Request) -> web.Response:
        """Return what a joining node needs: the shape the cluster was born with, and members."""
        del request
        node = self._node
        body = {
            "bootstrap": msgspec.to_builtins(node.config.bootstrap),
            "leader_url": node.route(CLUSTER_GROUP).url,
            "nodes": [msgspec.structs.asdict(record) for record in node.cluster.nodes],
        }
        return _json(body)

    async def _join(self, request: web.Request) -> web.Response:
        """Admit a node; only the leader of the cluster group can, the others answer 421."""
        try:
            async with asyncio.timeout(self._gateway.handshake_s):
                content = await request.read()
            body = orjson.loads(content)
            command = AddNode(NodeId(str(body["node_id"])), str(body["peer_address"]))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise InvalidArgument("send {node_id, peer_address} as JSON") from error
        except TimeoutError as error:
            raise RequestTimeout("the body did not arrive in time") from error
        try:
            async with asyncio.timeout(5):
                record = await self._node.change_cluster(command)
        except TimeoutError as error:
            raise OutcomeUnknown("no majority has agreed in time; asking again is safe") from error
        except NotLeader as error:
            raise self._node.not_leader(CLUSTER_GROUP) from error
        return _json(msgspec.structs.asdict(record))

    async def _raft_state(self, request: web.Request) -> web.Response:
        """Answer as the predecessor's tests expect: role and term (of the first lock group)."""
        del request
        groups = [group for group in self._node.replicas if group != CLUSTER_GROUP]
        status = self._node.replicas[groups[0]].status()
        return _json(
            {
                "node_id": self._node.config.node_id,
                "role": status.role,
                "term": status.term,
                "leader_id": status.leader,
                "commit_index": status.commit_index,
                "last_applied": self._node.replicas[groups[0]].applied_index,
                "log_length": status.last_index,
            }
        )


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
