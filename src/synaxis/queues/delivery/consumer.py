"""A member as the leader sees it: what it may get, what it holds, when it was last heard."""

from synaxis.queues.group import Member

__all__ = ["Consumer", "Lease"]


class Consumer:
    """See the module. Times are milliseconds of log time without the leader's own stalls."""

    __slots__ = ("armed_at", "credit", "handle", "heard", "held", "held_bytes", "member", "told")

    def __init__(self, member: Member, heard: int) -> None:
        self.member = member
        self.handle: object = None
        """Whom to answer; None while it is not attached."""
        self.credit = 0
        self.held = 0
        """Messages in flight."""
        self.held_bytes = 0
        self.heard = heard
        self.armed_at: int | None = None
        """When its leases will be looked at."""
        self.told: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        """EXCLUSIVE: the assignment that it was told last."""

    @property
    def silent_at(self) -> int:
        """When it will have been silent for its visibility timeout."""
        return self.heard + self.member.visibility_ms


class Lease:
    """One delivery to one consumer: shared by all its messages that are treated alike."""

    __slots__ = ("begun", "bytes_each", "consumer", "deadline", "ending")

    def __init__(self, consumer: Consumer, deadline: int, bytes_each: int) -> None:
        self.consumer = consumer
        self.deadline = deadline
        """When it ends by itself; 0: it lives for as long as its consumer is heard."""
        self.bytes_each = bytes_each
        self.begun = False
        """The consumer said that it works on the messages."""
        self.ending = False
        """Its end is proposed: the log decides."""

    def started(self) -> "Lease":
        """Return the lease as it is once its consumer works on the messages."""
        begun = Lease(self.consumer, self.deadline, self.bytes_each)
        begun.begun = True
        return begun

    def until(self, deadline: int) -> "Lease":
        """Return the lease as it is when it ends at ``deadline``."""
        longer = Lease(self.consumer, deadline, self.bytes_each)
        longer.begun = self.begun
        return longer

    def ended(self) -> "Lease":
        """Return the lease as it is while the log decides about its end."""
        ending = Lease(self.consumer, self.deadline, self.bytes_each)
        ending.ending = True
        return ending

    @property
    def over_at(self) -> int:
        """When it will be over, unless its consumer is heard or extends it before."""
        if self.deadline and not self.consumer.member.auto_extend:
            return self.deadline
        return max(self.deadline, self.consumer.silent_at)
