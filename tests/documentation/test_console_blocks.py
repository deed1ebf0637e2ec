"""Commands of README and docs exist; those that only look or end by themselves are run.

A line that begins with ``$`` is a command; what follows is its output and not compared, because
it holds times and tokens.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.cluster_process import clean_environment
from support.markdown import ROOT, blocks, pages
from synaxis.cli.catalogue import find

RUNNABLE = {
    "ping", "health", "metrics", "config show", "cluster status", "cluster members",
    "lock ls", "lock info", "lock graph", "lock run",
    "queue create", "queue ls", "queue info", "queue pub", "queue sub", "queue peek",
    "queue dlq ls", "queue dlq redrive", "group ls", "group info",
    "cache get", "cache incr", "cache ls", "cache stats", "cache state", "cache ring",
}  # fmt: skip
SHELL = re.compile(r"[|<>&;`]|\$\(")
COMMANDS = [
    (f"{block.place}: {command}", command, block.skipped)
    for page in pages()
    for block in blocks(page, "console")
    for command in re.findall(r"^\$ (.+)$", block.text, re.MULTILINE)
]


@pytest.mark.parametrize(
    "command", [each for _, each, _ in COMMANDS], ids=[p for p, *_ in COMMANDS]
)
def test_the_command_exists(command: str) -> None:
    words = shlex.split(command.split(" -- ", maxsplit=1)[0], comments=True)
    while words and "=" in words[0]:
        words = words[1:]
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert {word for word in words[1:] if "=" not in word} <= targets
    elif words[0] == "synaxis":
        assert find(words[1:]) is not None or words[1].startswith("--")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "command",
    [
        command
        for _, command, skipped in COMMANDS
        if command.startswith("synaxis ")
        and not skipped
        and not SHELL.search(command)
        and (found := find(shlex.split(command)[1:])) is not None
        and found[0].name in RUNNABLE
    ],
)
def test_the_command_runs(command: str, node_url: str, tmp_path: Path) -> None:
    arguments = [
        re.sub(r"http://127\.0\.0\.1:74\d0(,http://127\.0\.0\.1:74\d0)*", node_url, word)
        for word in shlex.split(command)[1:]
    ]
    result = subprocess.run(
        [sys.executable, "-m", "synaxis", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment({"url": node_url}),
        timeout=30,
    )
    assert result.returncode == 0, result.stdout + result.stderr
