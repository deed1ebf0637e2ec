import asyncio
import os
import signal
from pathlib import Path

import pytest

from synaxis.cli.command_under_lock import run_under_lock


class Held:
    """A lock that the test can take away."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()


async def appearance_of(path: Path) -> None:
    """Wait until another process has made the file."""
    while not path.exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.005)


async def run(held: Held, script: str, grace_s: float = 5.0, **variables: str) -> int:
    return await run_under_lock(held, ["sh", "-c", script], variables, grace_s)


async def test_the_exit_code_is_that_of_the_command() -> None:
    assert await run(Held(), "exit 37") == 37


async def test_a_command_killed_by_a_signal_gives_the_code_of_a_shell() -> None:
    assert await run(Held(), "kill -9 $$") == 137


async def test_a_command_that_does_not_exist_gives_127(capfd: pytest.CaptureFixture[str]) -> None:
    assert await run_under_lock(Held(), ["no-such-command-anywhere"], {}, 1.0) == 127
    assert "not found" in capfd.readouterr().err


async def test_the_command_sees_the_lock_in_its_environment(tmp_path: Path) -> None:
    script = f'echo "$SYNAXIS_LOCK_NAME $HOME_OF_LOCKS" > {tmp_path}/seen'
    assert await run(Held(), script, SYNAXIS_LOCK_NAME="a b", HOME_OF_LOCKS="7") == 0
    assert (tmp_path / "seen").read_text() == "a b 7\n"


async def test_the_loss_of_the_lock_ends_the_command_and_gives_6(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.TaskGroup() as tasks:
        trap = f"trap 'touch {tmp_path}/asked; exit 0' TERM"
        script = f"{trap}; touch {tmp_path}/up; while :; do sleep 0.01; done"
        running = tasks.create_task(run(held, script))
        await appearance_of(tmp_path / "up")
        held.lost.set()
    assert running.result() == 6
    assert (tmp_path / "asked").exists()


async def test_a_command_that_ignores_the_loss_is_killed_after_the_grace(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.TaskGroup() as tasks:
        script = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
        running = tasks.create_task(run(held, script, grace_s=0.05))
        await appearance_of(tmp_path / "up")
        held.lost.set()
    assert running.result() == 6


async def test_what_the_command_started_does_not_outlive_the_lock(tmp_path: Path) -> None:
    held = Held()
    async with asyncio.TaskGroup() as tasks:
        deaf = "(trap '' TERM; exec sleep 60)"
        script = f"cd {tmp_path}; {deaf} & echo $! > new; mv new pid; wait"
        running = tasks.create_task(run(held, script))
        await appearance_of(tmp_path / "pid")
        held.lost.set()
    assert running.result() == 6
    pid = int((tmp_path / "pid").read_text())
    # The kernel takes its time; the timeout of the test ends the wait.
    while is_running(pid):  # noqa: ASYNC110
        await asyncio.sleep(0.005)


async def test_what_the_command_left_behind_lives_on_when_the_lock_was_kept(
    tmp_path: Path,
) -> None:
    assert await run(Held(), f"cd {tmp_path}; sleep 60 & echo $! > pid") == 0
    pid = int((tmp_path / "pid").read_text())
    assert is_running(pid)
    os.kill(pid, signal.SIGKILL)


async def test_our_sigterm_is_the_commands_sigterm(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks:
        script = f"trap 'exit 11' TERM; touch {tmp_path}/up; while :; do sleep 0.01; done"
        running = tasks.create_task(run(Held(), script))
        await appearance_of(tmp_path / "up")
        os.kill(os.getpid(), signal.SIGTERM)
    assert running.result() == 11


async def test_a_lock_lost_before_the_start_stops_the_command_at_once() -> None:
    held = Held()
    held.lost.set()
    assert await run(held, "sleep 60") == 6


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie (nobody may be there to reap an orphan)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
