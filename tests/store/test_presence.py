"""What servers tell each other of the workers connected to them, and how long it counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codeq_grpc.store.presence import PresenceStore

if TYPE_CHECKING:
    from tests.support.clock import ClockedConnection


@pytest.fixture
def presence(clocked: ClockedConnection) -> PresenceStore:
    return PresenceStore(clocked)


async def test_latest_report_of_each_server_is_read(presence: PresenceStore) -> None:
    assert await presence.read("acme") == {}
    for server, report in (("a", b"\0one"), ("b", b"two"), ("a", b"\0three")):
        await presence.tell("acme", server, report)
    assert await presence.read("acme") == {"a": b"\0three", "b": b"two"}


async def test_tenants_are_told_apart(presence: PresenceStore) -> None:
    await presence.tell("acme", "a", b"one")
    assert await presence.read("other") == {}


async def test_empty_report_takes_it_back(presence: PresenceStore) -> None:
    await presence.tell("acme", "a", b"one")
    await presence.tell("acme", "b", b"two")
    await presence.tell("acme", "a", b"")
    assert await presence.read("acme") == {"b": b"two"}


async def test_server_not_heard_of_for_15_seconds_is_forgotten(
    presence: PresenceStore, clocked: ClockedConnection
) -> None:
    await presence.tell("acme", "a", b"one")
    clocked.clock.advance(15_000)
    await presence.tell("acme", "b", b"two")
    assert (await presence.read("acme")).keys() == {"a", "b"}
    clocked.clock.advance(1)
    assert (await presence.read("acme")).keys() == {"b"}
    await presence.tell("acme", "b", b"two")
    clocked.clock.advance(-15_000)
    assert (await presence.read("acme")).keys() == {"b"}
