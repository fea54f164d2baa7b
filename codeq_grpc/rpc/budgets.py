"""Places for calls under way: of a server, of each principal and of each address; of streams also
of each tenant.

A call takes its place before its request is read, where the engine lets us, and gives it back when
gRPC is through with it, its reply included. One loop serves all calls: counting needs no lock.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import QuotaExceeded, TooManyCalls, TooManyFailures, TooManyStreams
from codeq_grpc.core.quotas import EVERYBODY
from codeq_grpc.rpc.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from codeq_grpc.core.errors import CodeQError
    from codeq_grpc.core.principal import Principal
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.rpc.room import Share

_log = logging.getLogger(__name__)
_RETRY: Final = 1.0


@functools.lru_cache(maxsize=4096)
def address_of(peer: str) -> str:
    """Who is at the other end, of gRPC's name for it: an IPv4 address, or the /64 of an IPv6 one,
    since whoever has one address of it has all; programs on local sockets are one.
    """
    kind, _, rest = peer.partition(":")
    try:
        found = ipaddress.ip_address(unquote(rest).rpartition(":")[0].strip("[]"))
    except ValueError:
        return kind
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return f"{ipaddress.IPv6Address(int(found) >> 64 << 64)}/64"
        found = found.ipv4_mapped
    return str(found)


class Places(NamedTuple):
    """How many calls of one kind may be under way; None for as many as there are."""

    server: int | None
    principal: int | None
    address: int | None


def _name(principal: Principal | None) -> tuple[str, str] | None:
    return (principal.tenant, principal.subject) if principal else None


class Budget:
    """Places of one kind. `name` is that of the setting of the server's; those of the others derive
    from it. Its calls' requests come into `room`. `quota` is the one that tenants may have of them.
    """

    def __init__(
        self,
        name: str,
        places: Places,
        error: type[CodeQError],
        room: Room,
        quota: str = "",
        tenants: Tenants = EVERYBODY,
    ) -> None:
        self._name = name
        self._room = room
        self._places = places
        self._error = error
        self._quota = quota
        self._tenants = tenants
        self._held: dict[Hashable, int] = {}
        self.under_way = 0

    def take(self, principal: Principal | None, address: str) -> Callable[[Any], None]:
        """Takes a place; to be called when it is free again is what comes back. Raises the error
        of the kind, or QuotaExceeded.
        """
        held, places = self._held, self._places
        if places.server is not None and self.under_way >= places.server:
            raise self._full("", places.server)
        who = _name(principal)
        of_who = held.get(who, 0)
        if who and places.principal is not None and of_who >= places.principal:
            raise self._full("_per_principal", places.principal)
        of_address = held.get(address, 0)
        if places.address is not None and of_address >= places.address:
            raise self._full("_per_address", places.address)
        keys: tuple[Hashable, ...] = (who, address)
        if self._quota and principal:
            keys += self._of_tenant(principal.tenant)
        for key in keys:
            held[key] = held.get(key, 0) + 1
        self.under_way += 1
        return functools.partial(self._leave, keys)

    def _of_tenant(self, tenant: str) -> tuple[Hashable, ...]:
        """What to count a tenant's by, if it may have so many only."""
        most: int | None = getattr(self._tenants.of(tenant), self._quota)
        if most is None:
            return ()
        if self._held.get((tenant,), 0) >= most:
            raise QuotaExceeded.of(self._quota, most, retry_after=_RETRY)
        return ((tenant,),)

    def share(self, principal: Principal | None, address: str) -> Share:
        """What a call has of the room, nothing yet; who has no name is known by address."""
        return self._room.share(_name(principal) or address)

    def _full(self, whose: str, limit: int) -> CodeQError:
        metadata = {"budget": self._name + whose, "limit": str(limit)}
        return self._error(f"{self._name}{whose}: {limit} are under way", metadata=metadata)

    def _leave(self, keys: Iterable[Hashable], _: Any = None) -> None:
        held = self._held
        for key in keys:
            if held[key] == 1:
                del held[key]
            else:
                held[key] -= 1
        self.under_way -= 1


class Budgets:
    """One for calls, one for streams, one for watches, and two for health, which anybody may ask:
    who takes all of one leaves the others alone.
    """

    def __init__(
        self,
        *,
        calls: Places,
        streams: Places,
        watches: Places,
        requests: tuple[int, int],
        tenants: Tenants = EVERYBODY,
    ) -> None:
        room = Room("max_request_bytes", *requests, whose="_per_principal")
        self._calls = Budget("max_calls", calls, TooManyCalls, room)
        claiming = Budget("max_streams", streams, TooManyStreams, room, "streams", tenants)
        watching = Budget("max_watches", watches, TooManyStreams, room, "watches", tenants)
        # No limit for all addresses together: they could shut out the probes of the platform.
        checks = Places(None, None, limits.HEALTH_CHECKS_PER_ADDRESS)
        watched = Places(limits.HEALTH_WATCHES, None, limits.HEALTH_WATCHES_PER_ADDRESS)
        theirs = limits.HEALTH_BYTES, limits.HEALTH_BYTES_PER_ADDRESS
        room = Room("health_bytes", *theirs, whose="_per_address")
        health = Budget("health_checks", checks, TooManyCalls, room)
        health_watches = Budget("health_watches", watched, TooManyStreams, room)
        self._by_method = {
            "/codeq.v1.CodeQService/StreamClaim": claiming,
            "/codeq.v1.CodeQService/WatchTasks": watching,
            "/grpc.health.v1.Health/Check": health,
            "/grpc.health.v1.Health/List": health,
            "/grpc.health.v1.Health/Watch": health_watches,
        }
        self._named = {
            "calls": self._calls,
            "streams": claiming,
            "watches": watching,
            "health_checks": health,
            "health_watches": health_watches,
        }

    def of(self, method: str) -> Budget:
        """The one that a method counts in."""
        return self._by_method.get(method, self._calls)

    def under_way(self) -> dict[str, int]:
        """How many there are of each kind."""
        return {name: budget.under_way for name, budget in self._named.items()}


class Failures:
    """Failed authentications of each address, a second at a time. Beyond `most` they are still
    answered, shortly and without a line in the log. Who has a valid credential does not notice.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._began = monotonic()

    def count(self, address: str, error: CodeQError) -> CodeQError:
        """What to answer to one more that failed with `error`."""
        now = monotonic()
        if now - self._began >= 1.0:
            self._counts.clear()
            self._began = now
        count = self._counts[address] = self._counts.get(address, 0) + 1
        if count <= self._most:
            return error
        if count == self._most + 1:
            _log.warning("many failed authentications", extra={"address": address})
        return TooManyFailures(metadata={"limit": str(self._most)})
