"""Every setting of a node: its name, type, bounds, default, and why the default is what it is."""

from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from synaxis.config.addresses import Address, parse_address, parse_members, parse_node_id
from synaxis.config.cache_settings import CacheSettings
from synaxis.config.queue_settings import QueueSettings
from synaxis.config.setting import setting
from synaxis.config.sources import DotEnvSource, EnvironmentSource, TomlSource
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig, SessionLimits
from synaxis.ids import NodeId
from synaxis.locks.limits import LockLimits, VictimPolicy
from synaxis.storage.write_ahead_log import WalOptions

__all__ = ["ENV_PREFIX", "GROUPS", "Settings"]

ENV_PREFIX = "SYNAXIS_"
ROLES = ("locks", "queues", "caches")
GROUPS = (
    "Identity",
    "Network",
    "Cluster",
    "Raft",
    "Sessions",
    "Locks",
    "Queues",
    "Caches",
    "Storage",
    "Limits",
    "Security",
    "Operation",
)
"""In the order of the documentation."""
DEFAULT_PEER_ADDRESS = Address("127.0.0.1", 7401)

# The machines state their own defaults; a setting repeats none of them.
_RAFT = RaftConfig()
_REPLICA = ReplicaConfig()
_LOCKS = LockLimits()
_WAL = WalOptions()


def _grouped(number: object) -> str:
    return f"{number:,}".replace(",", " ") if isinstance(number, int | float) else str(number)


class Settings(QueueSettings, CacheSettings):
    """The effective settings of one node, validated one by one.

    What several settings must agree on is checked by ``checks.problems``; build instances with
    ``load_settings``, which does both.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_ignore_empty=True,
        dotenv_filtering="only_existing",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    node_id: str = setting(
        "Identity",
        "",
        "Name of this node, for ever: never the host name, never used again after the "
        "node was removed or its disk was lost. Required with `cluster` or `join`, else "
        "n1.",
    )
    cluster_name: str = setting(
        "Identity",
        "synaxis",
        "Name of the cluster; nodes of another name are refused.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    )
    data_dir: Path = setting(
        "Identity",
        Path("data"),
        "Directory of the log and the snapshots; belongs to one node only.",
    )
    roles: str = setting(
        "Identity",
        "all",
        "Services that this node takes part in, comma-separated: all, locks, queues, caches.",
    )

    listen: str = setting(
        "Network",
        "127.0.0.1:7400",
        "Where clients connect (API, metrics, health); port 0 picks a free one.",
    )
    peer_listen: str = setting(
        "Network",
        "",
        "Where other nodes connect. Default: this node's address in `cluster`, else "
        "127.0.0.1:7401.",
    )
    advertise: str = setting(
        "Network",
        "",
        "URL or host:port told to clients. Default: `listen`.",
    )
    peer_advertise: str = setting(
        "Network",
        "",
        "host:port told to other nodes. Default: this node's address in `cluster`, else "
        "`peer_listen`.",
    )

    cluster: str = setting(
        "Cluster",
        "",
        "The first members with their peer addresses, n1=host:port,n2=host:port; the same "
        "on every node. Counts only while the data directory is new. Empty: one node "
        "alone.",
    )
    join: str = setting(
        "Cluster",
        "",
        "URL of a member of a running cluster to join, instead of `cluster`.",
    )
    join_api_key: SecretStr = setting(
        "Cluster",
        SecretStr(""),
        "API key for `join`, when the cluster asks for one.",
    )
    consensus_type: Literal["raft"] = setting(
        "Cluster",
        "raft",
        "How the members agree. pbft is not available yet.",
    )
    lock_groups: int = setting(
        "Cluster",
        1,
        "Groups that share the lock names; fixed when the cluster is created.",
        ge=1,
        le=64,
    )
    queue_groups: int = setting(
        "Cluster",
        4,
        "Groups (shards) that share the partitions of all topics; fixed when the cluster is "
        "created. More spread the work over more nodes, and each costs heartbeats and log entries.",
        ge=1,
        le=64,
    )
    cache_groups: int = setting(
        "Cluster",
        4,
        "Groups (shards) that share the keys of all caches; fixed when the cluster is created.",
        ge=1,
        le=64,
    )
    replication_factor: int = setting(
        "Cluster",
        3,
        "Voters wanted per group: 3 survive the loss of 1 node, 5 of 2. Fixed when the "
        "cluster is created.",
        ge=1,
        le=9,
    )
    token_epoch: int = setting(
        "Cluster",
        1,
        "Prefix of all fencing tokens. Raise it when a cluster is founded anew in place of one "
        "whose data is lost, so that guarded resources take its tokens for newer. Fixed when "
        "the cluster is created.",
        ge=1,
        le=8191,
    )

    heartbeat_ms: int = setting(
        "Raft",
        _RAFT.heartbeat_ms,
        "Pause between the heartbeats of a leader that has nothing else to say; at most a "
        "third of `election_timeout_ms_min`.",
        ge=5,
        le=20_000,
    )
    election_timeout_ms_min: int = setting(
        "Raft",
        _RAFT.election_timeout_min_ms,
        "A follower that hears nothing for a random time between min and max stands for "
        "election. Shorter replaces a frozen leader sooner, but every pause of a disk or "
        "a busy machine then costs a needless election. Equal on all nodes.",
        ge=20,
        le=60_000,
    )
    election_timeout_ms_max: int = setting(
        "Raft",
        _RAFT.election_timeout_max_ms,
        "See `election_timeout_ms_min`; at least 1.3 times as long.",
        ge=20,
        le=120_000,
    )
    append_bytes_max: int = setting(
        "Raft",
        _RAFT.append_bytes_max,
        "Entries in one message to a follower.",
        ge=4_096,
        le=33_554_432,
    )
    inflight_messages_max: int = setting(
        "Raft",
        _RAFT.inflight_messages_max,
        "Messages to one follower that are not acknowledged yet.",
        ge=1,
        le=10_000,
    )
    inflight_bytes_max: int = setting(
        "Raft",
        _RAFT.inflight_bytes_max,
        "The same in bytes; at least `append_bytes_max`.",
        ge=4_096,
    )
    uncommitted_bytes_max: int = setting(
        "Raft",
        _RAFT.uncommitted_bytes_max,
        "Commands that a leader holds uncommitted before it refuses more with overloaded.",
        ge=4_096,
    )

    session_ttl_ms_min: int = setting(
        "Sessions",
        _REPLICA.session_ttl_ms_min,
        "Shortest session TTL that a client may ask for.",
        ge=100,
    )
    session_ttl_ms_max: int = setting(
        "Sessions",
        _REPLICA.session_ttl_ms_max,
        "Longest session TTL: how long a vanished client may block others.",
        ge=100,
    )
    sessions_max: int = setting(
        "Sessions",
        _REPLICA.sessions.sessions_max,
        "Sessions per group; one more is refused with limit_exceeded. Equal on all nodes.",
        ge=1,
    )

    lock_name_bytes_max: int = setting(
        "Locks",
        _LOCKS.name_bytes_max,
        "Length of a lock's name.",
        ge=1,
        le=4_096,
    )
    lock_waiters_max: int = setting(
        "Locks",
        _LOCKS.waiters_per_lock_max,
        "Requests that queue for one name; one more is refused with limit_exceeded. Equal "
        "on all nodes.",
        ge=1,
    )
    locks_per_session_max: int = setting(
        "Locks",
        _LOCKS.requests_per_session_max,
        "Locks that one session holds or waits for; one more is refused with "
        "limit_exceeded. Equal on all nodes.",
        ge=1,
    )
    lock_value_bytes_max: int = setting(
        "Locks",
        _LOCKS.value_bytes_max,
        "Value shown with a grant or a leader.",
        ge=0,
        le=1_048_576,
    )
    deadlock_visits_max: int = setting(
        "Locks",
        _LOCKS.deadlock_visits_max,
        "Edges that one search for a deadlock looks at; beyond it only the wait's timeout "
        "ends a cycle. Equal on all nodes.",
        ge=1,
    )
    deadlock_victim: VictimPolicy = setting(
        "Locks",
        _LOCKS.victim_policy,
        "Whose wait fails in a deadlock: lowest_priority, fewest_locks, youngest or "
        "requester. Equal on all nodes.",
    )

    snapshot_bytes_min: int = setting(
        "Storage",
        _REPLICA.snapshot_bytes_min,
        "Log written since the last snapshot before a new one is worth its pause.",
        ge=1_024,
    )
    snapshot_ratio: float = setting(
        "Storage",
        _REPLICA.snapshot_ratio,
        "... and at least this many times the size of the last snapshot.",
        ge=1,
        le=1_000,
    )

    wal_segment_bytes_max: int = setting(
        "Storage",
        _WAL.segment_bytes_max,
        "Size at which a new segment of the log is begun. Smaller gives disk space back sooner.",
        ge=65_536,
        le=1 << 32,
    )

    connections_max: int = setting(
        "Limits",
        10_000,
        "Client connections; one more is answered 503.",
        ge=1,
    )
    frame_bytes_max: int = setting(
        "Limits",
        1 << 22,
        "Largest frame that a client may send after it has said hello.",
        ge=4_096,
        le=67_108_864,
    )
    peer_frame_bytes_max: int = setting(
        "Limits",
        1 << 26,
        "Largest frame accepted from another node.",
        ge=1_048_576,
        le=1_073_741_824,
    )
    watchers_max: int = setting(
        "Limits",
        1_000,
        "Open watches; one more is refused with limit_exceeded.",
        ge=1,
    )
    history_events_max: int = setting(
        "Limits",
        10_000,
        "Events kept per group for watchers that come back.",
        ge=1,
    )
    handshake_timeout_s: float = setting(
        "Limits",
        5.0,
        "A connection that has not said hello by then is closed.",
        gt=0,
        le=60,
    )

    tls_cert: Path | None = setting(
        "Security",
        None,
        "PEM certificate chain of the API.",
    )
    tls_key: Path | None = setting(
        "Security",
        None,
        "PEM private key for `tls_cert`.",
    )
    api_keys_file: Path | None = setting(
        "Security",
        None,
        "File of API key hashes; when set, clients must present a key.",
    )
    peer_ca: Path | None = setting(
        "Security",
        None,
        "PEM certificate of the cluster's own CA; peers must present a certificate of it.",
    )
    peer_cert: Path | None = setting(
        "Security",
        None,
        "PEM certificate of this node for peers, signed by `peer_ca`.",
    )
    peer_key: Path | None = setting(
        "Security",
        None,
        "PEM private key for `peer_cert`.",
    )
    i_know_this_is_insecure: bool = setting(
        "Security",
        False,
        "Allow addresses other than loopback without TLS and API keys. Everybody who can "
        "reach the ports can then take and break every lock.",
    )

    config: Path | None = setting(
        "Operation",
        None,
        "TOML file with settings.",
    )
    failure_detector_ms: int = setting(
        "Operation",
        250,
        "Pause between heartbeats of the failure detector (hints and metrics; never safety).",
        ge=10,
        le=60_000,
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "Operation",
        "INFO",
        "Least important log line to write: DEBUG, INFO, WARNING, ERROR.",
    )
    log_format: Literal["auto", "json", "console"] = setting(
        "Operation",
        "auto",
        "auto (console on a terminal, else json), json (one object per line) or console.",
    )
    shutdown_timeout_s: float = setting(
        "Operation",
        10.0,
        "Time after SIGTERM to hand leadership over and finish answers.",
        ge=0,
        le=3_600,
    )

    @field_validator("listen", "peer_listen", "peer_advertise")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        return str(parse_address(value)) if value else value

    @field_validator("node_id")
    @classmethod
    def _is_a_node_id(cls, value: str) -> str:
        return parse_node_id(value) if value else value

    @field_validator("cluster")
    @classmethod
    def _is_a_member_list(cls, value: str) -> str:
        parse_members(value)
        return value

    @field_validator("roles")
    @classmethod
    def _is_a_role_list(cls, value: str) -> str:
        unknown = sorted(set(value.split(",")) - {"all", *ROLES})
        if unknown:
            msg = f"unknown or not available yet: {', '.join(unknown)}"
            raise ValueError(msg)
        return value

    @field_validator("consensus_type", mode="before")
    @classmethod
    def _is_available(cls, value: object) -> object:
        if value == "pbft":
            raise ValueError("pbft is not available yet")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _case_does_not_matter(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def members(self) -> dict[NodeId, Address]:
        """The first members by id, with their peer addresses; empty for one node alone."""
        return parse_members(self.cluster)

    @property
    def id(self) -> NodeId:
        """This node's name."""
        return NodeId(self.node_id or "n1")

    @property
    def listen_address(self) -> Address:
        """Where clients connect."""
        return parse_address(self.listen)

    @property
    def peer_listen_address(self) -> Address:
        """Where other nodes connect."""
        if self.peer_listen:
            return parse_address(self.peer_listen)
        return self.members.get(self.id, DEFAULT_PEER_ADDRESS)

    @property
    def peer_advertised(self) -> Address:
        """What other nodes dial."""
        if self.peer_advertise:
            return parse_address(self.peer_advertise)
        return self.members.get(self.id, self.peer_listen_address)

    @property
    def api_url(self) -> str:
        """The URL that clients are told, without a trailing slash."""
        if "://" in self.advertise:
            return self.advertise.rstrip("/")
        scheme = "http" if self.tls_cert is None else "https"
        return f"{scheme}://{self.advertise or self.listen}"

    @property
    def role_names(self) -> frozenset[str]:
        """The services of this node, ``all`` spelled out."""
        given = frozenset(self.roles.split(","))
        return frozenset(ROLES) if "all" in given else given

    def raft_config(self) -> RaftConfig:
        """Return the times and limits of every Raft group."""
        return RaftConfig(
            heartbeat_ms=self.heartbeat_ms,
            election_timeout_min_ms=self.election_timeout_ms_min,
            election_timeout_max_ms=self.election_timeout_ms_max,
            append_bytes_max=self.append_bytes_max,
            inflight_messages_max=self.inflight_messages_max,
            inflight_bytes_max=self.inflight_bytes_max,
            uncommitted_bytes_max=self.uncommitted_bytes_max,
            volatile_log_bytes_max=self.cache_log_bytes_max,
        )

    def replica_config(self) -> ReplicaConfig:
        """Return the limits of sessions, and when snapshots are taken."""
        return ReplicaConfig(
            snapshot_bytes_min=self.snapshot_bytes_min,
            snapshot_ratio=self.snapshot_ratio,
            session_ttl_ms_min=self.session_ttl_ms_min,
            session_ttl_ms_max=self.session_ttl_ms_max,
        )

    def session_limits(self) -> SessionLimits:
        """Return the limits that all replicas must share."""
        return SessionLimits(sessions_max=self.sessions_max)

    def lock_limits(self) -> LockLimits:
        """Return the limits of every lock group."""
        return LockLimits(
            name_bytes_max=self.lock_name_bytes_max,
            waiters_per_lock_max=self.lock_waiters_max,
            requests_per_session_max=self.locks_per_session_max,
            value_bytes_max=self.lock_value_bytes_max,
            deadlock_visits_max=self.deadlock_visits_max,
            victim_policy=self.deadlock_victim,
        )

    def wal_options(self) -> WalOptions:
        """Return how the log is cut into segments."""
        return WalOptions(segment_bytes_max=self.wal_segment_bytes_max)

    @classmethod
    def allowed(cls, name: str) -> str:
        """Return what the setting ``name`` may be, in words; empty for free text."""
        field = cls.model_fields[name]
        if get_origin(field.annotation) is Literal:
            return ", ".join(map(str, get_args(field.annotation)))
        if isinstance(field.annotation, type) and issubclass(field.annotation, StrEnum):
            return ", ".join(field.annotation)
        if field.annotation is bool:
            return "true, false"
        low = [f"from {_grouped(m.ge)}" for m in field.metadata if isinstance(m, Ge)]
        low += [f"above {_grouped(m.gt)}" for m in field.metadata if isinstance(m, Gt)]
        high = [f"to {_grouped(m.le)}" for m in field.metadata if isinstance(m, Le)]
        return " ".join([*low, *high])

    @classmethod
    def group_of(cls, name: str) -> str:
        """Return the heading under which people find the setting ``name``."""
        extra = cls.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        return str(extra["group"])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - replaced by ours
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - *_FILE instead
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flag, environment, ``.env``, TOML file."""
        return (
            init_settings,
            EnvironmentSource(settings_cls),
            DotEnvSource(settings_cls, dotenv_settings),
            TomlSource(settings_cls),
        )
