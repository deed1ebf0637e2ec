from collections.abc import Callable

import pytest

from support.faulty_directory import FaultyDirectory
from support.stored_units import QUEUES, Script, meta_of, unit_of
from synaxis.effects import Attachment, SnapshotMeta, StoreAppend, StoreDrop
from synaxis.errors import StorageCorrupt, StorageError
from synaxis.ids import GroupId
from synaxis.ports import Directory
from synaxis.storage.message_file import OPEN_FILES_MAX
from synaxis.storage.message_store import InlineExecutor, MessageStore, StoreLimits

OTHER = GroupId("queues/1")
FIRST_FILE = "queues%2F0-00000001.messages"


class LateExecutor:
    """Runs nothing before it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, call: Callable[[], None], /) -> None:
        self.calls.append(call)

    def run(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def store_in(
    directory: Directory,
    *,
    flush: int = 1 << 18,
    recent: int = 1 << 24,
    unsynced: int = 1 << 24,
    states: dict[GroupId, tuple[Attachment, ...]] | None = None,
) -> MessageStore:
    limits = StoreLimits(flush_bytes=flush, recent_bytes_max=recent, unsynced_bytes_max=unsynced)
    store = MessageStore(directory, limits, InlineExecutor())
    store.restart(states or {})
    return store


# --- what is stored can be read ------------------------------------------------------------------


def test_what_was_appended_is_read_from_memory_before_any_file_exists() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 3))
    assert store.read(QUEUES, script.ranges()) == script.stored()
    assert directory.operations == []
    assert store.unflushed_bytes == len(script.content[1])


def test_a_flush_comes_when_enough_is_buffered() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, flush=300)
    store.execute(QUEUES, script.fill(1, 2))
    assert directory.names() == []
    store.execute(QUEUES, script.fill(1, 1))
    assert directory.files[FIRST_FILE] == script.content[1]
    assert store.unflushed_bytes == 0
    assert directory.operations == ["create", "write"]


def test_one_write_per_segment_carries_everything_that_was_buffered() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, [*script.fill(1, 5), *script.fill(2, 5), *script.fill(1, 5)])
    store.sync(QUEUES)
    assert directory.operations.count("write") == 2
    assert directory.files[FIRST_FILE] == script.content[1]


def test_what_was_flushed_stays_in_memory_up_to_a_limit() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, flush=1, recent=250)
    for operation in script.fill(1, 4):
        store.execute(QUEUES, [operation])
    oldest, *_, youngest = script.ranges()
    assert store.read(QUEUES, [oldest]) is None
    assert store.read(QUEUES, [youngest]) == [unit_of(3)]
    assert store.read_blocking(QUEUES, [oldest, youngest]) == [unit_of(0), unit_of(3)]


def test_a_read_of_what_only_the_buffer_holds_writes_it_first() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 3))
    assert store.read_blocking(QUEUES, script.ranges()) == script.stored()


def test_a_range_may_span_several_units_or_be_a_part_of_one() -> None:
    script = Script()
    store = store_in(FaultyDirectory())
    store.execute(QUEUES, script.fill(1, 3))
    content = script.content[1]
    assert store.read(QUEUES, [(1, 0, 50)]) == [content[:50]]
    assert store.read(QUEUES, [(1, 0, 200)]) is None
    assert store.read_blocking(QUEUES, [(1, 30, 200), (1, 230, 5)]) == [
        content[30:230],
        content[230:235],
    ]


def test_what_is_not_there_is_no_failure() -> None:
    script = Script()
    store = store_in(FaultyDirectory())
    store.execute(QUEUES, script.fill(1, 1))
    assert store.read(QUEUES, [(7, 0, 10)]) is None
    assert store.read_blocking(QUEUES, [(7, 0, 10)]) is None
    assert store.read_blocking(QUEUES, [(1, 100, 100)]) is None
    assert store.read_blocking(OTHER, [(1, 0, 10)]) is None


def test_groups_with_equal_segments_do_not_mix() -> None:
    mine, other = Script(), Script()
    other.append(1, 7)
    store = store_in(FaultyDirectory())
    store.execute(QUEUES, mine.fill(1, 2))
    store.execute(OTHER, [StoreAppend(1, 0, other.content[1])])
    assert store.read_blocking(QUEUES, mine.ranges()) == mine.stored()
    assert store.read_blocking(OTHER, other.ranges()) == other.stored()


def test_an_append_elsewhere_than_at_the_end_is_a_bug() -> None:
    store = store_in(FaultyDirectory())
    with pytest.raises(AssertionError):
        store.execute(QUEUES, [StoreAppend(1, 5, unit_of(1))])


# --- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("recent", [0, 1 << 20])
def test_a_copy_is_equal_whether_its_source_is_in_memory_or_in_a_file(recent: int) -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, recent=recent)
    store.execute(QUEUES, script.fill(1, 3))
    store.sync(QUEUES)
    store.execute(QUEUES, [script.copy(1, 2), script.append(2), script.copy(0, 2)])
    store.sync(QUEUES)
    assert directory.files["queues%2F0-00000002.messages"] == script.content[2]


def test_a_copy_of_a_copy_of_a_dropped_unit_arrives() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, recent=0)
    store.execute(QUEUES, script.fill(1, 2))
    store.sync(QUEUES)
    store.execute(QUEUES, [script.copy(1, 2), script.copy(2, 3), script.drop(1), script.drop(2)])
    store.keep(QUEUES, meta_of(9, ()))
    assert directory.names() == ["queues%2F0-00000003.messages"]
    assert store.read_blocking(QUEUES, script.ranges()) == [unit_of(1)]


# --- durability ----------------------------------------------------------------------------------


def test_sync_makes_one_group_durable() -> None:
    directory, script, other = FaultyDirectory(), Script(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 3))
    store.execute(OTHER, other.fill(1, 3))
    store.sync(QUEUES)
    disk = directory.after_crash()
    assert disk[FIRST_FILE] == script.content[1]
    assert disk["queues%2F1-00000001.messages"] == b""
    directory.operations.clear()
    store.sync(QUEUES)
    assert directory.operations == []


def test_much_that_is_written_is_synced_without_being_asked() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, flush=1, unsynced=500)
    store.execute(QUEUES, script.fill(1, 5))
    assert directory.after_crash()[FIRST_FILE] == script.content[1]


def test_many_segments_do_not_keep_as_many_files_open() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    many = OPEN_FILES_MAX + 5
    store.execute(QUEUES, [script.append(number) for number in range(many)])
    store.execute(QUEUES, [script.append(number) for number in range(many)])
    store.sync(QUEUES)
    assert directory.closed >= 5
    disk = directory.after_crash()
    assert [disk[name] for name in sorted(disk)] == list(script.content.values())


@pytest.mark.parametrize("fail_at", range(1, 4))
def test_after_a_failure_nothing_works_any_more(fail_at: int) -> None:
    directory, script = FaultyDirectory(fail_at=fail_at), Script()
    told: list[StorageError] = []
    store = MessageStore(directory, None, InlineExecutor(), told.append)
    store.restart({})
    store.execute(QUEUES, script.fill(1, 3))
    with pytest.raises(StorageError):
        store.sync(QUEUES)
    with pytest.raises(StorageError):
        store.sync(QUEUES)
    with pytest.raises(StorageError):
        store.execute(QUEUES, script.fill(1, 3))
    assert len(told) == 1


def test_a_flush_that_fails_in_the_background_fails_the_next_call() -> None:
    directory, script = FaultyDirectory(fail_at=1), Script()
    executor = LateExecutor()
    store = MessageStore(directory, StoreLimits(flush_bytes=1), executor)
    store.restart({})
    store.execute(QUEUES, script.fill(1, 1))
    executor.run()
    with pytest.raises(StorageError):
        store.execute(QUEUES, script.fill(1, 1))


def test_a_file_that_has_become_short_stops_the_store() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, recent=0)
    store.execute(QUEUES, script.fill(1, 3))
    store.sync(QUEUES)
    del directory.files[FIRST_FILE][50:]
    with pytest.raises(StorageCorrupt):
        store.read_blocking(QUEUES, script.ranges())
    with pytest.raises(StorageError):
        store.sync(QUEUES)


# --- snapshots -----------------------------------------------------------------------------------


def test_a_dropped_file_goes_only_when_no_snapshot_refers_to_it() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, [*script.fill(1, 2), *script.fill(2, 2)])
    old = script.meta(5)
    store.sync(QUEUES)
    store.execute(QUEUES, [script.drop(1)])
    store.keep(QUEUES, old)
    assert len(directory.names()) == 2
    assert store.verify(QUEUES, old.attachments)
    store.keep(QUEUES, script.meta(6))
    assert directory.names() == ["queues%2F0-00000002.messages"]
    assert not store.verify(QUEUES, old.attachments)


def test_what_a_snapshot_on_its_way_to_the_disk_refers_to_survives_an_earlier_one() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    first = script.meta(5)
    store.hold(QUEUES, first)
    store.execute(QUEUES, script.fill(1, 2))
    second = script.meta(6)
    store.hold(QUEUES, second)
    store.execute(QUEUES, [script.drop(1), *script.fill(2, 2)])
    store.keep(QUEUES, first)
    store.sync(QUEUES)
    assert store.verify(QUEUES, second.attachments)
    store.keep(QUEUES, script.meta(7))
    assert directory.names() == ["queues%2F0-00000002.messages"]


def test_a_snapshot_verifies_although_its_segments_have_grown_since() -> None:
    script = Script()
    store = store_in(FaultyDirectory())
    store.execute(QUEUES, script.fill(1, 3, 1000))
    old = script.attachments()
    store.execute(QUEUES, script.fill(1, 3, 700))
    store.sync(QUEUES)
    assert store.verify(QUEUES, old)
    assert store.verify(QUEUES, script.attachments())


@pytest.mark.parametrize("size", [1 << 20, 3_500_000])
def test_units_larger_than_what_is_read_at_a_time_verify(size: int) -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, [script.append(1, 10), script.append(1, size), script.append(1, 10)])
    store.sync(QUEUES)
    assert store.verify(QUEUES, script.attachments())
    directory.files[FIRST_FILE][size // 2] ^= 1
    assert not store.verify(QUEUES, script.attachments())


def test_every_kind_of_damage_is_noticed() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 3))
    store.sync(QUEUES)
    whole = bytes(directory.files[FIRST_FILE])
    (good,) = script.attachments()
    for offset in range(0, len(whole), 7):
        directory.files[FIRST_FILE][:] = whole
        directory.files[FIRST_FILE][offset] ^= 0x10
        assert not store.verify(QUEUES, [good]), offset
    for size in (0, 1, 12, len(whole) - 1):
        directory.files[FIRST_FILE][:] = whole[:size]
        assert not store.verify(QUEUES, [good]), size
    directory.files[FIRST_FILE][:] = whole
    assert store.verify(QUEUES, [good])
    assert not store.verify(QUEUES, [Attachment(1, good.length - 1, good.checksum)])
    assert not store.verify(QUEUES, [Attachment(1, good.length, good.checksum ^ 1)])
    assert not store.verify(QUEUES, [Attachment(2, good.length, good.checksum)])


def test_equal_units_in_another_order_do_not_verify() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 2))
    store.sync(QUEUES)
    directory.files[FIRST_FILE][:] = unit_of(1) + unit_of(0)
    assert not store.verify(QUEUES, script.attachments())


# --- restart -------------------------------------------------------------------------------------


def test_a_restart_goes_on_where_the_snapshot_ended() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory, flush=1)
    store.execute(QUEUES, script.fill(1, 3))
    taken = script.attachments()
    store.sync(QUEUES)
    again = [script.append(1), script.append(2), script.append(1)]
    store.execute(QUEUES, again)
    left = FaultyDirectory(directory.after_kill())
    revived = store_in(left, states={QUEUES: taken})
    assert left.after_kill() == directory.after_kill(), "nothing is destroyed before it must be"
    assert revived.read_blocking(QUEUES, script.ranges()[:3]) == script.stored()[:3]
    assert revived.read_blocking(QUEUES, script.ranges()[3:]) is None
    revived.execute(QUEUES, again)
    revived.sync(QUEUES)
    assert revived.read_blocking(QUEUES, script.ranges()) == script.stored()
    assert left.after_crash() == directory.after_kill()


def test_a_torn_tail_behind_the_snapshot_does_not_matter() -> None:
    directory, script = FaultyDirectory(), Script()
    store = store_in(directory)
    store.execute(QUEUES, script.fill(1, 3))
    taken = script.attachments()
    store.sync(QUEUES)
    torn = {FIRST_FILE: directory.after_crash()[FIRST_FILE] + b"torn", "foreign": b""}
    left = FaultyDirectory(torn)
    revived = store_in(left, states={QUEUES: taken})
    assert revived.verify(QUEUES, taken)
    revived.execute(QUEUES, script.fill(1, 2))
    revived.sync(QUEUES)
    assert left.files[FIRST_FILE] == script.content[1]


def test_what_an_earlier_life_left_goes_with_the_next_snapshot() -> None:
    left = FaultyDirectory({FIRST_FILE: b"left", "queues%2F9-00000004.messages": b"of another"})
    script = Script()
    revived = store_in(left, states={QUEUES: ()})
    revived.execute(QUEUES, script.fill(2, 1))
    revived.sync(QUEUES)
    revived.keep(QUEUES, script.meta(1))
    assert left.names() == ["queues%2F0-00000002.messages", "queues%2F9-00000004.messages"]


# --- gathering -----------------------------------------------------------------------------------


def fetch(follower: MessageStore, script: Script) -> SnapshotMeta:
    """Gather the present state of ``script``, as entry 50."""
    meta = script.meta(50)
    for segment, position, length in follower.missing(QUEUES, meta):
        data = script.content[segment][position : position + length]
        assert follower.receive(QUEUES, segment, position, data)
    return meta


def test_a_follower_gathers_what_it_lacks_and_goes_on_from_there() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, [*script.fill(1, 2), *script.fill(2, 2)])
    had = len(script.content[2])
    script.drop(1)
    script.fill(2, 3)
    script.fill(3, 4)
    meta = script.meta(50)
    assert follower.missing(QUEUES, meta) == [
        (2, had, len(script.content[2]) - had),
        (3, 0, len(script.content[3])),
    ]
    fetch(follower, script)
    assert follower.missing(QUEUES, meta) == []
    assert all(follower.adopt(QUEUES, each) for each in meta.attachments)
    assert (
        FaultyDirectory(directory.after_crash()).files["queues%2F0-00000003.messages"]
        == script.content[3]
    )
    follower.reset(QUEUES, meta.attachments)
    follower.execute(QUEUES, [script.append(3)])
    follower.sync(QUEUES)
    assert follower.read_blocking(QUEUES, script.ranges()) == script.stored()
    assert FIRST_FILE in directory.names(), "the last durable snapshot may need it"
    follower.keep(QUEUES, meta)
    assert FIRST_FILE not in directory.names()


def test_an_append_of_our_own_cuts_off_what_was_not_verified() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    own = script.append(1)
    script.fill(1, 3)
    meta = script.meta(50)
    ((_, position, _),) = follower.missing(QUEUES, meta)
    assert position == own.position
    assert follower.receive(QUEUES, 1, position, b"rubbish of a peer")
    follower.execute(QUEUES, [own])
    follower.sync(QUEUES)
    assert script.content[1].startswith(directory.files[FIRST_FILE])
    assert not follower.receive(QUEUES, 1, position + 17, b"more rubbish")
    fetch(follower, script)
    assert follower.adopt(QUEUES, meta.attachments[0])
    assert directory.files[FIRST_FILE] == script.content[1]


def test_an_append_of_our_own_finds_itself_in_what_was_verified() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    own = [script.append(1), script.append(1)]
    meta = script.meta(50)
    fetch(follower, script)
    assert follower.adopt(QUEUES, meta.attachments[0])
    operations = len(directory.operations)
    follower.execute(QUEUES, own)
    follower.sync(QUEUES)
    assert directory.operations[operations:] == []
    follower.execute(QUEUES, [script.append(1)])
    follower.sync(QUEUES)
    assert directory.files[FIRST_FILE] == script.content[1]


def test_appends_that_wait_while_a_snapshot_is_installed_are_not_written_twice() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    own = script.append(1)
    script.fill(1, 2)
    meta = script.meta(50)
    fetch(follower, script)
    assert follower.adopt(QUEUES, meta.attachments[0])
    follower.execute(QUEUES, [own])
    follower.reset(QUEUES, meta.attachments)
    follower.execute(QUEUES, [script.append(1)])
    follower.sync(QUEUES)
    assert directory.files[FIRST_FILE] == script.content[1]


def test_what_does_not_verify_is_thrown_away_but_our_own_is_not() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    own = script.content[1]
    script.fill(1, 2)
    meta = script.meta(50)
    ((_, position, length),) = follower.missing(QUEUES, meta)
    assert follower.receive(QUEUES, 1, position, bytes(length))
    assert not follower.adopt(QUEUES, meta.attachments[0])
    assert directory.files[FIRST_FILE] == own
    assert follower.missing(QUEUES, meta) == [(1, position, length)]


def test_what_is_being_gathered_survives_a_snapshot_of_our_own() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    earlier = script.meta(5)
    script.fill(2, 2)
    meta = fetch(follower, script)
    follower.keep(QUEUES, earlier)
    assert all(follower.adopt(QUEUES, each) for each in meta.attachments)
    follower.reset(QUEUES, meta.attachments)
    assert follower.read_blocking(QUEUES, script.ranges()) == script.stored()


def test_what_was_gathered_for_nothing_goes_with_a_later_snapshot() -> None:
    directory, script = FaultyDirectory(), Script()
    follower = store_in(directory)
    follower.execute(QUEUES, script.fill(1, 2))
    script.fill(2, 2)
    fetch(follower, script)
    script.drop(2)
    follower.sync(QUEUES)
    follower.keep(QUEUES, script.meta(60))
    assert directory.names() == [FIRST_FILE]


def test_bytes_of_an_earlier_life_are_fetched_anew() -> None:
    # The kernel may show what a failed sync has lost, and would never write it again.
    script = Script()
    script.fill(1, 3)
    left = FaultyDirectory({FIRST_FILE: script.content[1]})
    follower = store_in(left, states={QUEUES: ()})
    meta = script.meta(50)
    assert follower.missing(QUEUES, meta) == [(1, 0, len(script.content[1]))]
    fetch(follower, script)
    assert follower.adopt(QUEUES, meta.attachments[0])
    assert left.files[FIRST_FILE] == script.content[1]


def test_peers_are_not_served_what_was_not_verified() -> None:
    script = Script()
    follower = store_in(FaultyDirectory())
    script.fill(1, 3)
    meta = fetch(follower, script)
    assert follower.read_blocking(QUEUES, script.ranges()) is None
    assert follower.adopt(QUEUES, meta.attachments[0])
    assert follower.read_blocking(QUEUES, script.ranges()) == script.stored()


# --- threads -------------------------------------------------------------------------------------


def test_a_thread_of_its_own_writes_in_order_and_ends_with_the_store() -> None:
    directory, script = FaultyDirectory(), Script()
    store = MessageStore(directory, StoreLimits(flush_bytes=1000, recent_bytes_max=2000))
    store.restart({})
    for number in range(200):
        store.execute(QUEUES, [script.append(number // 50)])
        store.execute(QUEUES, [script.copy(len(script.units) - 1, 77)])
        if number % 20 == 0:
            assert store.read_blocking(QUEUES, script.ranges()) == script.stored()
    store.sync(QUEUES)
    assert store.unflushed_bytes == 0
    assert [bytes(directory.files[name]) for name in directory.names()] == [
        script.content[number] for number in sorted(script.content)
    ]
    store.close()
    with pytest.raises(StorageError):
        store.sync(QUEUES)


def test_a_segment_that_takes_an_old_number_is_not_removed_with_the_old_file() -> None:
    left, script = FaultyDirectory({FIRST_FILE: b"of an earlier life"}), Script()
    executor = LateExecutor()
    store = MessageStore(left, StoreLimits(), executor)
    store.restart({QUEUES: ()})
    store.keep(QUEUES, meta_of(5, ()))
    executor.run()
    assert left.names() == []
    store.execute(QUEUES, script.fill(1, 2))
    store.keep(QUEUES, meta_of(6, ()))
    executor.run()
    assert left.files[FIRST_FILE] == script.content[1]


def test_a_dropped_segment_is_never_seen_again() -> None:
    script = Script()
    store = store_in(FaultyDirectory())
    store.execute(QUEUES, [*script.fill(1, 1), StoreDrop(1), StoreDrop(9)])
    assert store.read(QUEUES, script.ranges()) is None
    with pytest.raises(AssertionError):
        store.execute(QUEUES, [script.append(1)])
