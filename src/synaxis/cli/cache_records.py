"""The commands about records: get, set, del, incr, clear."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import synaxis
from synaxis.cli import output
from synaxis.cli.cache_keys import by_cache, split
from synaxis.cli.cache_rows import ENTRY_COLUMNS, entry_row, raw_value
from synaxis.cli.confirmation import confirm
from synaxis.cli.connection import run_with_cluster
from synaxis.cli.exit_codes import ExitCode
from synaxis.cli.options import ClusterOptions, OptionalDuration, OutputOptions, Switch, Yes
from synaxis.cli.outcome import tell
from synaxis.cli.standard_input import opened, whole_of
from synaxis.client.caches.entries import Entry
from synaxis.client.caches.options import BY_CACHE, ByCache
from synaxis.errors import InvalidArgument

__all__ = ["RecordFlags", "clear", "delete", "get", "incr", "set_value"]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class RecordFlags:
    """What is said about a record."""

    read_as: Annotated[Literal["text", "json"], Parameter(name="--as")] = "text"
    """text: stored byte for byte; json: stored as what it says, so that integers can count."""
    ttl: OptionalDuration = None
    """How long it lives [for ever]."""
    soft_ttl: OptionalDuration = None
    """From then on clients that can compute it renew it."""
    tag: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """For `cache clear --tag`; may be repeated."""
    if_version: int | None = None
    """Only over this version, as `cache get` shows it."""
    if_absent: Switch = False
    """Only if there is none."""
    store: Switch = False
    """Write it to the backing store, too."""

    @property
    def condition(self) -> int | None:
        """The version that must be there.

        Raises:
            InvalidArgument: there are two conditions.
        """
        if self.if_absent and self.if_version is not None:
            raise InvalidArgument("--if-absent and --if-version exclude each other")
        return 0 if self.if_absent else self.if_version

    @property
    def soft(self) -> float | ByCache:
        """The ``soft_ttl`` as the SDK takes it."""
        return BY_CACHE if self.soft_ttl is None else self.soft_ttl


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class CountFlags:
    """What is said about a number."""

    initial: int = 0
    """What to begin with when there is none."""
    ttl: OptionalDuration = None
    """How long a new one lives [for ever]."""
    store: Switch = False
    """Write it to the backing store, too."""


def get(
    *keys: str,
    raw: Switch = False,
    stale: Switch = False,
    store: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Print records.

    Exits with 5 when one of them is not there; the others are printed.

    Args:
        keys: which ones, as in: synaxis cache get users/42 users/43
        raw: print only the value, byte for byte (JSON of what is no text); for a single key.
        stale: take what any node has, which may be old; also answered without a leader.
        store: look in the backing store for what is not in the cluster.
        cluster: which cluster.
        out: how to print.
    """
    if not keys or (raw and len(keys) != 1):
        raise InvalidArgument("--raw is for a single key" if keys else "name at least one key")
    wanted = by_cache(keys)

    async def body(client: synaxis.AsyncSynaxis) -> int:
        found: dict[str, Entry] = {}
        for cache, names in wanted.items():
            # By this codec, values of any other can be shown, too.
            handle = client.cache(cache, store=store, codec="bytes")
            for name in names:
                entry = await handle.entry(name, consistency="stale_ok" if stale else "coherent")
                if entry is not None:
                    found[f"{cache}/{name}"] = entry
        return _print_entries(dict.fromkeys(keys), found, out, raw=raw)

    return run_with_cluster(cluster, body)


def _print_entries(
    keys: dict[str, None], found: dict[str, Entry], out: OutputOptions, *, raw: bool
) -> int:
    missing = [key for key in keys if key not in found]
    if raw and found:
        (entry,) = found.values()
        sys.stdout.buffer.write(raw_value(entry.value))
    elif not raw:
        rows = [entry_row(key, found[key]) for key in keys if key in found]
        out.printer().rows(rows, ENTRY_COLUMNS)
    for key in missing:
        output.error(f"{key}: nothing is stored")
    return ExitCode.NOT_FOUND if missing else ExitCode.OK


def set_value(
    key: str,
    value: str | None = None,
    /,
    *,
    file: Path | None = None,
    about: RecordFlags = RecordFlags(),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Store a value: an argument, all of stdin, or a file.

    It ends when a majority of nodes has it and no near cache the old one.

    Args:
        key: which one, as in: synaxis cache set users/42 "Ada Lovelace" --ttl 10m
        value: default: from stdin.
        file: read this instead of stdin.
        about: the record.
        cluster: which cluster.
        out: how to print.
    """
    if value is not None and file is not None:
        raise InvalidArgument("a value as argument leaves nothing to read: no --file")
    cache, name = split(key)
    condition = about.condition

    async def body(client: synaxis.AsyncSynaxis) -> int:
        payload = value.encode() if value is not None else await _read(file)
        handle = client.cache(cache, store=about.store)
        version = await handle.set(
            name,
            payload if about.read_as == "text" else _parsed(payload),
            ttl=about.ttl,
            soft_ttl=about.soft,
            tags=about.tag,
            if_version=condition,
        )
        tell(out, f"{key}: version {version}", key=key, version=version)
        return ExitCode.OK

    return run_with_cluster(cluster, body)


async def _read(file: Path | None) -> bytes:
    with opened(file) as descriptor:
        return await whole_of(descriptor)


def _parsed(payload: bytes) -> object:
    try:
        return json.loads(payload)
    except ValueError as error:
        raise InvalidArgument(f"the value is no JSON: {error}") from error


def delete(
    *keys: str,
    if_version: int | None = None,
    store: Switch = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove records.

    Exits with 5 when none of them was there.

    Args:
        keys: which ones.
        if_version: only this version, as `cache get` shows it; for a single key.
        store: remove them from the backing store, too.
        cluster: which cluster.
        out: how to print.
    """
    if not keys:
        raise InvalidArgument("name at least one key")
    if if_version is not None and len(keys) != 1:
        raise InvalidArgument("--if-version is for a single key")
    wanted = by_cache(keys)

    async def body(client: synaxis.AsyncSynaxis) -> int:
        removed = 0
        for cache, names in wanted.items():
            handle = client.cache(cache, store=store)
            if if_version is not None:
                removed += await handle.delete(names[0], if_version=if_version)
            else:
                removed += await handle.delete_many(names)
        tell(out, f"{removed} records removed", records=removed)
        return ExitCode.OK if removed else ExitCode.NOT_FOUND

    return run_with_cluster(cluster, body)


def incr(
    key: str,
    by: Annotated[int, Parameter(allow_leading_hyphen=True)] = 1,
    /,
    *,
    about: CountFlags = CountFlags(),
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Add to a whole number, and print the sum.

    Args:
        key: which one; made by `cache incr` or `cache set --as json`.
        by: what to add; may be negative.
        about: the number.
        cluster: which cluster.
        out: how to print.
    """
    cache, name = split(key)

    async def body(client: synaxis.AsyncSynaxis) -> int:
        handle = client.cache(cache, store=about.store)
        total = await handle.incr(name, by, initial=about.initial, ttl=about.ttl)
        printer = out.printer()
        if printer.for_programs:
            printer.record({"key": key, "value": total}, ())
        else:
            printer.text(str(total))
        return ExitCode.OK

    return run_with_cluster(cluster, body)


def clear(
    cache: str,
    /,
    *,
    tag: str | None = None,
    yes: Yes = False,
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008 - frozen
    out: OutputOptions = OutputOptions(),  # noqa: B008 - frozen
) -> int:
    """Remove all records of a cache, or those with a tag.

    A backing store keeps what it has.

    Args:
        cache: which one.
        tag: only records that carry it.
        yes: do not ask.
        cluster: which cluster.
        out: how to print.
    """
    what = f"{cache}" if tag is None else f"{cache} with the tag {tag}"
    if not confirm(f"Remove all records of {what}?", yes=yes):
        return ExitCode.FAILED

    async def body(client: synaxis.AsyncSynaxis) -> int:
        handle = client.cache(cache)
        if tag is None:
            await handle.clear()
        else:
            await handle.invalidate_tag(tag)
        tell(out, f"all records of {what} removed", cache=cache, tag=tag)
        return ExitCode.OK

    return run_with_cluster(cluster, body)
