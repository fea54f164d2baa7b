"""What a client does, told apart from how it waits.

A flow is a generator: it yields the calls and pauses that it needs, is given their answers, or
has their errors thrown at it, and returns its result. `Client` runs flows with await,
`SyncClient` in the caller's thread, and what they do stands in one place.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from codeq_grpc.client.errors import ServerUnavailable
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError, Draining, StoreUnavailable

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")
Response = TypeVar("Response", bound="Message")

OUTAGES: Final = (Draining, ServerUnavailable, StoreUnavailable)
"""What passes by itself, as a rule: the server or its store is away."""
_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """A unary call. Its deadline is `timeout`, by default the client's, plus `wait` seconds."""

    method: str
    request: Message
    response: type[Message]
    timeout: float | None = None
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for some seconds."""

    seconds: float


Step = Call | Pause
Flow = Generator[Step, Any, T]


def call(
    method: str,
    request: Message,
    response: type[Response],
    *,
    timeout: float | None = None,
    wait: float = 0.0,
) -> Flow[Response]:
    """The flow of one call, and its answer.

    Raises:
        CodeQError: The call failed.
    """
    return cast("Response", (yield Call(method, request, response, timeout, wait)))


class Patience:
    """Sits out an outage of the server or its store that is shorter than `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._until = clock.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until it is over."""
        return self._until - clock.monotonic()

    def pause(self, error: CodeQError) -> Pause:
        """The pause before the next try.

        Raises:
            CodeQError: `error`: it is no outage, or it has lasted too long.
        """
        if not isinstance(error, OUTAGES) or self.left <= _PAUSE:
            raise error
        return Pause(_PAUSE)
