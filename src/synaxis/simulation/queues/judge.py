"""One replay of the log on the naive model, with what leaders did and readers saw in between."""

from collections.abc import Iterable, Sequence

from synaxis.effects import Refused
from synaxis.ids import Term
from synaxis.queues.limits import QueueLimits
from synaxis.simulation.coverage import Coverage
from synaxis.simulation.history import HistoryViolation, MachineCall, MachineCallKind, Operation
from synaxis.simulation.queues.answers import judge_answer, judge_census
from synaxis.simulation.queues.hands import Hands
from synaxis.simulation.queues.ledger import Census, Deed, Delivering, Demanded, Dropped, Ledger
from synaxis.simulation.queues.model import QueueModel

__all__ = ["replay"]


class _Replay:
    def __init__(self, ledger: Ledger, limits: QueueLimits, coverage: Coverage) -> None:
        self.model = QueueModel(limits, coverage)
        self._hands = Hands(self.model, coverage)
        self._deeds = sorted(ledger.deeds, key=lambda entry: entry[:3])
        self._next = 0

    def call(self, call: MachineCall) -> None:
        """Judge a call of the state machine."""
        if call.kind == MachineCallKind.ADVANCE:
            self.model.advance(call.now)
        elif call.kind == MachineCallKind.END_SESSION:
            self.model.end_session(call.session)
        else:
            assert call.command is not None
            self.model.apply(call.session, call.command, call.reply)
        self._hands.called(call)

    def deeds_at(self, position: int) -> None:
        """Judge what leaders did when they had seen ``position`` calls."""
        while self._next < len(self._deeds) and self._deeds[self._next][0] == position:
            _, term, _, node, deed = self._deeds[self._next]
            self._next += 1
            try:
                self._judge(deed, term)
            except HistoryViolation as violation:
                raise HistoryViolation(f"{violation} (by {node} in term {term})") from violation

    def _judge(self, deed: Deed, term: Term) -> None:
        if isinstance(deed, Demanded):
            self._hands.demanded(deed, term)
        elif isinstance(deed, Dropped):
            self._hands.dropped(deed, term)
        elif isinstance(deed, Delivering):
            self._hands.delivered(deed, term)
        elif isinstance(deed, Census):
            judge_census(self.model, deed)


def replay(
    calls: Sequence[MachineCall],
    operations: Iterable[Operation],
    ledger: Ledger,
    limits: QueueLimits,
    coverage: Coverage,
) -> QueueModel:
    """Replay everything on the model.

    Raises:
        HistoryViolation: the machine, a leader or an answer broke the rules of the service.
    """
    questions: dict[int, list[Operation]] = {}
    for one in operations:
        if one.position >= 0 and one.sequence == 0:
            questions.setdefault(one.position, []).append(one)
    replayed = _Replay(ledger, limits, coverage)
    for position in range(len(calls) + 1):
        replayed.deeds_at(position)
        for one in questions.get(position, ()):
            if not (isinstance(one.body, Refused) and one.body.code == "not_leader"):
                judge_answer(replayed.model, one.request, one.body)
        if position == len(calls):
            break
        call = calls[position]
        try:
            replayed.call(call)
        except HistoryViolation as violation:
            message = f"{violation} (call {position} at {call.time_us} us: {call!r})"
            raise HistoryViolation(message) from violation
    return replayed.model
