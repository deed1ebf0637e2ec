"""The worker processes and the updater: started, frozen and thawed, replaced when they die."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Death", "Team", "WorkerProcess"]

_WORKER = Path(__file__).with_name("worker.py")
_DEATHS_MAX = 30


@dataclass(frozen=True)
class Death:
    """A worker ended that should not have."""

    worker: str
    code: int
    """Exit code, or the number of the signal with a minus."""


@dataclass(eq=False)
class WorkerProcess:
    """One life of a worker."""

    name: str
    process: Process
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it has connected, or has ended."""

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

    async def kill(self) -> None:
        """SIGKILL: it gets no chance to give anything back."""
        self.process.kill()
        await self.process.wait()


class Team:
    """All workers. One that dies is replaced, until the team is told to end."""

    def __init__(self, tasks: asyncio.TaskGroup, logs: Path, died: Callable[[Death], None]) -> None:
        self._tasks = tasks
        self._logs = logs
        self._died = died
        self._workers: dict[str, WorkerProcess] = {}
        self._said: asyncio.Queue[tuple[WorkerProcess, list[str]]] = asyncio.Queue()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = True
        self._ending = False
        self.deaths: list[Death] = []

    async def add(self, name: str, arguments: Iterable[str], script: Path = _WORKER) -> None:
        """Start one worker; it waits for the word to begin."""
        command = [sys.executable, str(script), "--name", name, *arguments]
        await self._start(name, command)
        self._keepers.append(self._tasks.create_task(self._keep(name, command)))

    async def _start(self, name: str, command: list[str]) -> WorkerProcess:
        with (self._logs / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=log
            )
        worker = self._workers[name] = WorkerProcess(name, process)
        self._tasks.create_task(self._listen(worker))
        return worker

    async def _listen(self, worker: WorkerProcess) -> None:
        """Read what a worker prints until it ends."""
        assert worker.process.stdout is not None
        async for line in worker.process.stdout:
            words = line.decode().split()
            if words == ["ready"]:
                worker.ready.set()
            elif words:
                self._said.put_nowait((worker, words))
        worker.ready.set()

    async def _keep(self, name: str, command: list[str]) -> None:
        """Replace a worker as often as it dies."""
        while True:
            code = await self._workers[name].process.wait()
            if self._ending:
                return
            death = Death(name, code)
            self.deaths.append(death)
            self._died(death)
            if len(self.deaths) > _DEATHS_MAX:
                raise RuntimeError(f"workers die again and again: {self.deaths[-5:]}")
            self._let_begin(await self._start(name, command))

    def _let_begin(self, worker: WorkerProcess) -> None:
        worker.tell("begin")
        if not self._stopping:
            worker.tell("go on")

    async def begin(self) -> None:
        """Wait until every worker has connected, and let all begin."""
        for worker in self._workers.values():
            await worker.ready.wait()
        for worker in self._workers.values():
            self._let_begin(worker)

    async def told(self, first_word: str) -> tuple[WorkerProcess, list[int]]:
        """Wait for a line that begins with ``first_word``; return who says it, and its numbers."""
        while True:
            worker, (word, *numbers) = await self._said.get()
            if word == first_word and worker.process.returncode is None:
                return worker, [int(number) for number in numbers]

    def forget_lines(self) -> None:
        """Let ``told`` wait for what is printed from now on."""
        while not self._said.empty():
            self._said.get_nowait()

    def stop_no_more(self) -> None:
        """Let every worker go on, and none wait to be frozen in future."""
        self._stopping = False
        for worker in self._workers.values():
            worker.tell("go on")

    async def end(self) -> dict[str, int]:
        """Ask all to leave and wait until they have; returns their exit codes."""
        self._ending = True
        for worker in self._workers.values():
            await worker.ready.wait()  # before that it would die of the signal
            if worker.process.returncode is None:
                worker.process.terminate()
        return {name: await each.process.wait() for name, each in self._workers.items()}

    def kill(self) -> None:
        """End those that still run, frozen or not, and let no new ones be started."""
        self._ending = True
        for keeper in self._keepers:
            keeper.cancel()
        for worker in self._workers.values():
            if worker.process.returncode is None:
                worker.process.kill()
