"""The job, what came out of it, and whether the demo has shown what it should."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accounts import Accounts, disagreements
from faults import KilledWorker, Outcome
from poison import CRASH_CODE, CRASHING, POISONS
from proof import Proof, shortcomings
from store import Attempt, IndexStore
from team import Death
from timeline import Timeline
from verify import differences

__all__ = ["Job", "Result", "judge"]


@dataclass(frozen=True)
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
        """The SQLite file of the index."""
        return self.scratch / "index.sqlite"

    @property
    def journal_path(self) -> Path:
        """That of what was written to and read from the shared dictionaries."""
        return self.scratch / "journal.sqlite"


@dataclass(frozen=True)
class Result:
    """What came out of it."""

    outcome: Outcome
    books: Accounts
    proof: Proof
    timeline: Timeline
    deaths: list[Death]
    exit_codes: dict[str, int]
    indexing_seconds: float

    @property
    def crashes(self) -> int:
        """How often a worker died of the poison that kills."""
        return sum(death.code == CRASH_CODE for death in self.deaths)


def judge(job: Job, result: Result | None) -> list[str]:
    """Return everything that is off; nothing when the demo has shown what it should."""
    if result is None:
        return ["it did not finish in time"]
    store = IndexStore(job.store_path, "main")
    attempts = store.attempts()
    finished = store.batches_finished()
    wrong = differences(store, job.directory, job.batches)
    store.close()
    wrong += disagreements(result.books, len(job.batches), finished, attempts)
    wrong += shortcomings(result.proof)
    if result.outcome.refusal is None:
        wrong.append("no stale write of the frozen worker was refused")
    if len(result.outcome.failover_seconds) != 2:
        wrong.append("the leader was not killed twice")
    wrong += _wrong_kill(result.outcome.killed, attempts)
    wrong += _wrong_deaths(result, attempts, len(job.batches))
    wrong += [f"{name} exited with {code}" for name, code in result.exit_codes.items() if code]
    return wrong


def _wrong_kill(killed: KilledWorker | None, attempts: Sequence[Attempt]) -> list[str]:
    """The message that the killed worker held must have counted a failure and come again."""
    if killed is None:
        return ["no worker was killed while it held a message"]
    held = Attempt(killed.batch, killed.worker, killed.failures)
    if held not in attempts:
        return [f"{killed.worker} did not hold batch {killed.batch} when it was killed"]
    later = attempts[attempts.index(held) + 1 :]
    if not any(each.batch == held.batch and each.failures > held.failures for each in later):
        return [f"batch {killed.batch} did not come again after {killed.worker} was killed"]
    return []


def _wrong_deaths(result: Result, attempts: Sequence[Attempt], batches: int) -> list[str]:
    """Those that we did not kill must have died of the poison, each time that it was read."""
    crashing = {batches + n for n, poison in enumerate(POISONS) if poison.file == CRASHING}
    reads = sum(attempt.batch in crashing for attempt in attempts)
    kills = sum(death.code == -signal.SIGKILL for death in result.deaths)
    wrong = [
        f"{death.worker} died with {death.code}"
        for death in result.deaths
        if death.code not in (CRASH_CODE, -signal.SIGKILL)
    ]
    if kills != result.outcome.kills:
        wrong.append(f"{kills} workers were killed, {result.outcome.kills} of them by us")
    if result.crashes != reads or not reads:
        wrong.append(
            f"{result.crashes} workers died of the poison that kills, which was read {reads} times"
        )
    return wrong
