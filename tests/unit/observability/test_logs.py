"""Log lines as a collector would read them."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from synaxis.observability.logs import configure_logging


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_one_object_with_the_agreed_keys(output: io.StringIO) -> None:
    configure_logging(fields={"node_id": "n1"}, stream=output)
    structlog.get_logger("synaxis.nodes").info("leader changed", group="locks/0", term=3)
    line = json.loads(output.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "leader changed",
        "level": "info",
        "logger": "synaxis.nodes",
        "node_id": "n1",
        "group": "locks/0",
        "term": 3,
    }


def test_lines_of_libraries_have_the_same_shape(output: io.StringIO) -> None:
    configure_logging(fields={"node_id": "n1"}, stream=output)
    logging.getLogger("aiohttp.server").warning("bad %s", "request")
    line = json.loads(output.getvalue())
    assert (line["event"], line["logger"], line["node_id"]) == (
        "bad request",
        "aiohttp.server",
        "n1",
    )


def test_lines_below_the_level_are_not_written(output: io.StringIO) -> None:
    configure_logging("WARNING", stream=output)
    structlog.get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    assert not output.getvalue()


def test_a_reload_of_the_level_reaches_loggers_that_exist(output: io.StringIO) -> None:
    configure_logging("WARNING", stream=output)
    logger = structlog.get_logger("a")
    logger.info("quiet")
    configure_logging("DEBUG", stream=output)
    logger.debug("loud")
    assert json.loads(output.getvalue())["event"] == "loud"


def test_secrets_are_replaced(output: io.StringIO) -> None:
    configure_logging(stream=output)
    structlog.get_logger("a").info("hello", api_key="syx_1234", peer="n2")
    assert "syx_1234" not in output.getvalue()
    assert json.loads(output.getvalue())["peer"] == "n2"


def test_an_exception_is_part_of_the_same_line(output: io.StringIO) -> None:
    configure_logging(stream=output)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("a").exception("failed")
    assert "ValueError: invalid literal" in json.loads(output.getvalue())["exception"]


def test_the_console_form_is_for_people(output: io.StringIO) -> None:
    configure_logging(style="console", stream=output)
    structlog.get_logger("a").info("leader changed", term=3)
    assert "leader changed" in output.getvalue()
    assert not output.getvalue().startswith("{")
