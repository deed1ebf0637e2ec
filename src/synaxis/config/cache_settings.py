"""The settings of caches; a part of ``Settings``."""

import msgspec
from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings

from synaxis.caches.agent import AgentConfig
from synaxis.caches.limits import CacheLimits, HomeLimits
from synaxis.config.setting import setting
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig

__all__ = ["CacheSettings"]

STORE_SCHEMES = ("redis://", "rediss://", "unix://")

# The machines state their own defaults; a setting repeats none of them.
_CACHES = CacheLimits()
_HOME = HomeLimits()
_AGENT = AgentConfig()
_RAFT = RaftConfig()


class CacheSettings(BaseSettings):
    """See the module."""

    cache_key_bytes_max: int = setting(
        "Caches",
        _CACHES.key_bytes_max,
        "A key with the name of its cache. Equal on all nodes.",
        ge=16,
        le=65_536,
    )
    cache_value_bytes_max: int = setting(
        "Caches",
        _CACHES.value_bytes_max,
        "One value; less than `frame_bytes_max`. Equal on all nodes.",
        ge=64,
        le=33_554_432,
    )
    cache_records_max: int = setting(
        "Caches",
        _CACHES.records_max,
        "Records of one shard; the least used make room for new ones. Each costs about 350 bytes "
        "besides key and value. Equal on all nodes.",
        ge=1,
    )
    cache_bytes_max: int = setting(
        "Caches",
        _CACHES.bytes_max,
        "Keys and values of one shard, in the memory of each of its nodes; the least used make "
        "room for new ones. Equal on all nodes.",
        ge=65_536,
    )
    cache_ttl_ms_max: int = setting(
        "Caches",
        _CACHES.ttl_ms_max,
        "Longest life that a record may be given. Equal on all nodes.",
        ge=1,
    )
    cache_tags_per_record_max: int = setting(
        "Caches",
        _CACHES.tags_per_record_max,
        "Tags of one record. Equal on all nodes.",
        ge=1,
        le=1_000,
    )
    cache_agents_max: int = setting(
        "Caches",
        _CACHES.agents_max,
        "Near caches (of clients and nodes) that may hold copies of one shard; one more is refused "
        "with limit_exceeded. Equal on all nodes.",
        ge=1,
    )
    cache_pending_max: int = setting(
        "Caches",
        _CACHES.pending_max,
        "Writes of one shard that `cache_store_url` does not have yet; more are refused with "
        "overloaded. Equal on all nodes.",
        ge=1,
    )
    cache_lease_ms: int = setting(
        "Caches",
        _HOME.lease_ms,
        "How long a near cache may be used after it last heard from the leader. Writes to what "
        "a vanished client held wait for as long, and so does every key after a leader died. "
        "Equal on all nodes.",
        ge=500,
        le=60_000,
    )
    cache_lease_margin_ms_min: int = setting(
        "Caches",
        _HOME.margin_ms_min,
        "What the leader waits longer than that at least, for clocks that run at different speed.",
        ge=10,
    )
    cache_sharers_max: int = setting(
        "Caches",
        _HOME.sharers_per_key_max,
        "Near caches that may hold one key; others read it without keeping it.",
        ge=1,
    )
    cache_lines_max: int = setting(
        "Caches",
        _HOME.lines_max,
        "Copies in near caches that a leader keeps track of, per shard; beyond it the oldest are "
        "taken back.",
        ge=1,
    )
    cache_fill_lease_ms: int = setting(
        "Caches",
        _HOME.fill_lease_ms,
        "How long one client may compute a missing value while others wait for it.",
        ge=100,
    )
    cache_waiting_max: int = setting(
        "Caches",
        _HOME.held_max,
        "Commands and reads of one shard that wait for near caches; more are refused with "
        "overloaded.",
        ge=1,
    )
    cache_retire_ms: int = setting(
        "Caches",
        _HOME.retire_ms,
        "A near cache that is silent for longer is forgotten, with the fate of its last writes.",
        ge=1_000,
    )
    cache_node_bytes_max: int = setting(
        "Caches",
        _AGENT.bytes_max,
        "Copies that this node holds in each shard for those who use it as their cache; the least "
        "recently used make room.",
        ge=65_536,
    )
    cache_node_entries_max: int = setting(
        "Caches",
        _AGENT.entries_max,
        "The same as a number of copies.",
        ge=1,
    )
    cache_flush_ms: int = setting(
        "Caches",
        _AGENT.flush_ms,
        "How long a write with policy back stays with this node alone: what its crash may lose.",
        ge=1,
        le=60_000,
    )
    cache_log_bytes_max: int = setting(
        "Caches",
        _RAFT.volatile_log_bytes_max,
        "Log of one shard that is kept in memory for nodes that lag; one that lags further is sent "
        "the whole shard.",
        ge=65_536,
    )
    cache_store_url: SecretStr = setting(
        "Caches",
        SecretStr(""),
        "Redis behind the caches, as redis://:password@host:port/0; for records that are loaded "
        "from it and written through or behind. Equal on all nodes. Empty: there is none.",
    )
    cache_store_timeout_s: float = setting(
        "Caches",
        2.0,
        "How long `cache_store_url` may take for one batch before it counts as unavailable.",
        gt=0,
        le=60,
    )

    @field_validator("cache_store_url")
    @classmethod
    def _is_a_store(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(STORE_SCHEMES):
            raise ValueError(f"must begin with one of {', '.join(STORE_SCHEMES)}")
        return value

    def cache_replica_config(self, replica: ReplicaConfig, wall_offset_ms: int) -> ReplicaConfig:
        """Return ``replica`` as it is for cache shards, whose log time follows the wall clock."""
        return msgspec.structs.replace(replica, wall_offset_ms=wall_offset_ms)

    def cache_limits(self) -> CacheLimits:
        """Return the limits of every cache shard."""
        return CacheLimits(
            key_bytes_max=self.cache_key_bytes_max,
            value_bytes_max=self.cache_value_bytes_max,
            records_max=self.cache_records_max,
            bytes_max=self.cache_bytes_max,
            ttl_ms_max=self.cache_ttl_ms_max,
            tags_per_record_max=self.cache_tags_per_record_max,
            agents_max=self.cache_agents_max,
            pending_max=self.cache_pending_max,
        )

    def home_limits(self) -> HomeLimits:
        """Return what this node allows as the leader of a cache shard."""
        return HomeLimits(
            lease_ms=self.cache_lease_ms,
            margin_ms_min=self.cache_lease_margin_ms_min,
            sharers_per_key_max=self.cache_sharers_max,
            lines_max=self.cache_lines_max,
            fill_lease_ms=self.cache_fill_lease_ms,
            held_max=self.cache_waiting_max,
            retire_ms=self.cache_retire_ms,
        )

    def agent_config(self) -> AgentConfig:
        """Return what this node's own agents may hold, each."""
        return AgentConfig(
            entries_max=self.cache_node_entries_max,
            bytes_max=self.cache_node_bytes_max,
            flush_ms=self.cache_flush_ms,
        )
