"""Readers in processes of their own, one writer here, and the proof that nobody read the past."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_left
from pathlib import Path

import synaxis

__all__ = ["CacheLoad", "Reader"]

END_TIMEOUT_S = 20


class Reader:
    """``support/cache_reader.py`` as a process."""

    def __init__(self, url: str, cache: str, keys: int, file: Path) -> None:
        self.file = file
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.cache_reader", url, cache, str(keys), str(file)],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_ready(self) -> None:
        """Wait until it has read everything once."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "ready":
                return
        raise AssertionError("the reader ended")

    def stop(self) -> None:
        """SIGSTOP."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> tuple[list[tuple[float, float, int, object]], int]:
        """Let it end; return its notes and how many reads were hits of the near cache."""
        try:
            self._process.communicate(timeout=END_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
        content = json.loads(self.file.read_text())
        return content["notes"], content["near_hits"]


class CacheLoad:
    """One writer that counts up, and readers that must never see it go back."""

    def __init__(self, client: synaxis.AsyncSynaxis, url: str, keys: int, directory: Path) -> None:
        self._cache = client.cache("load")
        self._url = url
        self._keys = keys
        self._directory = directory
        self.readers: list[Reader] = []
        self.acknowledged: list[list[float]] = [[] for _ in range(keys)]
        """By key: when each value, from 1, was acknowledged, or proven to be there."""
        self.slowest = 0.0
        self.errors: dict[str, int] = {}

    async def begin(self, readers: int) -> None:
        """Write everything once and start the readers."""
        for key in range(self._keys):
            await self._write(key)
        for number in range(readers):
            file = self._directory / f"reader{number}.json"
            self.readers.append(Reader(self._url, "load", self._keys, file))
        for reader in self.readers:
            await asyncio.to_thread(reader.wait_ready)

    async def write_for(self, seconds: float) -> None:
        """Write all keys in turn."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key in range(self._keys):
                await self._write(key)
            await asyncio.sleep(0.01)

    async def _write(self, key: int) -> None:
        """Store the next value; try again until it is known to be there."""
        value = len(self.acknowledged[key]) + 1
        began = time.monotonic()
        while True:
            try:
                await self._cache.set(f"k{key}", value)
                break
            except synaxis.SynaxisError as error:
                name = type(error).__name__
                self.errors[name] = self.errors.get(name, 0) + 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.acknowledged[key].append(time.monotonic())

    @property
    def written(self) -> int:
        """Acknowledged writes."""
        return sum(len(each) for each in self.acknowledged)

    async def check(self) -> None:
        """End the readers; no read may be older than a write acknowledged before it began."""
        reads = near_hits = 0
        for reader in self.readers:
            notes, hits = await asyncio.to_thread(reader.end)
            self._check_notes(notes)
            reads += len(notes)
            near_hits += hits
        assert reads > 100, "there was something to check"
        assert near_hits > reads // 10, (near_hits, reads)
        self.readers.clear()

    def _check_notes(self, notes: list[tuple[float, float, int, object]]) -> None:
        newest = [0] * self._keys
        for began, _, key, value in notes:
            assert isinstance(value, int), f"k{key} was lost: {value!r}"
            due = bisect_left(self.acknowledged[key], began)
            assert value >= due, f"k{key}: {value} was read after {due} was acknowledged"
            assert value >= newest[key], f"k{key}: {value} was read after {newest[key]}"
            newest[key] = value

    def kill(self) -> None:
        """End the readers whatever they do."""
        for reader in self.readers:
            reader.cont()
            reader._process.kill()
            reader._process.wait()
