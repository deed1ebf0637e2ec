"""What a client finds in the environment."""

import pytest

from synaxis.client.environment import api_key_from_environment, urls_from_environment


def test_the_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAXIS_URL", "http://a:1")
    assert urls_from_environment() == "http://a:1"


def test_several_urls_may_have_the_plural_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNAXIS_URL", raising=False)
    monkeypatch.setenv("SYNAXIS_URLS", "http://a:1,http://b:1")
    assert urls_from_environment() == "http://a:1,http://b:1"


def test_a_local_node_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNAXIS_URL", raising=False)
    monkeypatch.delenv("SYNAXIS_URLS", raising=False)
    monkeypatch.delenv("SYNAXIS_API_KEY", raising=False)
    assert urls_from_environment() == "http://127.0.0.1:7400"
    assert api_key_from_environment() == ""
