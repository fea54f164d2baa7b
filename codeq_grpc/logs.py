"""Structured logs: one JSON object a line, or plain text for people; both with the request id."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

REQUEST_ID: Final[ContextVar[str]] = ContextVar("codeq_request_id", default="")
"""Id of the call being served, empty outside of calls."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    extras = {k: v for k, v in vars(record).items() if k not in _STANDARD}
    request_id = REQUEST_ID.get()
    if request_id:
        extras["request_id"] = request_id
    return extras


class _Formatter(logging.Formatter):
    def __init__(self, zone: ZoneInfo, **fields: object) -> None:
        super().__init__()
        self._zone = zone
        self._fields = fields

    def extras(self, record: logging.LogRecord) -> dict[str, object]:
        """What the call site added, the call's id, and what is the same in every line."""
        return {**self._fields, **_extras(record)}

    def time(self, record: logging.LogRecord) -> str:
        return datetime.fromtimestamp(record.created, self._zone).isoformat(timespec="milliseconds")


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """time, level, logger, message, then whatever the call site added."""
        line: dict[str, object] = {
            "time": self.time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self.extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _printable(text: str) -> str:
    """What clients sent must not look like lines of this log, nor move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class TextFormatter(_Formatter):
    """For a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, additions."""
        extras = "".join(f" {key}={value}" for key, value in self.extras(record).items())
        text = _printable(record.getMessage() + extras)
        line = f"{self.time(record)} {record.levelname.lower():7} {text}"
        if not record.exc_info:
            return line
        # Set in, so that the text of an exception cannot look like a line of its own.
        trace = self.formatException(record.exc_info).split("\n")
        return "\n".join([line, *(f"  {_printable(one)}" for one in trace)])


def set_up(level: str, form: str, zone: ZoneInfo, **fields: object) -> None:
    """Logs of this process go to standard error; `form` is json or text, `fields` stand in every
    line.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if form == "json" else TextFormatter
    handler.setFormatter(formatter(zone, **fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("aiohttp.access", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # It tells what raises as well.
    logging.getLogger("pygrpc_native").setLevel(logging.ERROR)
