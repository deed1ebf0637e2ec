"""Who may talk to this node, and what a refusal by others means."""

from collections.abc import Callable, Mapping
from typing import Any

from synaxis.cluster.machine import ClusterMachine
from synaxis.consensus.raft.messages import era_of, first_term
from synaxis.errors import IdentityMismatch, ProtocolViolation
from synaxis.ids import GroupId, NodeId, Term
from synaxis.nodes.bus_checks import check_bus_message
from synaxis.nodes.node_config import NodeConfig
from synaxis.security.tls import names_of
from synaxis.wire.peer import PROTOCOL_VERSION, PeerFrame, PeerHello, PeerRefusal

__all__ = ["Admission", "check_frame"]

TERM_LEAP_MAX = 2**32
"""How far ahead a peer's term may be: one leap to the end of an era would leave no term to elect
in. Terms leap by a million where a disk lost records, so this is thousands of damaged disks."""

ERA_LEAP_MAX = 2**16
"""How many eras a peer's volatile group may be ahead: far more than anybody is away for, and too
few to use up 64 bits."""


class Admission:
    """Checks a caller's cluster, identity and disk.

    ``remember`` stores the disk id of a peer on this node's own disk and raises
    IdentityMismatch when the peer is known with another one: an id whose disk was wiped could
    vote twice (thesis 3.8), whatever the replicated list of nodes already knows.
    """

    def __init__(
        self, config: NodeConfig, cluster: ClusterMachine, remember: Callable[[NodeId, str], None]
    ) -> None:
        self._config = config
        self._cluster = cluster
        self._remember = remember

    def hello(self, target: NodeId) -> PeerHello:
        """Return how this node introduces itself to ``target``."""
        config = self._config
        return PeerHello(
            PROTOCOL_VERSION, config.bootstrap.cluster_id, config.node_id, config.disk_id, target
        )

    def is_proven(self, node: NodeId, certificate: Mapping[str, Any] | None) -> bool:
        """Whether ``certificate`` was made for ``node``; without TLS there is none to ask for."""
        return certificate is None or node in names_of(certificate)

    def admit(
        self, hello: PeerHello, certificate: Mapping[str, Any] | None = None
    ) -> PeerRefusal | None:
        """Return why the caller is refused, or None."""
        mine = self._config
        if not self.is_proven(hello.node_id, certificate):
            return _refuse(
                "identity_mismatch",
                f"the certificate was not made for node {hello.node_id}: a peer certificate needs "
                "the node id as its DNS name (subjectAltName) or common name",
                fatal=True,
            )
        if hello.version != PROTOCOL_VERSION:
            return _refuse(
                "protocol_violation", f"peer protocol {PROTOCOL_VERSION} is spoken here", fatal=True
            )
        if hello.cluster_id != mine.bootstrap.cluster_id:
            return _refuse(
                "identity_mismatch",
                f"node {mine.node_id} belongs to cluster {mine.bootstrap.cluster_id}, not to "
                f"{hello.cluster_id}: check cluster_name and the cluster list of both",
                fatal=True,
            )
        if hello.node_id == mine.node_id:
            return _refuse(
                "identity_mismatch",
                f"another process already runs as node {mine.node_id}: every node needs an id of "
                "its own",
                fatal=hello.disk_id != mine.disk_id,
            )
        if hello.target != mine.node_id:
            return _refuse(
                "not_found", f"this is node {mine.node_id}, not {hello.target}", fatal=False
            )
        return self._admit_identity(hello)

    def _admit_identity(self, hello: PeerHello) -> PeerRefusal | None:
        known = {node.node_id: node for node in self._cluster.nodes}.get(hello.node_id)
        if known is not None and known.removed:
            return _refuse(
                "membership_refused",
                f"node {hello.node_id} was removed from the cluster; start it with an empty data "
                "directory under a new id",
                fatal=True,
            )
        joining = self._config.node_id not in self._cluster.members
        if known is None and not joining:
            return _refuse(
                "not_found",
                f"node {hello.node_id} is not a member (yet); run: synaxis cluster add",
                fatal=False,
            )
        if known is not None and known.disk_id not in ("", hello.disk_id):
            return _refuse(
                IdentityMismatch.code,
                f"node {hello.node_id} came back with another disk: its data was wiped. A voter "
                "that forgot its votes is a danger; remove it (synaxis cluster remove "
                f"{hello.node_id}) and add it under a new id",
                fatal=True,
            )
        try:
            self._remember(hello.node_id, hello.disk_id)
        except IdentityMismatch as error:
            return _refuse(error.code, error.message, fatal=True)
        return None


def check_frame(
    sender: NodeId,
    frame: PeerFrame,
    term_of: Callable[[GroupId], Term],
    era_of_group: Callable[[GroupId], int | None],
) -> None:
    """Refuse what no node of this program says.

    Args:
        sender: whose link it came on.
        frame: what was said.
        term_of: our own term in a group.
        era_of_group: our own era of a volatile group; None for one whose log is on disk.

    Raises:
        ProtocolViolation: the link must be closed.
    """
    if frame.heartbeat is not None and frame.heartbeat.record.node_id != sender:
        raise ProtocolViolation(f"{sender} speaks for {frame.heartbeat.record.node_id}")
    for message in frame.bus:
        check_bus_message(message)
    for envelope in frame.envelopes:
        term, group = envelope.message.term, envelope.group
        if 0 <= term <= TERM_LEAP_MAX:
            continue
        own_era = era_of_group(group)
        era_max = 0 if own_era is None else own_era + ERA_LEAP_MAX
        in_era = term - first_term(era_of(term))
        is_far = in_era > TERM_LEAP_MAX and term - term_of(group) > TERM_LEAP_MAX
        if term < 0 or era_of(term) > era_max or is_far:
            raise ProtocolViolation(f"{sender} speaks of term {term}")


def _refuse(code: str, message: str, *, fatal: bool) -> PeerRefusal:
    return PeerRefusal(code, message, fatal)
