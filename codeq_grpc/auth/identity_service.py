"""An identity service that is asked whose a token is, as by the scheduler that codeQ replaces.

`POST {url}/v1/accounts/lookup?key={API key}` with `{"idToken": ...}` is answered with
`{"users": [{"localId": ..., ...}]}`. What it says of a token counts for a minute at most, that the
token is not good for 5 s. Outages, errors and nonsense are IDENTITY_UNAVAILABLE, and never a yes.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from codeq_grpc.auth.asking import Outage, Unanswered
from codeq_grpc.auth.credentials import Source
from codeq_grpc.auth.documents import claimed, read_object
from codeq_grpc.auth.remembered import Remembered
from codeq_grpc.core import api_keys, clock
from codeq_grpc.core.claims import Refused
from codeq_grpc.core.errors import CodeQError, CredentialInvalid, IdentityUnavailable
from codeq_grpc.core.principal import Principal

if TYPE_CHECKING:
    from codeq_grpc.auth.asking import Answer, Asker
    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.core.claims import Lookup

_log = logging.getLogger(__name__)
_FRESH: Final = 60.0
_REFUSED: Final = 5.0
_ACQUAINTED: Final = 3_600.0
"""Seconds for which a token that was good goes before strangers."""
_KEPT: Final = 10_000
_AT_ONCE: Final = 64
_STRANGERS: Final = 48
"""Look-ups at once, and those of tokens that were not good lately: a flood of made-up ones leaves
places for others."""
_WAITING: Final = 2_000
"""Calls that may wait for look-ups at the same time."""
_ANSWER_BYTES: Final = 64 << 10
_TRANSIENT: Final = frozenset({408, 425, 429})
"""Statuses below 500 that say nothing of the token."""
_NEVER: Final = 1 << 48
"""Times from here on are no ends."""

_Found = Principal | type[CodeQError]


class _Known(NamedTuple):
    """Who had a token, and until when that counts."""

    principal: Principal
    fresh_until: float


class IdentityService:
    """The way of bearer tokens that are of no other kind."""

    def __init__(self, lookup: Lookup, asker: Asker) -> None:
        key = f"?key={quote(lookup.api_key, safe='')}" if lookup.api_key else ""
        self._url = f"{lookup.url.rstrip('/')}/v1/accounts/lookup{key}"
        self._rules = lookup.rules
        self._asker = asker
        self._known = Remembered[bytes, _Known](_KEPT)
        self._refused = Remembered[bytes, bool](_KEPT)
        self._asking: dict[bytes, asyncio.Task[_Found]] = {}
        self._waiting = 0
        self._outage = Outage("the identity service")

    def takes(self, credential: Credential) -> bool:
        """Any bearer token but API keys, which are no affair of the service's."""
        is_bearer = credential.source is Source.BEARER
        return is_bearer and not credential.text.startswith(api_keys.PREFIX)

    async def verify(self, credential: Credential) -> Principal:
        """Whose it is. Raises CredentialInvalid and IdentityUnavailable."""
        digest = hashlib.sha256(credential.text.encode()).digest()
        known = self._known.get(digest)
        left = known.fresh_until - clock.monotonic() if known else 0.0
        if known is not None and left > 0:
            return replace(known.principal, check_again=left)
        if self._refused.get(digest):
            raise CredentialInvalid
        found = await self._wait(self._look_up(credential.text, digest, known=known is not None))
        if isinstance(found, Principal):
            return found
        raise found

    def close(self) -> None:
        """Ends all look-ups."""
        for task in self._asking.values():
            task.cancel()

    def _look_up(self, text: str, digest: bytes, *, known: bool) -> asyncio.Task[_Found]:
        """The one look-up of a token that is under way."""
        task = self._asking.get(digest)
        if task is None:
            if len(self._asking) >= (_AT_ONCE if known else _STRANGERS):
                raise IdentityUnavailable("too many credentials are being verified")
            task = asyncio.get_running_loop().create_task(self._ask(text, digest))
            self._asking[digest] = task
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        return task

    async def _wait(self, task: asyncio.Task[_Found]) -> _Found:
        if self._waiting >= _WAITING:
            raise IdentityUnavailable("too many credentials are being verified")
        self._waiting += 1
        try:
            # Not cancelled with its caller: others may wait for it.
            await asyncio.wait([task])
        finally:
            self._waiting -= 1
        return IdentityUnavailable if task.cancelled() else task.result()

    async def _ask(self, text: str, digest: bytes) -> _Found:
        began = clock.monotonic()
        try:
            answer = await self._asker.post(self._url, {"idToken": text}, _ANSWER_BYTES)
            found = self._read(answer, text)
        except Unanswered as why:
            self._outage.began(str(why))
            return IdentityUnavailable
        except Refused as why:
            _log.debug("the identity service's answer does not do: %s", why)
            found = None
        self._outage.over()
        if found is None:
            self._refused.put(digest, True, _REFUSED)
            return CredentialInvalid
        left = found.expires_at - clock.now().timestamp()
        self._known.put(digest, _Known(found, began + min(_FRESH, left)), _ACQUAINTED)
        return found

    def _read(self, answer: Answer, text: str) -> Principal | None:
        """Who that is; None if the service says that the token is not good. Raises Refused, and
        Unanswered for what is no answer.
        """
        if 400 <= answer.status < 500 and answer.status not in _TRANSIENT:
            return None
        if answer.status != 200:
            raise Unanswered(f"it answered {answer.status}")
        user = _user(answer.body)
        if user is None or not _is_active(user):
            return None
        return self._rules.principal(
            user, credential="identity-service", expires_at=_end(text), check_again=_FRESH
        )


def _user(body: bytes) -> dict[str, Any] | None:
    """The one user of an answer, None if there is none. Raises Unanswered."""
    try:
        users = read_object(body).get("users")
    except ValueError:
        raise Unanswered("its answer is no JSON object") from None
    if not isinstance(users, list) or len(users) > 1:
        raise Unanswered("its answer does not tell of one user")
    if not users:
        return None
    user = users[0]
    if not isinstance(user, dict):
        raise Unanswered("its answer does not tell of one user")
    custom = user.get("customAttributes")
    if isinstance(custom, str):  # JSON within JSON
        try:
            user["customAttributes"] = read_object(custom.encode())
        except ValueError:
            del user["customAttributes"]
    return user


def _is_active(user: dict[str, Any]) -> bool:
    disabled, status = user.get("disabled"), user.get("status")
    if status is not None and not (isinstance(status, str) and status.upper() in {"", "ACTIVE"}):
        return False
    return disabled is None or disabled is False


def _end(text: str) -> float:
    """When the token ends, if it is signed and tells. The service has seen to the signature; and
    this can only shorten for how long its word counts.
    """
    ends = [one for one in claimed(text, "exp") if isinstance(one, int | float)]
    return min((float(max(one, 0)) for one in ends if one < _NEVER), default=math.inf)
