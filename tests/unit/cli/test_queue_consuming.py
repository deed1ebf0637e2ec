import json

import pytest

from synaxis.cli.options import OutputOptions
from synaxis.cli.output import Format
from synaxis.cli.queue_consuming import print_message
from synaxis.client.queues.message import Source, StoredMessage
from synaxis.client.queues.outgoing import Publication, encode


def stored(value: object, *, key: str | None = None, failures: int = 0) -> StoredMessage:
    record = encode(Publication(value, key), None).record
    return StoredMessage(Source("orders", None), (3 << 48) | 17, record, 1_000, failures)


def printed(
    message: StoredMessage, chosen: Format, capsys: pytest.CaptureFixture[str], *, raw: bool = False
) -> str:
    print_message(message, OutputOptions(output=chosen), raw=raw)
    return capsys.readouterr().out


def test_people_see_where_a_message_is_and_what_it_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert printed(stored(b"hello", key="u1"), Format.TABLE, capsys) == "[3@17 u1] hello\n"
    again = printed(stored({"total": 4}, failures=2), Format.TABLE, capsys)
    assert again == '[3@17] (delivery 3) {"total": 4}\n'


@pytest.mark.parametrize("chosen", [Format.TABLE, Format.PLAIN])
def test_a_message_cannot_move_the_cursor_or_add_a_line(
    chosen: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(stored(b"\x1b[2Jline\nline\tcolumn", key="\x1b]0;k"), chosen, capsys)
    assert out.count("\n") == 1
    assert "\x1b" not in out
    assert r"\x1b[2Jline\nline\tcolumn" in out


def test_json_of_a_stream_is_one_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(stored(b"a\nb"), Format.JSON, capsys)
    assert out.count("\n") == 1
    assert json.loads(out)["value"] == "a\nb"


def test_raw_is_the_payload_and_a_line_end_whatever_it_holds(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    print_message(stored(b"\x00\xff"), OutputOptions(), raw=True)
    assert capsysbinary.readouterr().out == b"\x00\xff\n"
