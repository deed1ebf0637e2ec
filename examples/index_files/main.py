"""Index real files with a cluster whose leader is killed, and workers that are frozen and killed.

    python examples/index_files/main.py [--dir DIR] [--seconds-max 90]

Three node processes. A producer fills a topic with the files to index, a few poisoned messages
among them; eight workers consume it as one group and change index shards under locks, with fencing
tokens that the store checks. They read dictionaries of stop words through near caches, which one
more process changes all the time. Exit code 0 only if, in the end, every good file was indexed
exactly once, every message was either acknowledged or is a dead letter, those are the poisoned
ones, and no worker has read a dictionary older than the last one acknowledged before it looked.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import journal
from accounts import GROUP, MAX_DELIVERIES, TOPIC, take
from corpus import SHARDS, batches_of, default_directory, find_files
from display import Display
from faults import Faults, Stage
from nodes import Nodes
from poison import POISONS
from producer import Producer, orders_of
from proof import prove
from report import figures
from rich.console import Console
from store import IndexStore, create
from team import Death, Team
from timeline import Timeline
from verdict import Job, Result, judge

import synaxis

_UPDATER = Path(__file__).with_name("updater.py")
_WORKERS = 8
_TTL_S = 4.0
"""Short, so that what the frozen one and the killed one have locked is soon free."""
_PARTITIONS = 4
_VISIBILITY_S = 3.0
"""What a worker holds goes to others when the cluster has not heard of it for so long."""
_BACKOFF = synaxis.Backoff(0.5, 2)
_FILES_MIN = 3 * _WORKERS
_WATCH_EVERY_S = 0.25
_INFO_TIMEOUT_S = 1.0
_INTERRUPTED = 130


async def run_job(job: Job, console: Console) -> Result:
    """Start everything, let it happen, stop everything."""
    nodes = Nodes(job.scratch)
    try:
        await nodes.start()
        with Display(job.files, console) as display:
            display.say(f"three nodes serve; {job.files} files in {len(job.batches)} batches")
            async with synaxis.connect(nodes.urls) as cluster, asyncio.TaskGroup() as tasks:
                return await _index(job, nodes, cluster, tasks, display)
    finally:
        nodes.stop()


async def _index(
    job: Job,
    nodes: Nodes,
    cluster: synaxis.AsyncSynaxis,
    tasks: asyncio.TaskGroup,
    display: Display,
) -> Result:
    create(job.store_path)
    journal.create(job.journal_path)
    store, timeline = IndexStore(job.store_path, "main"), Timeline()

    def died(death: Death) -> None:
        if death.code > 0:
            timeline.mark("c")
            display.say(f"{death.worker} died with exit code {death.code}; replaced")

    team = Team(tasks, job.scratch, died)
    topic = await _create_topic(cluster)
    producer = Producer(topic, orders_of(job.batches))
    stage = Stage(nodes, cluster, topic, store, producer, team, timeline, display.say)
    faults = Faults(stage, job.files)
    try:
        await _start_workers(team, job, nodes.urls)
        display.say(f"{_WORKERS} workers begin; {len(POISONS)} messages will be poisoned")
        timeline.restart()
        background = [
            tasks.create_task(_watch(stage, faults, display)),
            tasks.create_task(producer.run()),
        ]
        await faults.run()
        await _settled(stage)
        seconds = timeline.seconds
        exit_codes = await team.end()
        for task in background:
            task.cancel()
        books, proof = await take(topic, producer, nodes), prove(job.journal_path)
        return Result(faults.outcome, books, proof, timeline, team.deaths, exit_codes, seconds)
    finally:
        team.kill()
        store.close()


async def _create_topic(cluster: synaxis.AsyncSynaxis) -> synaxis.Topic:
    await cluster.topics.create(
        TOPIC,
        partitions=_PARTITIONS,
        visibility=_VISIBILITY_S,
        max_deliveries=MAX_DELIVERIES,
        backoff=_BACKOFF,
    )
    return cluster.topic(TOPIC, codec="json")


async def _start_workers(team: Team, job: Job, urls: str) -> None:
    """Start the updater and all workers, wait until each is ready, and let them begin."""
    journal_path = ["--journal", str(job.journal_path)]
    await team.add("updater", ["--url", urls, *journal_path], _UPDATER)
    # In the middle of a second batch; small directories may not have two for everybody.
    stop_at_write = SHARDS // 2 + (SHARDS if len(job.batches) > 50 else 0)
    arguments = ["--url", urls, "--topic", TOPIC, "--group", GROUP]
    arguments += ["--dir", str(job.directory), "--store", str(job.store_path), *journal_path]
    arguments += ["--session-ttl", str(_TTL_S), "--stop-at-write", str(stop_at_write)]
    for number in range(1, _WORKERS + 1):
        await team.add(f"worker-{number}", arguments)
    await team.begin()


@dataclass(frozen=True)
class Glance:
    """How the group is doing."""

    lag: int = 0
    """Messages that are neither finished nor dead."""
    redelivered: int = 0
    dead: int = 0


async def _glance(topic: synaxis.Topic) -> Glance | None:
    """Return how the group is doing; None if the cluster does not say so soon."""
    try:
        async with asyncio.timeout(_INFO_TIMEOUT_S):
            group = (await topic.info()).group(GROUP)
    except (synaxis.ClusterError, TimeoutError):
        return None
    return Glance(group.lag, group.redelivered, group.dead) if group is not None else Glance()


async def _watch(stage: Stage, faults: Faults, display: Display) -> None:
    """Keep the display up to date, and take samples of the lag."""
    latest = Glance()
    while True:
        now = await _glance(stage.topic)
        stage.timeline.sample(None if now is None else now.lag)
        latest = now or latest
        display.update(stage.store.files_indexed(), await _facts(latest, stage, faults))
        await asyncio.sleep(_WATCH_EVERY_S)


async def _facts(glance: Glance, stage: Stage, faults: Faults) -> str:
    leader = await stage.nodes.leader()
    leads = f"{leader.node} leads term {leader.term}" if leader else "no leader"
    failovers, refused = len(faults.outcome.failover_seconds), len(stage.store.refusals())
    return (
        f"lag {glance.lag}, redelivered {glance.redelivered}, dead {glance.dead}, "
        f"{leads}, fail-overs: {failovers}, refused: {refused}"
    )


async def _settled(stage: Stage) -> None:
    """Wait until everything is published, and acknowledged or dead."""
    while not (stage.producer.done and await _is_idle(stage.topic)):  # noqa: ASYNC110 - others do it
        await asyncio.sleep(_WATCH_EVERY_S)


async def _is_idle(topic: synaxis.Topic) -> bool:
    glance = await _glance(topic)
    return glance is not None and glance.lag == 0


def main() -> int:
    """Run the demo and say how it went."""
    parser = argparse.ArgumentParser(description="Index real files while things go wrong.")
    parser.add_argument("--dir", type=Path, default=default_directory(), help="what to index")
    parser.add_argument("--seconds-max", type=float, default=90, help="give up after this long")
    options = parser.parse_args()
    console = Console(soft_wrap=True, highlight=False)
    batches = batches_of(find_files(options.dir))
    scratch = Path(tempfile.mkdtemp(prefix="synaxis-demo-"))
    job = Job(options.dir, scratch, batches)
    if job.files < _FILES_MIN:
        parser.error(f"{options.dir} has {job.files} files; the demo needs {_FILES_MIN}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    started = time.perf_counter()
    result = None
    try:
        result = asyncio.run(asyncio.wait_for(run_job(job, console), options.seconds_max))
    except TimeoutError:
        pass  # judge() says it
    except KeyboardInterrupt:
        shutil.rmtree(job.scratch)
        return _INTERRUPTED
    wrong = judge(job, result)
    if result is not None:
        for line in figures(job, result):
            console.print(line, markup=False)
    return conclude(job, wrong, time.perf_counter() - started, console)


def conclude(job: Job, wrong: Sequence[str], seconds: float, console: Console) -> int:
    """Print the verdict and return the exit code; keep the evidence if something is off."""
    if wrong:
        for sentence in wrong[:20]:
            console.print(f"WRONG: {sentence}", markup=False)
        console.print(
            f"FAILED after {seconds:.1f} s; logs and index: {job.scratch}", highlight=False
        )
        return 1
    shutil.rmtree(job.scratch)
    console.print(
        f"OK after {seconds:.1f} s: {job.files} files, each indexed exactly once, equal to a "
        "single-process count; the stale write was refused; every message was acknowledged or is "
        "a dead letter; nobody read a dictionary older than the last one acknowledged",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
