"""Options of consumers and topics: what is allowed, and how the wire says it."""

from collections.abc import Sequence
from typing import Any

import pytest

from synaxis.client.queues.checks import between, checked_name, choice, duration
from synaxis.client.queues.options import plan
from synaxis.client.queues.topics import Backoff, _configured, _settings
from synaxis.errors import InvalidArgument
from synaxis.queues.commands import ABSENT, GroupMode
from synaxis.queues.limits import QueueLimits
from synaxis.queues.validation import check_command
from synaxis.topics import Retention, TopicConfig, TopicRecord


async def revoked(partitions: Sequence[int]) -> None:
    """Do nothing."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "fair"}, 'mode must be one of "shared", "keyed", "exclusive", not \'fair\''),
        ({"concurrency": 0}, "concurrency must be 1 to"),
        ({"prefetch": 0}, "prefetch must be 1 to"),
        ({"start": "middle"}, 'start must be one of "earliest", "latest"'),
        ({"visibility": 0.5}, "visibility must be 1 to 43200 seconds"),
        ({"on_revoke": revoked}, 'on_revoke needs mode="exclusive"'),
    ],
)
def test_bad_options_of_a_consumer_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        plan("g", "me", **options)


def test_the_defaults_of_a_consumer() -> None:
    found = plan("g", "me")
    assert (found.mode, found.concurrency, found.prefetch, found.tuned) == (
        GroupMode.SHARED,
        16,
        64,
        True,
    )
    assert (found.visibility_ms, found.from_end, found.auto_extend, found.name) == (
        ABSENT,
        False,
        True,
        "me",
    )
    assert plan("g", "me", concurrency=500).prefetch == 1_000
    assert not plan("g", "me", prefetch=64).tuned


def test_what_a_plan_says_passes_the_cluster() -> None:
    found = plan(
        "g",
        "ü" * 300,
        mode="exclusive",
        start="latest",
        visibility=7,
        auto_extend=False,
        on_revoke=revoked,
    )
    command = found.join("t", 5)
    check_command(command, QueueLimits())
    assert (command.mode, command.visibility_ms) == (GroupMode.EXCLUSIVE, 7_000)
    assert (command.auto_extend, command.from_end) == (False, True)


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 201, "a/b", 7, None])
def test_names_need_no_quoting(name: Any) -> None:
    with pytest.raises(InvalidArgument):
        checked_name(name, "topic")


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "x" * 200])
def test_ordinary_names_are_fine(name: str) -> None:
    assert checked_name(name, "topic") == name


def test_checks_name_the_option_and_what_is_allowed() -> None:
    with pytest.raises(InvalidArgument, match="n must be 1 to 3, not 4"):
        between(4, 1, 3, "n")
    with pytest.raises(InvalidArgument, match=r"d must be 0.5 to 2 seconds, not nan"):
        duration(float("nan"), 500, 2000, "d")
    with pytest.raises(InvalidArgument, match='c must be one of "a", "b", not 7'):
        choice(7, ("a", "b"), "c")


OPTIONS: dict[str, Any] = {
    "retention": "log",
    "visibility": 45,
    "max_deliveries": 7,
    "backoff": Backoff(0.5, 30),
    "retention_time": 3600,
    "partition_bytes": 1_000_000,
    "dedup_window": 60,
    "expired": "dead_letter",
    "paused": True,
}


def test_the_options_of_a_topic_reach_its_configuration_and_come_back() -> None:
    config = _configured(TopicConfig(partitions=3), **OPTIONS)
    assert config == TopicConfig(
        partitions=3,
        retention=Retention.LOG,
        visibility_ms=45_000,
        max_deliveries=7,
        backoff_first_ms=500,
        backoff_max_ms=30_000,
        retention_ms=3_600_000,
        partition_bytes_max=1_000_000,
        dedup_window_ms=60_000,
        expired_to_dead=True,
        paused=True,
    )
    settings = _settings(TopicRecord("t", 1, 4, config))
    assert {name: getattr(settings, name) for name in OPTIONS} == OPTIONS
    assert (settings.partitions, settings.version, settings.durability) == (3, 4, "fsync")


def test_options_that_are_not_named_stay() -> None:
    before = _configured(TopicConfig(), **OPTIONS)
    after = _configured(before, max_deliveries=9)
    assert after.max_deliveries == 9
    assert after.visibility_ms == before.visibility_ms


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retention": "forever"}, 'retention must be one of "work", "log"'),
        ({"visibility": 0}, "visibility must be 1 to"),
        ({"max_deliveries": 0}, "max_deliveries must be 1 to 1000"),
        ({"backoff": 5}, r"backoff must be a synaxis.Backoff"),
        ({"backoff": Backoff(5, 1)}, "backoff.longest must not be below"),
        ({"partition_bytes": 0}, "partition_bytes must be 1 to"),
        ({"retention_time": 0}, "retention_time must be"),
        ({"expired": "burn"}, 'expired must be one of "drop", "dead_letter"'),
    ],
)
def test_bad_options_of_a_topic_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        _configured(TopicConfig(), **options)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="unknown options: retries"):
        _configured(TopicConfig(), retries=3)  # type: ignore[call-arg]  # what is tested
