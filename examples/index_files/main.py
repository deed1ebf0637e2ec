"""Index real files with a cluster whose leader is killed and a worker that is frozen meanwhile.

    python examples/index_files/main.py [--dir DIR] [--seconds-max 60]

Three node processes; eight workers claim files and change index shards under locks, with
fencing tokens that the store checks. Exit code 0 only if, in the end, every file was indexed
exactly once and a stale write arrived and was refused.
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

from corpus import SHARDS, batches_of, default_directory, find_files
from display import Display
from faults import Faults, Outcome
from nodes import Nodes
from rich.console import Console
from store import IndexStore, create
from team import Team
from verify import differences

import synaxis

_WORKERS = 8
_VICTIM = "worker-1"
_VICTIM_TTL_S = 3.0
"""The worker that is frozen has a short lease, so that the demo need not wait long for its end."""
_TTL_S = 15.0
_FILES_MIN = 3 * _WORKERS
_DISPLAY_EVERY_S = 0.25
_INTERRUPTED = 130


@dataclass
class Job:
    """What is to be indexed, and where everything is kept meanwhile."""

    directory: Path
    scratch: Path
    batches: list[list[str]]

    @property
    def files(self) -> int:
        """Number of files."""
        return sum(map(len, self.batches))

    @property
    def store_path(self) -> Path:
        """The SQLite file."""
        return self.scratch / "index.sqlite"


@dataclass
class Result:
    """What came out of it."""

    outcome: Outcome
    indexing_seconds: float
    exit_codes: dict[str, int]


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
    create(job.store_path, job.batches)
    store = IndexStore(job.store_path, "main")
    faults = Faults(nodes, store, cluster, (len(job.batches), job.files), display.say)
    team = Team(tasks)
    try:
        await _start_workers(team, job, nodes)
        display.say(f"{_WORKERS} workers begin")
        started = time.perf_counter()
        watcher = tasks.create_task(_watch(nodes, store, faults.outcome, display))
        for worker in team.workers:
            worker.tell("begin")
        await faults.run(next(worker for worker in team.workers if worker.name == _VICTIM))
        exit_codes = await team.exit_codes()
        seconds = time.perf_counter() - started
        watcher.cancel()
        display.update(store.files_indexed(), await nodes.leader(), *_counts(store, faults.outcome))
        return Result(faults.outcome, seconds, exit_codes)
    finally:
        team.kill()
        store.close()


async def _start_workers(team: Team, job: Job, nodes: Nodes) -> None:
    """Start all workers and wait until each has connected."""
    # In the middle of its second batch; small directories may not have two for everybody.
    stop_at_write = SHARDS // 2 + (SHARDS if len(job.batches) > 50 else 0)
    for number in range(1, _WORKERS + 1):
        name = f"worker-{number}"
        arguments = ["--url", nodes.urls, "--dir", str(job.directory)]
        arguments += ["--store", str(job.store_path)]
        if name == _VICTIM:
            arguments += ["--session-ttl", str(_VICTIM_TTL_S)]
            arguments += ["--stop-at-write", str(stop_at_write)]
        else:
            arguments += ["--session-ttl", str(_TTL_S)]
        await team.add(name, arguments)
    for worker in team.workers:
        await worker.told("ready")


async def _watch(nodes: Nodes, store: IndexStore, outcome: Outcome, display: Display) -> None:
    """Keep the display up to date."""
    while True:
        leadership = await nodes.leader()
        display.update(store.files_indexed(), leadership, *_counts(store, outcome))
        await asyncio.sleep(_DISPLAY_EVERY_S)


def _counts(store: IndexStore, outcome: Outcome) -> tuple[int, int]:
    return len(outcome.failover_seconds), len(store.refusals())


def judge(job: Job, result: Result | None) -> list[str]:
    """Return everything that is off; nothing when the demo has shown what it should."""
    if result is None:
        return ["it did not finish in time"]
    store = IndexStore(job.store_path, "main")
    wrong = differences(store, job.directory, job.batches)
    store.close()
    if result.outcome.refusal is None:
        wrong.append("no stale write of the frozen worker was refused")
    if len(result.outcome.failover_seconds) != 2:
        wrong.append("the leader was not killed twice")
    wrong += [f"{name} exited with {code}" for name, code in result.exit_codes.items() if code]
    return wrong


def print_figures(job: Job, result: Result, console: Console) -> None:
    """Print throughput, fail-over times and the refused write."""
    seconds = result.indexing_seconds
    updates = len(job.batches) * SHARDS
    console.print(
        f"indexed {job.files} files in {seconds:.1f} s: {job.files / seconds:,.0f} files/s, "
        f"{updates / seconds:,.0f} locked shard updates/s, faults included",
    )
    failovers = ", ".join(f"{each:.2f} s" for each in result.outcome.failover_seconds)
    console.print(f"fail-over, from SIGKILL to the next granted lock: {failovers}")
    frozen, refusal = result.outcome.frozen, result.outcome.refusal
    if frozen is not None and refusal is not None:
        console.print(
            f"{frozen.worker} was frozen for {frozen.seconds:.1f} s holding {refusal.resource}; "
            f"its write with token {refusal.token} was refused: the store had seen {refusal.seen}",
        )


def main() -> int:
    """Run the demo and say how it went."""
    parser = argparse.ArgumentParser(description="Index real files while things go wrong.")
    parser.add_argument("--dir", type=Path, default=default_directory(), help="what to index")
    parser.add_argument("--seconds-max", type=float, default=60, help="give up after this long")
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
        print_figures(job, result, console)
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
        "single-process count; the stale write was refused",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
