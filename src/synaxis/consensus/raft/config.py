"""Every number that a Raft group can be tuned by: unit, reason, danger."""

from dataclasses import dataclass, fields

from synaxis.errors import ConfigError

__all__ = ["RaftConfig"]

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Limits and times of one group. All nodes of a group should use the same ones.

    Raises:
        ConfigError: from ``validate``, which the constructor calls.
    """

    heartbeat_ms: int = 100
    """How often a leader speaks when it has nothing to say. Shorter costs messages per group
    and node; longer than a third of the election timeout makes one lost packet an election."""

    election_timeout_min_ms: int = 500
    """A follower trusts a silent leader at least this long, and refuses its votes to others
    meanwhile. Too short for the network's and the disk's worst pauses: leaders are deposed
    for nothing. Too long: a frozen leader is replaced late (a killed one is noticed earlier,
    by its broken link)."""

    election_timeout_max_ms: int = 1000
    """Upper end of the random election timeout; also how long a leader keeps leading without
    hearing from a quorum, and how long a leadership transfer may take. The range between the
    two must be many times a round trip plus a disk sync, or votes split."""

    append_bytes_max: int = 1 * _MIB
    """Entries in one AppendEntries; a single larger entry still travels alone. Must fit the
    transport's frame limit together with the largest entry."""

    inflight_messages_max: int = 64
    """AppendEntries sent to one peer and not acknowledged. 1 means a round trip per message."""

    inflight_bytes_max: int = 8 * _MIB
    """The same in bytes; bounds what a slow peer can make the leader's link buffer hold."""

    uncommitted_bytes_max: int = 64 * _MIB
    """Proposals beyond this are refused with Overloaded. Bounds a leader that lost its quorum;
    too small for the pipeline and busy clients are refused for nothing."""

    snapshot_chunk_bytes: int = 512 * _KIB
    """Size of one InstallSnapshot. One chunk is in flight per peer, so smaller is slower;
    larger delays the heartbeats behind it."""

    snapshot_bytes_max: int = 1024 * _MIB
    """A follower refuses to buffer a larger snapshot. Below the real state size, a node that
    fell behind can never catch up."""

    suffix_entries_max: int = 5000
    """Entries kept in memory behind a snapshot, so that a follower which is a little late is
    not sent the whole state."""

    suffix_bytes_max: int = 4 * _MIB
    """The same in payload bytes; the smaller of the two bounds counts."""

    apply_bytes_max: int = 1 * _MIB
    """Payload bytes of committed entries handed out per ``take_effects``. Bounds how long a
    node that restarts with a long log can starve its timers; at least one entry is given."""

    commit_notice_ms: int = 5
    """How long a new commit index may wait for an append to ride on before it is sent alone.
    0 costs a message per commit and peer when idle; longer delays what followers apply."""

    promotion_lag_max: int = 1000
    """A learner that is more entries behind the commit index cannot become a voter: it would
    stop the cluster until it had caught up (thesis 4.2.1)."""

    volatile: bool = False
    """Whether the log is in memory only, and the group begins a new era when too many have lost
    it: DESIGN.md, "Volatile groups". A property of the group: equal on all nodes, for ever."""

    volatile_log_bytes_max: int = 8 * _MIB
    """Payload bytes of applied entries after which a volatile group drops its log (but for the
    suffix) without a snapshot. Smaller: slow peers need whole snapshots, which cost a pause of the
    leader and the state's size in memory. Larger: only memory. While a snapshot is on its way
    eight times as much is kept, so that the log behind it is still there when it arrives."""

    damaged_term_leap: int = 1_000_000
    """Terms that a node skips when its disk lost records. Must exceed the number of elections
    whose record could be lost; see DESIGN.md. 0 would let it break a forgotten promise."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: the message names the field.
        """
        for field in fields(self):
            may_be_zero = field.name in ("commit_notice_ms", "suffix_entries_max", "volatile")
            least = 0 if may_be_zero else 1
            if getattr(self, field.name) < least:
                raise ConfigError(f"{field.name} must be at least {least}", field=field.name)
        if self.election_timeout_min_ms < 2 * self.heartbeat_ms:
            message = "election_timeout_min_ms must be at least twice heartbeat_ms"
            raise ConfigError(message, field="election_timeout_min_ms")
        if self.election_timeout_max_ms <= self.election_timeout_min_ms:
            message = "election_timeout_max_ms must be greater than election_timeout_min_ms"
            raise ConfigError(message, field="election_timeout_max_ms")
        if self.inflight_bytes_max < self.append_bytes_max:
            message = "inflight_bytes_max must be at least append_bytes_max"
            raise ConfigError(message, field="inflight_bytes_max")
