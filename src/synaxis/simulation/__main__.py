"""``python -m synaxis.simulation``: run seeds, replay one, prove that planted bugs are found."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from time import perf_counter

from synaxis.simulation.planted_bugs import BUGS, SEEDS_MAX, hunt
from synaxis.simulation.report import Batch, describe_failure
from synaxis.simulation.run import SECONDS_DEFAULT, RunResult, run_seed, run_seeds
from synaxis.simulation.seeds import WORLDS, Seed, mixed

__all__ = ["main"]

PROGRESS_INTERVAL_S = 10.0
SOAK_FIRST_SEED = 1_000_000


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(options: argparse.Namespace) -> int:
    """Run a number of seeds; exit status 1 if one fails or a fault never fired."""
    seeds = _named(range(options.first, options.first + options.seeds), options)
    return _report(run_seeds(seeds, options.seconds, options.jobs), lambda: False)


def soak(options: argparse.Namespace) -> int:
    """Run fresh seeds for some minutes of real time."""
    end = perf_counter() + options.minutes * 60
    say(f"seeds from {options.first}")
    seeds = _named(count(options.first), options)
    results = run_seeds(seeds, options.seconds, options.jobs)
    return _report(results, lambda: perf_counter() >= end)


def _named(numbers: Iterable[int], options: argparse.Namespace) -> Iterable[Seed]:
    if options.world is None:
        return mixed(numbers)
    return (Seed(number, options.world) for number in numbers)


def _report(results: Iterator[RunResult], is_over: Callable[[], bool]) -> int:
    batch = Batch()
    told_at = perf_counter()
    for result in results:
        batch.add(result)
        if result.failure is not None:
            say(describe_failure(result))
        if perf_counter() - told_at > PROGRESS_INTERVAL_S:
            told_at = perf_counter()
            say(f"... {batch.seeds} seeds, {len(batch.failed)} failed")
        if is_over():
            break
    say(batch.summary())
    return 0 if batch.passed else 1


def replay(options: argparse.Namespace) -> int:
    """Run one seed again and print what was noted; with ``--trace`` every message too."""
    result = run_seed(options.seed, options.seconds, keep_trace=True, verbose=options.trace)
    for line in result.trace:
        say(line)
    result.trace = []
    if result.failure is not None:
        say(describe_failure(result))
        return 1
    say(f"seed {result.seed} passed: {result.mix}")
    say(
        f"{result.virtual_s:.1f} virtual seconds, {result.operations} operations, "
        f"{result.events} events, digest {result.digest & (1 << 64) - 1:016x}"
    )
    return 0


def planted_bugs(options: argparse.Namespace) -> int:
    """Plant one bug after the other; exit status 1 if one survives."""
    missed = 0
    for name in options.names or BUGS:
        bug = BUGS[name]
        found = hunt(bug, options.seeds)
        if found is None:
            missed += 1
            say(f"MISSED  {name}: {bug.description}: not found by {options.seeds} seeds")
            continue
        say(f"found   {name}: {bug.description}")
        say(f"        seed {found.seed}: {found.failure}: {found.message.splitlines()[0][:160]}")
    say(f"{len(options.names or BUGS) - missed} of {len(options.names or BUGS)} planted bugs found")
    return 1 if missed else 0


def main(arguments: list[str] | None = None) -> int:
    """Parse and execute; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m synaxis.simulation", description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("run", help="run many seeds")
    one.add_argument("--seeds", type=int, default=200)
    one.add_argument("--first", type=int, default=1)
    two = commands.add_parser("soak", help="run fresh seeds for a while")
    two.add_argument("--minutes", type=float, default=30)
    two.add_argument("--first", type=int, default=SOAK_FIRST_SEED)
    for command in (one, two):
        command.add_argument("--jobs", type=int, default=2)
        command.add_argument("--world", choices=WORLDS, help="all in turn by default")
    three = commands.add_parser("replay", help="run one seed again")
    three.add_argument("--seed", type=Seed.parse, required=True, help="17, q17, c17 or v17")
    three.add_argument("--trace", action="store_true", help="print every message too")
    for command in (one, two, three):
        command.add_argument("--seconds", type=float, default=SECONDS_DEFAULT)
    four = commands.add_parser("planted-bugs", help="prove that known bugs would be found")
    four.add_argument("names", nargs="*", choices=[[], *BUGS], metavar="NAME")
    four.add_argument("--seeds", type=int, default=SEEDS_MAX)
    executors = {one: run, two: soak, three: replay, four: planted_bugs}
    for command, executor in executors.items():
        command.set_defaults(execute=executor)
    options = parser.parse_args(arguments)
    return int(options.execute(options))


if __name__ == "__main__":
    sys.exit(main())
