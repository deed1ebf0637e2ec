"""``make bench``: run all benchmarks, or those that are named.

python -m benchmarks.run [NAME ...] [--seconds 3] [--rounds 3] [--quick]
"""

import argparse
import importlib
import signal
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

if __package__ in {None, ""}:  # started as a file rather than as a module
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness.comparison import QUICK, Options
from benchmarks.harness.report import Report

__all__ = ["main"]

_BENCHMARKS = (
    "lock_throughput",
    "lock_latency",
    "lock_contention",
    "failover",
    "held_locks",
    "queue_publish",
    "queue_consume",
    "queue_latency",
    "queue_backlog",
    "cache_near",
    "cache_remote",
    "cache_sharers",
    "cache_mix",
    "cache_memory",
    "simulator_speed",
    "wal_commit",
)
_INTERRUPTED = 130
_RESULTS = Path(__file__).resolve().parent / "results"


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for and write one JSON file per benchmark."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of: {', '.join(_BENCHMARKS)}"
    )
    parser.add_argument("--results", type=Path, default=_RESULTS, help="where the JSON files go")
    parser.add_argument(
        "--publish", action="store_true", help="write NAME.json, which is versioned, not local-NAME"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see in seconds that it runs; no figures to quote"
    )
    for field in fields(Options):
        parser.add_argument(f"--{field.name}", type=type(field.default))
    parsed = parser.parse_args(arguments)
    unknown = sorted(set(parsed.names) - set(_BENCHMARKS))
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    given = {field.name: getattr(parsed, field.name) for field in fields(Options)}
    options = replace(
        QUICK if parsed.quick else Options(),
        **{name: value for name, value in given.items() if value is not None},
    )
    prefix = "" if parsed.publish else "local-"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop the servers also then
    try:
        for name in parsed.names or _BENCHMARKS:
            _run(name, options, parsed.results / f"{prefix}{name}.json")
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _run(name: str, options: Options, result: Path) -> None:
    report = Report(name)
    started = time.perf_counter()
    importlib.import_module(f"benchmarks.{name}").run(report, options)
    report.save(result)
    report.say(f"  {time.perf_counter() - started:.0f} s -> {result.name}")


if __name__ == "__main__":
    sys.exit(main())
