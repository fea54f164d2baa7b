"""A rule: the union of cron expressions, an interval and single times."""

from __future__ import annotations

from bisect import bisect_right
from hashlib import blake2b
from heapq import merge
from itertools import groupby, islice
from math import lcm
from typing import TYPE_CHECKING, Final

from codeq_grpc.rules.counting import Counter
from codeq_grpc.rules.cron import cron_of
from codeq_grpc.rules.spec import LAST_MS, RuleError, check
from codeq_grpc.rules.zones import zone_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codeq_grpc.rules.cron import Cron
    from codeq_grpc.rules.spec import RuleSpec
    from codeq_grpc.rules.zones import Zone

    After = Callable[[int], int | None]

_FEW: Final = 256
"""Fire times that are quicker walked through than counted."""


class Rule:
    """When to fire. Times in Unix ms; those of a rule lie within its [start, end)."""

    def __init__(self, spec: RuleSpec) -> None:
        """Raises RuleError."""
        check(spec)
        zone = zone_of(spec.zone)
        crons = [_cron(at, text) for at, text in enumerate(spec.crons)]
        self.spec = spec
        self.jitter_ms = spec.jitter_ms
        self._first = spec.start_ms or 0
        self._last = LAST_MS if spec.end_ms is None else spec.end_ms - 1
        self._crons, self._zone = list(dict.fromkeys(crons)), zone
        self._every = spec.every_ms
        self._times = sorted(set(spec.times))
        self._sources = [_of_cron(cron, zone) for cron in self._crons]
        if self._every is not None:
            self._sources.append(_of_interval(self._every))
        if self._times:
            self._sources.append(_of_times(self._times))

    def after(self, ms: int) -> int | None:
        """The first fire time strictly after a moment."""
        since = max(ms, self._first - 1)
        found: int | None = None
        for source in self._sources:
            one = source(since)
            if one is not None and (found is None or one < found):
                found = one
        return None if found is None or found > self._last else found

    def between(self, start: int, end: int, most: int) -> list[int]:
        """The first ones within [start, end), at most so many."""
        return list(islice(self._walk(start - 1, end - 1), max(most, 0)))

    def _walk(self, after: int, until: int) -> Iterator[int]:
        since, until = max(after, self._first - 1), min(until, self._last)
        walks = [_walked(source, since, until) for source in self._sources]
        yield from walks[0] if len(walks) == 1 else (ms for ms, _ in groupby(merge(*walks)))

    def latest(self, after: int, until: int) -> int | None:
        """The latest one within (after, until]."""
        after, until = max(after, self._first - 1), min(until, self._last)
        if until <= after:
            return None
        back, high = 1000, until
        while True:
            low = max(after, until - back)
            found = self.after(low)
            if found is not None and found <= until:
                break
            if low == after:
                return None
            high, back = low, 2 * back
        # One has been found; none comes after `high`.
        while (following := self.after(found)) is not None and following <= until:
            middle = (following + high) // 2
            later = self.after(middle)
            if later is not None and later <= until:
                found = later
            else:
                found, high = following, middle
        return found

    def last(self, after: int, until: int, most: int) -> list[int]:
        """The latest ones within (after, until], at most so many, in order."""
        after, until = max(after, self._first - 1), min(until, self._last)
        found: list[int] = []
        width = 1000
        while until > after and len(found) < most:
            low = max(after, until - width)
            part = self.between(low + 1, until + 1, most + 1)
            if len(part) > most and width > 1:
                width = max(width // 4, 1)
                continue
            found = part + found
            until = low
            if len(part) * 4 < most:
                width *= 4
        return found[-most:] if most > 0 else []

    def count(self, after: int, until: int, most: int) -> int:
        """How many there are within (after, until], `most` if they are more."""
        few = self.between(after + 1, until + 1, min(most, _FEW))
        if len(few) < _FEW:
            return len(few)
        total = _FEW
        for more in self._counts(few[-1], min(until, self._last)):
            total += more
            if total >= most:
                return most
        return total

    def _counts(self, after: int, until: int) -> Iterator[int]:
        every = self._every
        if every and not self._crons:
            yield until // every - after // every
        elif every:
            # Those of whole seconds may be those of an expression, too.
            whole = lcm(every, 1000)
            yield until // every - after // every - (until // whole - after // whole)
        if self._crons:
            counter = Counter(self._crons, self._zone, lcm(every, 1000) // 1000 if every else 0)
            yield from counter.counts(after // 1000, until // 1000)
        others = self._sources[:-1] if self._times else []
        for ms in self._times[bisect_right(self._times, after) : bisect_right(self._times, until)]:
            yield all(source(ms - 1) != ms for source in others)

    def offset(self, seed: bytes, ms: int) -> int:
        """How long after this fire time to act on it: 0 to the jitter, always the same, and before
        the next fire time comes: they are acted on one after the other.
        """
        if not self.jitter_ms:
            return 0
        following = self.after(ms)
        most = self.jitter_ms if following is None else min(self.jitter_ms, following - ms - 1)
        digest = blake2b(seed + b"\0" + ms.to_bytes(8, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % (most + 1)


def _cron(at: int, text: str) -> Cron:
    try:
        return cron_of(text)
    except ValueError as error:
        raise RuleError(f"crons[{at}]", str(error)) from None


def _walked(source: After, since: int, until: int) -> Iterator[int]:
    ms = source(since)
    while ms is not None and ms <= until:
        yield ms
        ms = source(ms)


def _of_cron(cron: Cron, zone: Zone) -> After:
    def after(ms: int) -> int | None:
        at = cron.after(zone, ms // 1000)
        return None if at is None else at * 1000

    return after


def _of_interval(every: int) -> After:
    return lambda ms: (ms // every + 1) * every


def _of_times(times: list[int]) -> After:
    def after(ms: int) -> int | None:
        at = bisect_right(times, ms)
        return times[at] if at < len(times) else None

    return after
