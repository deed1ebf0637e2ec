import pytest

from synaxis.cli.options import OutputOptions
from synaxis.cli.outcome import tell
from synaxis.cli.output import Format, Printer
from synaxis.cli.queue_topics import TopicFlags, print_topic
from synaxis.client.queues.topics import Backoff


def test_only_what_is_named_is_changed() -> None:
    assert TopicFlags().options(Backoff()) == {}
    assert TopicFlags(visibility=60.0, expired="dead-letter").options(Backoff()) == {
        "visibility": 60.0,
        "expired": "dead_letter",
    }


def test_a_limit_of_nothing_takes_the_limit_away() -> None:
    found = TopicFlags(max_age=0.0, max_bytes=0).options(Backoff())
    assert found == {"retention_time": None, "partition_bytes": None}


def test_half_a_backoff_keeps_the_other_half() -> None:
    known = Backoff(2, 90)
    assert TopicFlags(backoff=5.0).options(known) == {"backoff": Backoff(5, 90)}
    assert TopicFlags(backoff_max=30.0).options(known) == {"backoff": Backoff(2, 30)}


ROW = {
    "name": "orders",
    "partitions": 1,
    "retention": "work",
    "messages": 5,
    "size_bytes": 2048,
    "groups": ["g"],
    "lag": 3,
    "oldest_age_s": 61.0,
    "dead": 0,
    "paused": False,
    "visibility_s": 30.0,
    "max_deliveries": 5,
    "backoff_s": 1.0,
    "backoff_max_s": 60.0,
    "max_age_s": None,
    "max_bytes": None,
    "dedup_window_s": 120.0,
    "expired": "drop",
    "version": 1,
    "consumers": [
        {
            "topic": "orders",
            "group": "g",
            "mode": "keyed",
            "lag": 3,
            "oldest_age_s": 61.0,
            "in_flight": 1,
            "delayed": 0,
            "dead": 0,
            "acked": 2,
            "redelivered": 0,
            "members": [],
        }
    ],
    "stored": [
        {"partition": 0, "first_offset": 2, "next_offset": 7, "messages": 5, "size_bytes": 2048}
    ],
}


def test_each_line_of_the_plain_form_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_topic(ROW, Printer(Format.PLAIN), partitions=True)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["size_bytes", "2.0KiB"] in lines
    assert ["group", "g", "keyed", "0", "3", "1m01s", "1", "0", "0", "2", "0"] in lines
    assert ["partition", "0", "2", "7", "5", "2.0KiB"] in lines


def test_people_ask_for_partitions(capsys: pytest.CaptureFixture[str]) -> None:
    print_topic(ROW, Printer(Format.TABLE), partitions=False)
    out = capsys.readouterr().out
    assert "GROUP" in out
    assert "FIRST" not in out


def test_a_change_is_told_to_people_on_stderr_and_to_programs_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(OutputOptions(), "orders: paused", topic="orders")
    assert capsys.readouterr() == ("", "orders: paused\n")
    tell(OutputOptions(output=Format.JSONL), "orders: paused", topic="orders")
    assert capsys.readouterr() == ('{"topic": "orders"}\n', "")
    tell(OutputOptions(quiet=True), "orders: paused", topic="orders")
    assert capsys.readouterr() == ("", "")
