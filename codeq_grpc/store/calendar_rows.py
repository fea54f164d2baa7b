"""Rows, versions and firings of schedules as scripts pack them; see `lua/lib/schedules.lua`,
`records.lua` and `firings.lua`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.schedules import Cause, Firing, Made, Record, Row, Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.core.schedules import Fire, NewSchedule

_ROW: Final = struct.Struct(">7sBBBII7QB9IQ")
_RECORD: Final = struct.Struct(">IQHHH")
_FIRING: Final = struct.Struct(">7sIQQBBBQQ")
_TERMS: Final = struct.Struct(">BBBBQQIBQQ")
_FIRE: Final = struct.Struct(">7sIBBQQQIHH")
_TIME: Final = struct.Struct(">QQ")
_SKIPPED: Final = 22
_KEYED: Final = 4
_LEAVE: Final = 2
_PLACE_TIME: Final = slice(7, 15)


def read_row(raw: bytes) -> Row:
    """A schedule as scripts decide on it."""
    return Row(*(*_ROW.unpack_from(raw), raw[_ROW.size :].decode()))


def read_record(raw: bytes) -> Record:
    """A version of a schedule."""
    version, at_ms, by, why, terms = _RECORD.unpack_from(raw)
    at = _RECORD.size
    texts = raw[at : at + by].decode(), raw[at + by : at + by + why].decode()
    return Record(version, at_ms, *texts, raw[at + by + why + terms :])


def read_stored(row: bytes, record: bytes, opened: int) -> Stored:
    """A schedule as it was read."""
    return Stored(read_row(row), read_record(record), opened)


def read_firing(place: bytes, raw: bytes) -> Firing:
    """A firing and where it stands."""
    name, version, actual, previous, cause, state, cancel, start, end = _FIRING.unpack_from(raw)
    text = raw[_FIRING.size :].decode()
    is_skipped = state == _SKIPPED
    return Firing(
        place,
        name,
        int.from_bytes(place[_PLACE_TIME], "big"),
        actual,
        previous,
        Cause.TRIGGER if cause == _KEYED else Cause(cause),
        state,
        cancel == 1,
        version,
        "" if is_skipped else text,
        text if is_skipped else "",
        start,
        end,
    )


def read_firings(told: Sequence[bytes]) -> list[Firing]:
    """Of places and firings in turn; one that is gone meanwhile is left out."""
    it = iter(told)
    return [read_firing(place, raw) for place, raw in zip(it, it, strict=True) if raw]


def read_made(told: Sequence[Any]) -> list[Made]:
    """Of places, firings and whether they are new, in turn."""
    it = iter(told)
    return [
        Made(read_firing(place, raw), new == 1) for place, raw, new in zip(it, it, it, strict=True)
    ]


def term_of(kind: str, *texts: str) -> bytes:
    """What a schedule is found by, in front of its id."""
    return "\0".join((kind, *texts, "")).encode()


def creator_term(new: NewSchedule) -> bytes:
    """Those of codeQ itself are nobody's."""
    return b"" if new.system else term_of("u", new.creator.replace("\0", " "))


def pack_new(new: NewSchedule) -> tuple[bytes, bytes, bytes]:
    """Terms, reason of the pause, and record of what people set, as scripts have it."""
    paused = _LEAVE if new.paused is None else int(new.paused)
    timed = new.next_ms is not None
    terms = _TERMS.pack(
        *(new.overlap, new.misfire, paused, new.system, new.grace_ms, new.max_firings),
        *(new.pause_after_failures, timed, new.next_ms or 0, new.act_ms if timed else 0),
    )
    found_by = [term_of("i"), term_of("c", new.command), creator_term(new)]
    found_by += [term_of("l", key, value) for key, value in new.labels]
    packed = b"".join(len(term).to_bytes(2, "big") + term for term in found_by if term)
    by, why = new.by.encode(), new.why.encode()
    sizes = struct.pack(">HHH", len(by), len(why), len(packed))
    return terms, new.pause_reason.encode(), sizes + by + why + packed + new.body


def pack_fire(fire: Fire) -> tuple[str, bytes, str, bytes]:
    """One item of the fire script."""
    head = _FIRE.pack(
        *(fire.expect.number, fire.expect.version, fire.cause, fire.checked),
        *(fire.expected_next_ms, fire.next_ms, fire.act_ms, fire.misfires),
        *(len(fire.times), len(fire.missed)),
    )
    times = b"".join(_TIME.pack(*time) for time in fire.times)
    missed = b"".join(time.to_bytes(8, "big") for time in fire.missed)
    return fire.schedule_id, head, fire.request_key, times + missed
