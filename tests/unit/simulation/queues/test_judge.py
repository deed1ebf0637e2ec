"""A recorded history of queues passes; with one lie in it, it does not."""

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from synaxis.queues.commands import Ack, Nack, Publish, Published, Settled
from synaxis.queues.limits import QueueLimits
from synaxis.queues.questions import BrowseDead, DescribeTopic, TopicInfo
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.faults import FaultMix
from synaxis.simulation.history import HistoryViolation, MachineCall, Operation
from synaxis.simulation.kernel import Kernel
from synaxis.simulation.queues.judge import replay
from synaxis.simulation.queues.ledger import Census, Delivering, Ledger
from synaxis.simulation.queues.streams import PageRead
from synaxis.simulation.queues.world import QueueWorld
from synaxis.simulation.run import Run
from synaxis.simulation.seeds import QUEUES, Seed

Position = int


@dataclass
class History:
    """What a run left behind, to be told otherwise."""

    calls: list[MachineCall]
    operations: list[Operation]
    ledger: Ledger
    limits: QueueLimits

    def judge(self) -> None:
        replay(self.calls, self.operations, self.ledger, self.limits, Coverage())

    def twisted(self) -> "History":
        ledger = Ledger()
        ledger.deeds = list(self.ledger.deeds)
        return History(list(self.calls), list(self.operations), ledger, self.limits)

    def answered(self, command: type, reply: type) -> Iterator[tuple[Position, Any, Any]]:
        for position, call in enumerate(self.calls):
            if type(call.command) is command and type(call.reply) is reply:
                yield position, call.command, call.reply

    def reply(self, position: Position, reply: msgspec.Struct) -> None:
        self.calls[position] = replace(self.calls[position], reply=reply)

    def change(self, kind: type, change: Callable[[Any], Any]) -> None:
        """Tell otherwise of the first deed of this kind that ``change`` makes something of."""
        for at, entry in enumerate(self.ledger.deeds):
            changed = change(entry[4]) if type(entry[4]) is kind else None
            if changed is not None:
                self.ledger.deeds[at] = (*entry[:4], changed)
                return
        raise AssertionError(f"no {kind.__name__} to change")

    def answer(self, question: type, body: type, change: Callable[[Any], Any]) -> None:
        for at, one in enumerate(self.operations):
            if isinstance(one.request, question) and isinstance(one.body, body):
                changed = change(one.body)
                if changed is not None:
                    self.operations[at] = copy(one)
                    self.operations[at].body = changed
                    return
        raise AssertionError(f"no {question.__name__} was answered by {body.__name__}")


@pytest.fixture(scope="module")
def recorded() -> History:
    """The first calm seed in which enough happens, whatever the simulator draws today."""
    for number in range(1, 60):
        run = Run(Kernel(Seed(number, QUEUES)), 5.0, FaultMix())
        run.execute()
        world, monitor = run.world, run.cluster.monitor
        assert isinstance(world, QueueWorld)
        limits = world.setup.limits
        history = History(monitor.calls, monitor.history, world.ledger, limits)
        pages = [one.body for one in history.operations if isinstance(one.body, PageRead)]
        if (
            sum(1 for _ in history.answered(Nack, Settled)) > 2
            and sum(1 for _ in history.answered(Ack, Settled)) > 20
            and any(page.dead for page in pages)
        ):
            return history
    raise AssertionError("no seed has enough of everything")


@pytest.fixture
def history(recorded: History) -> History:
    recorded.judge()
    return recorded.twisted()


def demand_violation(history: History, rule: str = ".") -> None:
    with pytest.raises(HistoryViolation, match=rule):
        history.judge()


@pytest.mark.slow
def test_an_offset_that_was_told_wrong_is_found(history: History) -> None:
    position, _, reply = next(history.answered(Publish, Published))
    history.reply(position, Published(reply.first + 1))
    demand_violation(history, "Q6")


@pytest.mark.slow
def test_an_acknowledgement_that_did_nothing_is_found(history: History) -> None:
    found = (each for each in history.answered(Ack, Settled) if each[2].done)
    position, _, reply = next(found)
    history.reply(position, Settled(reply.done - 1, reply.stale))
    demand_violation(history, "Q11")


@pytest.mark.slow
def test_a_failure_that_was_not_counted_is_found(history: History) -> None:
    found = (each for each in history.answered(Nack, Settled) if each[2].done)
    position, command, _ = next(found)
    history.reply(position, Settled(0, command.parts))
    demand_violation(history, "Q7")


@pytest.mark.slow
def test_a_call_that_was_left_out_is_found(history: History) -> None:
    position, _, _ = next(history.answered(Publish, Published))
    del history.calls[position]
    demand_violation(history)


@pytest.mark.slow
def test_a_delivery_that_was_made_twice_is_found(history: History) -> None:
    at = next(at for at, each in enumerate(history.ledger.deeds) if isinstance(each[4], Delivering))
    position, term, serial, node, deed = history.ledger.deeds[at]
    history.ledger.deeds.insert(at + 1, (position, term, serial, node, deed))
    demand_violation(history)


@pytest.mark.slow
def test_a_delivery_of_something_else_is_found(history: History) -> None:
    def behind(deed: Delivering) -> Delivering:
        first = msgspec.structs.replace(deed.slices[0], failures=((deed.slices[0].first, 7),))
        return msgspec.structs.replace(deed, slices=(first, *deed.slices[1:]))

    history.change(Delivering, behind)
    demand_violation(history, "Q7")


@pytest.mark.slow
def test_a_unit_that_is_gone_or_was_kept_is_found(history: History) -> None:
    def without(census: Census) -> Census | None:
        return Census(census.units[1:]) if census.units else None

    def more(census: Census) -> Census | None:
        name, number, *_ = census.units[0] if census.units else ("", 0)
        return Census((*census.units, (name, number, 9_000, 9_001))) if census.units else None

    other = history.twisted()
    history.change(Census, without)
    demand_violation(history, "Q1")
    other.change(Census, more)
    demand_violation(other, "Q10")


@pytest.mark.slow
def test_a_wrong_answer_to_a_question_is_found(history: History) -> None:
    def ahead(info: TopicInfo) -> TopicInfo | None:
        if not info.groups:
            return None
        group = info.groups[0]
        progress = msgspec.structs.replace(group.partitions[0], floor=group.partitions[0].floor + 1)
        changed = msgspec.structs.replace(group, partitions=(progress, *group.partitions[1:]))
        return msgspec.structs.replace(info, groups=(changed, *info.groups[1:]))

    history.answer(DescribeTopic, TopicInfo, ahead)
    demand_violation(history, "Q11")


@pytest.mark.slow
def test_a_dead_letter_that_is_not_shown_is_found(history: History) -> None:
    def without(page: PageRead) -> PageRead | None:
        return msgspec.structs.replace(page, dead=page.dead[1:]) if page.dead else None

    history.answer(BrowseDead, PageRead, without)
    demand_violation(history, "Q9")
