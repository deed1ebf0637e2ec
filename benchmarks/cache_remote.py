"""How many coherent reads and replicated writes of 256 bytes does one client process get?

Without a near cache: every read asks the key's home, which proves that it still leads. 128 at a
time,
each awaited by a task of its own; and a hundred keys per call.
"""

from collections.abc import Mapping

from benchmarks.harness.cache_load import CONCURRENCY, Form, get, get_many, measure_cache, set_one
from benchmarks.harness.cache_systems import CacheSystem, RedisCache, SynaxisCaches
from benchmarks.harness.comparison import (
    Options,
    durability_classes,
    paired_runs,
    print_ratios,
    serving,
)
from benchmarks.harness.report import Floor, Report, middle_run
from benchmarks.harness.statistics import median

__all__ = ["run"]


def run(report: Report, options: Options) -> None:
    """Measure all systems in all forms."""
    candidates: list[CacheSystem] = [SynaxisCaches(), RedisCache()]
    with serving(report, candidates) as systems:
        _hold(report, options, systems, "get", get, (20_000, 65, 1.3))
        _hold(report, options, systems, "set", set_one, (8_000, 170, 0.6))
        _hold(report, options, systems, "get_many", get_many, (200_000, None, None))


def _hold(
    report: Report,
    options: Options,
    systems: Mapping[str, CacheSystem],
    name: str,
    form: Form,
    floors: tuple[float, float | None, float | None],
) -> None:
    title = f"{name}, {CONCURRENCY} concurrent" if name != "get_many" else "get_many of 100"
    report.headline(title)
    runs = paired_runs(systems, options, lambda each: measure_cache(each, form, options.seconds))
    report.message_runs(title, runs, durability_classes(systems), "key")
    rates = {system: [one.rate for one in rounds] for system, rounds in runs.items()}
    ratios = print_ratios(report, f"cache_{name}", "synaxis", rates, systems)
    rate, cpu, ratio = floors
    ours = runs["synaxis"]
    report.floor(Floor(f"rate of {title}", rate, "keys/s"), middle_run(ours).rate)
    if cpu is not None:
        used = median([one.cpu_us for one in ours])
        report.floor(Floor(f"CPU of all processes, {title}", cpu, "us/key", at_least=False), used)
    if ratio is not None and "redis" in ratios:
        report.floor(Floor(f"ratio to redis, {title}", ratio, "x"), ratios["redis"])
