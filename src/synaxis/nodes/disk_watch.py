"""Stops taking messages before the disk is full.

A full disk ends the process: what a failed write left behind is unknown. So the shards that this
node leads refuse to publish while little space is left. Acknowledgements go on, because they are
small and give space back.
"""

from collections.abc import Iterable
from typing import Protocol

import structlog

from synaxis.consensus.replica import Replica
from synaxis.ids import NodeId
from synaxis.queues.machine import QueueMachine

__all__ = ["DiskWatch", "NodeDisk"]

log = structlog.stdlib.get_logger("synaxis.disk")


class NodeDisk(Protocol):
    """What a node asks its data directory."""

    def remember_peer(self, node_id: NodeId, disk_id: str) -> None:
        """Note whose disk a peer has.

        Raises:
            IdentityMismatch: the peer is known with another one.
        """
        ...

    @property
    def free_bytes(self) -> int:
        """How much may still be written."""
        ...


class DiskWatch:
    """See the module."""

    def __init__(self, disk: NodeDisk, reserve_bytes: int, replicas: Iterable[Replica]) -> None:
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        machines = (replica.machine for replica in replicas)
        self._machines = [each for each in machines if isinstance(each, QueueMachine)]
        self._refusing = False

    def look(self) -> None:
        """Refuse to publish while the disk is nearly full, and no longer."""
        free = self._disk.free_bytes
        refusing = free < self._reserve_bytes
        if refusing == self._refusing:
            return
        self._refusing = refusing
        if refusing:
            log.error("disk nearly full: no more messages", free=free, reserve=self._reserve_bytes)
        else:
            log.info("disk has space again", free=free)
        why = "the leader's disk is nearly full; what is stored is safe" if refusing else ""
        for machine in self._machines:
            machine.refusing = why
