"""What happened in a world of queues: which bytes were stored, what leaders did outside the log.

Leaders' deeds are placed by how many calls their machine had seen, so that the judge can look at
each with the state that the leader had; deeds of one leadership stay in their order.
"""

from typing import Any

import msgspec

from synaxis.ids import LogTime, Sequence, SessionId, Term
from synaxis.queues.commands import Attach, Expire, Part, Publish, Published, Slice
from synaxis.simulation.history import MachineCall, Operation
from synaxis.simulation.invariants import InvariantViolation
from synaxis.simulation.queues.messages import Place
from synaxis.simulation.queues.records import records_of

__all__ = ["Began", "Census", "Deed", "Delivering", "Demanded", "Dropped", "Ledger"]


class Began(msgspec.Struct, frozen=True):
    """A node takes up work as leader."""


class Demanded(msgspec.Struct, frozen=True):
    """A member said something, and it was accepted, but for what was ``stale``."""

    message: Any
    stale: tuple[Part, ...] = ()


class Dropped(msgspec.Struct, frozen=True):
    """The leader noticed that a member's stream is gone."""

    attach: Attach


class Delivering(msgspec.Struct, frozen=True):
    """Messages were acquired for a member."""

    attach: Attach
    slices: tuple[Slice, ...]
    now: LogTime


class Census(msgspec.Struct, frozen=True):
    """What a replica stores: (topic, partition, first, last) per unit, all of them readable."""

    units: tuple[tuple[str, int, int, int], ...]


Deed = Began | Demanded | Dropped | Delivering | Census


class Ledger:
    """See the module."""

    def __init__(self) -> None:
        self.deeds: list[tuple[int, Term, int, str, Deed]] = []
        """(calls seen, term, serial, node, deed)."""
        self.operations: list[Operation] = []
        """Deliveries, as questions that were asked when the leader had to prove itself."""
        self.records: dict[tuple[str, int, int], bytes] = {}
        """(topic, partition, offset) -> the bytes that the first replica stored."""
        self.trusted: dict[int, int] = {}
        """Member -> until when it may count on what it holds (us), if its leases extend
        themselves."""
        self._ends: dict[Expire, tuple[int, int]] = {}
        """Proposed ends of leases -> when that was, and until when the member trusted them."""

    def add(self, position: int, term: Term, node: str, deed: Deed) -> None:
        """Note what a node did after its machine had seen ``position`` calls."""
        self.deeds.append((position, term, len(self.deeds), node, deed))

    def asked(self, node: str, deed: Delivering, times: tuple[int, int], index: int) -> None:
        """Note a delivery as a question that the leader asked for its member.

        Args:
            node: the leader.
            deed: what was answered.
            times: when it was asked and when it was answered (us).
            index: the last log entry that the answer had seen.
        """
        called, returned = times
        self.operations.append(
            Operation(node, SessionId(0), Sequence(0), deed, called, returned, index)
        )

    def proposed(self, command: msgspec.Struct, time_us: int) -> None:
        """A leader wants something to be put into the log."""
        if isinstance(command, Expire) and command.reason == "lease_expired":
            self._ends[command] = time_us, self.trusted.get(command.member, 0)

    def called(self, call: MachineCall) -> None:
        """Take the news of a call that a machine received.

        Raises:
            InvariantViolation: a lease was ended that its member could count on.
        """
        command, reply = call.command, call.reply
        if isinstance(command, Publish) and isinstance(reply, Published) and not reply.duplicate:
            self._stored(command, reply)
        elif isinstance(command, Expire) and command in self._ends:
            time_us, trusted_us = self._ends[command]
            if time_us < trusted_us:
                raise InvariantViolation(
                    "no early end of a lease",
                    f"{command!r} was proposed {trusted_us - time_us} us too early",
                )

    def delivered(self, topic: str, place: Place, data: bytes) -> None:
        """A member got a message.

        Raises:
            InvariantViolation: it is not what was published there.
        """
        published = self.records.get((topic, *place))
        if data != published:
            raise InvariantViolation(
                "Q1", f"{topic} {place} was delivered as {data!r}, published was {published!r}"
            )

    def _stored(self, command: Publish, reply: Published) -> None:
        known = {position for position, _ in reply.known}
        offset = reply.first
        for position, record in enumerate(records_of(command.batch)):
            if position not in known:
                self.records[command.topic, command.partition, offset] = record
                offset += 1
