"""A real Redis for tests that stop, freeze and restart it. Tests that use it are marked service."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

__all__ = ["NEEDS_REDIS", "RedisServer"]

START_TIMEOUT_S = 10.0

NEEDS_REDIS = [
    pytest.mark.service,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server"),
]


class RedisServer:
    """One server on a unix socket below ``directory``; what it holds survives ``stop``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"unix://{self.socket}"

    def start(self, *options: str) -> None:
        """Start it and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--appendonly", "yes"]
        arguments += ["--save", "", "--dir", str(self.directory), *options]
        self._process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        give_up = time.monotonic() + START_TIMEOUT_S
        while not self.socket.exists():
            assert time.monotonic() < give_up, "redis-server does not start"
            time.sleep(0.005)

    def stop(self) -> None:
        """End it in an orderly way."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it stop answering with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
