"""Every checker finds what it is for, and nothing in what is good."""

from __future__ import annotations

from typing import Any

from codeq.v1 import task_pb2
from tests.faults.asking import digest
from tests.faults.telling import RESULT, START_MS, Tale, good_tale


def enqueued() -> Tale:
    return Tale().op("enqueue", 0, 2)


def reclaimed() -> Tale:
    """The first lease ran out, and its holder came late."""
    told = enqueued().claim(10, 5).claim(1_500, 6, attempt=2).refused("complete", 1_600, 5)
    told.complete(1_700, 6)
    return told.ended(1_700, attempt=2, attempts=[(5, 10, 1_010), (6, 1_500, 1_700)])


def test_nothing_is_found_in_what_is_good() -> None:
    assert good_tale().broken() == {}
    assert reclaimed().broken() == {}


def test_total_queue_finds_an_acked_task_that_is_gone() -> None:
    assert "lost" in enqueued().broken()["total queue"][0].text


def test_total_queue_finds_a_task_that_never_ends() -> None:
    tale = enqueued().ended(20, state=task_pb2.TASK_STATE_PENDING)
    assert "stays" in tale.broken()["total queue"][0].text


def test_total_queue_takes_an_unknown_enqueue_either_way() -> None:
    unknown = good_tale().op("enqueue", 0, None, task="", number=2)
    assert unknown.broken() == {}
    unknown.ended(20, task_id="t2", number=2, result=b"2")
    unknown.claim(10, 7, task="t2", number=2).op(
        "complete", 20, 21, fence=7, task="t2", number=2, hash=digest(b"2")
    )
    assert unknown.broken() == {}


def test_total_queue_finds_what_nobody_enqueued() -> None:
    tale = good_tale().ended(20, task_id="t2", number=7)
    assert any("never asked for" in v.text for v in tale.broken()["total queue"])


def test_total_queue_finds_a_refused_task_that_was_stored() -> None:
    tale = good_tale().op("enqueue", 0, 2, task="", number=2, code="RESOURCE_EXHAUSTED")
    tale.claim(10, 7, task="t2", number=2)
    assert "total queue" in tale.broken()


def test_total_queue_finds_two_tasks_of_one_enqueue() -> None:
    tale = good_tale().op("enqueue", 3, 4, task="t2", state="PENDING", key="k")
    assert any("became" in v.text for v in tale.broken()["total queue"])


def test_total_queue_finds_a_torn_payload() -> None:
    tale = enqueued().claim(10, 5, hash="torn").complete(20, 5).ended(20)
    assert "torn" in tale.broken()["total queue"][0].text


def test_fences_finds_one_that_came_twice() -> None:
    assert "twice" in good_tale().claim(12, 5).broken()["fences"][0].text


def test_fences_finds_one_that_does_not_rise() -> None:
    tale = enqueued().claim(10, 6).claim(1_500, 5, attempt=2).complete(1_700, 5)
    assert "older" in tale.ended(1_700, attempt=2).broken()["fences"][0].text


def test_overlap_finds_a_second_claim_before_the_lease_is_over() -> None:
    tale = enqueued().claim(10, 5).claim(500, 6, attempt=2).complete(600, 6)
    assert "lease overlap" in tale.ended(600, attempt=2).broken()


def test_overlap_finds_a_claim_before_the_end_of_an_extended_lease() -> None:
    tale = enqueued().claim(10, 5).op("heartbeat", 900, 901, fence=5, expiry_ms=1_000)
    tale.claim(1_500, 6, attempt=2).complete(1_600, 6).ended(1_600, attempt=2)
    assert "lease overlap" in tale.broken()


def test_overlap_takes_a_claim_after_an_end_of_unknown_outcome() -> None:
    tale = enqueued().claim(10, 5).op("fail", 20, None, fence=5)
    tale.claim(500, 6, attempt=2).complete(600, 6)
    assert tale.ended(600, attempt=2).broken() == {}


def test_overlap_takes_a_lease_that_a_server_gave_back() -> None:
    tale = enqueued().claim(10, 5).claim(30, 6).complete(40, 6)
    assert tale.ended(40).broken() == {}


def test_overlap_finds_attempts_that_the_store_had_at_once() -> None:
    tale = good_tale()
    tale.tasks.clear()
    tale.ended(20, attempts=[(4, 1, 15), (5, 10, 20)])
    assert "lease overlap" in tale.broken()


def test_expired_finds_an_end_that_came_too_late() -> None:
    tale = enqueued().claim(10, 5).complete(1_500, 5).ended(1_500)
    assert "expired leases" in tale.broken()


def test_expired_finds_an_end_whose_first_try_came_too_late_already() -> None:
    tale = enqueued().claim(10, 5).op("complete", 1_300, None, fence=5, hash=digest(RESULT))
    assert "expired leases" in tale.complete(1_500, 5).ended(1_500).broken()


def test_expired_takes_an_end_that_is_repeated_late() -> None:
    tale = enqueued().claim(10, 5).op("complete", 20, None, fence=5, hash=digest(RESULT))
    assert tale.complete(1_500, 5).ended(20).broken() == {}


def test_kept_finds_a_lease_that_was_taken_from_its_holder() -> None:
    tale = enqueued().claim(10, 5, called=True).refused("complete", 20, 5)
    told = tale.claim(30, 6).complete(40, 6).ended(40).broken()
    assert [v.text for v in told["kept leases"]] == ["5 was lost 969 ms before its end"]


def test_kept_takes_what_a_broken_stream_gives_back_and_what_its_holder_gave_up() -> None:
    tale = enqueued().claim(10, 5).refused("complete", 20, 5)
    assert tale.claim(30, 6).complete(40, 6).ended(40).broken() == {}
    tale = enqueued().claim(10, 5, called=True).op("abandon", 15, 16, fence=5)
    assert "kept leases" not in tale.refused("complete", 20, 5).broken()


def test_stale_finds_an_old_fence_that_is_accepted() -> None:
    tale = reclaimed().op("heartbeat", 1_650, 1_651, fence=5, key="stale")
    assert "stale fences" in tale.broken()


def test_single_end_finds_a_result_that_is_not_what_was_accepted() -> None:
    tale = enqueued().claim(10, 5).complete(20, 5).ended(20, result=b"other")
    assert len(tale.broken()["single end"]) == 2


def test_single_end_finds_two_accepted_ends() -> None:
    tale = reclaimed().op("complete", 1_800, 1_801, fence=5, hash=digest(b"other"))
    assert {"single end", "linearizable"} <= tale.broken().keys()


def test_single_end_finds_a_claim_after_the_end() -> None:
    tale = good_tale().claim(500, 6, attempt=2)
    assert {"single end", "linearizable"} <= tale.broken().keys()


def test_single_end_finds_reads_that_differ() -> None:
    told = {"state": "COMPLETED", "hash": digest(RESULT)}
    tale = good_tale().op("read", 30, 31, **told, store_ms=START_MS + 20)
    assert tale.broken() == {}
    tale.op("read", 40, 41, **told, store_ms=START_MS + 35)
    assert "single end" in tale.broken()
    tale.op("read", 50, 51, state="FAILED")
    assert "linearizable" in tale.broken()


def test_single_end_takes_a_repeat_with_another_result_that_changes_nothing() -> None:
    told = {"hash": digest(b"other"), "key": "again"}
    assert good_tale().op("complete", 30, 31, fence=5, **told).broken() == {}


def test_clock_finds_a_claim_that_is_dated_by_another_clock() -> None:
    for store_ms in (START_MS - 3_000, START_MS + 3_000):
        tale = enqueued().claim(10, 5, store_ms=store_ms, expiry_ms=store_ms + 1_000)
        assert "store clock" in tale.broken()


def test_early_finds_a_claim_before_its_time() -> None:
    absolute = Tale().op("enqueue", 0, 2).claim(10, 5, due_ms=START_MS + 11).complete(20, 5)
    assert "not early" in absolute.ended(20).broken()
    relative = Tale().op("enqueue", 0, 2, delay_ms=300).claim(200, 5).complete(220, 5)
    assert "not early" in relative.ended(220).broken()


def test_early_finds_a_claim_within_a_back_off() -> None:
    tale = enqueued().claim(10, 5).op("fail", 20, 21, fence=5, store_ms=START_MS + 400)
    tale.claim(300, 6, attempt=2).complete(310, 6).ended(310, attempt=2)
    assert "not early" in tale.broken()


def test_attempts_finds_one_too_many() -> None:
    tale = Tale().op("enqueue", 0, 2, most=1).claim(10, 5, most=1)
    tale.claim(1_500, 6, attempt=2, most=1).complete(1_600, 6).ended(1_600, attempt=2)
    assert "max attempts" in tale.broken()


def test_attempts_finds_a_failure_that_came_too_soon() -> None:
    tale = Tale().op("enqueue", 0, 2, most=3).claim(10, 5, most=3)
    tale.op("fail", 20, 21, fence=5, state="FAILED")
    tale.ended(20, state=task_pb2.TASK_STATE_FAILED, result=b"")
    assert "max attempts" in tale.broken()


def test_attempts_finds_one_that_was_not_counted() -> None:
    tale = reclaimed()
    tale.tasks[0].attempts[1].number = 1
    assert "max attempts" in tale.broken()


def test_keys_finds_too_many_at_once() -> None:
    tale = Tale()
    for n in range(1, 4):
        about: dict[str, Any] = {"task": f"t{n}", "number": n}
        tale.op("enqueue", 0, 2, **about).claim(10, 5 + n, key="k", **about)
        tale.complete(100, 5 + n, **about).ended(100, task_id=f"t{n}", number=n)
    assert tale.broken().keys() == {"concurrency keys"}


def test_liveness_finds_what_never_ends() -> None:
    tale = good_tale()
    tale.unended = {"pending": 1}
    assert "liveness" in tale.broken()


def test_codes_finds_answers_that_are_bugs() -> None:
    tale = good_tale().op("enqueue", 3, None, task="", number=2, code="INTERNAL", reason="INTERNAL")
    assert "codes" in tale.broken()


def test_what_is_wrong_in_the_store_is_told() -> None:
    assert "store" in good_tale().broken(stored=["an entry without a task"])
