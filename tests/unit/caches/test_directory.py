"""Who holds what, and one transaction per key at a time."""

from synaxis.caches.bus import Dirty, Down, Flush, Grant, Inv, LineState, ProbeAck
from synaxis.caches.commands import AgentId, AgentKind, Item, Reading, Version
from synaxis.caches.directory import Directory, HomeLine, Kind, Ticket, Transaction

KEY = "c/k"
A, B, C = AgentId(1), AgentId(2), AgentId(3)
NODE, CLIENT = AgentKind.OWNER, AgentKind.SHARER


class Directories(Directory):
    """A directory with agents and permissions to order."""

    def __init__(self) -> None:
        self.kinds = {A: NODE, B: NODE, C: CLIENT}
        self.stored: dict[str, Reading] = {}
        self.keep = self.own = True
        super().__init__(self.stored.get, self.kinds.get, self.asked_to_keep, lambda _: self.own)

    def asked_to_keep(self, line: HomeLine, agent: AgentId) -> bool:
        return self.keep

    def wish(self, kind: Kind, agent: AgentId, request: int = 1, *, load: bool = False) -> None:
        self.begin(KEY, Transaction(kind, agent, request, load=load))
        self.check_invariants()

    def granted(self) -> list[tuple[AgentId, LineState]]:
        said = self.orders.messages
        grants = [(agent, each) for agent, each in said if isinstance(each, Grant)]
        self.orders.messages = [each for each in said if not isinstance(each[1], Grant)]
        self.grants = [grant for _, grant in grants]
        return [(agent, grant.state) for agent, grant in grants]

    def probed(self) -> list[tuple[AgentId, Inv | Down]]:
        said = self.orders.messages
        self.orders.messages = [each for each in said if isinstance(each[1], Grant)]
        return [(agent, each) for agent, each in said if not isinstance(each, Grant)]

    def acknowledge(self) -> None:
        for agent, probe in self.probed():
            assert self.acknowledged(agent, ProbeAck(KEY, probe.seq))
            self.check_invariants()

    grants: list[Grant]


def test_the_first_reader_owns_if_it_may_and_the_second_makes_both_share() -> None:
    directory = Directories()
    directory.wish(Kind.READ, A)
    assert directory.granted() == [(A, LineState.E)]
    directory.wish(Kind.READ, B)
    assert not directory.granted()
    ((agent, probe),) = directory.orders.messages
    assert (agent, type(probe)) == (A, Down)
    directory.acknowledge()
    assert directory.granted() == [(B, LineState.S)]
    assert set(directory.lines[KEY].sharers) == {A, B}
    assert (directory.owned, directory.pairs) == (0, 2)


def test_a_client_never_owns() -> None:
    directory = Directories()
    directory.wish(Kind.READ, C)
    assert directory.granted() == [(C, LineState.S)]


def test_an_answer_counts_for_its_own_probe_only() -> None:
    directory = Directories()
    directory.wish(Kind.OWN, A)
    directory.wish(Kind.OWN, B)
    ((_, probe),) = directory.probed()
    assert not directory.acknowledged(A, ProbeAck(KEY, probe.seq - 1))
    assert not directory.acknowledged(B, ProbeAck(KEY, probe.seq))
    assert directory.acknowledged(A, ProbeAck(KEY, probe.seq))
    assert not directory.acknowledged(A, ProbeAck(KEY, probe.seq)), "twice"
    assert directory.granted() == [(A, LineState.E), (B, LineState.E)]


def test_nothing_is_settled_while_a_write_is_on_its_way() -> None:
    directory = Directories()
    directory.wish(Kind.OWN, A)
    directory.granted()
    directory.write_begun(KEY)
    directory.wish(Kind.READ, B)
    directory.acknowledge()
    assert not directory.granted()
    directory.stored[KEY] = Reading(b"new", 0, Version(1))
    directory.write_done(KEY)
    assert directory.granted() == [(B, LineState.S)]
    assert directory.grants[0].reading == directory.stored[KEY]


def test_tickets_of_several_keys_never_wait_for_each_other_in_a_circle() -> None:
    directory = Directories()
    released: list[str] = []
    for name, keys in (("one", ("c/a", "c/b")), ("two", ("c/b", "c/a"))):
        ticket = Ticket(lambda name=name: released.append(name), keys, 2)  # type: ignore[misc]
        directory.begin_all(Kind.CHANGE, ticket)
    assert released == ["one"]
    for key in ("c/a", "c/b"):
        directory.write_done(key)
    assert released == ["one", "two"]
    for key in ("c/a", "c/b"):
        directory.write_done(key)
    assert not directory.lines


def test_an_agent_that_is_gone_is_in_nobodys_way() -> None:
    directory = Directories()
    directory.wish(Kind.READ, A)
    directory.lines[KEY].owner_back = True
    directory.wish(Kind.OWN, B)
    directory.granted()
    assert directory.gone(A) == 1, "it may have written"
    directory.check_invariants()
    assert directory.granted() == [(B, LineState.E)]


def test_the_wish_of_an_agent_that_is_gone_is_not_granted() -> None:
    directory = Directories()
    directory.wish(Kind.OWN, A)
    directory.wish(Kind.OWN, B)
    directory.granted()
    del directory.kinds[B]
    directory.gone(B)
    directory.acknowledge()
    assert not directory.granted()
    assert not directory.lines


def test_an_owner_that_asks_again_gets_its_grant_again() -> None:
    directory = Directories()
    directory.wish(Kind.READ, A)
    directory.wish(Kind.READ, A, 2)
    directory.wish(Kind.OWN, A, 3)
    directory.granted()
    assert len({grant.seq for grant in directory.grants}) == 1


def test_what_may_not_be_kept_is_granted_for_once() -> None:
    directory = Directories()
    directory.keep = False
    directory.wish(Kind.READ, A)
    assert directory.granted() == [(A, LineState.I)]
    assert not directory.lines


def test_owning_waits_for_permission_and_reading_shares_meanwhile() -> None:
    directory = Directories()
    directory.own = False
    directory.wish(Kind.READ, A)
    assert directory.granted() == [(A, LineState.S)]
    directory.wish(Kind.OWN, A)
    assert not directory.granted()
    directory.own = True
    directory.look_again(KEY)
    directory.look_again("c/none")
    assert directory.granted() == [(A, LineState.E)]


def test_a_flush_is_accepted_under_the_present_grant_of_the_present_owner() -> None:
    directory = Directories()
    directory.wish(Kind.OWN, A)
    directory.granted()
    grant = directory.grants[0].seq
    dirty = Dirty(1, Version(0), Item(KEY, b""))
    assert directory.accepts(A, Flush(KEY, grant, 1, dirty))
    assert not directory.accepts(A, Flush(KEY, grant + 1, 1, dirty))
    assert not directory.accepts(B, Flush(KEY, grant, 1, dirty))
    assert not directory.accepts(A, Flush("c/none", grant, 1, dirty))


def test_the_backing_store_is_asked_once_for_what_is_absent() -> None:
    directory = Directories()
    directory.wish(Kind.READ, A, load=True)
    directory.wish(Kind.READ, B, load=True)
    assert directory.orders.loads == [KEY]
    directory.stored[KEY] = Reading(b"loaded", 0, Version(1))
    directory.loaded(KEY, unavailable=False)
    directory.acknowledge()
    assert directory.granted() == [(A, LineState.E), (B, LineState.S)]
    assert directory.orders.loads == [KEY]


def test_a_backing_store_that_does_not_answer_leaves_nothing_to_keep() -> None:
    directory = Directories()
    failed = Ticket(lambda: None, (KEY,), 1)
    directory.wish(Kind.READ, A, load=True)
    directory.begin_all(Kind.LOOK, failed, load=True)
    directory.loaded(KEY, unavailable=True)
    assert directory.granted() == [(A, LineState.I)]
    assert directory.grants[0].unavailable
    directory.loaded(KEY, unavailable=True)
    assert failed.failed
