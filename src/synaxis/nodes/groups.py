"""What a group is made of: the machine its name stands for, its log, and who attends to it."""

import dataclasses
import random
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from synaxis.caches.home import CacheHome
from synaxis.caches.machine import CacheMachine
from synaxis.cluster.machine import ClusterMachine
from synaxis.cluster.placement import CLUSTER_GROUP
from synaxis.consensus.raft.machine import Raft
from synaxis.consensus.replica import Replica
from synaxis.consensus.replica_config import ReplicaConfig
from synaxis.errors import StorageCorrupt
from synaxis.ids import GroupId, Instant
from synaxis.locks.machine import LockMachine
from synaxis.nodes.node_config import NodeConfig
from synaxis.ports import RecoveredGroup
from synaxis.queues.delivery.dispatcher import Dispatcher
from synaxis.queues.machine import QueueMachine

__all__ = ["Groups", "build_groups", "is_volatile", "shard_number"]

_VOLATILE_KINDS = ("caches",)
"""Groups whose log lives in memory; everybody else asks the log itself: ``ReplicatedLog.era``."""


class Groups(NamedTuple):
    """All groups of a node."""

    replicas: dict[GroupId, Replica]
    dispatchers: dict[GroupId, Dispatcher]
    """Of the queue shards, whether this node leads them or not."""
    homes: dict[GroupId, CacheHome]
    """Of the cache shards, likewise."""
    damaged: list[GroupId]
    """Their records were lost: they neither vote nor lead until repaired."""
    forgotten: list[GroupId]
    """The same, but their log is in memory only, so that every restart does it."""


def is_volatile(group: GroupId) -> bool:
    """Return whether the log of ``group`` lives in memory only."""
    return group.partition("/")[0] in _VOLATILE_KINDS


def shard_number(group: GroupId) -> int:
    """Return n of ``queues/n``."""
    return int(group.partition("/")[2])


def build_groups(
    config: NodeConfig,
    cluster: ClusterMachine,
    recovered: Mapping[GroupId, RecoveredGroup],
    now: Instant,
) -> Groups:
    """Build every group of the cluster from what the disk holds.

    Raises:
        StorageCorrupt: records were lost, and nobody is left who could repair them.
    """
    groups = Groups({}, {}, {}, [], [])
    for group in config.bootstrap.groups:
        found = recovered.get(group, RecoveredGroup())
        raft = _log(group, config, found, now)
        if raft.damaged:
            (groups.damaged if raft.era is None else groups.forgotten).append(group)
        if group.startswith("queues/"):
            replica, groups.dispatchers[group] = _queue_shard(group, config, raft, found, now)
        elif group.startswith("caches/"):
            replica, groups.homes[group] = _cache_shard(group, config, raft, found, now)
        elif group == CLUSTER_GROUP:
            limits = _limits(config, config.replica)
            replica = Replica(group, raft, cluster, limits, found.snapshot, now)
        else:
            replica = _lock_group(group, config, raft, found, now)
        groups.replicas[group] = replica
    return groups


def _limits(config: NodeConfig, limits: ReplicaConfig) -> ReplicaConfig:
    return msgspec.structs.replace(limits, sessions=config.bootstrap.sessions)


def _log(group: GroupId, config: NodeConfig, found: RecoveredGroup, now: Instant) -> Raft:
    spread = random.Random()  # noqa: S311  # spreads election timeouts; no secret
    members = config.bootstrap.members(group)
    limits = dataclasses.replace(config.raft, volatile=is_volatile(group))
    raft = Raft(config.node_id, limits, found, members, spread, now)
    if raft.era is None and raft.damaged and raft.status().members.voters == (config.node_id,):
        raise StorageCorrupt(
            f"the disk log is damaged and this node is the only voter of {group}: what was lost "
            "cannot be repaired. The damaged files are kept beside the log. To begin anew, start "
            "with an empty data directory"
        )
    return raft


def _queue_shard(
    group: GroupId, config: NodeConfig, raft: Raft, found: RecoveredGroup, now: Instant
) -> tuple[Replica, Dispatcher]:
    bootstrap = config.bootstrap
    machine = QueueMachine(shard_number(group), bootstrap.queue_groups, bootstrap.queues)
    dispatcher = Dispatcher(machine, config.delivery)
    limits = _limits(config, config.queue_replica)
    replica = Replica(group, raft, machine, limits, found.snapshot, now)
    replica.attended_by(dispatcher)
    return replica, dispatcher


def _cache_shard(
    group: GroupId, config: NodeConfig, raft: Raft, found: RecoveredGroup, now: Instant
) -> tuple[Replica, CacheHome]:
    machine = CacheMachine(config.bootstrap.caches)
    home = CacheHome(machine, config.home)
    limits = _limits(config, config.cache_replica)
    replica = Replica(group, raft, machine, limits, found.snapshot, now)
    replica.attended_by(home)
    replica.guarded_by(home.gate)
    return replica, home


def _lock_group(
    group: GroupId, config: NodeConfig, raft: Raft, found: RecoveredGroup, now: Instant
) -> Replica:
    machine = LockMachine(config.bootstrap.locks, config.bootstrap.token_epoch)
    limits = _limits(config, config.replica)
    replica = Replica(group, raft, machine, limits, found.snapshot, now)
    machine.owner_of = replica.sessions.owner_of
    return replica
