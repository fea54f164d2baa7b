"""A keyword that no function knows is refused, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.client import Client, SyncClient, filters, queues, spec

if TYPE_CHECKING:
    from collections.abc import Callable

TYPO: Final[Any] = {"create_time_before": None}
"""What the field of the message is called; the keyword is created_before."""
FUNCTIONS: Final[dict[str, Callable[[], object]]] = {
    "spec": lambda: spec("c", **TYPO),
    "task_filter": lambda: filters.task_filter("c", **TYPO),
    "selector": lambda: filters.selector("c", (), TYPO),
    "selector by ids": lambda: filters.selector(None, ["t"], TYPO),
    "update_request": lambda: queues.update_request("c", **TYPO),
    "SyncClient.enqueue": lambda: SyncClient().enqueue("c", **TYPO),
    "Client.watch_tasks": lambda: Client().watch_tasks("c", **TYPO),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_unknown_keyword_is_named(name: str) -> None:
    with pytest.raises(TypeError, match="'create_time_before'"):
        FUNCTIONS[name]()


@pytest.mark.parametrize("token", ["cq_1\n", "cq_1\r\n", "\tcq_1", "cq_é", "cq_1\x7f"])
@pytest.mark.parametrize("client", [Client, SyncClient])
def test_a_token_that_no_header_can_carry_is_told_at_once_and_not_shown(
    client: type[Client | SyncClient], token: str
) -> None:
    with pytest.raises(ValueError, match="the token has characters") as caught:
        client(token=token)
    assert "cq_" not in str(caught.value)


@pytest.mark.parametrize("name", ["enqueue", "cancel_matching", "redrive_matching", "list_tasks"])
async def test_an_unknown_keyword_is_named_when_the_call_is_awaited(name: str) -> None:
    call = getattr(Client(), name)("c", **TYPO)
    with pytest.raises(TypeError, match="'create_time_before'"):
        await (anext(call) if name == "list_tasks" else call)
