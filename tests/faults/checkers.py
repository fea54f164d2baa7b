"""What must hold of every history (docs/guarantees.md), whatever was done to the system.

Each checker gives the violations that it can prove. Where a client cannot know what happened (a
lease that a server gave back after its client had heard of it) the store's account of the attempts
decides.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Final

from codeq.v1 import task_pb2
from tests.faults import linear, wishes
from tests.faults.asking import PER_KEY, digest, ms_of, number_in
from tests.faults.evidence import SLACK_MS, TERMINAL, Evidence, Violation
from tests.faults.history import ENDS
from tests.faults.reporting import AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.history import Operation

_BUGS: Final = frozenset(
    {"INTERNAL", "INVALID_FIELD", "TASK_NOT_FOUND", "QUEUE_NOT_FOUND", "IDEMPOTENCY_MISMATCH"}
)


def total_queue(evidence: Evidence) -> Iterator[Violation]:
    """Nothing acked is lost, nothing comes out that nobody put in, nothing comes out twice."""
    yield from _lost(evidence)
    wanted = {op.number for op in evidence.history.of("enqueue") if not op.refused}
    for number, ids in evidence.ids.items():
        if number not in wanted:
            yield Violation("total queue", min(ids), f"unexpected: {number} was never asked for")
        elif len(ids) > 1:
            yield Violation("total queue", min(ids), f"unexpected: {number} became {sorted(ids)}")
    for claim in chain.from_iterable(evidence.claims.values()):
        if claim.number not in wanted:
            yield Violation("total queue", claim.task, f"unexpected: {claim.client} got it")
        elif claim.hash == "torn":
            yield Violation("total queue", claim.task, f"unexpected: torn payload {claim.number}")


def _lost(evidence: Evidence) -> Iterator[Violation]:
    acked = {op.task: op.number for op in evidence.history.of("enqueue") if op.ok}
    for task_id, number in acked.items():
        task = evidence.tasks.get(task_id)
        if task is None:
            yield Violation("total queue", task_id, f"lost: {number} is gone")
        elif task.state not in TERMINAL:
            state = task_pb2.TaskState.Name(task.state)
            yield Violation("total queue", task_id, f"lost: {number} stays {state}")


def fences_rise(evidence: Evidence) -> Iterator[Violation]:
    """Every claim has a fence of its own, greater than those of the claims before it."""
    seen: dict[int, str] = {}
    for task, claims in evidence.claims.items():
        for claim in claims:
            if claim.fence in seen:
                yield Violation("fences", task, f"fence {claim.fence} came twice")
            seen[claim.fence] = task
        for one, later in pairwise(claims):
            is_dated_before = later.store_ms < one.store_ms and not evidence.skewed
            is_dated_before = is_dated_before and not (one.capped or later.capped)
            if is_dated_before or later.last_ns < one.start_ns:
                yield Violation("fences", task, f"{later.fence} is older than {one.fence}")


def lease_overlap(evidence: Evidence) -> Iterator[Violation]:
    """A task is claimed again only after the lease before has ended or was given up."""
    if evidence.skewed:
        return
    for task, claims in evidence.claims.items():
        for one, later in pairwise(claims):
            end = _least_end(evidence, one)
            ends = evidence.ends.get((task, one.fence), [])
            by_then = later.store_ms + SLACK_MS
            given_up = any(evidence.history.wall(op.start_ns) <= by_then for op in ends)
            if later.store_ms < end and not given_up and not evidence.was_given_back(one, later):
                text = (
                    f"{later.fence} was claimed {end - later.store_ms} ms before {one.fence} ends"
                )
                yield Violation("lease overlap", task, text)
    for kept in evidence.found.tasks:
        for first, second in pairwise(kept.attempts):
            over = ms_of(first.end_time) if first.HasField("end_time") else None
            if over is None or ms_of(second.start_time) < over:
                text = f"attempts {first.number} and {second.number} overlap"
                yield Violation("lease overlap", kept.task_id, text)


def _least_end(evidence: Evidence, claim: Operation) -> int:
    """When a lease that nobody gave up ends at the earliest."""
    end = claim.expiry_ms
    for beat in evidence.beats.get((claim.task, claim.fence), []):
        if beat.ok:
            end = max(end, evidence.history.wall(beat.start_ns) + beat.expiry_ms - SLACK_MS)
    return end


def expired_leases(evidence: Evidence) -> Iterator[Violation]:
    """No end is accepted of a lease that ran out before it was asked for."""
    if evidence.skewed:
        return
    for task, claims in evidence.claims.items():
        for claim in claims:
            end: float = claim.expiry_ms
            for beat in evidence.beats.get((task, claim.fence), []):
                end = max(end, beat.last_ns / 1e6 + evidence.history.wall_ms + beat.expiry_ms)
            ends = evidence.ends.get((task, claim.fence), [])
            if any(op.ok for op in ends):
                late = evidence.history.wall(ends[0].start_ns) - end
                if late > SLACK_MS:
                    text = f"{claim.fence} was accepted, first used {late:.0f} ms too late"
                    yield Violation("expired leases", task, text)


def kept_leases(evidence: Evidence) -> Iterator[Violation]:
    """A lease that a reply told of holds till its end, unless its holder gave it up."""
    claims = {(op.task, op.fence): op for op in evidence.history.of("claim") if op.called}
    for op in evidence.history.of(*ENDS, "heartbeat"):
        claim = claims.get((op.task, op.fence))
        if claim and op.end_ns and op.reason == "LEASE_LOST" and not evidence.skewed:
            left = claim.expiry_ms - SLACK_MS - evidence.history.wall(op.end_ns)
            ends = evidence.ends.get((op.task, op.fence), [])
            if left > 0 and not any(end.start_ns < op.end_ns for end in ends):
                text = f"{op.fence} was lost {left} ms before its end"
                yield Violation("kept leases", op.task, text)


def stale_fences(evidence: Evidence) -> Iterator[Violation]:
    """Whatever is tried with a fence that is over changes nothing."""
    for op in evidence.history.of(*ENDS, "heartbeat"):
        if op.key == "stale" and op.ok:
            yield Violation("stale fences", op.task, f"{op.op} under {op.fence} was accepted")


def single_end(evidence: Evidence) -> Iterator[Violation]:
    """A task ends once, and its end never changes."""
    asked = defaultdict(set)
    for op in evidence.history.of("complete"):
        if op.key == AGAIN or op.refused:
            continue
        asked[op.task].add(op.hash)
        task = evidence.tasks.get(op.task)
        if op.ok and task is not None and digest(task.result.data) != op.hash:
            yield Violation("single end", op.task, f"{op.fence} completed it, with another result")
    for task in evidence.found.tasks:
        result = digest(task.result.data)
        if task.state == task_pb2.TASK_STATE_COMPLETED and result not in asked[task.task_id]:
            yield Violation("single end", task.task_id, "its result is nobody's")
        for claim in evidence.claims.get(task.task_id, []):
            is_dated = not (evidence.skewed or claim.capped)
            is_dated_after = claim.store_ms > ms_of(task.end_time) and is_dated
            if task.state in TERMINAL and is_dated_after:
                text = f"claimed under {claim.fence} after its end"
                yield Violation("single end", task.task_id, text)
    yield from _reads(evidence)


def _reads(evidence: Evidence) -> Iterator[Violation]:
    again = {
        task.task_id: task.SerializeToString(deterministic=True) for task in evidence.found.again
    }
    for task_id, task in evidence.tasks.items():
        if again.get(task_id) != task.SerializeToString(deterministic=True):
            yield Violation("single end", task_id, "reads differ after its end")
    told: dict[str, tuple[tuple[str, str, int], int]] = {}
    for op in evidence.history.of("read"):
        if op.ok and op.state in {"COMPLETED", "FAILED", "CANCELLED", "EXPIRED"}:
            now = (op.state, op.hash, op.store_ms)
            before, since_ns = told.get(op.task, (now, op.start_ns))
            goes_on = evidence.may_be_redriven(op.task, since_ns, op.last_ns)
            if now != before and (before[0] == "COMPLETED" or not goes_on):
                yield Violation("single end", op.task, f"{before} became {now}")
            told[op.task] = (now, op.start_ns)


def store_clock(evidence: Evidence) -> Iterator[Violation]:
    """Claims are dated by the store's clock, which here is that of the clients."""
    if evidence.skewed:
        return
    for task, claims in evidence.claims.items():
        for claim in claims:
            first, last = evidence.history.wall(claim.start_ns), claim.last_ns / 1e6
            after = claim.store_ms - (last + evidence.history.wall_ms)
            if after > SLACK_MS or first - claim.store_ms > SLACK_MS:
                text = f"{claim.fence} is dated {after:.0f} ms after it was told"
                yield Violation("store clock", task, text)


def not_early(evidence: Evidence) -> Iterator[Violation]:
    """No task is claimed before its time, nor before the end of a back-off; a redrive ends both."""
    for task, claims in evidence.claims.items():
        due, since_ns = 0.0, 0
        for claim in claims:
            first = evidence.asked.get(claim.number)
            if evidence.may_be_redriven(task, since_ns, claim.last_ns):
                due = 0.0
            if evidence.may_be_redriven(task, 0, claim.last_ns):
                first = None
            else:
                due = max(due, claim.due_ms)
            since_ns = claim.start_ns
            if first is not None and first.delay_ms and not evidence.skewed:
                due = max(due, evidence.history.wall(first.start_ns) + first.delay_ms - SLACK_MS)
            if claim.store_ms < due:
                text = f"{claim.fence} was claimed {due - claim.store_ms:.0f} ms early"
                yield Violation("not early", task, text)
            told = [op.store_ms for op in evidence.ends.get((task, claim.fence), []) if op.ok]
            due = max([due, *told])


def max_attempts(evidence: Evidence) -> Iterator[Violation]:
    """No task is claimed more often than it may, and none fails before."""
    asked = {op.number: op.most for op in evidence.history.of("enqueue") if op.most}
    for task, claims in evidence.claims.items():
        for claim in claims:
            most = asked.get(claim.number, claim.most)
            if claim.attempt > most or claim.most != most:
                text = f"attempt {claim.attempt} of {claim.most}, asked for were {most}"
                yield Violation("max attempts", task, text)
        if len({claim.attempt for claim in claims}) > claims[0].most:
            yield Violation("max attempts", task, "claimed too often")
    for kept in evidence.found.tasks:
        number = number_in(kept.spec)
        most, wanted = asked.get(number, 0), evidence.asked.get(number)
        was_blocked = wanted is not None and wanted.parent and not kept.attempt
        is_spent = kept.attempt == most or was_blocked
        if kept.state == task_pb2.TASK_STATE_FAILED and not is_spent:
            text = f"failed at attempt {kept.attempt} of {most}"
            yield Violation("max attempts", kept.task_id, text)
        for first, second in pairwise(kept.attempts):
            is_next = second.number == first.number + 1
            is_anew = second.number == 1 and kept.task_id in evidence.redrives
            if not (is_next or is_anew) or second.fence <= first.fence:
                text = f"attempt {first.number} is followed by {second.number}"
                yield Violation("max attempts", kept.task_id, text)


def concurrency_keys(evidence: Evidence) -> Iterator[Violation]:
    """No more tasks of one key are held at once than the queue allows."""
    if evidence.skewed:
        return
    held: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for task, claims in evidence.claims.items():
        for claim, later in zip(claims, [*claims[1:], None], strict=True):
            if not claim.key or (later and evidence.was_given_back(claim, later)):
                continue
            ends = evidence.ends.get((task, claim.fence), [])
            if later is None and not any(op.ok for op in ends):
                continue
            times = [evidence.history.wall(op.start_ns) for op in ends]
            end = min([claim.expiry_ms, *times]) - SLACK_MS
            if end > claim.store_ms:
                held[claim.key] += [(claim.store_ms, 1), (end, -1)]
    for key, times_of in held.items():
        now = 0
        for time, change in sorted(times_of):
            now += change
            if now > PER_KEY:
                yield Violation("concurrency keys", "", f"{now} of key {key} are held at {time}")


def linearizable(evidence: Evidence) -> Iterator[Violation]:
    """What was told of each task can have happened in some order."""
    by_task = defaultdict(list)
    for op in evidence.history.operations:
        known = {op.task} if op.task else evidence.ids.get(op.number, set())
        if len(known) == 1 and (op.task or op.number):
            by_task[next(iter(known))].append(op)
    for task, operations in by_task.items():
        try:
            if not linear.explains(operations):
                yield Violation("linearizable", task, f"{len(operations)} operations do not fit")
        except linear.Undecided:
            yield Violation("linearizable", task, "undecided")


def liveness(evidence: Evidence) -> Iterator[Violation]:
    """After healing all ends."""
    if evidence.found.unended:
        yield Violation("liveness", "", f"never ended: {evidence.found.unended}")


def _is_overdue(evidence: Evidence, op: Operation) -> bool:
    """Whether it came when the task was to have expired already."""
    latest_ms = evidence.history.wall(op.end_ns or op.start_ns) + op.delay_ms + SLACK_MS
    return op.reason == "INVALID_FIELD" and 0 < op.expire_ms <= latest_ms


def codes(evidence: Evidence) -> Iterator[Violation]:
    """INTERNAL is a bug by definition; nor is any call of ours wrong."""
    for op in evidence.history.operations:
        if op.reason in _BUGS and not _is_overdue(evidence, op):
            yield Violation("codes", op.task, f"{op.op} was answered {op.code} {op.reason}")


def stored(evidence: Evidence) -> Iterator[Violation]:
    """All indexes of the store agree."""
    for fault in evidence.stored:
        yield Violation("store", "", fault)


CHECKERS: Final[tuple[Callable[[Evidence], Iterator[Violation]], ...]] = (
    total_queue,
    fences_rise,
    lease_overlap,
    expired_leases,
    kept_leases,
    stale_fences,
    single_end,
    store_clock,
    not_early,
    max_attempts,
    concurrency_keys,
    linearizable,
    wishes.cancelled,
    wishes.dependent,
    wishes.expiring,
    liveness,
    codes,
    stored,
)


def check(evidence: Evidence) -> list[Violation]:
    """What every checker has found."""
    return [violation for checker in CHECKERS for violation in checker(evidence)]
