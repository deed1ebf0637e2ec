"""A cluster with a volatile group, its clients, and the check of what they were told."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from synaxis.simulation import witness
from synaxis.simulation.cluster import Cluster, ClusterShape
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation, MachineCall, Operation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.process import SimulatedNode
from synaxis.simulation.volatile.monitor import EraMonitor
from synaxis.simulation.volatile.node import VolatileNode
from synaxis.simulation.volatile.registers import Get, Put, Stored, Value, era_of_version
from synaxis.simulation.volatile.workload import RegisterWorkload

__all__ = ["VolatileWorld"]

LOG_BYTES_CHOICES = (500, 5_000, 100_000)


class VolatileWorld:
    """See the module."""

    def __init__(self, kernel: Kernel, shape: ClusterShape, mix: FaultMix) -> None:
        random = kernel.stream("volatile")
        shape.node.raft = replace(
            shape.node.raft,
            volatile=True,
            volatile_log_bytes_max=random.choice(LOG_BYTES_CHOICES),
            suffix_bytes_max=random.choice((300, 3_000, 4_000_000)),
        )
        # A voter that never comes back has not said that it has forgotten: if another one forgets
        # while it is away, three are too few, as two lost disks would be.
        mix.intervals_us.pop("replace", None)
        self.searched = 0
        self.workload = RegisterWorkload(kernel.stream("workload"))
        node = partial(VolatileNode, lambda: self._monitor)
        self.cluster = Cluster(kernel, shape, mix, node, self.workload, monitor=EraMonitor)

    @property
    def _monitor(self) -> EraMonitor:
        monitor = self.cluster.monitor
        assert isinstance(monitor, EraMonitor)
        return monitor

    def settle(self) -> None:
        """Do nothing: clients finish by themselves."""

    def is_over(self) -> bool:
        """Return True: see ``settle``."""
        return True

    def compare(self, replicas: list[SimulatedNode]) -> None:
        """Do nothing: the state is everything."""

    def check_history(self) -> None:
        """See ``World``."""
        eras: defaultdict[int, list[Operation]] = defaultdict(list)
        for one in self.cluster.history:
            if isinstance(one.body, Stored | Value):
                eras[era_of_version(one.body.version)].append(one)
        check_eras(eras.values())
        version = 0
        for era, operations in sorted(eras.items()):
            calls = self._monitor.of(era).calls
            witness.check_real_time(operations)
            check_answers(operations, self._monitor.of(era).decided)
            version = check_values(operations, calls, version)
            self.searched += len(operations)

    def check_end(self) -> None:
        """Do nothing: registers belong to nobody."""


def check_eras(eras: Iterable[list[Operation]]) -> None:
    """Demand that nothing of an era is seen once a later one has answered.

    Raises:
        HistoryViolation: something was.
    """
    first_return: int | None = None
    for operations in sorted(eras, key=_era_of, reverse=True):
        for one in operations:
            if not one.stale and first_return is not None and one.called_us > first_return:
                raise HistoryViolation(f"seen after its era was over: {one!r}")
        returned = [one.returned_us for one in operations if one.returned_us is not None]
        if first_return is not None:
            returned.append(first_return)
        first_return = min(returned)


def _era_of(operations: list[Operation]) -> int:
    body = operations[0].body
    assert isinstance(body, Stored | Value)
    return era_of_version(body.version)


def check_answers(operations: list[Operation], decided: witness.Decisions) -> None:
    """Demand that what was acknowledged is what the machines of its era did.

    Raises:
        HistoryViolation: it is not.
    """
    for one in operations:
        if isinstance(one.request, Put):
            known = decided.get((one.session, one.sequence))
            if known is None or known[2] != one.body:
                raise HistoryViolation(f"acknowledged and not done: {one!r}")


def check_values(operations: list[Operation], calls: list[MachineCall], version: int) -> int:
    """Demand that every answer is what the register held, and that versions grow.

    Returns:
        The last version of the era.

    Raises:
        HistoryViolation: they do not.
    """
    reads: defaultdict[int, list[Operation]] = defaultdict(list)
    for one in operations:
        if isinstance(one.request, Get):
            reads[one.position].append(one)
    registers: dict[str, tuple[str, int]] = {}
    for position in range(len(calls) + 1):
        for one in reads.pop(position, ()):
            known = registers.get(one.request.name, ("", None))
            body = one.body
            assert isinstance(body, Value)
            if body.value != known[0] or known[1] not in (None, body.version):
                raise HistoryViolation(f"read {body!r}, but it was {known}: {one!r}")
        if position < len(calls) and isinstance(calls[position].command, Put):
            version = _replay(calls[position], registers, version)
    if reads:
        raise HistoryViolation(f"read from the future of its era: {reads!r}")
    return version


def _replay(call: MachineCall, registers: dict[str, tuple[str, int]], version: int) -> int:
    command, reply = call.command, call.reply
    assert isinstance(command, Put)
    assert isinstance(reply, Stored)
    if reply.version <= version:
        raise HistoryViolation(f"version {reply.version} after {version}")
    registers[command.name] = (command.value, reply.version)
    return reply.version
