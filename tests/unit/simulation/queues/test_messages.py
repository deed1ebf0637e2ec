from random import Random

from synaxis.ids import LogTime
from synaxis.queues.commands import Part, RecordBatch, Records
from synaxis.simulation.queues.messages import Place, Text, parts_of, record, text_of
from synaxis.simulation.queues.records import records_of, unpack


def test_the_bytes_of_a_message_say_who_it_is() -> None:
    for text in (Text("c1/7", "k3", "plain"), Text("c2/1", "", "poison")):
        assert text_of(record(text, Random(1))) == text
    assert Text("c1/7", "", "plain").key_hash == 0
    assert Text("c1/7", "k3", "plain").key_hash != 0


def test_neighbours_with_as_many_failures_are_one_part() -> None:
    held = {Place(0, 4): 0, Place(0, 3): 0, Place(0, 5): 1, Place(1, 6): 1, Place(1, 8): 1}
    assert parts_of(held) == (
        Part(0, 3, 4, 0),
        Part(0, 5, 5, 1),
        Part(1, 6, 6, 1),
        Part(1, 8, 8, 1),
    )


def test_records_come_out_as_they_went_in() -> None:
    sizes = b"".join(len(each).to_bytes(4, "little") for each in (b"a", b"", b"ccc"))
    assert records_of(RecordBatch(sizes, b"accc")) == [b"a", b"", b"ccc"]
    records = Records(2, 10, sizes, b"accc", LogTime(5), ((11, 3),))
    assert list(unpack([records])) == [
        (Place(2, 10), 0, b"a"),
        (Place(2, 11), 3, b""),
        (Place(2, 12), 0, b"ccc"),
    ]
