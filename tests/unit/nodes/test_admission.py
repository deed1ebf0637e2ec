"""Every reason to refuse a peer."""

import msgspec
import pytest

from synaxis.caches.bus import Renew
from synaxis.cluster.commands import AddNode, NodeRecord, RegisterNode, RemoveNode
from synaxis.cluster.machine import ClusterMachine
from synaxis.consensus.raft.messages import TimeoutNow, first_term
from synaxis.errors import IdentityMismatch, ProtocolViolation
from synaxis.ids import GroupId, LogTime, NodeId, Sequence, SessionId, Term
from synaxis.nodes.admission import ERA_LEAP_MAX, TERM_LEAP_MAX, Admission, check_frame
from synaxis.nodes.node_config import Bootstrap, NodeConfig
from synaxis.topics import TopicLimits
from synaxis.wire.peer import PROTOCOL_VERSION, Envelope, Heartbeat, PeerFrame, PeerHello, ToHome

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
HELLO = PeerHello(PROTOCOL_VERSION, "c1", N2, "disk 2", N1)


class Door:
    """The admission of n1, and what its disk remembers."""

    def __init__(self, me: str = "n1") -> None:
        founders = {N1: "h:1", N2: "h:2"}
        bootstrap = Bootstrap(cluster_id="c1", founders=founders)
        self.cluster = ClusterMachine(bootstrap.records(), 1, 3, 1, TopicLimits())
        self.disks: dict[NodeId, str] = {}
        config = NodeConfig(
            node_id=NodeId(me),
            disk_id="disk 1",
            bootstrap=bootstrap,
            peer_address="h:1",
            api_url="http://h",
            version="0",
        )
        self.admission = Admission(config, self.cluster, self.remember)

    def remember(self, node: NodeId, disk: str) -> None:
        if self.disks.setdefault(node, disk) != disk:
            raise IdentityMismatch("another disk")

    def apply(self, command: msgspec.Struct) -> None:
        self.cluster.apply(SessionId(0), Sequence(0), command, LogTime(0))

    def code(self, *certificates: dict[str, object], **changes: object) -> str | None:
        hello = msgspec.structs.replace(HELLO, **changes)
        refusal = self.admission.admit(hello, *certificates)
        return None if refusal is None else f"{refusal.code}{'!' if refusal.fatal else ''}"


def test_a_member_is_admitted_and_its_disk_remembered() -> None:
    door = Door()
    assert door.code() is None
    assert door.disks == {N2: "disk 2"}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"version": PROTOCOL_VERSION + 1}, "protocol_violation!"),
        ({"cluster_id": "c2"}, "identity_mismatch!"),
        ({"node_id": N1, "disk_id": "other"}, "identity_mismatch!"),
        ({"node_id": N1, "disk_id": "disk 1"}, "identity_mismatch"),
        ({"target": N3}, "not_found"),
        ({"node_id": N3}, "not_found"),
    ],
)
def test_a_stranger_is_refused(changes: dict[str, object], code: str) -> None:
    door = Door()
    assert door.code(**changes) == code
    assert door.disks == {}


def test_a_removed_node_is_told_that_it_is_over() -> None:
    door = Door()
    door.apply(RemoveNode(N2))
    assert door.code() == "membership_refused!"


def test_a_disk_that_the_cluster_does_not_know_is_refused() -> None:
    door = Door()
    door.apply(RegisterNode(N2, "h:2", "http://h2", "disk 2", "0"))
    assert door.code(disk_id="wiped") == "identity_mismatch!"


def test_a_disk_that_this_node_does_not_remember_is_refused() -> None:
    door = Door()
    assert door.code() is None
    assert door.code(disk_id="wiped") == "identity_mismatch!"


def test_a_node_that_is_joining_listens_to_those_who_know_the_cluster() -> None:
    door = Door("n9")
    assert door.code(node_id=N3, target=NodeId("n9")) is None


def test_a_node_that_was_added_is_admitted() -> None:
    door = Door()
    door.apply(AddNode(N3, "h:3"))
    assert door.code(node_id=N3) is None


@pytest.mark.parametrize(
    ("certificate", "code"),
    [
        ({"subjectAltName": (("DNS", "n2"),)}, None),
        ({"subjectAltName": (("DNS", "n3"), ("DNS", "n2"))}, None),
        ({"subject": ((("commonName", "n2"),),)}, None),
        ({"subjectAltName": (("DNS", "n3"),)}, "identity_mismatch!"),
        (
            {"subjectAltName": (("DNS", "n3"),), "subject": ((("commonName", "n2"),),)},
            "identity_mismatch!",
        ),
        ({"subjectAltName": (("URI", "n2"),)}, "identity_mismatch!"),
        ({}, "identity_mismatch!"),
    ],
)
def test_a_certificate_serves_for_the_node_that_it_names(
    certificate: dict[str, object], code: str | None
) -> None:
    assert Door().code(certificate) == code


DISK, MEMORY = GroupId("locks/0"), GroupId("caches/0")
OWN_TERM = {DISK: Term(2**35), MEMORY: Term(first_term(7) + 2**35)}
OWN_ERA = {DISK: None, MEMORY: 7}


def check(frame: PeerFrame) -> None:
    check_frame(N2, frame, OWN_TERM.__getitem__, OWN_ERA.__getitem__)


def speak(group: GroupId, term: int) -> None:
    check(PeerFrame([Envelope(group, TimeoutNow(Term(term)))]))


def test_a_heartbeat_is_about_its_sender() -> None:
    check(PeerFrame([], Heartbeat(1, NodeRecord(N2, "h:2", ""))))
    with pytest.raises(ProtocolViolation):
        check(PeerFrame([], Heartbeat(1, NodeRecord(N3, "h:3", ""))))


@pytest.mark.parametrize("term", [0, 1, TERM_LEAP_MAX, 2**35 - 1, 2**35 + TERM_LEAP_MAX])
def test_a_term_may_be_old_or_somewhat_ahead(term: int) -> None:
    speak(DISK, term)


@pytest.mark.parametrize("term", [-1, 2**35 + TERM_LEAP_MAX + 1, 2**64 - 1])
def test_a_term_that_would_end_all_elections_is_refused(term: int) -> None:
    with pytest.raises(ProtocolViolation):
        speak(DISK, term)


@pytest.mark.parametrize("era", [0, 7, 8, 7 + ERA_LEAP_MAX])
def test_a_volatile_group_may_be_in_another_era(era: int) -> None:
    speak(MEMORY, first_term(era) + 1)


@pytest.mark.parametrize(
    ("group", "term"),
    [
        (DISK, first_term(1)),
        (MEMORY, first_term(8 + ERA_LEAP_MAX)),
        (MEMORY, first_term(9) - 1),
        (MEMORY, 2**64 - 1),
    ],
)
def test_an_era_that_no_group_can_be_in_is_refused(group: GroupId, term: int) -> None:
    with pytest.raises(ProtocolViolation):
        speak(group, term)


def test_what_peers_say_about_caches_is_checked() -> None:
    check(PeerFrame([], bus=[ToHome(MEMORY, 1, Renew(1))]))
    with pytest.raises(ProtocolViolation):
        check(PeerFrame([], bus=[ToHome(MEMORY, 1, Renew(-1))]))
