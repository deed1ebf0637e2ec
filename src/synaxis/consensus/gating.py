"""A replica's gate, if it has one: between what clients want and the log of the leader."""

from typing import cast

import msgspec

from synaxis.consensus.commands import CloseSession, OpenSession, Proposal
from synaxis.effects import Reply, refusal
from synaxis.ids import LogIndex
from synaxis.ports import Gate

__all__ = ["Gating"]

Token = tuple[msgspec.Struct, object]
"""A proposal or question, and the handle of whoever waits for it."""


class Gating:
    """See the module. Every call is harmless without a gate."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    @property
    def is_closed(self) -> bool:
        """Whether commands must wait until the leader serves."""
        return self._gate is not None

    def holds(self, proposal: Proposal, handle: object) -> bool:
        """Return whether the gate keeps a command back for now.

        Raises:
            SynaxisError: it refuses it.
        """
        command = proposal.command
        if self._gate is None or isinstance(command, OpenSession | CloseSession):
            return False
        token: Token = proposal, handle
        return self._gate.holds(proposal.session, proposal.sequence, command, token)

    def holds_query(self, query: msgspec.Struct, handle: object) -> bool:
        """Return whether the gate keeps a question back for now; raises as ``holds``."""
        return self._gate is not None and self._gate.holds_query(query, (query, handle))

    def settled(self, proposals: list[Proposal]) -> None:
        """Tell the gate what became of commands: they are applied, or never will be."""
        if self._gate is not None:
            for each in proposals:
                self._gate.settled(each.session, each.sequence, each.command)

    def release_into(self, proposals: list[Proposal], handles: list[object]) -> None:
        """Append what may enter the log now."""
        if self._gate is not None:
            for token in self._gate.take_released():
                proposal, handle = cast("tuple[Proposal, object]", token)
                proposals.append(proposal)
                handles.append(handle)

    def take_questions(self) -> list[Token]:
        """Drain what may be answered now."""
        return [] if self._gate is None else cast("list[Token]", self._gate.take_questions())

    def take_refusals(self) -> list[Reply]:
        """Drain the answers to what will not be done."""
        if self._gate is None:
            return []
        return [
            Reply(cast("Token", token)[1], LogIndex(0), 0, refusal(error))
            for token, error in self._gate.take_refusals()
        ]

    @property
    def is_open(self) -> bool:
        """Whether something can be taken from it."""
        return self._gate is not None and self._gate.is_open()

    def drop(self) -> list[object]:
        """Return the handles of everything that is held; the leadership is over."""
        if self._gate is None:
            return []
        return [cast("Token", token)[1] for token in self._gate.drop_held()]
