"""The topics of the cluster: repeating changes nothing, and an id is never used twice."""

import msgspec
import pytest

from synaxis.cluster.topic_table import TopicTable
from synaxis.errors import AlreadyExists, InvalidArgument, LimitExceeded, NotFound
from synaxis.topics import TopicConfig, TopicLimits, TopicRecord

PLAIN = TopicConfig(partitions=4)
PAUSED = TopicConfig(partitions=4, paused=True)


@pytest.fixture
def table() -> TopicTable:
    return TopicTable(TopicLimits(topics_max=2))


def test_a_topic_is_created_once(table: TopicTable) -> None:
    record = table.create("jobs", PLAIN)
    assert record == TopicRecord("jobs", 1, 1, PLAIN)
    assert table.create("jobs", PLAIN) == record
    assert table.records == [record]


def test_a_topic_with_another_configuration_already_exists(table: TopicTable) -> None:
    record = table.create("jobs", PLAIN)
    with pytest.raises(AlreadyExists, match="another configuration"):
        table.create("jobs", PAUSED)
    assert table.records == [record]


def test_an_update_raises_the_version_and_keeps_the_id(table: TopicTable) -> None:
    table.create("jobs", PLAIN)
    assert table.update("jobs", PAUSED) == TopicRecord("jobs", 1, 2, PAUSED)
    assert table.find("jobs") == TopicRecord("jobs", 1, 2, PAUSED)


def test_an_update_that_changes_nothing_keeps_the_version(table: TopicTable) -> None:
    record = table.create("jobs", PLAIN)
    assert table.update("jobs", PLAIN) == record


def test_the_number_of_partitions_is_fixed(table: TopicTable) -> None:
    record = table.create("jobs", PLAIN)
    with pytest.raises(InvalidArgument, match="4 partitions for ever"):
        table.update("jobs", TopicConfig(partitions=5))
    assert table.find("jobs") == record


def test_what_does_not_exist_cannot_be_changed_or_deleted(table: TopicTable) -> None:
    with pytest.raises(NotFound):
        table.update("jobs", PLAIN)
    with pytest.raises(NotFound):
        table.delete("jobs")


def test_a_removed_topic_is_remembered_as_such(table: TopicTable) -> None:
    table.create("jobs", PLAIN)
    removed = table.delete("jobs")
    assert removed == TopicRecord("jobs", 1, 2, PLAIN, removed=True)
    assert table.delete("jobs") == removed
    assert table.records == [removed]
    assert table.select("", "") == ()
    with pytest.raises(NotFound):
        table.update("jobs", PAUSED)


def test_a_topic_created_again_is_another_topic(table: TopicTable) -> None:
    table.create("jobs", PLAIN)
    table.delete("jobs")
    again = TopicConfig(partitions=7)
    assert table.create("jobs", again) == TopicRecord("jobs", 2, 1, again)


def test_there_are_at_most_so_many_topics(table: TopicTable) -> None:
    table.create("a", PLAIN)
    table.create("b", PLAIN)
    with pytest.raises(LimitExceeded) as refused:
        table.create("c", PLAIN)
    assert refused.value.details == {"limit": "topics_max", "maximum": 2}
    assert table.create("a", PLAIN).topic_id == 1


def test_removed_topics_make_room_and_their_ids_stay_used(table: TopicTable) -> None:
    table.create("a", PLAIN)
    table.create("b", PLAIN)
    table.delete("b")
    assert table.create("c", PLAIN).topic_id == 3
    assert [record.name for record in table.records] == ["a", "c"]


def test_topics_are_selected_by_prefix_or_name_and_sorted() -> None:
    table = TopicTable(TopicLimits())
    for name in ("jobs.b", "mail", "jobs.a"):
        table.create(name, PLAIN)
    assert [each.name for each in table.select("jobs.", "")] == ["jobs.a", "jobs.b"]
    assert [each.name for each in table.select("", "mail")] == ["mail"]
    assert table.select("", "jobs") == ()


def test_a_snapshot_keeps_everything_and_the_last_id(table: TopicTable) -> None:
    table.create("b", PLAIN)
    table.create("a", PLAIN)
    table.delete("a")
    copy = TopicTable(TopicLimits())
    copy.load(table.save())
    assert copy.save() == table.save()
    assert copy.create("c", PLAIN).topic_id == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partitions", 0),
        ("partitions", 4_097),
        ("visibility_ms", 999),
        ("visibility_ms", 12 * 3_600_000 + 1),
        ("max_deliveries", 0),
        ("max_deliveries", 1_001),
        ("backoff_first_ms", -1),
        ("retention_ms", -1),
        ("dedup_window_ms", -1),
        ("partition_bytes_max", -1),
    ],
)
def test_a_configuration_beyond_its_bounds_is_refused(
    table: TopicTable, field: str, value: int
) -> None:
    with pytest.raises(InvalidArgument, match=field):
        table.check("jobs", msgspec.structs.replace(PLAIN, **{field: value}))


def test_a_first_pause_above_the_longest_is_refused(table: TopicTable) -> None:
    with pytest.raises(InvalidArgument, match="backoff_first_ms is above"):
        table.check("jobs", TopicConfig(backoff_first_ms=2, backoff_max_ms=1))


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "x" * 201])
def test_a_name_that_would_be_ambiguous_is_refused(table: TopicTable, name: str) -> None:
    with pytest.raises(InvalidArgument, match="name of a topic"):
        table.check(name, PLAIN)


def test_what_is_within_its_bounds_is_accepted(table: TopicTable) -> None:
    table.check("x" * 200, TopicConfig(partitions=4_096, visibility_ms=1_000, max_deliveries=1))
