"""Real children, ended by real signals; every wait is for a line that one of them wrote."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

import pytest

from synaxis.cli.supervisor import Backoff, ChildSpec, Supervisor

PATIENT = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))\n"
SAY_PID = "import os; print('pid', os.getpid(), flush=True)\n"
WAIT = "import time\nwhile True: time.sleep(1)\n"
QUICK = Backoff(first_s=0.01, longest_s=0.05)


class Stage:
    """A supervisor with what it emitted."""

    def __init__(self, **programs: str) -> None:
        self.lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        specs = [ChildSpec(name, [sys.executable, "-c", text]) for name, text in programs.items()]
        self.supervisor = Supervisor(
            specs,
            lambda name, line: self.lines.put_nowait((name, line)),
            lambda: Backoff(QUICK.first_s, QUICK.longest_s),
        )

    async def line(self, wanted: Callable[[str, str], bool]) -> str:
        while True:
            name, line = await self.lines.get()
            if wanted(name, line):
                return line

    async def pid_of(self, child: str) -> int:
        line = await self.line(lambda name, line: name == child and line.startswith("pid"))
        return int(line.split()[1])


async def test_children_that_end_cleanly_after_sigterm_give_zero() -> None:
    program = PATIENT.format(code=0) + SAY_PID + WAIT
    stage = Stage(n1=program, n2=program)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.supervisor.run())
        up: set[str] = set()
        while up != {"n1", "n2"}:
            name, line = await stage.lines.get()
            up |= {name} if line.startswith("pid") else set()
        os.kill(os.getpid(), signal.SIGTERM)
    assert running.result() == 0


async def test_a_child_that_is_told_to_stop_before_it_can_listen_has_ended_cleanly() -> None:
    stage = Stage(n1=SAY_PID + WAIT)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.supervisor.run())
        await stage.pid_of("n1")
        stage.supervisor.stop()
    assert running.result() == 0


async def test_a_child_that_crashes_is_started_again() -> None:
    stage = Stage(n1=PATIENT.format(code=0) + SAY_PID + WAIT)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.supervisor.run())
        first = await stage.pid_of("n1")
        os.kill(first, signal.SIGKILL)
        second = await stage.pid_of("n1")
        stage.supervisor.stop()
    assert first != second
    assert stage.supervisor.children["n1"].starts == 2
    assert running.result() == 0


async def test_a_restart_is_announced_with_the_exit_code_a_shell_would_show() -> None:
    stage = Stage(n1="import os; os.kill(os.getpid(), 9)")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.supervisor.run())
        line = await stage.line(lambda name, _: name == "synaxis")
        stage.supervisor.stop()
    assert line.startswith("n1 ended with 137")


async def test_a_wrong_configuration_ends_everything_with_78() -> None:
    stage = Stage(n1="raise SystemExit(78)", n2=PATIENT.format(code=0) + SAY_PID + WAIT)
    assert await stage.supervisor.run() == 78
    assert stage.supervisor.children["n1"].starts == 1


async def test_the_second_stop_kills_a_child_that_ignores_the_first() -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SAY_PID + WAIT
    stage = Stage(n1=deaf)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.supervisor.run())
        await stage.pid_of("n1")
        stage.supervisor.stop()
        stage.supervisor.stop()
    assert running.result() == 137


async def test_a_child_that_fails_while_stopping_gives_its_code() -> None:
    stage = Stage(n1=PATIENT.format(code=74) + SAY_PID + WAIT)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(stage.supervisor.run())
        await stage.pid_of("n1")
        stage.supervisor.stop()
    assert running.result() == 74


async def test_children_do_not_share_our_process_group() -> None:
    stage = Stage(n1=PATIENT.format(code=0) + SAY_PID + WAIT)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.supervisor.run())
        pid = await stage.pid_of("n1")
        group = os.getpgid(pid)
        stage.supervisor.stop()
    assert group == pid != os.getpgrp()


@pytest.mark.parametrize(
    ("runs_s", "pauses_s"),
    [
        ([0, 0, 0, 0], [0.5, 1, 2, 4]),
        ([0] * 8, [0.5, 1, 2, 4, 8, 10, 10, 10]),
        ([0, 0, 60, 0], [0.5, 1, 0.5, 1]),
    ],
)
def test_pauses_double_up_to_a_limit_and_a_long_run_is_forgiven(
    runs_s: list[float], pauses_s: list[float]
) -> None:
    backoff = Backoff()
    assert [backoff.next_pause_s(ran_s) for ran_s in runs_s] == pauses_s
