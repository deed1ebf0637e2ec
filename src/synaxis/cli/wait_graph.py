"""Draws who waits for whom: as a tree for people, as Graphviz for papers.

The tree grows from those who block others and wait for nobody; whoever waits stands below whom it
waits for. A session that waits for several holders is drawn in full once. While a deadlock is
being broken there is a cycle without a root: it is entered at its smallest session and marked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

__all__ = ["Edge", "as_dot", "as_tree"]


class Edge(NamedTuple):
    """``waiter`` waits for ``holder`` because of ``lock``."""

    waiter: str
    holder: str
    lock: str


class _Visit(NamedTuple):
    """A line still to be drawn."""

    session: str
    lock: str
    indent: str
    is_last: bool
    path: frozenset[str]
    """Sessions above this line: meeting one again closes a cycle."""


def as_tree(edges: Iterable[Edge]) -> str:
    """Return the forest; empty text when nobody waits."""
    waiters = _waiters_by_holder(edges)
    drawn: set[str] = set()
    lines: list[str] = []
    for root in _roots(waiters):
        if root not in drawn:
            lines += _tree(root, waiters, drawn)
    return "\n".join(lines)


def as_dot(edges: Iterable[Edge]) -> str:
    """Return the graph in Graphviz' language, edges from waiter to holder."""
    lines = [
        f"  {_quoted(edge.waiter)} -> {_quoted(edge.holder)} [label={_quoted(edge.lock)}];"
        for edge in sorted(set(edges))
    ]
    return "\n".join(["digraph waits {", "  rankdir=LR;", *lines, "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _waiters_by_holder(edges: Iterable[Edge]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for edge in sorted(set(edges), key=lambda edge: (edge.holder, edge.lock, edge.waiter)):
        found.setdefault(edge.holder, []).append((edge.lock, edge.waiter))
    return found


def _roots(waiters: Mapping[str, Sequence[tuple[str, str]]]) -> list[str]:
    """Return those who wait for nobody, then everybody else as entries into cycles."""
    waiting = {waiter for below in waiters.values() for _, waiter in below}
    return sorted(waiters, key=lambda session: (session in waiting, session))


def _tree(
    root: str, waiters: Mapping[str, Sequence[tuple[str, str]]], drawn: set[str]
) -> list[str]:
    lines = [root]
    drawn.add(root)
    # An explicit stack: a chain of waits can be longer than Python's recursion limit.
    stack = _visits(root, waiters, "", frozenset((root,)))
    while stack:
        visit = stack.pop()
        branch = "`-- " if visit.is_last else "|-- "
        remark = ""
        if visit.session in visit.path:
            remark = "  (deadlock)"
        elif visit.session in drawn and visit.session in waiters:
            remark = "  (drawn above)"
        lines.append(f"{visit.indent}{branch}{visit.lock} <- {visit.session}{remark}")
        if not remark:
            drawn.add(visit.session)
            indent = visit.indent + ("    " if visit.is_last else "|   ")
            stack += _visits(visit.session, waiters, indent, visit.path | {visit.session})
    return lines


def _visits(
    session: str,
    waiters: Mapping[str, Sequence[tuple[str, str]]],
    indent: str,
    path: frozenset[str],
) -> list[_Visit]:
    """Return what is below ``session``, the first to be drawn last in the list."""
    below = waiters.get(session, ())
    last = len(below) - 1
    return [
        _Visit(waiter, lock, indent, number == last, path)
        for number, (lock, waiter) in reversed(list(enumerate(below)))
    ]
