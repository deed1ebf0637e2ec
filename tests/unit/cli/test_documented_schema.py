"""The JSON keys that docs/cli.md promises are those that the commands print."""

import re
from pathlib import Path

import pytest

from synaxis.cli.cache_rows import (
    cache_row,
    entry_row,
    home_row,
    line_row,
    shard_row,
    share_rows,
)
from synaxis.cli.cluster import member_rows, status_rows
from synaxis.cli.configuration import setting_rows
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.lock_holding import GRANT_COLUMNS
from synaxis.cli.lock_rows import holder_row, lock_row, waiter_row
from synaxis.cli.probe import check_readiness
from synaxis.cli.queue_rows import (
    dead_row,
    group_partition_row,
    group_row,
    member_row,
    message_row,
    partition_row,
    receipt_row,
    topic_details_row,
    topic_row,
)
from synaxis.cli.wait_graph import Edge
from synaxis.client.caches.entries import Entry
from synaxis.client.caches.looking import CacheSize, LineView, ShardView
from synaxis.client.lock_admin import HolderState, LockState, WaitState
from synaxis.client.queues.dead_letters import DeadMessage
from synaxis.client.queues.message import Source
from synaxis.client.queues.outgoing import Receipt, encode_plain
from synaxis.client.queues.states import (
    GroupPartitionState,
    GroupState,
    MemberState,
    PartitionState,
    TopicState,
)
from synaxis.client.queues.topics import Backoff, TopicSettings
from synaxis.config import load_settings
from synaxis.ids import GroupId, LogTime, NodeId
from synaxis.queues.questions import DeadLetter
from synaxis.wire.client import GroupStatus, MemberStatus, NodeStatus

PAGE = (Path(__file__).parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")

HOLDER = HolderState("me", "0f", 7, "exclusive", 1.0, None, 1, 1, b"me")
WAITER = WaitState(1, "0e", "exclusive", 1.0, None, 1, upgrading=False)
LOCK = LockState("a", "lock", (HOLDER,), (WAITER,), 1, None)
N1 = NodeId("n1")
VIEW = NodeStatus(
    "c",
    N1,
    "0.1.0",
    1.0,
    (GroupStatus(GroupId("locks/0"), "leader", 1, N1, 9, 9, 9, 0, (N1,), (), (), {}, 0),),
    (
        MemberStatus(N1, "h:1", "http://h:1", "alive", 0.0, "0.1.0"),
        MemberStatus(NodeId("n0"), "h:2", "http://h:2", "removed", 0.0, ""),
    ),
)
TOPIC = TopicSettings(
    "orders", 1, "work", 30.0, 5, Backoff(), None, None, 120.0, "drop", paused=False, version=1
)
PARTITION = PartitionState(0, 0, 1, 1, 100)
GROUP_PARTITION = GroupPartitionState(0, 0, 1, 0, 0, 0, 0, 1.0, "")
MEMBER = MemberState("0f", "me", True, 0, 16, ())  # by its place
GROUP = GroupState("g", "shared", (MEMBER,), (GROUP_PARTITION,), 0, 0, 0)
STATE = TopicState("orders", False, (PARTITION,), (GROUP,))
LETTER = DeadLetter(0, 0, "rejected", 1, LogTime(1), LogTime(2), "bad")
MESSAGE = DeadMessage(Source("orders", None), encode_plain(b"x", None), 1, LETTER)

LINE = LineView("users/1", "caches/0", "n1", "I", None, (), 1, 1, None, (), "", 0)
SHARD = ShardView("caches/0", "n1", (), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def documented(section: str) -> list[str]:
    body = PAGE.split(f"\n### JSON of {section}\n")[1].split("\n#")[0]
    return re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE)


@pytest.mark.parametrize(
    ("section", "row"),
    [
        ("lock ls", lock_row(LOCK)),
        ("a holder", holder_row(HOLDER)),
        ("a waiter", waiter_row(WAITER)),
        ("lock acquire", {column.key: None for column in GRANT_COLUMNS}),
        ("lock graph", Edge("a", "b", "c")._asdict()),
        ("queue ls", topic_row(TOPIC, STATE)),
        ("a partition", partition_row(PARTITION)),
        ("group ls", group_row("orders", GROUP)),
        ("a member", member_row(MEMBER)),
        ("a group's partition", group_partition_row(GROUP_PARTITION)),
        ("a message", message_row(MESSAGE)),
        ("queue dlq ls", dead_row(MESSAGE)),
        ("queue pub", receipt_row(Receipt(0, 0))),
        ("cache get", entry_row("users/1", Entry(b"x", 1, None, "fresh"))),
        ("cache ls", cache_row(CacheSize("users", 1, 1))),
        ("cache stats", shard_row(SHARD)),
        ("cache state", line_row(LINE)),
        ("cache ring", home_row("users/1", "caches/0", "n1")),
        ("cluster status", status_rows(VIEW, [VIEW])[0]),
        ("cluster members", member_rows(VIEW)[0]),
        ("health", check_readiness("http://127.0.0.1:1", 0.5)),
        ("config show", setting_rows(load_settings(dotenv=None))[0]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_documented_keys_are_the_printed_keys(section: str, row: dict[str, object]) -> None:
    assert documented(section) == list(row)


def test_what_info_prints_begins_as_ls_does() -> None:
    row = topic_details_row(TOPIC, STATE)
    assert [*documented("queue ls"), *documented("queue info")] == list(row)


def test_the_shares_of_nodes_have_the_documented_keys() -> None:
    (row,) = share_rows([SHARD])
    section = PAGE.split("\n### JSON of cache ring\n")[1]
    assert re.findall(r"`(\w+)`", section.split("(from")[0]) == list(row)


def test_the_exit_codes_of_the_page_are_ours() -> None:
    body = PAGE.split("\n## Exit codes\n")[1]
    named = {int(code) for code in re.findall(r"^\| (\d+) \|", body, re.MULTILINE)}
    of_the_command_alone = {
        ExitCode.NOT_EXECUTABLE,
        ExitCode.COMMAND_NOT_FOUND,
        ExitCode.BROKEN_PIPE,
        ExitCode.INTERNAL,
    }
    assert named == set(map(int, ExitCode)) - set(map(int, of_the_command_alone))
