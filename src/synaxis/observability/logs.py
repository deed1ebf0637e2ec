"""Logs are events with fields: one JSON object per line, or a readable line on a terminal.

Keys: ``timestamp`` (ISO 8601, UTC), ``level``, ``event``, ``logger``, ``node_id`` and whatever
the event carries. Never payloads; values of secret keys are replaced.
"""

import logging
import sys
from collections.abc import Mapping
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

__all__ = ["configure_logging"]

SECRET_KEYS = frozenset({"api_key", "authorization", "cookie", "join_api_key", "password"})


def configure_logging(
    level: str = "INFO",
    style: str = "auto",
    fields: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's root logger alike; may be called again.

    Args:
        level: least important level that is written.
        style: ``json``, ``console`` or ``auto`` (console on a terminal, else JSON).
        fields: added to every line, for example ``{"node_id": "n1"}``.
        stream: where to write; standard output by default.
    """
    output = stream or sys.stdout
    console = style == "console" or (style == "auto" and output.isatty())
    constant = dict(fields or {})

    def add_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**constant, **event}

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _hide_secrets,
        structlog.processors.StackInfoRenderer(),
    ]
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # a reload of the level must reach every logger
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=_renderers(console=console),
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(level=number, handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def _renderers(*, console: bool) -> list[Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if console:
        return [strip, structlog.dev.ConsoleRenderer(colors=False)]
    return [
        strip,
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _json(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=repr).decode()


def _hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key in SECRET_KEYS & event.keys():
        event[key] = "***"
    return event
