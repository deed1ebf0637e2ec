"""A flow of a client: a script, and the number under which its acquires wait and re-enter.

Several tasks may share a client and its session, as the tasks of an asyncio program do.
"""

from collections.abc import Generator
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from synaxis.locks.commands import Acquire
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.pending import Pending

if TYPE_CHECKING:
    from synaxis.simulation.client import Client, ClientConfig

__all__ = ["Script", "Task"]

Script = Generator[int | Pending | tuple[Pending, int], Any, Any]
"""Yields a pause (us), a request to wait for, or a request with the longest time to wait."""


class Task:
    """Runs one script."""

    def __init__(self, client: "Client", number: int) -> None:
        self.client = client
        self.number = number
        """0 if the client has no other task."""
        self.finished = False
        self._script: Script | None = None
        self._waiting_for: Pending | None = None
        self._steps = 0

    @property
    def random(self) -> Random:
        """The client's random stream."""
        return self.client.random

    @property
    def config(self) -> "ClientConfig":
        """The client's configuration."""
        return self.client.config

    @property
    def coverage(self) -> Coverage:
        """The counters of the run."""
        return self.client.coverage

    def has_session(self) -> bool:
        """Whether the session is open as far as the client knows."""
        return self.client.has_session()

    def submit(self, command: msgspec.Struct) -> Pending:
        """Send a command in the session; yield the result to wait for the answer."""
        if self.number and isinstance(command, Acquire):
            command = msgspec.structs.replace(command, task=self.number)
        return self.client.submit(command)

    def start(self, script: Script) -> None:
        """Run ``script`` from now on."""
        self._script = script
        self.client.kernel.after(0, self._resume, self._steps, None)

    def _resume(self, step: int, value: msgspec.Struct | None) -> None:
        client = self.client
        if client.dead or step != self._steps or self._script is None:
            return
        if client.kernel.now < client.paused_until_us:
            client.kernel.at(client.paused_until_us, self._resume, step, value)
            return
        self._steps += 1
        self._waiting_for = None
        try:
            wanted = self._script.send(value)
        except StopIteration:
            self.finished = True
            client.task_finished()
            return
        if isinstance(wanted, int):
            client.kernel.after(wanted, self._resume, self._steps, None)
            return
        pending, patience = wanted if isinstance(wanted, tuple) else (wanted, 0)
        if pending.answered:
            client.kernel.after(0, self._resume, self._steps, pending.body)
            return
        self._waiting_for = pending
        pending.when_answered = self._answered
        if patience:
            client.kernel.after(patience, self._resume, self._steps, None)

    def _answered(self, pending: Pending) -> None:
        if self._waiting_for is pending:
            self.client.kernel.after(0, self._resume, self._steps, pending.body)
