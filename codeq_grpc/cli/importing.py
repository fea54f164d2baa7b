"""One run of `codeq import-legacy`: looks at the old store, decides, sends, remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.cli.connection import Failure, describe
from codeq_grpc.cli.import_sending import Item, spec_of
from codeq_grpc.cli.progress import bar
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.legacy.book import Told
from codeq_grpc.legacy.plan import LEAVE, REFUSE, Choices, Decision, decide
from codeq_grpc.legacy.reader import STEP, OldStoreError
from codeq_grpc.wire.specs import SpecChecker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codeq_grpc.cli.import_sending import Sender
    from codeq_grpc.cli.import_telling import Report, Rest
    from codeq_grpc.cli.progress import Advance
    from codeq_grpc.legacy.book import Book
    from codeq_grpc.legacy.reader import Reader

MOVED: Final = "moved"
THERE: Final = "moved before"
_KEY_CHARS: Final = 256


class Case(NamedTuple):
    """An id, its record, and what becomes of it."""

    task_id: bytes
    raw: bytes | None
    decision: Decision


class Options(NamedTuple):
    """How it goes."""

    choices: Choices
    keep_keys: bool = False
    delete_moved: bool = False
    trust: bool = False
    """The progress file is of this tenant, though none of its tasks is known there."""


class Importing:
    """Moves everything. Without `senders` it is a rehearsal."""

    def __init__(
        self,
        reader: Reader,
        book: Book,
        options: Options,
        report: Report,
        *,
        senders: Mapping[str, Sender] | None,
        rest: Rest | None,
    ) -> None:
        self._reader = reader
        self._book = book
        self._options = options
        self._report = report
        self._senders = senders
        self._rest = rest
        self._checker = SpecChecker(payload_bytes=limits.PAYLOAD_BYTES)

    async def run(self) -> None:
        """All of it; what was sent is remembered when this is broken off.

        Raises:
            CodeQError: The server refused something that it would refuse of every task.
            OldStoreError: The old store failed.
            Failure: The progress file tells of tasks that the server does not know.
        """
        await self._verify()
        await self._survey()
        await self._read_keys()
        total = await self._reader.length("tasks")
        with bar("tasks looked at", total) as advance:
            for ids in self._book.entered(STEP):
                await self._handle(ids, advance)
            async for records in self._reader.records("tasks"):
                await self._handle_records(dict(records), advance)
            for ids in self._book.orphans(STEP):
                await self._handle(ids, advance, orphans=True)
        await self._look_at_results()
        self._report.notes["subscriptions"] = await self._reader.length("subs")
        self._report.notes["topics"] = await self._reader.length("admin:topics")
        self._report.finished = True

    async def _verify(self) -> None:
        """A progress file of another tenant would have tasks left out for good."""
        if self._senders is None or self._options.trust:
            return
        for tenant, task_ids in self._book.probes().items():
            sender = self._sender(tenant)
            if sender is not None and not await sender.knows(task_ids):
                raise Failure(
                    "the progress file tells of moved tasks, and this server knows none of the"
                    f" last {len(task_ids)}: they have ended and are deleted, or this is another"
                    " server or credential. --trust-progress goes on; --progress names another file"
                )

    async def _survey(self) -> None:
        """Notes where each id stands, in the order of the queues."""
        queues = set()
        async for keys in self._reader.keys("q:"):
            for key in keys:
                queue = self._reader.space.queue(key)
                if queue is None:
                    self._report.notes["unknown_keys"] += 1
                else:
                    queues.add(queue)
        for queue in sorted(queues, key=lambda queue: queue.order):
            kind = await self._reader.kind(queue.key)
            try:
                async for entries in self._reader.entries(queue, kind):
                    again = self._book.enter(queue, kind, entries)
                    if kind == "list":
                        self._report.notes["repeated"] += again
            except OldStoreError:
                if kind in {"list", "set", "zset"}:
                    raise
                self._report.notes["unknown_keys"] += kind != "none"

    async def _read_keys(self) -> None:
        """Notes which tasks have idempotency keys, before any is sent: a repeat must come with the
        same key, and by then the old one may be gone.
        """
        start = len(self._reader.space.keys_prefix)
        async for keys in self._reader.keys("idempo:"):
            for key, (task_id, ms) in zip(keys, await self._reader.owners(keys), strict=True):
                name = key[start:].decode(errors="replace")
                fits = 0 < len(name) <= _KEY_CHARS and "\0" not in name and "\ufffd" not in name
                if task_id is not None and fits:
                    self._book.note_key(task_id, name, ms)
        self._book.commit()

    async def _handle(
        self, ids: Sequence[bytes], advance: Advance, *, orphans: bool = False
    ) -> None:
        new = [task_id for task_id in dict.fromkeys(ids) if not self._book.is_told(task_id)]
        raws = await self._reader.some(self._reader.space.tasks, new)
        await self._decide(dict(zip(new, raws, strict=True)), advance, orphans=orphans)

    async def _handle_records(self, records: dict[bytes, bytes], advance: Advance) -> None:
        new = {each: raw for each, raw in records.items() if not self._book.is_told(each)}
        await self._decide(new, advance, orphans=False)

    async def _decide(
        self, raws: Mapping[bytes, bytes | None], advance: Advance, *, orphans: bool
    ) -> None:
        leases = await self._reader.leases(list(raws))
        cases = []
        for (task_id, raw), lease_ms in zip(raws.items(), leases, strict=True):
            standing = self._book.standing(task_id)._replace(lease_ms=lease_ms)
            decision = decide(raw, task_id, standing, self._options.choices)
            if decision.state == "orphan" and decision.move is not None and not orphans:
                self._book.note_orphan(task_id, decision.created_ms)
                continue
            cases.append(Case(task_id, raw, decision))
        told = await self._move([case for case in cases if case.decision.move is not None])
        told += [self._told(case) for case in cases if case.decision.move is None]
        self._book.tell(told)
        self._book.commit()
        if self._options.delete_moved and self._senders is not None:
            gone = [one.task_id for one in told if one.verdict in {MOVED, THERE}]
            await self._reader.remove([(each, self._book.queues_of(each)) for each in gone])
        await self._write(cases, {one.task_id: one for one in told})
        advance(len(cases))

    async def _move(self, cases: Sequence[Case]) -> list[Told]:
        """Sends what is not there yet."""
        told, items, by_id = [], [], {}
        for case in cases:
            if self._book.has_moved(case.task_id):
                told.append(self._told(case, THERE))
                continue
            items.append(self._item(case))
            by_id[case.task_id] = case
        if self._senders is None:
            return told + [self._rehearsed(by_id[item.task_id], item) for item in items]
        for tenant in dict.fromkeys(item.move.tenant for item in items):
            sender = self._sender(tenant)
            assert sender is not None  # noqa: S101 - of other tenants nothing is moved
            theirs = [item for item in items if item.move.tenant == tenant]
            for sent in await sender.send(theirs):
                case = by_id[sent.item.task_id]
                if sent.error is not None:
                    told.append(self._refused(case, sent.error))
                    continue
                self._book.move(case.task_id, tenant, sent.new_id)
                told.append(self._told(case, MOVED if sent.is_new else THERE))
        return told

    def _rehearsed(self, case: Case, item: Item) -> Told:
        """What a server with the usual limits would say."""
        try:
            self._checker.check(spec_of(item), "task")
        except CodeQError as error:
            return self._refused(case, error)
        return self._told(case)

    def _item(self, case: Case) -> Item:
        move = case.decision.move
        assert move is not None  # noqa: S101 - of those without one nothing is sent
        key = self._book.key_of(case.task_id)
        if key is not None and not self._options.keep_keys:
            move = move._replace(headers={**move.headers, "legacy-idempotency-key": key[0]})
            key = None
            self._report.notes["keys_as_headers"] += 1
        self._report.notes["webhooks"] += "legacy-webhook" in move.headers
        return Item(case.task_id, move, key)

    def _sender(self, tenant: str) -> Sender | None:
        senders = self._senders or {}
        return senders.get(tenant) or senders.get("*")

    def _told(self, case: Case, verdict: str | None = None) -> Told:
        decision = case.decision
        if decision.reason:
            self._report.example(decision.reason, case.task_id, decision.detail)
        return Told(
            *(case.task_id, decision.command, decision.state),
            *(verdict or decision.verdict, decision.reason),
        )

    def _refused(self, case: Case, error: CodeQError) -> Told:
        detail = describe(error).removeprefix(f"{error.reason}: ")
        self._report.example(error.reason, case.task_id, detail)
        return Told(case.task_id, case.decision.command, case.decision.state, REFUSE, error.reason)

    async def _write(self, cases: Sequence[Case], told: Mapping[bytes, Told]) -> None:
        if self._rest is None:
            return
        left = [case for case in cases if told[case.task_id].verdict in {LEAVE, REFUSE}]
        ids = [case.task_id for case in left]
        results = await self._reader.some(self._reader.space.results, ids)
        for case, result in zip(left, results, strict=True):
            one = told[case.task_id]
            self._rest.add(case.task_id, f"{one.verdict} {one.reason}".strip(), case.raw, result)

    async def _look_at_results(self) -> None:
        async for records in self._reader.records("results"):
            for task_id, result in records:
                if self._book.is_told(task_id):
                    continue
                self._report.notes["results_alone"] += 1
                if self._rest is not None:
                    self._rest.add(task_id, f"{LEAVE} NO_RECORD", None, result)
