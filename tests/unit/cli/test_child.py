import asyncio
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE

import pytest

from synaxis.cli import child

PARENT = """
import asyncio, signal, sys
from synaxis.cli import child

async def main():
    # The grandchild's stdout is the test's pipe: it closes when, and only when, both are dead.
    await child.spawn(
        [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"],
        death_signal=signal.SIGTERM, own_group=True,
    )
    await asyncio.Event().wait()

asyncio.Runner().run(main())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        assert parent.stdout.read() == b""  # returns at the end of the grandchild


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ([sys.executable, "-c", "raise SystemExit(23)"], 23),
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command-anywhere"], 127),
        (["/"], 126),
    ],
)
async def test_exit_codes_are_those_of_a_shell(command: list[str], code: int) -> None:
    process = await child.spawn(
        command, death_signal=signal.SIGTERM, own_group=True, output=asyncio.subprocess.DEVNULL
    )
    assert child.exit_code_of(await process.wait()) == code


async def test_the_child_gets_the_given_variables_besides_ours() -> None:
    process = await child.spawn(
        ["sh", "-c", "echo $SYNAXIS_LOCK_TOKEN${PATH:+ and a path}"],
        death_signal=signal.SIGTERM,
        own_group=True,
        variables={"SYNAXIS_LOCK_TOKEN": "42"},
        output=PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.read() == b"42 and a path\n"
    await process.wait()


async def test_a_signal_reaches_what_the_child_itself_started() -> None:
    process = await child.spawn(
        ["sh", "-c", "sleep 60 & echo up; wait"],
        death_signal=signal.SIGTERM,
        own_group=True,
        output=PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    child.send_signal(process, signal.SIGKILL, own_group=True)
    assert await process.stdout.read() == b""  # the sleeping grandchild held the pipe as well
    assert child.exit_code_of(await process.wait()) == 137


async def test_a_signal_to_a_child_that_has_ended_is_no_error() -> None:
    process = await child.spawn(["true"], death_signal=signal.SIGTERM, own_group=True)
    await process.wait()
    child.send_signal(process, signal.SIGTERM, own_group=True)
