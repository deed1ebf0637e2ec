"""Records in HTTP headers, there and back."""

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from synaxis.api.cache_headers import (
    backing_of,
    condition_of,
    headers_of,
    is_known,
    item_of,
)
from synaxis.caches.commands import (
    ABSENT,
    ANY_VERSION,
    INTEGER,
    Backing,
    Item,
    Reading,
    Version,
)
from synaxis.errors import InvalidArgument


def headers(**values: str) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict({k.replace("_", "-"): v for k, v in values.items()}))


def test_a_request_says_everything_about_its_record() -> None:
    given = headers(
        synaxis_ttl_ms="60000",
        synaxis_soft_ttl_ms="30000",
        synaxis_idle_ms="5000",
        synaxis_tags="red, a%2Cb,",
        if_match='"17"',
    )
    item = item_of("c/k", b"v", "application/json", given)
    assert item == Item("c/k", b"v", 2, 60_000, 30_000, 5_000, ("red", "a,b"), 17)


def test_a_request_need_not_say_anything() -> None:
    assert item_of("c/k", b"v", "application/octet-stream", headers()) == Item("c/k", b"v")


@pytest.mark.parametrize("ttl", ["-1", "1.5", "1e3", "soon", "9" * 30, "٣"])
def test_durations_are_whole_milliseconds(ttl: str) -> None:
    with pytest.raises(InvalidArgument, match="Synaxis-Ttl-Ms"):
        item_of("c/k", b"v", "", headers(synaxis_ttl_ms=ttl))


def test_an_answer_says_what_a_request_would() -> None:
    reading = Reading(b"v", 2, Version(17), 60_000, -5, ("red", "a,b"))
    assert headers_of(reading) == {
        "ETag": '"17"',
        "Content-Type": "application/json",
        "Synaxis-Ttl-Ms": "60000",
        "Synaxis-Soft-Ttl-Ms": "-5",
        "Synaxis-Tags": "red,a%2Cb",
    }


@pytest.mark.parametrize(
    ("flags", "content_type"),
    [
        (0, "application/octet-stream"),
        (1, "application/msgpack"),
        (INTEGER, "text/plain"),
        (4, "application/octet-stream"),
    ],
)
def test_flags_are_content_types(flags: int, content_type: str) -> None:
    found = headers_of(Reading(b"", flags, Version(1)))
    assert found == {"ETag": '"1"', "Content-Type": content_type}


def test_conditions_are_versions() -> None:
    assert condition_of(headers()) == ANY_VERSION
    assert condition_of(headers(if_none_match="*")) == ABSENT
    assert condition_of(headers(if_match='"17"')) == 17


@pytest.mark.parametrize(
    "given",
    [
        {"if_match": "*"},
        {"if_match": '"a"'},
        {"if_match": '"1", "2"'},
        {"if_none_match": '"17"'},
        {"if_match": '"17"', "if_none_match": "*"},
    ],
)
def test_other_conditions_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        condition_of(headers(**given))


@pytest.mark.parametrize(
    ("given", "known"),
    [('"17"', True), ('W/"17"', True), ('"1", "17"', True), ("*", True), ('"1"', False)],
)
def test_a_reader_may_have_the_record_already(given: str, known: bool) -> None:
    reading = Reading(b"", 0, Version(17))
    assert is_known(reading, headers(if_none_match=given)) is known
    assert not is_known(reading, headers())


def test_backing_has_a_name() -> None:
    assert backing_of(headers()) is Backing.NONE
    assert backing_of(headers(synaxis_backing="through")) is Backing.THROUGH
    with pytest.raises(InvalidArgument, match="through or behind"):
        backing_of(headers(synaxis_backing="around"))
