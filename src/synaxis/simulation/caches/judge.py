"""What must be so of writes and reads of a whole run, beside the histories of single keys."""

from collections.abc import Iterator

from synaxis.caches.commands import (
    ABSENT,
    AgentId,
    Clear,
    Counted,
    Lookup,
    Put,
    Readings,
    Remove,
    Removed,
    Stored,
    WriteBack,
)
from synaxis.caches.local import provisional
from synaxis.caches.placement import cache_of
from synaxis.simulation.caches.ledger import AgentCall, Ledger
from synaxis.simulation.history import HistoryViolation, MachineCall, Operation

__all__ = ["judge_fills", "judge_losses", "judge_monotonic"]

PROVISIONAL = provisional(0)
Sighting = tuple[int, int, int]
"""Called, returned, version."""


def judge_losses(ledger: Ledger) -> None:
    """Demand that writes of policy back are only lost with their owner, or counted by it.

    Raises:
        HistoryViolation: an owner that lives has lost more than it says.
    """
    newest: dict[tuple[AgentId, str], int] = {}
    for (agent, write_id), applied in ledger.applied.items():
        newest[agent, applied.key] = max(newest.get((agent, applied.key), 0), write_id)
    lost: dict[AgentId, dict[str, AgentCall]] = {}
    for call in ledger.calls:
        write_id, key = _provisional_id(call), _key_of(call)
        if write_id and newest.get((call.agent, key), 0) < write_id:
            # What one flush would have carried home is one loss.
            lost.setdefault(call.agent, {})[key] = call
    for agent, calls in lost.items():
        told = ledger.dirty_lost.get(agent, 0)
        if agent not in ledger.crashed and len(calls) > told:
            raise HistoryViolation(f"lost of {list(calls)}, counted {told}: {calls!r}")


def _provisional_id(call: AgentCall) -> int:
    match call.outcome:
        case Stored((version,)) | Counted(_, version) if version >= PROVISIONAL:
            return version - PROVISIONAL
        case _:
            return 0


def _key_of(call: AgentCall) -> str:
    match call.command:
        case Put(items):
            return items[0].key
        case Lookup(keys) | Remove(keys):
            return keys[0]
        case _:
            return str(call.command.key)


def judge_fills(ledger: Ledger, operations: list[Operation]) -> None:
    """Demand that nobody stores what it began to compute before another write of the key.

    Who clears has changed the source of all values before, so what is begun later is new enough.

    Raises:
        HistoryViolation: somebody did.
    """
    asked_us = {(one.session, one.sequence): one.called_us for one in operations}
    written: dict[str, int] = {}
    for call in ledger.news:
        command = call.command
        if isinstance(command, Put) and command.fill and _is_stored(call):
            key, since = command.items[0].key, ledger.reserved_us[command.fill]
            last = max(written.get(key, -1), written.get(cache_of(key), -1))
            if last > since:
                raise HistoryViolation(
                    f"{key} filled with what was begun at {since} us, but it was written at {last}"
                )
        for key in _written(call):
            is_clear = isinstance(command, Clear)
            time_us = asked_us[call.session, call.sequence] if is_clear else call.time_us
            written[key] = max(time_us, written.get(key, 0))


def _is_stored(call: MachineCall) -> bool:
    return isinstance(call.reply, Stored) and bool(call.reply.versions)


def _written(call: MachineCall) -> Iterator[str]:
    match call.command, call.reply:
        case Put(items), Stored(versions) if versions:
            yield from (item.key for item in items)
        case WriteBack(), Stored(versions) if versions:
            yield call.command.item.key
        case Remove(keys), Removed():
            yield from keys
        case Clear(cache), Removed():
            yield cache
        case _:
            return


def judge_monotonic(key: str, operations: list[Operation], ledger: Ledger) -> None:
    """Demand that no answer is older than another that was there when it was asked for.

    For records that end by themselves: absence says nothing.

    Raises:
        HistoryViolation: one is.
    """
    sightings = sorted(_sightings(key, operations, ledger))
    by_return = sorted(sightings, key=lambda sighting: sighting[1])
    newest = finished = 0
    for called, _, version in sightings:
        while by_return[finished][1] < called:
            newest = max(newest, by_return[finished][2])
            finished += 1
        if version < newest:
            raise HistoryViolation(f"{key}: version {version} at {called} us, after {newest}")


def _sightings(key: str, operations: list[Operation], ledger: Ledger) -> Iterator[Sighting]:
    told = [
        (one.request, one.body, one.called_us, one.returned_us)
        for one in operations
        if not one.stale
    ]
    told += [(one.command, one.outcome, one.called_us, one.returned_us) for one in ledger.calls]
    for request, body, called, returned in told:
        version = ABSENT
        match request, body:
            case Lookup(keys), Readings(readings) if key in keys:
                reading = readings[keys.index(key)]
                version = ABSENT if reading is None else reading.version
            case Put(items), Stored(versions) if versions and items[0].key == key:
                version = versions[0]
            case _:
                continue
        if version and returned is not None:
            yield called, returned, version
