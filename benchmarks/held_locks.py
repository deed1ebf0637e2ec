"""What do 100,000 held locks of 1,000 sessions cost, and how long is a restart with them?

Every session is a client with connections of its own. After the locks are taken the memory of
each node is read; then one node is killed and started again, then all of them at once.
"""

import asyncio
import resource
from contextlib import AsyncExitStack

import synaxis
from benchmarks.harness.comparison import Options, serving
from benchmarks.harness.cpu import resident_bytes
from benchmarks.harness.load import run_async
from benchmarks.harness.report import Floor, Report
from benchmarks.harness.synaxis_cluster import SynaxisCluster

__all__ = ["run"]

_CLIENTS_OPENED_AT_ONCE = 50
_SESSION_TTL_S = 600.0
"""Long enough that no session ends while the whole cluster is down."""
_SPOT_CHECKS = 200
_MEGABYTE = 1_000_000
_RSS_FLOOR = Floor("RSS per node", 300, "MB", at_least=False)
_RESTART_FLOOR = Floor("restart from disk", 5, "s", at_least=False)


def run(report: Report, options: Options) -> None:
    """Take the locks, read the memory, restart, and look whether the locks are still held."""
    _allow_open_files()
    with serving(report, [cluster := SynaxisCluster(3)]):
        report.headline(f"{options.locks:,} locks held by {options.sessions:,} sessions")
        idle = max(map(resident_bytes, cluster.server_pids()))
        run_async(_hold_and_restart(cluster, report, options, idle))


async def _hold_and_restart(
    cluster: SynaxisCluster, report: Report, options: Options, idle_bytes: int
) -> None:
    per_session = options.locks // options.sessions
    started = asyncio.get_running_loop().time()
    async with AsyncExitStack() as stack:
        for first in range(0, options.sessions, _CLIENTS_OPENED_AT_ONCE):
            numbers = range(first, min(first + _CLIENTS_OPENED_AT_ONCE, options.sessions))
            clients = await asyncio.gather(*(_client(cluster, stack) for _ in numbers))
            await asyncio.gather(
                *(
                    client.acquire(f"held/{number}/{lock}")
                    for number, client in zip(numbers, clients, strict=True)
                    for lock in range(per_session)
                )
            )
        report.figure("seconds_to_take_all", asyncio.get_running_loop().time() - started, "s")
        held = max(map(resident_bytes, cluster.server_pids()))
        report.figure("rss_per_node_idle", idle_bytes / _MEGABYTE, "MB")
        report.figure("rss_per_node_held", held / _MEGABYTE, "MB")
        one = await asyncio.to_thread(_restart, cluster, 1)
        report.figure("restart_of_one_node", one, "s")
        everything = await asyncio.to_thread(_restart, cluster, len(cluster.nodes))
        report.figure("restart_of_all_nodes", everything, "s")
        report.figure("spot_checks_still_held", await _still_held(cluster, options), "")
    report.floor(_RSS_FLOOR, held / _MEGABYTE)
    report.floor(_RESTART_FLOOR, max(one, everything))


async def _client(cluster: SynaxisCluster, stack: AsyncExitStack) -> synaxis.AsyncSynaxis:
    client = synaxis.connect(cluster.urls, session_ttl=_SESSION_TTL_S, watchdog=False)
    return await stack.enter_async_context(client)


def _restart(cluster: SynaxisCluster, count: int) -> float:
    """SIGKILL ``count`` nodes and start them again; return the seconds until all are ready."""
    for node in cluster.nodes[:count]:
        node.kill()
    for node in cluster.nodes[:count]:
        node.start()
    return cluster.wait_ready()


async def _still_held(cluster: SynaxisCluster, options: Options) -> float:
    """Return which part of some locks, spread over all, a newcomer does not get."""
    step = max(options.locks // _SPOT_CHECKS, 1)
    per_session = options.locks // options.sessions
    names = [
        f"held/{number // per_session}/{number % per_session}"
        for number in range(0, options.locks, step)
    ]
    async with synaxis.connect(cluster.urls) as newcomer:
        grants = await asyncio.gather(*map(newcomer.try_lock, names))
    return sum(grant is None for grant in grants) / len(grants)


def _allow_open_files() -> None:
    """A thousand clients need more files than many shells allow by default."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
