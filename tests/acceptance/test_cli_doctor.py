"""`codeq doctor` as an operator runs it: against the store, with a server at work or without."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.findings import KINDS
from tests.acceptance.programs import CODEQ, PATIENCE, Program, Ran, run_codeq, wait_until
from tests.support.admin import Admin
from tests.support.store_user import StoreUser
from tests.support.stores import StoreProcess, engines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Working
    from tests.acceptance.servers import Dev


@pytest.fixture
def url(server: Dev) -> str:
    """Of the store of a server that runs."""
    return f"unix://{server.socket}"


@pytest.fixture
def look(url: str, tmp_path: Path) -> Callable[..., Ran]:
    """`codeq doctor` on that store."""

    def run(*words: str) -> Ran:
        return run_codeq("doctor", *words, env={"CODEQ_REDIS_URL": url}, cwd=tmp_path)

    return run


def lines(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def test_store_of_a_busy_server_is_clean_while_it_works(
    api: Api, working: Working, look: Callable[..., Ran], command: str
) -> None:
    api.enqueue(command, [b"%d" % i for i in range(400)])
    with working(command, "--exec", "cat"):
        ran = look("--json")
        assert ran.code == 0, ran
        (summary,) = lines(ran)
        assert summary["summary"]["findings"] == 0
        wait_until(lambda: api.queue(command).completed == 400, "the end of all tasks", PATIENCE)
    assert look().code == 0


class TestAlone:
    @pytest.fixture
    def store(self) -> Iterator[StoreProcess]:
        with StoreProcess(engines()[0]) as store:
            yield store

    @pytest.fixture
    def admin(self, store: StoreProcess) -> Iterator[Admin]:
        with Admin(store.socket_path) as admin:
            admin.call("HSET", "codeq:{registry}:names", "acme/a b", "1")
            admin.call("HSET", "codeq:{registry}:numbers", "1", "acme/a b")
            admin.call("SET", "codeq:{registry}:last", "1")
            admin.call("ZADD", "codeq:{registry}:order", "0", "acme/a b")
            admin.call("ZADD", "codeq:{acme/a b/0}:l", "1", b"\0" * 7)
            admin.call("HSET", "codeq:{acme/a b/0}:s", "sweep", "never")
            yield admin

    @pytest.fixture
    def look(self, store: StoreProcess, admin: Admin, tmp_path: Path) -> Callable[..., Ran]:
        def run(*words: str) -> Ran:
            return run_codeq("doctor", *words, env={"CODEQ_REDIS_URL": store.url}, cwd=tmp_path)

        return run

    def test_findings_end_with_1_and_are_told_for_people(self, look: Callable[..., Ran]) -> None:
        ran = look()
        assert ran.code == 1, ran
        assert "error: acme/a b s sweep: " in ran.out
        assert "1 findings, 0 of them mended" in ran.err

    def test_findings_are_told_for_machines(self, look: Callable[..., Ran]) -> None:
        ran = look("--json", "--repair")
        assert ran.code == 0, ran
        *found, last = lines(ran)
        assert {(one["kind"], one["key"], one["mended"]) for one in found} == {
            ("bad_field", "s", True),
            ("stray", "l", True),
        }
        assert all(one["queue"] == "acme/a b" and one["kind"] in KINDS for one in found)
        assert last["summary"] == {
            "queues": 1,
            "tasks": 0,
            "findings": 2,
            "left": 0,
            "kinds": {"bad_field": 1, "stray": 1},
        }
        assert look("--queue", "acme/a b").code == 0

    def test_registry_that_cannot_be_read_is_told_and_mended(
        self, look: Callable[..., Ran], admin: Admin
    ) -> None:
        admin.call("SET", "codeq:{registry}:numbers", "mine")
        for words in ((), ("--queue", "acme/a b")):
            ran = look(*words)
            assert ran.code == 1, ran
            assert ran.out.startswith("error: numbers string: a key is of a type"), ran
            assert len(ran.out.splitlines()) == 1
        ran = look("--repair")
        assert ran.code == 0, ran
        assert "wrong_type" in ran.out
        assert "bad_field" in ran.out
        assert look().code == 0

    def test_bodies_without_tasks_end_with_1_till_somebody_decides(
        self, look: Callable[..., Ran], admin: Admin
    ) -> None:
        admin.call("HSET", "codeq:{acme/a b/0}:b", b"\0" * 6 + b"n", "body")
        for _ in range(2):
            ran = look("--repair")
            assert ran.code == 1, ran
            (told,) = [line for line in ran.out.splitlines() if "(orphan)" in line]
            assert told.startswith("error: ")
            hint = "--repair --restore makes a task of it, --repair --discard removes it"
            assert told.endswith(hint)
        assert look("--repair", "--discard").code == 0
        ran = look("--json")
        assert (ran.code, lines(ran)[-1]["summary"]["tasks"]) == (0, 0)

    @pytest.mark.parametrize(
        "words",
        [
            ("--restore",),
            ("--discard",),
            ("--repair", "--restore", "--discard"),
            ("--queue", "acme"),
            ("--queue", "acme/none"),
            ("--config", "none"),
        ],
        ids=" ".join,
    )
    def test_wrong_usage_ends_with_2(
        self, look: Callable[..., Ran], words: tuple[str, ...]
    ) -> None:
        ran = look(*words)
        assert (ran.code, ran.out) == (2, ""), ran

    def test_store_that_is_away_is_an_error_in_one_line(self, tmp_path: Path) -> None:
        env = {"CODEQ_REDIS_URL": f"unix://{tmp_path}/none"}
        ran = run_codeq("doctor", env=env)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: STORE_UNAVAILABLE: ")
        assert len(ran.err.splitlines()) == 1

    def test_a_user_who_may_not_do_it_is_told_of_the_page(
        self, store: StoreProcess, admin: Admin
    ) -> None:
        with StoreUser(store) as user:
            ran = run_codeq("doctor", env={"CODEQ_REDIS_URL": user.url})
        assert (ran.code, ran.out) == (1, "")
        assert "docs/operations.md" in ran.err
        assert len(ran.err.splitlines()) == 1

    def test_interrupted_it_ends_at_once(self, store: StoreProcess, admin: Admin) -> None:
        store.pause()
        env = {"CODEQ_REDIS_URL": store.url}
        try:
            with Program([CODEQ, "doctor"], env=env) as program:
                wait_until(lambda: store.pid and program.running, "its start")
                program.interrupt()
                assert program.wait() != 0
        finally:
            store.resume()
