"""What may be said about consuming, and how the wire says it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from synaxis.client.queues.checks import between, checked_name, choice, duration
from synaxis.client.queues.limits import LIMITS
from synaxis.errors import InvalidArgument
from synaxis.queues.commands import ABSENT, GroupMode, Join

__all__ = ["ConsumeMode", "ConsumeOptions", "OnRevoke", "Plan", "Start", "group_mode", "plan"]

ConsumeMode = Literal["shared", "keyed", "exclusive"]
Start = Literal["earliest", "latest"]
OnRevoke = Callable[[Sequence[int]], Awaitable[object] | None]

DEFAULT_CONCURRENCY = 16
DEFAULT_PREFETCH_MIN = 64
PREFETCH_MAX = 100_000
"""What a member may have credit for, by the cluster's own limit."""


class ConsumeOptions(TypedDict, total=False):
    """Options of a consumer; durations are seconds."""

    mode: ConsumeMode
    """``"shared"`` (default): any message to any member. ``"keyed"``: messages of one key in
    order, with one member at a time. ``"exclusive"``: a partition belongs to one member."""
    concurrency: int
    """Messages handed out and not settled, at most. Default 16."""
    prefetch: int
    """Messages that may wait here, so that none has to be asked for. Default: twice the
    concurrency, at least 64, and up to 1,024 while they are consumed quickly."""
    start: Start
    """Where a group begins that is new: ``"earliest"`` (default) or ``"latest"``."""
    visibility: float
    """How long the cluster leaves a message with us without a sign of life. Default: the
    topic's."""
    auto_extend: bool
    """Signs of life are given in the background. Default True; with False a message that is not
    settled within ``visibility`` goes to others."""
    name: str
    """For people. Default: the name of the client."""
    on_revoke: OnRevoke
    """EXCLUSIVE: called with the partitions that are to be given up, before they are; awaited, if
    it returns something to wait for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Checked options."""

    group: str
    mode: GroupMode
    concurrency: int
    prefetch: int
    tuned: bool
    """Nobody has chosen the prefetch: it may follow the speed of consuming."""
    from_end: bool
    visibility_ms: int
    auto_extend: bool
    name: str
    on_revoke: OnRevoke | None

    def join(self, topic: str, member: int) -> Join:
        """Return the command that makes ``member`` one of the group."""
        return Join(
            topic,
            self.group,
            member,
            self.mode,
            self.name,
            self.visibility_ms,
            self.auto_extend,
            self.from_end,
            announces=True,
        )


def group_mode(mode: str) -> GroupMode:
    """Return what the wire calls ``mode``.

    Raises:
        InvalidArgument: there is no such mode.
    """
    return GroupMode[choice(mode, ("shared", "keyed", "exclusive"), "mode").upper()]


def plan(  # noqa: PLR0913  # the one place where the options have names and defaults
    group: str,
    owner: str,
    *,
    mode: ConsumeMode = "shared",
    concurrency: int = DEFAULT_CONCURRENCY,
    prefetch: int | None = None,
    start: Start = "earliest",
    visibility: float | None = None,
    auto_extend: bool = True,
    name: str | None = None,
    on_revoke: OnRevoke | None = None,
) -> Plan:
    """Return the options, checked.

    Raises:
        InvalidArgument: one is out of range or contradicts another.
    """
    found = group_mode(mode)
    between(concurrency, 1, PREFETCH_MAX, "concurrency")
    tuned = prefetch is None
    if prefetch is None:
        prefetch = min(max(2 * concurrency, DEFAULT_PREFETCH_MIN), PREFETCH_MAX)
    if on_revoke is not None and found is not GroupMode.EXCLUSIVE:
        raise InvalidArgument('on_revoke needs mode="exclusive": else nothing is ever revoked')
    limits = LIMITS.topics
    lowest, highest = limits.visibility_ms_min, limits.visibility_ms_max
    return Plan(
        checked_name(group, "consumer group"),
        found,
        concurrency,
        between(prefetch, 1, PREFETCH_MAX, "prefetch"),
        tuned,
        choice(start, ("earliest", "latest"), "start") == "latest",
        ABSENT if visibility is None else duration(visibility, lowest, highest, "visibility"),
        auto_extend,
        _short(owner if name is None else name),
        on_revoke,
    )


def _short(name: str) -> str:
    """Return as much of a name for people as the cluster keeps."""
    return name.encode(errors="replace")[: LIMITS.topics.name_bytes_max].decode(errors="ignore")
