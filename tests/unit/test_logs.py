"""Logs: one line a record whatever is in it, with the request id."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import pytest

from codeq_grpc.logs import REQUEST_ID, JsonFormatter, TextFormatter, set_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UTC: Final = ZoneInfo("UTC")
NASTY: Final = 'a\nb\rc\x1b[2Jd\u2028e\u0085f\x00g"h\\i'


def record(
    message: str = "hello", *args: object, level: int = logging.INFO, **extra: Any
) -> logging.LogRecord:
    """Of the first moment of 2026."""
    found = logging.LogRecord("codeq_grpc.x", level, "file.py", 1, message, args, None)
    found.created = 1_767_225_600.5
    for name, value in extra.items():
        setattr(found, name, value)
    return found


def raised_by(work: Callable[[], object]) -> Any:
    """Exception information as the logging module has it."""
    try:
        work()
    except KeyError:
        return sys.exc_info()
    raise AssertionError("nothing was raised")


@pytest.fixture
def request_id() -> Iterator[str]:
    token = REQUEST_ID.set("id-1")
    yield "id-1"
    REQUEST_ID.reset(token)


def test_json_has_time_level_logger_message_and_what_was_added(request_id: str) -> None:
    line = JsonFormatter(UTC).format(record("got %d", 3, method="/a", took_ms=1.5, who=None))
    assert json.loads(line) == {
        "time": "2026-01-01T00:00:00.500+00:00",
        "level": "info",
        "logger": "codeq_grpc.x",
        "message": "got 3",
        "method": "/a",
        "took_ms": 1.5,
        "who": None,
        "request_id": request_id,
    }


def test_what_is_the_same_in_every_line_of_a_process_stands_in_each() -> None:
    line = JsonFormatter(UTC, server="ab").format(record(code="OK"))
    assert (json.loads(line)["server"], json.loads(line)["code"]) == ("ab", "OK")
    line = TextFormatter(UTC, server="ab").format(record(code="OK"))
    assert line.endswith("hello server=ab code=OK")


def test_outside_of_calls_there_is_no_request_id() -> None:
    assert "request_id" not in json.loads(JsonFormatter(UTC).format(record()))
    assert TextFormatter(UTC).format(record()).endswith("hello")


def test_times_are_those_of_the_zone_asked_for() -> None:
    line = json.loads(JsonFormatter(ZoneInfo("America/Sao_Paulo")).format(record()))
    assert line["time"] == "2025-12-31T21:00:00.500-03:00"


def test_text_reads_well(request_id: str) -> None:
    line = TextFormatter(UTC).format(record(level=logging.WARNING, code="OK"))
    assert line == "2026-01-01T00:00:00.500+00:00 warning hello code=OK request_id=id-1"


@pytest.mark.parametrize("formatter", [JsonFormatter(UTC), TextFormatter(UTC)])
def test_whatever_clients_send_stays_one_printable_line(formatter: logging.Formatter) -> None:
    for line in (
        formatter.format(record(NASTY)),
        formatter.format(record("%s", NASTY)),
        formatter.format(record(detail=NASTY)),
        formatter.format(record(detail={NASTY: [NASTY]})),
    ):
        assert line.splitlines() == [line]
        assert line.isprintable()


def test_json_takes_whatever_was_added() -> None:
    odd: dict[str, Any] = {
        "bytes": b"\xff",
        "set": {1},
        "error": ValueError("x"),
        "nan": float("nan"),
    }
    line = JsonFormatter(UTC).format(record(**odd))
    assert json.loads(line)["error"] == "x"


@pytest.mark.parametrize("formatter", [JsonFormatter(UTC), TextFormatter(UTC)])
def test_exceptions_are_told_in_full(formatter: logging.Formatter) -> None:
    broken = record("broke")
    broken.exc_info = raised_by(lambda: os.environ["NO-SUCH-NAME"])
    text = formatter.format(broken)
    if isinstance(formatter, JsonFormatter):
        assert text.splitlines() == [text]
        text = json.loads(text)["exception"]
    assert "Traceback" in text
    assert "KeyError: 'NO-SUCH-NAME'" in text


def test_the_text_of_an_exception_looks_like_no_line_of_its_own() -> None:
    def forge() -> None:
        raise KeyError from ValueError(f"{NASTY}\n2026-01-01T00:00:00 info forged")

    broken = record("broke")
    broken.exc_info = raised_by(forge)
    _, *trace = TextFormatter(UTC).format(broken).split("\n")
    assert trace
    assert all(line.startswith("  ") and line.isprintable() for line in trace)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("aiohttp.access", "asyncio", "grpc")}
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, was in noisy.items():
        logging.getLogger(name).setLevel(was)


@pytest.mark.parametrize("form", ["json", "text"])
def test_logs_go_to_standard_error_at_the_level_asked_for(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    for _ in range(2):  # the second time adds no second handler
        set_up("warning", form, UTC)
    logging.getLogger("codeq_grpc").info("unheard")
    logging.getLogger("codeq_grpc").warning("heard")
    logging.getLogger("grpc").info("noise")
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "heard" in line
    assert line.startswith("{") == (form == "json")
