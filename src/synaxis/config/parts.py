"""From settings to the frozen configuration objects of machines and shells; ``server`` asks.

Only what a setting exists for is passed on; everything else keeps the default of its owner.
"""

import ssl

from synaxis.api.gateway import GatewayConfig
from synaxis.communication.peer_link import LinkConfig
from synaxis.config.settings import Settings
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.locks.limits import LockLimits

__all__ = ["gateway_config", "link_config", "lock_limits", "raft_config", "replica_config"]


def raft_config(settings: Settings) -> RaftConfig:
    """Return the times and limits of every Raft group."""
    return RaftConfig(
        heartbeat_ms=settings.heartbeat_ms,
        election_timeout_min_ms=settings.election_timeout_ms_min,
        election_timeout_max_ms=settings.election_timeout_ms_max,
        append_bytes_max=settings.append_bytes_max,
        inflight_messages_max=settings.inflight_messages_max,
        inflight_bytes_max=settings.inflight_bytes_max,
        uncommitted_bytes_max=settings.uncommitted_bytes_max,
    )


def replica_config(settings: Settings) -> ReplicaConfig:
    """Return the limits of sessions, and when snapshots are taken."""
    return ReplicaConfig(
        snapshot_bytes_min=settings.snapshot_bytes_min,
        snapshot_ratio=settings.snapshot_ratio,
        session_ttl_ms_min=settings.session_ttl_ms_min,
        session_ttl_ms_max=settings.session_ttl_ms_max,
        sessions_max=settings.sessions_max,
    )


def lock_limits(settings: Settings) -> LockLimits:
    """Return the limits of every lock group."""
    return LockLimits(
        name_bytes_max=settings.lock_name_bytes_max,
        waiters_per_lock_max=settings.lock_waiters_max,
        requests_per_session_max=settings.locks_per_session_max,
        value_bytes_max=settings.lock_value_bytes_max,
        deadlock_visits_max=settings.deadlock_visits_max,
        victim_policy=settings.deadlock_victim,
    )


def link_config(settings: Settings, context: ssl.SSLContext | None) -> LinkConfig:
    """Return the limits of links to other nodes; ``context`` is for dialling them."""
    return LinkConfig(
        handshake_s=settings.handshake_timeout_s,
        frame_bytes_max=settings.peer_frame_bytes_max,
        ssl=context,
    )


def gateway_config(settings: Settings) -> GatewayConfig:
    """Return the limits towards clients."""
    return GatewayConfig(
        connections_max=settings.connections_max,
        frame_bytes_max=settings.frame_bytes_max,
        handshake_s=settings.handshake_timeout_s,
    )
