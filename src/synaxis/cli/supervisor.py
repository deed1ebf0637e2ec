"""Keeps a handful of child processes running: restarts with back-off, ends them together.

Life of a child: started, restarted when it ends unasked, until the supervisor is told to stop.
A child that ends with a code no restart can cure (wrong configuration, port in use at the first
start) ends the whole: the user must act.

Signals: the first SIGTERM or SIGINT asks every child to stop (SIGTERM), the second kills. The
children are in process groups of their own, so that a terminal's Ctrl-C reaches only us and each
child gets exactly one signal.
"""

import asyncio
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from synaxis.cli import child
from synaxis.cli.exit_codes import ExitCode

__all__ = ["Backoff", "ChildSpec", "Supervisor"]

INCURABLE = frozenset({int(ExitCode.CONFIG), int(ExitCode.USAGE)})
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run; ``name`` stands before its lines and in messages."""

    name: str
    command: Sequence[str]
    log: BinaryIO | None = None
    """Where its output goes unchanged; None: to the supervisor's ``emit``, line by line."""


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start of a child that keeps dying."""

    first_s: float = 0.5
    longest_s: float = 10.0
    forgiven_after_s: float = 30.0
    """A child that ran this long starts from ``first_s`` again."""
    failures: int = 0

    def next_pause_s(self, ran_s: float) -> float:
        """Return the pause after a run of ``ran_s`` seconds; doubles from failure to failure."""
        if ran_s >= self.forgiven_after_s:
            self.failures = 0
        pause_s: float = min(self.longest_s, self.first_s * 2**self.failures)
        self.failures += 1
        return pause_s


@dataclass(slots=True)
class Child:
    """One child over all its lives."""

    spec: ChildSpec
    backoff: Backoff
    process: Process | None = None
    last_code: int | None = None
    starts: int = 0


@dataclass(slots=True)
class Supervisor:
    """Runs the children of ``specs``; ``run`` returns the exit code for the whole."""

    specs: Sequence[ChildSpec]
    emit: Callable[[str, str], None]
    """Takes (child name, line); the supervisor's own lines come under ``synaxis``."""
    backoff: Callable[[], Backoff] = Backoff
    children: dict[str, Child] = field(init=False)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    killing: bool = False
    verdict: int = int(ExitCode.OK)

    def __post_init__(self) -> None:
        self.children = {spec.name: Child(spec, self.backoff()) for spec in self.specs}

    async def run(self) -> int:
        """Keep the children running until told to stop.

        Returns:
            0 when every child ended cleanly after ``stop``; else the code of one that did not.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            async with asyncio.TaskGroup() as tasks:
                for each in self.children.values():
                    tasks.create_task(self._keep_running(each))
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
            self._signal_all(signal.SIGKILL)
        return self.verdict

    def stop(self) -> None:
        """Ask all children to end; the second call kills them."""
        if not self.stopping.is_set():
            self.stopping.set()
            self.emit("synaxis", "stopping; once more kills at once")
            self._signal_all(signal.SIGTERM)
        else:
            self.killing = True
            self._signal_all(signal.SIGKILL)

    async def _keep_running(self, each: Child) -> None:
        loop = asyncio.get_running_loop()
        while not self.stopping.is_set():
            started = loop.time()
            each.last_code = await self._run_once(each)
            if self.stopping.is_set():
                break
            if each.last_code in INCURABLE:
                self.emit("synaxis", f"{each.spec.name} cannot run (exit code {each.last_code})")
                self.verdict = each.last_code
                self.stop()
                break
            pause_s = each.backoff.next_pause_s(loop.time() - started)
            self.emit(
                "synaxis",
                f"{each.spec.name} ended with {each.last_code}; starting it again in {pause_s:g} s",
            )
            await self._pause(pause_s)
        if each.last_code not in (int(ExitCode.OK), *self._our_doing()) and not self.verdict:
            self.verdict = int(each.last_code or ExitCode.FAILED)

    def _our_doing(self) -> tuple[int, ...]:
        """Return the codes that mean: it ended as asked, too young to have caught the signal."""
        return () if self.killing else (128 + signal.SIGTERM,)

    async def _run_once(self, each: Child) -> int:
        log = each.spec.log
        each.process = await child.spawn(
            each.spec.command,
            death_signal=signal.SIGTERM,
            own_group=True,
            output=PIPE if log is None else log.fileno(),
        )
        each.starts += 1
        if self.stopping.is_set():  # told to stop while this one was being started
            self._signal_all(signal.SIGKILL if self.killing else signal.SIGTERM)
        if each.process.stdout is not None:
            await self._forward_lines(each.spec.name, each.process.stdout)
        return child.exit_code_of(await each.process.wait())

    async def _forward_lines(self, name: str, stream: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the reader's limit: what was read is dropped
                line = b"(a line that was too long)\n"
            if not line:
                return
            self.emit(name, line.decode("utf-8", "replace").rstrip("\n"))

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self.stopping.wait()
        except TimeoutError:
            pass

    def _signal_all(self, number: signal.Signals) -> None:
        for each in self.children.values():
            if each.process is not None and each.process.returncode is None:
                child.send_signal(each.process, number, own_group=True)
