"""The eight worker processes: started, told to begin, frozen and thawed."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Team", "WorkerProcess"]

_WORKER = Path(__file__).with_name("worker.py")


@dataclass
class WorkerProcess:
    """One worker and the lines that it has printed."""

    name: str
    process: Process
    lines: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def told(self, first_word: str) -> list[str]:
        """Wait for a line that begins with ``first_word``; return its other words.

        Raises:
            RuntimeError: the process ended without saying so.
        """
        while line := await self.lines.get():
            word, *rest = line.split()
            if word == first_word:
                return rest
        raise RuntimeError(f"{self.name} ended before it was {first_word}")

    def tell(self, line: str) -> None:
        """Send a line to the worker's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    def freeze(self) -> None:
        """SIGSTOP: the process does nothing more, and does not know."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        self.process.send_signal(signal.SIGCONT)

    async def listen(self) -> None:
        """Read what the worker prints until it ends; an empty line marks the end."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.put_nowait(line.decode().strip() or "-")
        self.lines.put_nowait("")


class Team:
    """All workers. They end by themselves when nothing is left to index."""

    def __init__(self, listeners: asyncio.TaskGroup) -> None:
        self._listeners = listeners
        self.workers: list[WorkerProcess] = []

    async def add(self, name: str, arguments: Iterable[str]) -> WorkerProcess:
        """Start one worker; it waits for the word to begin."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_WORKER), "--name", name, *arguments, stdin=PIPE, stdout=PIPE
        )
        worker = WorkerProcess(name, process)
        self.workers.append(worker)
        self._listeners.create_task(worker.listen())
        return worker

    async def exit_codes(self) -> dict[str, int]:
        """Wait until all have ended."""
        return {worker.name: await worker.process.wait() for worker in self.workers}

    def kill(self) -> None:
        """End those that still run, frozen or not."""
        for worker in self.workers:
            if worker.process.returncode is None:
                worker.process.kill()
