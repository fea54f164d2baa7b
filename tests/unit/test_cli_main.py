"""The command line as a whole: exit codes, one line for an error, no server needed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
import yaml

from codeq_grpc.identity_settings import TokenEntry


def codeq(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    code = "from codeq_grpc.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env={**os.environ, **environment},
    )


def test_a_token_and_its_entry_fit_together() -> None:
    done = codeq("token", "--subject", "a: b", "--tenant", "t", "--role", "worker")
    assert done.returncode == 0
    (secret,) = [word for word in done.stderr.split() if word.startswith("cq_")]
    (parsed,) = yaml.safe_load(done.stdout)
    assert parsed == {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "subject": "a: b",
        "tenant": "t",
        "roles": ["worker"],
    }
    TokenEntry(**parsed)
    assert len(secret) >= 40


def test_a_token_as_json() -> None:
    done = codeq("token", "--subject", "s", "--tenant", "t", "--role", "admin", "--json")
    document = json.loads(done.stdout)
    assert document["entry"]["sha256"] == hashlib.sha256(document["token"].encode()).hexdigest()


@pytest.mark.parametrize(
    "args",
    [
        ("enqueue",),
        ("enqueue", "c", "--timeout", "1s"),
        ("enqueue", "c", "--payload", "{"),
        ("enqueue", "c", "--payload", "{}", "--file", __file__),
        ("enqueue", "c", "no such file"),
        ("work", "c"),
        ("work", "c", "--exec", "no-such-program-anywhere"),
        ("work", "c", "--exec", "'"),
        ("work", *map(str, range(33)), "--exec", "true"),
        ("token", "--subject", "s", "--tenant", "no spaces", "--role", "worker"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_2_and_told_on_stderr(args: tuple[str, ...]) -> None:
    done = codeq(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("enqueue", "c"),
        ("queues",),
        ("queues", "--json"),
        ("queues", "show", "c"),
        ("queues", "set", "c", "max_backlog=1"),
        ("tasks", "show", "x"),
        ("tasks", "list", "c"),
        ("tasks", "cancel", "x"),
        ("tasks", "redrive", "--command", "c", "--yes"),
        ("tasks", "watch", "c"),
        ("workers",),
        ("top",),
    ],
)
def test_no_server_is_1_and_says_what_to_do(args: tuple[str, ...]) -> None:
    done = codeq(*args, CODEQ_ADDRESS="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: SERVER_UNAVAILABLE: no server answers at 127.0.0.1:1;")
    assert "codeq dev" in line


@pytest.mark.parametrize("token", ["cq_1\r", "cq_1\n", "é"])
def test_a_token_that_no_header_can_carry_is_wrong_usage_and_not_shown(token: str) -> None:
    done = codeq("queues", CODEQ_TOKEN=token, CODEQ_ADDRESS="127.0.0.1:1")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert "the token" in line
    assert "Traceback" not in done.stderr
    assert token.strip() not in done.stderr


def test_no_command_loads_grpc_before_it_needs_it() -> None:
    code = "import codeq_grpc.cli.main, sys; print('grpc' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == "False False\n"
