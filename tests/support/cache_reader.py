"""A process that reads a few keys through a near cache, over and over, and notes what it saw.

python -m support.cache_reader URL CACHE KEYS FILE

Prints "ready" after the first round, "error NAME" for the first error of a row of them. When its
stdin ends it writes the notes to FILE as JSON: [[when the read began, when it ended, key, value]].
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import synaxis

PAUSE_S = 0.002
NOTES_MAX = 200_000


def say(line: str) -> None:
    """Tell the test at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(url: str, cache: str, keys: int) -> str:
    """Read until told to end; return the notes."""
    notes: list[tuple[float, float, int, object]] = []
    loop = asyncio.get_running_loop()
    ending = loop.run_in_executor(None, sys.stdin.read)
    async with synaxis.connect(url, timeout=2, watchdog=False) as cluster:
        near = cluster.cache(cache, near=True)
        failed = False
        rounds = 0
        while not ending.done() and len(notes) < NOTES_MAX:
            for key in range(keys):
                began = time.monotonic()
                try:
                    value = await near.get(f"k{key}")
                except synaxis.SynaxisError as error:
                    if not failed:
                        say(f"error {type(error).__name__}")
                    failed = True
                    continue
                failed = False
                notes.append((began, time.monotonic(), key, value))
            rounds += 1
            if rounds == 1:
                say("ready")
            await asyncio.sleep(PAUSE_S)
        return json.dumps({"notes": notes, "near_hits": near.stats().near_hits})


if __name__ == "__main__":
    Path(sys.argv[4]).write_text(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
