"""Virtual time runs events in order, the same way every time."""

from synaxis.ids import Instant
from synaxis.simulation.clock import NodeClock
from synaxis.simulation.kernel import MICROSECONDS_PER_SECOND, Kernel


def test_events_run_in_order_of_time_and_then_of_scheduling() -> None:
    kernel = Kernel(1)
    seen: list[str] = []
    for time, name in ((30, "c"), (10, "a"), (30, "d"), (20, "b")):
        kernel.at(time, seen.append, name)
    kernel.run_until(30)
    assert seen == ["a", "b", "c", "d"]
    assert kernel.now == 30


def test_an_event_in_the_past_runs_now() -> None:
    kernel = Kernel(1)
    seen: list[int] = []
    kernel.run_until(100)
    kernel.at(50, lambda: seen.append(kernel.now))
    kernel.run_until(100)
    assert seen == [100]


def test_streams_are_independent_of_each_other() -> None:
    def draws(kernel: Kernel, others: int) -> float:
        for _ in range(others):
            kernel.stream("b").random()
        return kernel.stream("a").random()

    assert draws(Kernel(5), 0) == draws(Kernel(5), 9)
    assert Kernel(5).stream("a").random() != Kernel(6).stream("a").random()
    assert Kernel(5).stream("a").random() != Kernel(5).stream("b").random()


def test_the_digest_depends_on_what_happened() -> None:
    def digest(*times: int) -> int:
        kernel = Kernel(1)
        for time in times:
            kernel.at(time, lambda: None)
        kernel.run_until(1000)
        return kernel.digest

    assert digest(1, 2) == digest(1, 2)
    assert digest(1, 2) != digest(1, 3)
    assert digest(1, 2) != digest(2, 1)


def test_only_the_end_of_a_trace_is_kept_unless_asked_for() -> None:
    short, long = Kernel(1), Kernel(1, keep_trace=True)
    for kernel in (short, long):
        for number in range(1_000):
            kernel.note("event", number)
    assert short.trace[-1] == (0, "event", 999)
    assert len(short.trace) < len(long.trace) == 1_000


def test_a_fast_clock_gains_and_tells_when_it_will_show_a_time() -> None:
    kernel = Kernel(1)
    clock = NodeClock(kernel, 1.1)
    kernel.run_until(10 * MICROSECONDS_PER_SECOND)
    assert clock.now() == 11_000
    at = clock.virtual_time_of(Instant(clock.now() + 110))
    kernel.run_until(at)
    assert clock.now() == 11_110
    assert at - 10 * MICROSECONDS_PER_SECOND < 101_000


def test_a_clock_that_changes_its_rate_does_not_jump_and_a_reboot_does() -> None:
    kernel = Kernel(1)
    clock = NodeClock(kernel, 0.9)
    kernel.run_until(MICROSECONDS_PER_SECOND)
    before = clock.now()
    clock.set_rate(1.1)
    assert clock.now() == before
    clock.reboot(kernel.stream("boot"))
    assert clock.now() != before
