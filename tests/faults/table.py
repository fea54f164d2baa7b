"""The results of a soak as a page."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Final

from tests.faults.catalogue import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.faults.run import Result

_COLUMNS: Final = (
    *("fault", "what happens", "seed", "operations", "unknown", "acked", "recovered"),
    *("lost", "unexpected", "second ends", "stale tried / accepted"),
    *("expired leases, p99 late", "served after", "verdict"),
)
_SUMS: Final = ("operations", "unknown", "acked", "recovered", "lost", "unexpected", "second ends")
_WISHES: Final = ("dependent", "expiring", "cancelled", "redriven")
LATE_MS: Final = 1_000
"""After the end of its lease a task is claimable again within this."""
SERVED_S: Final = 2.0
"""After healing a task goes all its way within this."""


def _served(results: Sequence[Result]) -> list[float]:
    return [math.inf if result.served_s is None else result.served_s for result in results]


def late_ms(results: Sequence[Result]) -> int:
    """After how long leases that ran out were claimable again, at the 99th percentile of all."""
    late = sorted(ms for result in results for ms in result.redelivery_ms)
    return late[int(0.99 * len(late))] if late else 0


def too_late(results: Sequence[Result]) -> str:
    """What took longer than promised, over all runs; empty when nothing did."""
    late, served = late_ms(results), max(_served(results))
    found = [f"claimable again {late} ms after leases ended"] * (late > LATE_MS)
    return "; ".join(found + [f"served {served:.1f} s after healing"] * (served > SERVED_S))


def _cells(result: Result) -> Iterator[str]:
    counts, late = result.counts, result.late_ms()
    yield result.fault
    yield FAULTS[result.fault].title
    yield str(result.seed)
    yield from (str(counts[name]) for name in _SUMS)
    yield f"{counts['stale tried']} / {counts['stale accepted']}"
    yield "-" if late is None else f"{len(result.redelivery_ms)}, {late} ms"
    yield "never" if result.served_s is None else f"{result.served_s:.2f} s"
    yield (
        "void"
        if result.void
        else f"{len(result.violations)} violations" * (not result.good) or "kept"
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def page(results: Sequence[Result], seed: int, stores: str) -> str:
    """As Markdown: sums first, then a line of each run."""
    late, p99 = sum(len(result.redelivery_ms) for result in results), late_ms(results)
    total = {name: sum(result.counts[name] for result in results) for name in _SUMS}
    wished = {name: sum(result.counts[name] for result in results) for name in _WISHES}
    fences = sum(result.counts["stale fences"] for result in results)
    tried = sum(result.counts["stale tried"] for result in results)
    accepted = sum(result.counts["stale accepted"] for result in results)
    served = _served(results)
    kinds = len({result.fault for result in results})
    lines = [
        f'Last run: `make soak ARGS="--seed {seed}"`, {len(results)} runs of {kinds} kinds of',
        f"fault, {stores}, two servers, 4 producers, 8 workers, leases of 1 and 2 s.",
        "",
        f"- {total['acked']} tasks acknowledged",
        f"- {wished['dependent']} waited for another one, {wished['expiring']} were to expire;",
        f"  {wished['cancelled']} cancels and {wished['redriven']} redrives were accepted",
        f"- {total['operations']} operations, {total['unknown']} of unknown outcome",
        f"- lost {total['lost']}, unexpected {total['unexpected']}",
        f"- second ends {total['second ends']}",
        f"- tasks of unknown outcome that turned out stored: {total['recovered']}",
        f"- {fences} fences that were over, tried {tried} times, accepted {accepted}",
        f"- {late} leases ran out, claimable again at p99 {p99} ms after their end",
        f"- served after healing: p50 {statistics.median(served):.2f} s, max {max(served):.2f} s",
        f"- void runs {sum(bool(r.void) for r in results)}",
        f"- runs with violations {sum(bool(r.violations) for r in results)}",
        "",
        _row(_COLUMNS),
        _row(["---"] * len(_COLUMNS)),
        *(_row(list(_cells(result))) for result in results),
    ]
    return "\n".join(lines) + "\n"
