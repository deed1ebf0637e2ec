"""Which commands exist: the one list behind dispatch, ``--help`` and "did you mean".

Kept by hand so that ``synaxis --help`` imports no command (a test compares it with the commands).
A command of kind ``APP`` is found in the cyclopts App ``target`` under its last word; one of kind
``DIRECT`` is a function ``(arguments) -> exit code`` that reads its own arguments, for commands
that must start fast or whose flags are made from the settings.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from synaxis.cli.exit_codes import EXIT_CODES_HELP

__all__ = ["CATALOGUE", "Entry", "Kind", "find", "general_help", "group_help", "suggestion"]


class Kind(Enum):
    """How a command reads its arguments."""

    APP = "app"
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Entry:
    """One command."""

    words: tuple[str, ...]
    summary: str
    target: str
    kind: Kind = Kind.APP

    @property
    def name(self) -> str:
        """How the command is typed after ``synaxis``."""
        return " ".join(self.words)


def _app(name: str, summary: str, module: str) -> Entry:
    return Entry(tuple(name.split()), summary, f"synaxis.cli.{module}:app")


def _direct(name: str, summary: str, target: str) -> Entry:
    return Entry(tuple(name.split()), summary, f"synaxis.cli.{target}", Kind.DIRECT)


CATALOGUE: dict[str, tuple[Entry, ...]] = {
    "Run": (
        _app("up", "Start a cluster on this machine: one node, or several supervised ones.", "up"),
        _direct("node run", "Run one node of a cluster.", "node:run"),
        _direct("config show", "Print the effective settings of a node.", "configuration:show"),
    ),
    "Look": (
        _direct("ping", "Say whether a node answers at all.", "probe:ping"),
        _direct("health", "Say whether nodes are ready to serve.", "probe:health"),
        _direct("metrics", "Print a node's metrics.", "probe:metrics"),
        _app("cluster status", "Show every node with its role, term and lag.", "cluster"),
        _app("cluster members", "List the members with their addresses.", "cluster"),
    ),
    "Change the cluster": (
        _app("cluster add", "Admit a node, which then joins as a learner.", "cluster"),
        _app("cluster remove", "Retire a node id for ever.", "cluster"),
        _app("cluster transfer", "Hand leadership to another node.", "cluster"),
    ),
    "Locks": (
        _app("lock run", "Run a command while holding a lock.", "lock"),
        _app("lock acquire", "Take a lock and hold it until Ctrl-C.", "lock"),
        _app("lock release", "Give back a lock taken with `lock acquire --detach`.", "lock"),
        _app("lock ls", "List locks that are held or waited for.", "lock"),
        _app("lock info", "Show one lock: holders, and waiters in queue order.", "lock"),
        _app("lock graph", "Show who waits for whom.", "lock"),
        _app("lock force-release", "Take a lock away from whoever holds it.", "lock"),
    ),
    "Queues": (
        _app("queue create", "Create a topic.", "queue"),
        _app("queue edit", "Change the options of a topic.", "queue"),
        _app("queue ls", "List topics.", "queue"),
        _app("queue info", "Show one topic: options, consumer groups, partitions.", "queue"),
        _app("queue pub", "Publish messages: arguments, lines of stdin, or a file.", "queue"),
        _app("queue sub", "Consume messages as a member of a group, and print them.", "queue"),
        _app("queue next", "Consume one message, and print it.", "queue"),
        _app("queue peek", "Print stored messages without consuming them.", "queue"),
        _app("queue pause", "Deliver nothing of a topic until `queue resume`.", "queue"),
        _app("queue resume", "Deliver again.", "queue"),
        _app("queue purge", "Remove every message of a topic.", "queue"),
        _app("queue rm", "Remove a topic with all that it stores.", "queue"),
        _app("queue dlq ls", "List the dead letters of a consumer group.", "queue_dead"),
        _app("queue dlq redrive", "Deliver dead letters again.", "queue_dead"),
        _app("queue dlq purge", "Remove dead letters.", "queue_dead"),
    ),
    "Consumer groups": (
        _app("group ls", "List the consumer groups of a topic.", "group"),
        _app("group info", "Show one consumer group: partitions and members.", "group"),
        _app("group reset", "Move a consumer group to another position.", "group"),
        _app("group rm", "Remove a consumer group without members.", "group"),
    ),
    "Caches": (
        _app("cache get", "Print records.", "cache"),
        _app("cache set", "Store a value: an argument, all of stdin, or a file.", "cache"),
        _app("cache del", "Remove records.", "cache"),
        _app("cache incr", "Add to a whole number, and print the sum.", "cache"),
        _app("cache clear", "Remove all records of a cache, or those with a tag.", "cache"),
        _app("cache ls", "List caches that hold something.", "cache"),
        _app("cache stats", "Show what each shard holds and what happened to it.", "cache"),
        _app(
            "cache state",
            "Show who holds copies of a record, as its home sees it (MESI).",
            "cache",
        ),
        _app("cache ring", "Show which node is the home of a key, or of how many.", "cache"),
    ),
}

INTRODUCTION = """\
Usage: synaxis COMMAND [ARGUMENTS]

Synaxis: replicated locks, queues and caches, on one machine or many.
"""

OPTIONS = """\
Options of every command that talks to a cluster:
  -u, --url URLS       nodes, comma-separated [SYNAXIS_URL, else http://127.0.0.1:7400]
  -o, --output FORMAT  table (default on a terminal), plain (default in a pipe), json, jsonl
      --json           short for --output json
      --timeout TIME   how long to try, such as 5, 500ms or 1m
  -q, --quiet          print no messages
      --no-color       no colours (also NO_COLOR)
  -h, --help           help for the command
      --version        print the version
"""

EXAMPLES = """\
Examples:
  synaxis up --nodes 3
  synaxis lock run nightly-report --wait 10 -- ./report.sh
  synaxis queue create orders
  synaxis queue pub orders "order 42" --key user-7
  synaxis queue sub orders --group billing
  synaxis cache set users/42 "Ada Lovelace" --ttl 10m
"""


def entries() -> Iterator[Entry]:
    """Yield every command."""
    for group in CATALOGUE.values():
        yield from group


def find(arguments: list[str]) -> tuple[Entry, list[str]] | None:
    """Return the command that ``arguments`` begin with, and what follows it."""
    for entry in entries():
        length = len(entry.words)
        if tuple(arguments[:length]) == entry.words:
            return entry, arguments[length:]
    return None


def suggestion(arguments: list[str]) -> str | None:
    """Return the command that was probably meant."""
    for length in range(min(3, len(arguments)), 0, -1):
        names = [entry.name for entry in entries() if len(entry.words) == length]
        close = difflib.get_close_matches(" ".join(arguments[:length]), names, n=1, cutoff=0.7)
        if close:
            return close[0]
    first_words = sorted({entry.words[0] for entry in entries()})
    close = difflib.get_close_matches(arguments[0], first_words, n=1)
    return close[0] if close else None


def general_help() -> str:
    """Return what ``synaxis --help`` prints."""
    width = max(len(entry.name) for entry in entries())
    sections = [INTRODUCTION]
    for title, group in CATALOGUE.items():
        lines = [f"  {entry.name:<{width}}  {entry.summary}" for entry in group]
        sections.append("\n".join([f"{title}:", *lines, ""]))
    return "\n".join([*sections, OPTIONS, EXAMPLES, EXIT_CODES_HELP])


def group_help(words: list[str]) -> str | None:
    """Return the help of first words such as ``lock``; None when nothing begins with them."""
    length = len(words)
    group = [
        entry
        for entry in entries()
        if len(entry.words) > length and entry.words[:length] == tuple(words)
    ]
    if not group or not words:
        return None
    names = [" ".join(entry.words[length:]) for entry in group]
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {each.summary}" for name, each in zip(names, group, strict=True)]
    typed = " ".join(words)
    return "\n".join(
        [
            f"Usage: synaxis {typed} COMMAND [ARGUMENTS]\n\nCommands:",
            *lines,
            f"\n`synaxis {typed} COMMAND --help` explains one; `synaxis --help` lists all.",
        ]
    )
