"""Shows what goes on: a progress bar on a terminal, plain lines anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["Display"]

_PLAIN_EVERY_S = 2.0


class Display:
    """Files done, and some facts."""

    def __init__(self, files: int, console: Console) -> None:
        self._files = files
        self._console = console
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = self._progress.add_task("files", total=files, facts="")
        self._started = time.monotonic()
        self._plain_at = self._started
        self._complete = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print one line about something that has happened, above the bar."""
        self._console.print(
            f"[{time.monotonic() - self._started:5.1f} s] {text}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def update(self, done: int, facts: str) -> None:
        """Show how far it is."""
        self._progress.update(self._bar, completed=done, facts=facts)
        complete = done == self._files and not self._complete
        if self._progress.disable and (time.monotonic() >= self._plain_at or complete):
            self._complete = done == self._files
            self._plain_at = time.monotonic() + _PLAIN_EVERY_S
            self.say(f"{done}/{self._files} files, {facts}")
