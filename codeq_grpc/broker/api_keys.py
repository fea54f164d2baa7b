"""API keys: who may make which, who sees them, when they were used, and their end."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import re
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.page_tokens import page_token, place_of
from codeq_grpc.core import limits
from codeq_grpc.core.api_keys import ApiKey, digest_of, is_within, new_key, uncovered
from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import (
    CodeQError,
    CommandForbidden,
    InvalidField,
    KeyNotFound,
    ScopeMissing,
    TooManyKeys,
)
from codeq_grpc.store.api_keys import FULL

if TYPE_CHECKING:
    from codeq_grpc.core.api_keys import Wanted
    from codeq_grpc.core.principal import Principal, Reach
    from codeq_grpc.store.api_keys import ApiKeyStore

_log = logging.getLogger(__name__)
_EVERY: Final = 2.0
"""Seconds between notes of what was used."""
_AGAIN: Final = 60.0
"""Seconds after which a key is noted again."""
_FORGET_EVERY: Final = 60.0
_FORGOTTEN: Final = 100
_NOTED: Final = 100
"""Keys in one call."""
_PLACE: Final = re.compile(rb"[0-9]{13}[0-9a-z]{12}")


class ApiKeys:
    """Keys of all tenants. A caller sees and revokes those of its tenant that can do nothing beyond
    its reach.
    """

    def __init__(self, store: ApiKeyStore) -> None:
        self._store = store
        self._due: set[str] = set()
        self._noted: dict[str, float] = {}

    async def create(self, creator: Principal, wanted: Wanted) -> tuple[ApiKey, str]:
        """A new key, and its text. It can do no more than its creator, nor for longer."""
        _check_rights(creator, wanted)
        made = await self._make(creator, wanted)
        if made is None and await self._store.forget(0, _FORGOTTEN, creator.tenant):
            made = await self._make(creator, wanted)
        if made is None:
            raise TooManyKeys(metadata={"limit": str(limits.API_KEYS)})
        return made

    async def _make(self, creator: Principal, wanted: Wanted) -> tuple[ApiKey, str] | None:
        """None if the tenant has too many."""
        while True:
            key_id, text = new_key()
            made = await self._store.make(
                creator.tenant, key_id, wanted, creator.subject, digest_of(text)
            )
            if isinstance(made, ApiKey):
                return made, text
            if made == FULL:
                return None

    async def page(
        self, reach: Reach, token: str, path: str, most: int
    ) -> tuple[list[ApiKey], str]:
        """Some keys, the newest first, and the token of where to go on, empty at the end. There may
        be fewer than `most`, even none.
        """
        bound_to = f"api keys of {reach.tenant}/".encode()
        after = place_of(bound_to, token) if token else b""
        if after is None or (token and not _PLACE.fullmatch(after)):
            raise InvalidField.at(path, "is not a token that this request gave")
        keys, place = await self._store.page(reach.tenant, after.decode(), most)
        found = [key for key in keys if is_within(key.commands, reach.patterns)]
        return found, page_token(bound_to, place.encode()) if place else ""

    async def revoke(self, reach: Reach, key_id: str) -> None:
        """Ends a key for good; again is fine. Raises KeyNotFound."""
        _, (key,) = await self._store.find([key_id])
        # Neither ever changes. Another tenant's key is refused as soon as one that never was.
        known = key and key.tenant == reach.tenant and is_within(key.commands, reach.patterns)
        if not known or not await self._store.revoke(reach.tenant, key_id):
            raise KeyNotFound(metadata={"key_id": key_id})

    def used(self, key_id: str) -> None:
        """That a call came with this key."""
        if key_id not in self._noted:
            self._due.add(key_id)

    async def run(self) -> None:
        """Notes what is used, and forgets what has ended long ago, for ever."""
        forget_at = monotonic()
        told = ""
        while True:
            try:
                await self.note()
                if monotonic() >= forget_at:
                    forgotten = await self._store.forget(limits.API_KEY_KEPT_MS, _FORGOTTEN)
                    forget_at = monotonic() + (_EVERY if forgotten else _FORGET_EVERY)
                    told = ""
            except CodeQError as error:
                # Once, however long it lasts: a line every two seconds would fill the log.
                if told != str(error):
                    _log.warning("cannot note the use of API keys: %s", error)
                told = str(error)
            await asyncio.sleep(_EVERY)

    async def note(self) -> None:
        """Tells the store which keys were used, each at most once a minute."""
        before = monotonic() - _AGAIN
        self._noted = {key_id: at for key_id, at in self._noted.items() if at > before}
        while self._due:
            some = list(itertools.islice(self._due, _NOTED))
            await self._store.note(some)
            self._due.difference_update(some)
            self._noted.update(dict.fromkeys(some, monotonic()))


def _check_rights(creator: Principal, wanted: Wanted) -> None:
    """A key may do no more than who makes it."""
    for scope in sorted(wanted.scopes - creator.scopes):
        raise ScopeMissing(
            f"a key may do no more than who makes it, whose credential has no {scope}",
            metadata={"scope": scope},
        )
    if not is_within(wanted.commands, creator.commands):
        place = uncovered(wanted.commands, creator.commands)
        path = "key.commands" if place is None else f"key.commands[{place}]"
        problem = "must be within the commands of the credential that makes the key"
        raise CommandForbidden(
            f"{path}: {problem}", fields={path: problem}, metadata={"field": path}
        )
    left = creator.expires_at - now().timestamp()
    if left < math.inf and not 0 < wanted.life_ms <= left * 1000:
        problem = f"must be at most {max(0, int(left))} s: then the credential that makes it ends"
        raise InvalidField.at("ttl", problem)
