from benchmarks.harness.queue_load import DeliveryRun, QueueRun
from benchmarks.harness.report import middle_run


def queue_run(in_time: int) -> QueueRun:
    return QueueRun(
        system="any",
        seconds=2.0,
        in_time=in_time,
        messages=200,
        client_cpu_seconds=0.001,
        server_cpu_seconds=0.003,
    )


def test_a_rate_counts_only_messages_of_the_window() -> None:
    assert queue_run(in_time=100).rate == 50


def test_cpu_is_divided_by_all_messages_and_adds_up() -> None:
    run = queue_run(in_time=100)
    assert (run.client_cpu_us, run.server_cpu_us, run.cpu_us) == (5.0, 15.0, 20.0)


def test_the_middle_of_an_even_number_of_runs_is_the_slower_one() -> None:
    assert middle_run([queue_run(30), queue_run(20), queue_run(40), queue_run(10)]).in_time == 20


def test_deliveries_are_told_in_milliseconds() -> None:
    run = DeliveryRun("any", [0.001, 0.002, 0.003])
    assert (run.delivery_ms(50), run.as_json()["delivery_ms_max"]) == (2.0, 3.0)
