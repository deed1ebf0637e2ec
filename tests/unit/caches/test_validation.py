"""What is wrong with a command by itself is said before it enters the log."""

import msgspec
import pytest

from synaxis.caches.bus import (
    AgentMessage,
    Attach,
    BusRd,
    Dirty,
    Flush,
    ProbeAck,
    Renew,
)
from synaxis.caches.commands import (
    Add,
    AgentId,
    AgentKind,
    Clear,
    DescribeKey,
    Item,
    Lookup,
    Put,
    Remove,
    Version,
)
from synaxis.caches.limits import CacheLimits
from synaxis.caches.validation import check_command, check_demand, check_question
from synaxis.errors import ConfigError, InvalidArgument, LimitExceeded

LIMITS = CacheLimits(key_bytes_max=20, value_bytes_max=5, items_max=2, tags_per_record_max=1)
FINE = Item("c/k", b"1")
OTHER = Dirty(1, Version(0), Item("c/other", b""))
OURS = Dirty(1, Version(0), FINE)


@pytest.mark.parametrize(
    "command",
    [
        Put((FINE,)),
        Put((FINE, Item("c/o", b""))),
        Add("c/k", -(2**63 - 1)),
        Remove(("c/k", "c/o")),
        Clear("c"),
        Clear("c", "tag"),
    ],
    ids=repr,
)
def test_what_is_fine(command: msgspec.Struct) -> None:
    check_command(command, LIMITS)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (Put(()), LimitExceeded),
        (Put((FINE, FINE)), InvalidArgument),
        (Put((FINE, Item("c/o", b"")), fill=7), InvalidArgument),
        (Put((Item("nothing", b""),)), InvalidArgument),
        (Put((Item("/k", b""),)), InvalidArgument),
        (Put((Item("c/", b""),)), InvalidArgument),
        (Put((Item("c/" + "ä" * 10, b""),)), LimitExceeded),
        (Put((Item("c/k", b"123456"),)), LimitExceeded),
        (Put((Item("c/k", b"", ttl_ms=-1),)), InvalidArgument),
        (Put((Item("c/k", b"", soft_ms=LIMITS.ttl_ms_max + 1),)), InvalidArgument),
        (Put((Item("c/k", b"", tags=("a", "b")),)), LimitExceeded),
        (Put((Item("c/k", b"", tags=("a" * 201,)),)), LimitExceeded),
        (Put((FINE, Item("c/o", b""), Item("c/p", b""))), LimitExceeded),
        (Add("c/k", 2**63), InvalidArgument),
        (Add("c/k", 1, -(2**63)), InvalidArgument),
        (Remove(("c/k", "c/o"), Version(1)), InvalidArgument),
        (Clear("a" * 21), LimitExceeded),
    ],
    ids=repr,
)
def test_what_is_not(command: msgspec.Struct, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_command(command, LIMITS)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (BusRd(1, "nothing"), InvalidArgument),
        (Flush("c/k", 1, 1, OTHER), InvalidArgument),
        (ProbeAck("c/k", 1, OTHER), InvalidArgument),
        (Attach(AgentId(0), AgentKind.OWNER), InvalidArgument),
        (Attach(AgentId(1), AgentKind.OWNER, "n" * 201), InvalidArgument),
        (
            Attach(AgentId(1), AgentKind.OWNER, "", (Dirty(1, Version(0), Item("x", b"")),)),
            InvalidArgument,
        ),
    ],
    ids=repr,
)
def test_what_an_agent_must_not_say(message: AgentMessage, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_demand(message, LIMITS)


def test_what_an_agent_may_say_and_anybody_may_ask() -> None:
    for message in (BusRd(1, "c/k"), Flush("c/k", 1, 1, OURS), ProbeAck("c", 1), Renew(1)):
        check_demand(message, LIMITS)
    check_question(Lookup(("c/k",)), LIMITS)
    check_question(DescribeKey("c/k"), LIMITS)
    with pytest.raises(LimitExceeded):
        check_question(Lookup(()), LIMITS)
    with pytest.raises(InvalidArgument):
        check_question(DescribeKey("k"), LIMITS)


def test_limits_are_positive() -> None:
    with pytest.raises(ConfigError, match="items_max"):
        CacheLimits(items_max=0)
