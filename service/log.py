"""Logs: one line an event on stderr, for people on a terminal and as JSON elsewhere, each with its request id."""

import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp_request_id_logging import request_id
from structlog.typing import Processor, WrappedLogger

from service.keys import STARTED
from service.web.forwarded import client_address

MAX_USER_AGENT = 200
LINE_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def is_console(log_format: str) -> bool:
    """Whether lines are for people; `log_format` is ``json``, ``console`` or ``auto``: when stderr is a terminal."""
    return log_format == "console" or (log_format == "auto" and sys.stderr.isatty())


def set_up(log_format: str, level: str) -> None:
    """Send every record of structlog and of the standard library to stderr in one form; see `is_console`."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(["address", "seconds", "sent_bytes", "user_agent", "request_id"]),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
    ]
    renderer: Processor
    if is_console(log_format):
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # aiohttp logs a traceback for every connection a client drops in the middle of an answer, and for what is no HTTP.
    logging.getLogger("aiohttp.server").addFilter(_is_worth_telling)


def _add_request_id(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    identifier = request_id.get()
    if identifier is not None:
        event["request_id"] = identifier
    return event


def _is_worth_telling(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, ConnectionError | TimeoutError | HttpProcessingError)


class AccessLogger(AbstractAccessLogger):
    """One line per request, with its id; the query is left out, since people put secrets there.

    A line through the standard library's logging and structlog costs a twentieth of a small upload (measured), so where
    lines are JSON this one is written by itself.
    """

    def __init__(self, logger: logging.Logger, log_format: str) -> None:
        super().__init__(logger, log_format)
        self._is_json = log_format == "json"

    @property
    def enabled(self) -> bool:
        return bool(self.logger.isEnabledFor(logging.INFO))

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        event = f"{request.method} {request.rel_url.raw_path} {response.status}"
        facts = {
            "address": _address(request),
            "seconds": round(time, 6),
            "sent_bytes": response.body_length,
            "user_agent": request.headers.get("User-Agent", "")[:MAX_USER_AGENT],
            "request_id": response.headers.get("X-Request-ID"),
        }
        if not self._is_json:
            self.logger.info(event, extra=facts)
            return
        now = datetime.now(UTC)
        line = {"event": event, "level": "info", "logger": self.logger.name, "timestamp": now, **facts}
        sys.stderr.write(orjson.dumps(line, default=str, option=LINE_OPTIONS).decode())


def _address(request: web.BaseRequest) -> str | None:
    """The client's address; the peer's for what was no HTTP and so never came to the app, nor to its settings."""
    if isinstance(request, web.Request) and request.get(STARTED):
        return client_address(request)
    return request.remote
