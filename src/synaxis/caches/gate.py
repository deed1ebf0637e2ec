"""What stands between clients and the log of a home's shard.

A write enters the log only when no agent can read the old value any more; a question is answered
only when no agent can have a newer one. As long as no agent is attached, nothing is held.
"""

from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from synaxis.caches.bus import InvTag
from synaxis.caches.commands import (
    Add,
    AgentId,
    Backing,
    Clear,
    Enlist,
    Evict,
    Fill,
    Lookup,
    Put,
    Remove,
    WriteBack,
    Written,
)
from synaxis.caches.describing import keys_written
from synaxis.caches.desk import Desk
from synaxis.caches.directory import Kind, Ticket
from synaxis.caches.held import Held
from synaxis.errors import BackingUnavailable, LeaseLost, SynaxisError
from synaxis.ids import Sequence, SessionId

__all__ = ["CacheGate"]

Origin = tuple[SessionId, Sequence]


class CacheGate:
    """Implements ``ports.Gate``. See the module."""

    def __init__(self, desk: Desk, enlisted: Callable[[AgentId], None]) -> None:
        self._desk = desk
        self._enlisted = enlisted
        self._held = Held(desk.limits.held_max)
        self._in_log: dict[Origin, deque[Ticket]] = {}
        """Commands of clients that were held and are not settled: their keys are busy."""

    def clear(self) -> None:
        """Forget what is in the log: the leadership is over, or begins."""
        self._in_log.clear()

    # --- commands ---------------------------------------------------------------------------

    def holds(
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct, token: object
    ) -> bool:
        """Take a command that must not enter the log yet; False if it may.

        Raises:
            LeaseLost: the reservation that it was made under is void.
            BackingUnavailable: it is to be written through, and the store does not answer.
            Overloaded: too much waits already.
        """
        if not isinstance(command, Put | Add | Remove | Clear):
            return False
        desk = self._desk
        self._check(command)
        if not desk.holders.by_id and not desk.recovery.is_under_way:
            return False
        self._held.take_in(token)
        submit = partial(self._submit, (session, sequence), command, token)
        if desk.recovery.is_under_way:
            desk.recovery.later(submit)
        else:
            submit()
            desk.carry_out()
        return True

    def _check(self, command: Put | Add | Remove | Clear) -> None:
        if isinstance(command, Clear):
            self._desk.reservations.cleared(command.cache)
            return
        if command.backing is Backing.THROUGH and not self._desk.store_answers:
            raise BackingUnavailable("the store behind the cache does not answer: nothing written")
        reservations = self._desk.reservations
        if isinstance(command, Put) and command.fill:
            if not reservations.is_good(command.items[0].key, command.fill):
                raise LeaseLost("the key was written meanwhile, or the value took too long")
        elif reservations.by_key:
            for key in keys_written(command):
                reservations.touched(key)

    def _submit(self, origin: Origin, command: Put | Add | Remove | Clear, token: object) -> None:
        release = partial(self._release, origin, command, token)
        if isinstance(command, Clear):
            self._begin_clear(origin, command, release)
            return
        keys = keys_written(command)
        ticket = Ticket(release, keys, len(keys))
        self._in_log.setdefault(origin, deque()).append(ticket)
        self._desk.directory.begin_all(Kind.CHANGE, ticket)

    def _release(self, origin: Origin, command: Put | Add | Remove | Clear, token: object) -> None:
        """Let a command into the log, unless what it waited for has made it void."""
        try:
            self._check(command)  # reservations may have been given, or written over, meanwhile
        except SynaxisError as error:
            self._held.refuse(token, error)
            self._settle(origin)
            return
        release = partial(self._held.release, token)
        if isinstance(command, Clear):
            # Writes that their owners gave away before they dropped their lines: they come first,
            # and what the home wants itself is behind what it releases in a batch of the log. Not
            # in the queues of their keys: there is who waits until the Clear is over.
            self._desk.flights.after_those_of(command.cache, release)
        else:
            release()

    def _begin_clear(self, origin: Origin, command: Clear, release: partial[None]) -> None:
        """Have every agent drop what carries the tag; until it is applied nobody keeps more."""
        desk = self._desk
        seq = desk.directory.next_seq()
        attached = [each for each in desk.holders if each.attached]
        for holder in attached:
            holder.probes[seq] = desk.now
            desk.tell(holder, InvTag(command.cache, command.tag, seq))
        desk.tally.count("InvTag", len(attached))
        waiting = {each.id for each in attached}
        desk.barriers.begin(command.cache, origin, seq, waiting, release)

    def settled(  # one case per command
        self, session: SessionId, sequence: Sequence, command: msgspec.Struct
    ) -> None:
        """A command that this home let through is applied, or never will be."""
        desk = self._desk
        match command:
            case Put() | Add() | Remove():
                self._settle((session, sequence))
                self._note_written(command)
            case Clear():
                desk.barriers.end((session, sequence))
            case WriteBack():
                desk.flights.applied(command)
                desk.directory.write_done(command.item.key)
                desk.reservations.written(command.item.key)
            case Evict():
                desk.evicted()
            case Fill(items):
                for item in items:
                    desk.directory.loaded(item.key, unavailable=False)
            case Written():
                desk.flights.written()
            case Enlist(agent):
                self._enlisted(agent)
            case _:
                return
        desk.make_room()
        desk.carry_out()

    def _settle(self, origin: Origin) -> None:
        tickets = self._in_log.get(origin, ())
        # One that still waits is the same command, sent again: the log had the first without it.
        ticket = next((each for each in tickets if not each.left), None)
        if ticket is not None:
            self._in_log[origin].remove(ticket)
            if not self._in_log[origin]:
                del self._in_log[origin]
            for key in ticket.keys:
                self._desk.directory.write_done(key)

    def _note_written(self, command: Put | Add | Remove) -> None:
        desk = self._desk
        if desk.reservations.by_key:
            for key in keys_written(command):
                desk.reservations.written(key)
        if isinstance(command, Put):
            for item in command.items:
                if item.idle_ms:
                    desk.evictor.stored(item.key, desk.now)

    # --- questions --------------------------------------------------------------------------

    def holds_query(self, query: msgspec.Struct, token: object) -> bool:
        """Take a question that must wait; False if the store can answer it now.

        Raises:
            Overloaded: too much waits already.
        """
        if not isinstance(query, Lookup):
            return False
        desk = self._desk
        if not (desk.directory.owned or desk.directory.writes or query.load):
            keys: tuple[str, ...] = ()
        else:
            keys = tuple(key for key in dict.fromkeys(query.keys) if self._must_ask(key, query))
        if not keys and not desk.recovery.owners:
            return False
        self._held.take_in(token)
        if desk.recovery.owners:
            every = tuple(dict.fromkeys(query.keys))
            desk.recovery.later(partial(self._look, every, query, token))
        else:
            self._look(keys, query, token)
            desk.carry_out()
        return True

    def _must_ask(self, key: str, query: Lookup) -> bool:
        line = self._desk.directory.lines.get(key)
        if line is not None and (line.owner is not None or line.writing):
            return True  # also a write on its way may have been acknowledged by its owner
        return query.load and self._desk.read(key) is None

    def _look(self, keys: tuple[str, ...], query: Lookup, token: object) -> None:
        ticket = Ticket(lambda: None, keys, len(keys))
        ticket.release = partial(self._held.ask, ticket, token)
        self._desk.directory.begin_all(Kind.LOOK, ticket, load=query.load)

    # --- what the replica takes -------------------------------------------------------------

    def is_open(self) -> bool:
        """Whether something may be taken now."""
        return self._held.is_open()

    def take_released(self) -> list[object]:
        """Drain the tokens of commands that may enter the log, in order."""
        return self._held.take_released()

    def take_questions(self) -> list[object]:
        """Drain the tokens of questions that can be answered now."""
        return self._held.take_questions()

    def take_refusals(self) -> list[tuple[object, SynaxisError]]:
        """Drain what became of questions that cannot be answered."""
        return self._held.take_refusals()

    def drop_held(self) -> list[object]:
        """Return the tokens of what is held, and forget them: the leadership is over."""
        return self._held.drop()
