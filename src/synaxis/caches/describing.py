"""What a home tells people about a line, and which keys a command is about."""

import msgspec

from synaxis.caches.commands import Add, AgentId, KeyInfo, Put, Remove
from synaxis.caches.directory import HomeLine
from synaxis.caches.holders import Holders

__all__ = ["described", "keys_written"]


def described(info: KeyInfo, line: HomeLine, holders: Holders) -> KeyInfo:
    """Add what the directory knows of a line."""
    state = "I" if not line.sharers else "S"
    if line.owner is not None:
        state = "M" if line.owner_back else "E"

    def name(agent: AgentId) -> str:
        holder = holders.by_id.get(agent)
        return (holder.name if holder is not None else "") or "unnamed"

    return msgspec.structs.replace(
        info,
        state=state,
        owner=None if line.owner is None else name(line.owner),
        sharers=tuple(name(each) for each in line.sharers),
        transaction="" if line.current is None else line.current.kind.value,
        waiting=len(line.queue),
    )


def keys_written(command: Put | Add | Remove) -> tuple[str, ...]:
    """Return the keys that a command writes, each once."""
    match command:
        case Put(items):
            return (items[0].key,) if len(items) == 1 else tuple(each.key for each in items)
        case Remove(keys):
            return tuple(dict.fromkeys(keys))
        case Add(key):
            return (key,)
