"""A store by its URL."""

import pytest

from synaxis.backends.opening import open_store
from synaxis.backends.redis_store import RedisStore
from synaxis.errors import ConfigError


def test_without_a_url_there_is_no_store() -> None:
    assert open_store("", "cluster", 1.0) is None


@pytest.mark.parametrize("url", ["redis://:secret@host:6379/3", "rediss://host", "unix:///a.sock"])
async def test_a_redis_is_not_dialled_before_it_is_used(url: str) -> None:
    store = open_store(url, "cluster", 1.0)
    assert isinstance(store, RedisStore)
    await store.aclose()


@pytest.mark.parametrize("url", ["http://host", "redis://host:port"])
def test_a_url_that_cannot_be_read_is_a_wrong_setting(url: str) -> None:
    with pytest.raises(ConfigError, match="cache_store_url") as caught:
        open_store(url, "cluster", 1.0)
    assert caught.value.details["settings"] == ["cache_store_url"]
