"""Plays a transcript: commands, ``----``, and the trace that they must leave.

A file is a list of blocks separated by blank lines. Set UPDATE_TRANSCRIPTS=1 to write what
happens instead of comparing it. The commands are the methods of ``Transcript`` that begin with
``do_``; ``key=value`` words are options.
"""

import os
from pathlib import Path

import msgspec

from support.raft_network import Network, Node, Packet, members
from synaxis.consensus.raft.config import RaftConfig
from synaxis.consensus.raft.messages import (
    AppendEntries,
    AppendReply,
    InstallSnapshot,
    RequestVote,
    SnapshotReply,
    VoteReply,
)
from synaxis.effects import Effects, Entry, EntryKind, Members
from synaxis.errors import SynaxisError
from synaxis.ids import Instant, NodeId

__all__ = ["IS_UPDATE", "Transcript"]

IS_UPDATE = bool(os.environ.get("UPDATE_TRANSCRIPTS"))
SEPARATOR = "----"


class Transcript:
    """One run of one file."""

    def __init__(self) -> None:
        self.network = Network("")
        self.lines: list[str] = []
        self._seen: dict[NodeId, tuple[str, int]] = {}

    def play(self, path: Path) -> str:
        """Execute the file; returns it with the traces that really came about."""
        blocks = []
        for block in path.read_text().strip().split("\n\n"):
            commands, separator, _ = block.partition(SEPARATOR)
            if not separator:
                blocks.append(block)
                continue
            self.lines = []
            for command in commands.strip().splitlines():
                if not command.startswith("#"):
                    self.execute(command)
            trace = "\n".join(self.lines) or "ok"
            blocks.append(f"{commands.strip()}\n{SEPARATOR}\n{trace}")
        return "\n\n".join(blocks) + "\n"

    def execute(self, command: str) -> None:
        name, *words = command.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        arguments = [word for word in words if "=" not in word]
        try:
            getattr(self, "do_" + name.replace("-", "_"))(*arguments, **options)
        except SynaxisError as error:
            self.lines.append(f"{type(error).__name__}: {error}")

    # Commands

    def do_add_nodes(self, voters: str = "", learners: str = "", **limits: str) -> None:
        config = RaftConfig(**{name: int(value) for name, value in limits.items()})  # type: ignore[arg-type]
        self.network = Network(voters, learners, config=config)
        self.network.observers.append(self._observe)
        for node in self.network.nodes.values():
            self._seen[node.id] = (node.role, node.status.term)

    def do_add_node(self, name: str) -> None:
        node = self.network.add(name)
        self._seen[node.id] = (node.role, node.status.term)

    def do_campaign(self, name: str) -> None:
        """Let the election timeout of one node pass; the others keep what they believe."""
        self.network.time_out(name)

    def do_elect(self, name: str) -> None:
        self.network.elect(name)

    def do_propose(self, name: str, payload: str) -> None:
        index, term = self.network[name].raft.propose(payload.encode(), self.network.now)
        self.lines.append(f"{name}: proposed {index}/{term}")
        self.network[name].drain()

    def do_read(self, name: str) -> None:
        ticket = self.network[name].raft.read(self.network.now)
        self.lines.append(f"{name}: asked for read {ticket}")
        self.network[name].drain()

    def do_change_members(self, name: str, voters: str = "", learners: str = "") -> None:
        group = members(voters, learners)
        self.network[name].raft.change_members(group.voters, group.learners, self.network.now)
        self.network[name].drain()

    def do_transfer(self, name: str, target: str) -> None:
        self.network[name].raft.transfer_leadership(NodeId(target), self.network.now)
        self.network[name].drain()

    def do_unreachable(self, name: str, peer: str) -> None:
        self.network[name].raft.peer_unreachable(NodeId(peer), self.network.now)
        self.network[name].drain()

    def do_compact(self, name: str, attached: str = "") -> None:
        meta = self.network[name].compact(attached=bool(attached)).meta
        self.lines.append(f"{name}: snapshot at {meta.index}/{meta.term}, {meta.size} bytes")

    def do_gathered(self, name: str, complete: str = "yes") -> None:
        node = self.network[name]
        node.gathered(complete=complete == "yes")
        node.drain()

    def do_deliver(self, count: str = "1000", **options: str) -> None:
        """Deliver what is on its way now, not what it causes."""
        for packet in self._pick(**options)[: int(count)]:
            self.network.packets.remove(packet)
            self._deliver(packet)

    def do_drop(self, **options: str) -> None:
        for packet in self._pick(**options):
            self.network.packets.remove(packet)
            self.lines.append(f"lost: {describe(packet)}")

    def do_settle(self) -> None:
        """Deliver until nothing moves."""
        while True:
            busy = [node.drain() for node in self.network.alive()]
            if self.network.packets:
                self._deliver(self.network.packets.pop(0))
            elif not any(each.persist or each.apply for each in busy):
                return

    def do_silently(self, *words: str) -> None:
        """Execute the rest of the line without a trace."""
        lines = self.lines
        self.lines = []
        self.execute(" ".join(words))
        self.lines = lines

    def do_tick(self, milliseconds: str) -> None:
        """Let time pass; nothing is delivered."""
        self.network.advance(int(milliseconds), settle=False)

    def do_pass(self, milliseconds: str) -> None:
        """Let time pass without any timer noticing yet."""
        self.network.now = Instant(self.network.now + int(milliseconds))

    def do_advance(self, milliseconds: str) -> None:
        """Let time pass and deliver everything at once, without a trace of the messages."""
        self.network.advance(int(milliseconds))

    def do_hold_disk(self, name: str) -> None:
        self.network[name].is_disk_held = True

    def do_persist(self, name: str) -> None:
        node = self.network[name]
        node.is_disk_held = False
        node.sync_disk()
        self.lines.append(f"{name}: disk is done")
        node.drain()

    def do_cut(self, *names: str) -> None:
        self.network.cut(*names)

    def do_heal(self) -> None:
        self.network.heal()

    def do_crash(self, name: str) -> None:
        self.network.crash(name)

    def do_restart(self, name: str, damaged: str = "") -> None:
        node = self.network.restart(name, damaged=bool(damaged))
        self._seen[node.id] = (node.role, node.status.term)

    def do_status(self, *names: str) -> None:
        for node in self._named(names):
            status = node.status
            text = f"{node.id}: {status.role}, term {status.term}, leader {status.leader}"
            self.lines.append(f"{text}, commit {status.commit_index}, stable {status.stable_index}")

    def do_log(self, *names: str) -> None:
        for node in self._named(names):
            base = node.raft._state.log.base_index
            prefix = f"({base}) " if base else ""
            entries = " ".join(f"{index}/{term}" for index, term in node.log)
            commit = node.status.commit_index
            self.lines.append(f"{node.id}: {prefix}{entries or '-'}, commit {commit}")

    def do_members(self, *names: str) -> None:
        for node in self._named(names):
            self.lines.append(f"{node.id}: {describe_members(node.status.members)}")

    def do_state(self, *names: str) -> None:
        for node in self._named(names):
            self.lines.append(f"{node.id}: {b' '.join(node.state).decode() or '-'}")

    # Trace

    def _named(self, names: tuple[str, ...]) -> list[Node]:
        return [self.network[name] for name in names or map(str, self.network.nodes)]

    def _pick(self, **options: str) -> list[Packet]:
        wanted = {"from": "sender", "to": "target"}
        unknown = set(options) - {*wanted, "type"}
        assert not unknown, unknown
        return [
            packet
            for packet in self.network.packets
            if options.get("from", packet.sender) == packet.sender
            and options.get("to", packet.target) == packet.target
            and options.get("type", type(packet.message).__name__) == type(packet.message).__name__
        ]

    def _deliver(self, packet: Packet) -> None:
        self.lines.append(describe(packet))
        self.network.deliver(packet)

    def _observe(self, node: Node, effects: Effects) -> None:
        status = node.status
        now = (status.role, status.term)
        if now != self._seen.get(node.id):
            self._seen[node.id] = now
            self.lines.append(f"{node.id}: {status.role} of term {status.term}")
        if effects.persist is not None:
            self.lines.append(f"{node.id}: writes {describe_write(effects)}")
        if effects.gather is not None:
            self.lines.append(
                f"{node.id}: must gather for the snapshot at {effects.gather.meta.index}"
            )
        if effects.restore is not None:
            self.lines.append(f"{node.id}: restores the snapshot at {effects.restore.meta.index}")
        if effects.apply:
            text = " ".join(map(describe_entry, effects.apply))
            self.lines.append(f"{node.id}: applies {text}")
        for ticket, index in effects.reads:
            self.lines.append(f"{node.id}: read {ticket} may be served at {index}")
        for ticket in effects.failed_reads:
            self.lines.append(f"{node.id}: read {ticket} failed")


def describe_write(effects: Effects) -> str:
    persist = effects.persist
    assert persist is not None
    parts = []
    if persist.hard_state is not None:
        parts.append(f"term {persist.hard_state.term} vote {persist.hard_state.voted_for or '-'}")
        if persist.hard_state.repair_after:
            parts.append(f"damaged until {persist.hard_state.repair_after}")
    if persist.snapshot is not None:
        parts.append(f"snapshot {persist.snapshot.meta.index}")
    parts.extend(f"{each.index}/{each.term}" for each in persist.entries)
    return " ".join(parts)


def describe_entry(each: Entry) -> str:
    if each.kind is EntryKind.NOOP:
        return f"{each.index}:noop"
    if each.kind is EntryKind.MEMBERS:
        group = msgspec.msgpack.decode(each.payload, type=Members)
        return f"{each.index}:[{describe_members(group)}]"
    return f"{each.index}:{each.payload.decode()}"


def describe_members(group: Members) -> str:
    text = "".join(group.voters) or "-"
    if group.outgoing:
        text += " from " + "".join(group.outgoing)
    return text + (" learners " + "".join(group.learners) if group.learners else "")


def describe(packet: Packet) -> str:
    text = describe_message(packet.message)
    return f"{packet.sender} -> {packet.target} {type(packet.message).__name__} {text}"


def describe_message(message: msgspec.Struct) -> str:
    match message:
        case RequestVote(term, index, last_term, pre, transfer):
            flags = (" pre" if pre else "") + (" transfer" if transfer else "")
            text = f"term {term} last {index}/{last_term}{flags}"
        case VoteReply(term, granted, pre):
            text = f"term {term} {'granted' if granted else 'refused'}{' pre' if pre else ''}"
        case AppendEntries(term, index, previous_term, commit, number, entries):
            payload = " ".join(f"{each.index}/{each.term}" for each in entries) or "-"
            text = f"term {term} after {index}/{previous_term}: {payload}, commit {commit}"
            text += f", round {number}" if number else ""
        case AppendReply(term, True, index, _, number):
            text = f"term {term} matched {index}" + (f", round {number}" if number else "")
        case AppendReply(term, False, index, hint, _):
            text = f"term {term} refused, try {index}/{hint}"
        case InstallSnapshot(term, meta, offset, data, _):
            end = offset + len(data)
            text = f"term {term} {meta.index}/{meta.term} bytes {offset}-{end} of {meta.size}"
        case SnapshotReply(term, index, offset, installed, _):
            text = f"term {term} {'installed' if installed else f'has {offset} bytes of'} {index}"
        case _:
            text = f"term {getattr(message, 'term', '?')}"
    return text
