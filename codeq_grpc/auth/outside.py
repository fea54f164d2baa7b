"""All ways for which others are asked: issuers of signed tokens and an identity service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from codeq_grpc.auth.asking import Asker
from codeq_grpc.auth.identity_service import IdentityService
from codeq_grpc.auth.issuer_keys import FixedKey, PublishedKeys
from codeq_grpc.auth.signed_tokens import SignedTokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.auth.authenticator import Way
    from codeq_grpc.auth.issuer_keys import Keys
    from codeq_grpc.core.claims import Issuer, Lookup


class Outside:
    """The ways, in the order in which their forms are looked at, and what keeps them going. Raises
    UnusableKey.
    """

    def __init__(self, issuers: Sequence[Issuer], lookup: Lookup | None) -> None:
        self._asker = Asker()
        self._published: list[PublishedKeys] = []
        self._service = IdentityService(lookup, self._asker) if lookup else None
        signed = SignedTokens((issuer, self._keys_of(issuer)) for issuer in issuers)
        self.ways: tuple[Way, ...] = (
            *((signed,) if issuers else ()),
            *((self._service,) if self._service else ()),
        )

    def _keys_of(self, issuer: Issuer) -> Keys:
        if issuer.public_key:
            return FixedKey(issuer.public_key)
        keys = PublishedKeys(issuer.name, issuer.jwks_url, self._asker)
        self._published.append(keys)
        return keys

    async def run(self) -> None:
        """Fetches keys and lets questions be asked, for ever."""
        if not self._published and self._service is None:
            await asyncio.Event().wait()
        async with self._asker.open():
            try:
                async with asyncio.TaskGroup() as group:
                    for keys in self._published:
                        group.create_task(keys.run())
                    await asyncio.Event().wait()
            finally:
                if self._service:
                    self._service.close()
