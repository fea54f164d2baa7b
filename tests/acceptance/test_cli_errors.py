"""What goes wrong is told in one line, with an exit code that scripts can rely on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.programs import free_port, run_codeq

if TYPE_CHECKING:
    from tests.acceptance.conftest import Codeq
    from tests.acceptance.programs import Ran

_TALKERS = [
    ("enqueue", "c", "--payload", "1"),
    ("queues",),
    ("tasks", "show", "no-such-task-at-all"),
]


def _is_one_line(ran: Ran) -> bool:
    return bool(re.fullmatch(r"error: .+\n", ran.err)) and not ran.out


@pytest.mark.parametrize("words", _TALKERS, ids=lambda words: words[0])
def test_no_server_is_told_with_where_it_was_looked_for(words: tuple[str, ...]) -> None:
    address = f"127.0.0.1:{free_port()}"
    ran = run_codeq(*words, env={"CODEQ_ADDRESS": address, "CODEQ_TOKEN": "t"})
    assert ran.code == 1
    assert _is_one_line(ran), ran
    assert address in ran.err
    assert "codeq dev" in ran.err


@pytest.mark.parametrize("words", _TALKERS, ids=lambda words: words[0])
def test_a_wrong_token_is_told(codeq: Codeq, words: tuple[str, ...]) -> None:
    ran = codeq(*words, CODEQ_TOKEN="cq_wrong")
    assert ran.code == 1
    assert _is_one_line(ran), ran
    assert "CREDENTIAL_INVALID" in ran.err
    assert "cq_wrong" not in ran.err


def test_no_token_is_told_with_how_to_give_one(codeq: Codeq) -> None:
    ran = codeq("queues", CODEQ_TOKEN="")
    assert ran.code == 1
    assert _is_one_line(ran), ran
    assert "CREDENTIAL_MISSING" in ran.err
    assert "CODEQ_TOKEN" in ran.err


def test_a_worker_with_a_wrong_token_ends_at_once(codeq: Codeq) -> None:
    ran = codeq("work", "c", "--exec", "cat", CODEQ_TOKEN="cq_wrong")
    assert ran.code == 1
    assert "CREDENTIAL_INVALID" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_task_is_told(codeq: Codeq) -> None:
    ran = codeq("tasks", "show", "no-such-task-at-all")
    assert (ran.code, "TASK_NOT_FOUND" in ran.err) == (1, True)


def test_a_field_that_the_server_refuses_is_named(codeq: Codeq) -> None:
    ran = codeq("enqueue", "white space")
    assert ran.code == 1
    assert _is_one_line(ran), ran
    assert "INVALID_FIELD" in ran.err
    assert "command" in ran.err


def test_a_file_too_large_is_named_and_the_others_are_enqueued(
    codeq: Codeq, command: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "small").write_bytes(b"1")
    (folder / "large").write_bytes(bytes(2 << 20))
    (folder / "larger").write_bytes(bytes(5 << 20))
    files = [str(folder / name) for name in ("large", "small", "larger")]
    ran = codeq("enqueue", command, "--json", "--file", *files)
    assert ran.code == 1
    (line,) = map(json.loads, ran.out.splitlines())
    assert line["file"].endswith("small")
    for name in ("large", "larger"):
        assert re.search(rf"^error: .*/{name}: PAYLOAD_TOO_LARGE", ran.err, re.MULTILINE), ran
    assert "1 of 3 tasks" in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("enqueue", "c", "--payload", "{bad"), "--payload is not JSON"),
        (("enqueue", "c", "no such file"), "no such file"),
        (("enqueue", "c", "--priority", "urgent"), "urgent"),
        (("enqueue", "c", "--delay", "soon"), "soon"),
        (("enqueue", "c", "--header", "no-equals-sign"), "no-equals-sign"),
        (("enqueue", "c", "--timeout", "1s"), "--wait"),
        (("enqueue", "c", "--payload", "1", "--file", "/dev/null"), "one payload"),
        (("enqueue",), "COMMAND"),
        (("work", "c", "--exec", "no-such-program-anywhere"), "no-such-program-anywhere"),
        (("work", "c", "--exec", "cat 'unclosed"), "unclosed"),
        (("work", "c"), "--exec"),
        (("token", "--subject", "s", "--tenant", "white space", "--role", "admin"), "tenant"),
        (("nonsense",), "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_told_before_any_server_is_asked(words: tuple[str, ...], told: str) -> None:
    ran = run_codeq(*words, env={"CODEQ_ADDRESS": f"127.0.0.1:{free_port()}"})
    assert ran.code == 2, ran
    assert told in ran.err
    assert ran.out == ""
    assert "Traceback" not in ran.err
