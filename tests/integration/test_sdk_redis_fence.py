"""The Lua guard in a real Redis."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import redis.asyncio

from synaxis.client.fencing import AsyncRedisFence, RedisFence
from synaxis.errors import StaleFencingToken

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "redis.sock")
    arguments = ["--port", "0", "--unixsocket", path, "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        deadline = time.perf_counter() + 10
        while not Path(path).exists() and time.perf_counter() < deadline:
            time.sleep(0.01)
        yield path
    finally:
        server.kill()
        server.wait()


def test_a_stale_token_is_refused_and_changes_nothing(socket: str) -> None:
    with redis.Redis(unix_socket_path=socket) as client:
        fence = RedisFence(client, "account/1")
        newest = (1 << 53) - 1
        fence.execute(newest - 1, "SET", "balance", "90")
        fence.execute(newest, "SET", "balance", "80")
        fence.execute(newest, "SET", "balance", "75")
        with pytest.raises(StaleFencingToken) as caught:
            fence.execute(newest - 1, "SET", "balance", "0")
        assert caught.value.details == {"token": newest - 1, "seen": newest}
        with pytest.raises(StaleFencingToken):
            fence.check(newest - 1)
        assert client.get("balance") == b"75"
        assert fence.execute(newest, "GET", "balance") == b"75"


async def test_the_same_for_asyncio(socket: str) -> None:
    async with redis.asyncio.Redis(unix_socket_path=socket) as client:
        fence = AsyncRedisFence(client, "account/1")
        await fence.check(5)
        assert await fence.execute(5, "INCRBY", "balance", 3) == 3
        with pytest.raises(StaleFencingToken):
            await fence.execute(4, "INCRBY", "balance", 3)
        assert await client.get("balance") == b"3"
