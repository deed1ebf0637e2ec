"""Records: what they weigh, when they end, and what a stamp makes void."""

from synaxis.caches.commands import Item, Version
from synaxis.caches.records import BUCKET_MS, Records
from synaxis.ids import LogTime

NOW = LogTime(10_000)


def store(records: Records, key: str, version: int, now: int = NOW, **options: object) -> None:
    item = Item(key, b"value", **options)  # type: ignore[arg-type]
    records.store(item, Version(version), LogTime(now))


def test_bytes_and_census_follow_what_is_stored() -> None:
    records = Records()
    store(records, "c/a", 1)
    store(records, "c/a", 2)
    store(records, "d/b", 3)
    assert (records.bytes, records.census["c"].records) == (2 * 8, 1)
    records.remove("c/a")
    assert "c" not in records.census
    assert records.remove("c/a") is None
    assert records.bytes == 8


def test_a_record_is_void_from_its_end_on_and_removed_with_its_second() -> None:
    records = Records()
    store(records, "c/a", 1, ttl_ms=500)
    assert records.read("c/a", LogTime(NOW + 499)) is not None
    assert records.read("c/a", LogTime(NOW + 500)) is None
    deadline = records.deadline()
    assert deadline == NOW + BUCKET_MS
    records.expire(LogTime(deadline - 1))
    assert records.by_key
    records.expire(deadline)
    assert not records.by_key
    assert records.expired == 1
    assert records.deadline() is None


def test_the_end_of_an_earlier_record_is_not_that_of_its_successor() -> None:
    records = Records()
    store(records, "c/a", 1, ttl_ms=500)
    store(records, "c/a", 2)
    store(records, "c/b", 3, ttl_ms=500)
    store(records, "c/b", 4, ttl_ms=5_000)
    records.expire(LogTime(NOW + 3_000))
    assert set(records.by_key) == {"c/a", "c/b"}


def test_readings_tell_the_time_that_is_left() -> None:
    records = Records()
    store(records, "c/a", 1, ttl_ms=500, soft_ms=300, idle_ms=900, tags=("t",))
    reading = records.read("c/a", LogTime(NOW + 100))
    assert reading is not None
    assert (reading.ttl_ms, reading.soft_ms, reading.idle_ms) == (400, 200, 900)
    assert [records.read("c/a", LogTime(NOW + at)).soft_ms for at in (300, 450)] == [-1, -150]  # type: ignore[union-attr]


def test_a_stamp_voids_what_is_not_newer() -> None:
    records = Records()
    store(records, "c/old", 1, tags=("t",))
    store(records, "c/other", 2)
    records.stamp("c/t", Version(3), 10)
    store(records, "c/new", 4, tags=("t",))
    alive = [key for key in records.by_key if records.live(key, NOW)]
    assert alive == ["c/other", "c/new"]
    records.stamp("c", Version(5), 10)
    assert not any(records.live(key, NOW) for key in records.by_key)


def test_too_many_stamps_are_swept() -> None:
    records = Records()
    store(records, "c/a", 1, tags=("t",))
    records.stamp("c/t", Version(2), 2)
    records.stamp("c/u", Version(3), 2)
    records.stamp("c/v", Version(4), 2)
    assert not records.by_key
    assert records.stamps == {"c/v": 4}


def test_what_is_saved_and_loaded_is_equal_and_ends_at_the_same_time() -> None:
    records, twin = Records(), Records()
    store(records, "c/a", 1, ttl_ms=500)
    store(records, "c/b", 2)
    store(records, "c/a", 3, ttl_ms=2_500)
    records.stamp("d", Version(4), 10)
    twin.load(records.save(), dict(records.stamps))
    assert (twin.save(), twin.stamps, twin.bytes) == (records.save(), records.stamps, records.bytes)
    for now in (NOW + 1_500, NOW + 3_500):
        records.expire(LogTime(now))
        twin.expire(LogTime(now))
        assert twin.save() == records.save()
