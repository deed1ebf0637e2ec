"""The machine answers every command, and says what the world must do."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.queue_service import LEADER, QueueService
from synaxis.effects import Refused, StoreAppend
from synaxis.errors import ClientError
from synaxis.ids import LogTime, Sequence, SessionId
from synaxis.queues import commands
from synaxis.queues.commands import (
    Finished,
    GroupMode,
    Leave,
    Part,
    Publish,
    QueueCommand,
    RecordBatch,
)
from synaxis.queues.limits import QueueLimits
from synaxis.queues.machine import QueueMachine


def machine() -> QueueMachine:
    return QueueMachine(0, 1, QueueLimits())


def test_clients_may_send_what_the_protocol_names_and_nothing_else() -> None:
    assert set(QueueMachine.client_command_types) == set(QueueCommand.__args__)
    leaders = set(QueueMachine.command_types) - set(QueueMachine.client_command_types)
    assert {each.__name__ for each in leaders} == {
        "ConfigureTopic",
        "RemoveTopic",
        "Expire",
        "Revoke",
    }


def test_every_command_of_the_vocabulary_has_a_rule() -> None:
    """A command without a rule would be refused only when it is in the log."""
    for kind in QueueMachine.command_types:
        reply = machine().apply(LEADER, Sequence(0), example(kind), LogTime(1))
        assert reply is not None
        assert "no queue command" not in str(reply), kind


def example(kind: type[msgspec.Struct]) -> msgspec.Struct:
    values: dict[str, object] = {
        "record": QueueService().configure(),
        "batch": RecordBatch(b"\0\0\0\0", b""),
        "mode": GroupMode.SHARED,
        "parts": (Part(0, 0, 0),),
        "partitions": (0,),
        "topic": "t",
        "group": "g",
        "name": "t",
        "reason": "",
    }
    fields = [field.name for field in msgspec.structs.fields(kind) if field.required]
    return kind(**{name: values.get(name, 1) for name in fields})


def test_what_is_no_queue_command_is_refused() -> None:
    reply = machine().apply(LEADER, Sequence(0), Finished(), LogTime(1))
    assert isinstance(reply, Refused)
    assert "no queue command" in reply.message


small = st.integers(-3, 6)
VALUES: dict[str, st.SearchStrategy[object]] = {
    "topic": st.sampled_from(("t", "t", "x")),
    "group": st.sampled_from(("g", "g", "x")),
    "parts": st.lists(st.builds(Part, small, small, small, small), max_size=3).map(tuple),
    "mode": st.sampled_from(GroupMode),
    "partitions": st.lists(small, max_size=3).map(tuple),
    "offsets": st.lists(small, max_size=3).map(tuple),
    "name": st.text(max_size=3),
    "error": st.text(max_size=3),
    "reason": st.sampled_from(("", "rejected")),
}


@st.composite
def sent_by_clients(draw: st.DrawFn) -> msgspec.Struct:
    """Well-formed commands of any content, as far as a client could send them."""
    kind = draw(st.sampled_from(QueueMachine.client_command_types))
    if kind is Publish:
        return Publish("t", draw(small), draw(small), draw(small), RecordBatch(b"\0\0\0\0", b""))
    fields = [field.name for field in msgspec.structs.fields(kind)]
    flags = {"auto_extend", "from_end", "announces"}
    choices = {name: st.booleans() if name in flags else VALUES.get(name, small) for name in fields}
    return kind(**{name: draw(choice) for name, choice in choices.items()})


@settings(max_examples=150, deadline=None)
@given(st.lists(sent_by_clients(), max_size=12))
def test_whatever_passes_validation_is_answered(sent: list[msgspec.Struct]) -> None:
    made = QueueService()
    made.configure(partitions=2)
    made.member()
    made.publish_many(3)
    for command in sent:
        try:
            made.machine.validate(command)
        except ClientError:
            continue
        assert made.machine.apply(SessionId(5), Sequence(1), command, made.now) is not None
        made.pump()


def test_what_was_stored_is_handed_out_once_and_attached() -> None:
    made = machine()
    service = QueueService()
    service.machine = made
    record = QueueService().configure()
    made.apply(LEADER, Sequence(0), commands.ConfigureTopic(record), LogTime(1))
    made.apply(LEADER, Sequence(0), service.publishing(b"abc"), LogTime(1))
    operations = made.take_store()
    assert [type(each) for each in operations] == [StoreAppend]
    assert (made.take_store(), len(made.attachments())) == ([], 1)
    assert (made.take_outcomes(), made.take_events()) == ([], [])


def test_a_refusal_changes_nothing() -> None:
    made = QueueService()
    made.configure()
    before = made.machine.snapshot()
    for command in (Leave("t", "g", 1), Leave("x", "g", 1)):
        assert isinstance(made.do(command), Refused)
    assert made.machine.snapshot() == before


@pytest.mark.parametrize("refusing", ["", "full"])
def test_a_node_without_space_takes_acknowledgements_still(refusing: str) -> None:
    made = machine()
    made.refusing = refusing
    made.validate(commands.Ack("t", "g", 1, ()))
