"""URLs of nodes as users write them."""

import pytest

from synaxis.client.endpoints import normalized, parse_urls, socket_url
from synaxis.errors import InvalidArgument


def test_several_urls_may_be_given_in_one_string() -> None:
    assert parse_urls("http://a:1, http://b:2/,http://a:1") == ("http://a:1", "http://b:2")


def test_urls_may_be_given_as_a_list() -> None:
    assert parse_urls(["https://a:1/prefix/"]) == ("https://a:1/prefix",)


@pytest.mark.parametrize(
    ("given", "expected"), [("ws://a:1", "http://a:1"), ("wss://a:1", "https://a:1")]
)
def test_websocket_schemes_mean_the_same(given: str, expected: str) -> None:
    assert normalized(given) == expected


@pytest.mark.parametrize("url", ["", " , ", "a:7400", "ftp://a:1", "http://"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_urls(url)


def test_the_client_protocol_has_a_path_of_its_own() -> None:
    assert socket_url("http://a:1") == "http://a:1/v1/client"
