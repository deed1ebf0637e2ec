"""The state machine of the ``cluster`` group: which nodes and topics exist and what they are.

A node id belongs to one disk for ever (thesis 3.8: a voter that lost its disk is another voter).
"""

from collections.abc import Sequence as Seq
from typing import ClassVar

import msgspec

from synaxis.cluster.commands import (
    AddNode,
    ClusterView,
    CreateTopic,
    DeleteTopic,
    ListTopics,
    NodeChanged,
    NodeRecord,
    RegisterNode,
    RemoveNode,
    TopicChanged,
    TopicList,
    UpdateTopic,
)
from synaxis.cluster.topic_table import SavedTopics, TopicTable
from synaxis.effects import Outcome, Refused, refusal
from synaxis.errors import (
    IdentityMismatch,
    InvalidArgument,
    MembershipRefused,
    NotFound,
    SynaxisError,
)
from synaxis.ids import LogTime, NodeId, Sequence, SessionId
from synaxis.topics import TopicLimits, TopicRecord

__all__ = ["ClusterMachine", "check_node_id"]

NODE_ID_BYTES_MAX = 64


def check_node_id(node_id: str) -> None:
    """Refuse names that would be ambiguous in settings, file names or certificates.

    Raises:
        InvalidArgument: says what is allowed.
    """
    fits = 0 < len(node_id.encode()) <= NODE_ID_BYTES_MAX
    if not fits or not all(c.isalnum() or c in "-_." for c in node_id):
        raise InvalidArgument(
            f"a node id is 1 to {NODE_ID_BYTES_MAX} letters, digits, '-', '_' or '.', "
            f"not {node_id!r}"
        )


class ClusterMachine:
    """Implements ``ports.StateMachine``; replies to every command with the NodeRecord."""

    command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (
        RegisterNode,
        AddNode,
        RemoveNode,
        CreateTopic,
        UpdateTopic,
        DeleteTopic,
    )
    client_command_types: ClassVar[tuple[type[msgspec.Struct], ...]] = ()
    """None: members and topics are changed by Admin, never by a session."""
    reply_types: ClassVar[tuple[type[msgspec.Struct], ...]] = (NodeRecord, TopicRecord)

    def __init__(
        self,
        founders: Seq[NodeRecord],
        lock_groups: int,
        replication_factor: int,
        queue_groups: int,
        topic_limits: TopicLimits,
    ) -> None:
        self._nodes = {node.node_id: node for node in sorted(founders, key=_by_id)}
        self._lock_groups = lock_groups
        self._queue_groups = queue_groups
        self._replication_factor = replication_factor
        self.topics = TopicTable(topic_limits)
        self._events: list[msgspec.Struct] = []

    @property
    def nodes(self) -> tuple[NodeRecord, ...]:
        """Every node there ever was, in id order."""
        return tuple(self._nodes[key] for key in sorted(self._nodes))

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Ids of the nodes that belong to the cluster now, sorted."""
        return tuple(node.node_id for node in self.nodes if not node.removed)

    def find(self, node_id: NodeId) -> NodeRecord | None:
        """Return what is known of ``node_id``."""
        return self._nodes.get(node_id)

    def validate(self, command: msgspec.Struct) -> None:
        """Check the form of ids, addresses and topics; see ``ports.StateMachine.validate``."""
        if isinstance(command, CreateTopic | UpdateTopic):
            self.topics.check(command.name, command.config)
        if isinstance(command, RegisterNode | AddNode | RemoveNode):
            check_node_id(command.node_id)
        if isinstance(command, RegisterNode | AddNode):
            host, _, port = command.peer_address.rpartition(":")
            if not host or not port.isdigit():
                raise InvalidArgument(f"a peer address is host:port, not {command.peer_address!r}")

    def apply(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, now: LogTime
    ) -> msgspec.Struct | None:
        """Execute one command."""
        del session, sequence, now
        try:
            match command:
                case RegisterNode():
                    return self._register(command)
                case AddNode():
                    return self._add(command)
                case RemoveNode():
                    return self._remove(command)
                case CreateTopic() | UpdateTopic() | DeleteTopic():
                    return self._change_topic(command)
                case _:
                    raise InvalidArgument(f"no cluster command: {type(command).__name__}")
        except SynaxisError as error:
            return refusal(error)

    def _register(self, command: RegisterNode) -> NodeRecord:
        known = self._known(command.node_id)
        if known.disk_id not in ("", command.disk_id):
            raise IdentityMismatch(
                f"node {command.node_id} is known with another disk: its data was wiped or "
                "belongs elsewhere; remove it from the cluster and add it under a new id"
            )
        record = NodeRecord(
            command.node_id,
            command.peer_address,
            command.api_url,
            command.disk_id,
            command.version,
        )
        return self._store(record)

    def _add(self, command: AddNode) -> NodeRecord:
        known = self._nodes.get(command.node_id)
        if known is not None and known.removed:
            raise MembershipRefused(
                f"node id {command.node_id} was removed and cannot be used again; choose a new id"
            )
        for node in self._nodes.values():
            taken = node.peer_address == command.peer_address and not node.removed
            if taken and node.node_id != command.node_id:
                raise MembershipRefused(
                    f"peer address {command.peer_address} belongs to node {node.node_id}"
                )
        if known is not None:
            return known
        return self._store(NodeRecord(command.node_id, command.peer_address, command.api_url))

    def _remove(self, command: RemoveNode) -> NodeRecord:
        known = self._nodes.get(command.node_id)
        if known is None:
            raise NotFound(f"there is no node {command.node_id}")
        if known.removed:
            return known
        if len(self.members) == 1:
            raise MembershipRefused("the last node of a cluster cannot be removed")
        return self._store(msgspec.structs.replace(known, removed=True))

    def _known(self, node_id: NodeId) -> NodeRecord:
        known = self._nodes.get(node_id)
        if known is None:
            raise NotFound(f"node {node_id} was never added; run: synaxis cluster add {node_id}")
        if known.removed:
            raise MembershipRefused(f"node {node_id} was removed from the cluster; use a new id")
        return known

    def _change_topic(self, command: CreateTopic | UpdateTopic | DeleteTopic) -> TopicRecord:
        before = self.topics.find(command.name)
        match command:
            case CreateTopic(name, config):
                record = self.topics.create(name, config)
            case UpdateTopic(name, config):
                record = self.topics.update(name, config)
            case _:
                record = self.topics.delete(command.name)
        if record != before:
            self._events.append(TopicChanged(record))
        return record

    def _store(self, record: NodeRecord) -> NodeRecord:
        if self._nodes.get(record.node_id) != record:
            self._nodes[record.node_id] = record
            self._events.append(NodeChanged(record))
        return record

    def end_session(self, session: SessionId, now: LogTime) -> None:
        """Do nothing: nothing here belongs to a session."""

    def advance(self, now: LogTime) -> None:
        """Do nothing: nothing here depends on time."""

    def deadline(self) -> LogTime | None:
        """Return None: nothing here depends on time."""
        return None

    def take_outcomes(self) -> list[Outcome]:
        """Return nothing: no command waits."""
        return []

    def take_events(self) -> list[msgspec.Struct]:
        """Drain the changes of nodes and topics."""
        events, self._events = self._events, []
        return events

    def query(self, query: msgspec.Struct, now: LogTime) -> ClusterView | TopicList | Refused:
        """Answer DescribeCluster and ListTopics."""
        del now
        if isinstance(query, ListTopics):
            return TopicList(self.topics.select(query.prefix, query.name))
        shape = self._lock_groups, self._replication_factor, self._queue_groups
        return ClusterView(self.nodes, *shape)

    def snapshot(self) -> bytes:
        """Return the nodes in id order, and the topics."""
        return msgspec.msgpack.encode((self.nodes, self.topics.save()))

    def restore(self, data: bytes) -> None:
        """Become what ``snapshot`` returned."""
        kind = tuple[tuple[NodeRecord, ...], SavedTopics]
        nodes, topics = msgspec.msgpack.decode(data, type=kind)
        self._nodes = {node.node_id: node for node in nodes}
        self.topics.load(topics)

    def check_invariants(self) -> None:
        """Assert that there is always a member and that disks are not shared."""
        assert self.members
        disks = [node.disk_id for node in self._nodes.values() if node.disk_id]
        assert len(disks) == len(set(disks))


def _by_id(node: NodeRecord) -> NodeId:
    return node.node_id
