"""Messages of the hot path as bytes: what the store keeps goes through without being parsed.

The format is that of protobuf (protobuf.dev/programming-guides/encoding): fields in any order, each
a tag, then a varint, or a length and bytes; messages that follow one another are one message with
the fields of all. Tests hold every function against the generated code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.core.records import Lease

_SHORT: Final = tuple(bytes((n,)) for n in range(128))
_LOW: Final = tuple(bytes((n & 127 | 128, n >> 7 | 128)) for n in range(1 << 14))
"""The first two bytes of a varint of more than two."""


def varint(number: int) -> bytes:
    """A number of 0 to 2**64 - 1, seven bits a byte, lowest first."""
    if number < 128:
        return _SHORT[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(tag: bytes, content: bytes) -> bytes:
    """A field of a length and bytes."""
    return tag + varint(len(content)) + content


def _time(ms: int) -> bytes:
    """A Timestamp or a Duration of no less than 0."""
    seconds, rest = divmod(ms, 1000)
    out = b"\x08" + varint(seconds) if seconds else b""
    return out + b"\x10" + varint(rest * 1_000_000) if rest else out


def claimed(leases: Iterable[Lease]) -> bytes:
    """`ClaimResponse` or `ClaimedTasks` of these tasks."""
    parts: list[bytes] = []
    # Tasks of one claim have much in common.
    times: dict[int, bytes] = {}
    counts: dict[tuple[int, int, int], tuple[bytes, bytes]] = {}
    fences: dict[int, bytes] = {}
    for lease in leases:
        task_id, _, fence, attempt, most, expire_ms, lease_ms, create_ms, spec, checkpoint = lease
        key = attempt, most, lease_ms
        known = counts.get(key)
        if known is None:
            known = counts[key] = _counts(*key)
        numbers, duration = known
        expires = times.get(expire_ms) or times.setdefault(expire_ms, _time(expire_ms))
        created = times.get(create_ms) or times.setdefault(create_ms, _time(create_ms))
        high = fence >> 14
        tail = fences.get(high) or fences.setdefault(high, varint(high))
        ref = b"\n%c%b\x10%b%b" % (
            *(len(task_id), task_id.encode()),
            *((_LOW[fence & 16383], tail) if high else (varint(fence), b"")),
        )
        body = b"\n%c%b\x12%b%b%b*%c%b2%c%b%b" % (
            *(len(ref), ref, varint(len(spec)), spec, numbers, len(expires), expires),
            *(len(created), created, sized(b":", checkpoint) if checkpoint else b""),
        )
        parts += (b"\n", varint(len(body) + len(duration)), body, duration)
    return b"".join(parts)


def _counts(attempt: int, most: int, lease_ms: int) -> tuple[bytes, bytes]:
    """Attempt and max_attempts; lease_duration."""
    numbers = b"\x18" + varint(attempt) if attempt else b""
    if most:
        numbers += b"\x20" + varint(most)
    return numbers, sized(b"B", _time(lease_ms))


def enqueued(task_id: str, state: int, *, created: bool) -> bytes:
    """`EnqueueResponse`."""
    return b"\n%c%b\x10%c%b" % (len(task_id), task_id.encode(), state, _CREATED[created])


_CREATED: Final = (b"", b"\x18\x01")


def all_enqueued(responses: Sequence[bytes]) -> bytes:
    """`BatchEnqueueResponse` with these results; an empty one stands for a failure."""
    return b"".join([b"\n%c%b" % (len(response), response) for response in responses])


def stream_batch(leases: Iterable[Lease]) -> bytes:
    """`StreamClaimResponse` with a batch."""
    return sized(b"\x12", claimed(leases))
