"""Somebody else who calls the server under attack, in a process of its own.

Each line on standard input asks for what came of the calls since the last one: JSON on a line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_DEADLINE: Final = 10.0
_PAUSE: Final = 0.01
_NEW_CHANNEL: Final = 10
"""Cycles after which it comes by a new connection."""


class Probing(threading.Thread):
    """Enqueues, claims and completes, one call after the other, for ever."""

    def __init__(self, target: str, token: str) -> None:
        super().__init__(daemon=True)
        self._target = target
        self._metadata = (("authorization", f"Bearer {token}"),)
        self._lock = threading.Lock()
        self._took: list[float] = []
        self._failed: dict[str, int] = {}
        self._command = f"PROBE.{os.getpid()}"

    def run(self) -> None:
        while True:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(self._target, options=options) as channel:
                stub = services.CodeQServiceStub(channel)
                for _ in range(_NEW_CHANNEL):
                    self._cycle(stub)

    def _cycle(self, stub: services.CodeQServiceStub) -> None:
        task = {"command": self._command, "payload": {"data": b"probe"}}
        self._call(stub.Enqueue, pb.EnqueueRequest(task=task))
        claim = pb.ClaimRequest(worker_id="prober", commands=[self._command], max_tasks=10)
        claim.lease_duration.FromSeconds(60)
        claimed = self._call(stub.Claim, claim)
        for one in claimed.tasks if claimed else ():
            self._call(stub.Complete, pb.CompleteRequest(lease=one.lease))

    def _call(self, method: Any, request: Any) -> Any:
        began = time.monotonic()
        try:
            answer = method(request, timeout=_DEADLINE, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code().name
            with self._lock:
                self._failed[code] = self._failed.get(code, 0) + 1
            answer = None
        else:
            with self._lock:
                self._took.append(time.monotonic() - began)
        time.sleep(_PAUSE)
        return answer

    def taken(self) -> dict[str, Any]:
        """What came of the calls since the last time."""
        with self._lock:
            took, self._took = sorted(self._took), []
            failed, self._failed = self._failed, {}
        at = [round(took[int(len(took) * part)] * 1_000, 1) for part in (0.5, 0.99) if took]
        return {"ok": len(took), "failed": failed, "ms": at}


@dataclass(frozen=True, slots=True)
class Probed:
    """So many calls went well; those that did not, by code; the median and p99 in ms."""

    ok: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    ms: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All that ended."""
        return self.ok + sum(self.failed.values())

    def __add__(self, other: Probed) -> Probed:
        codes = self.failed.keys() | other.failed.keys()
        failed = {code: self.failed.get(code, 0) + other.failed.get(code, 0) for code in codes}
        return Probed(self.ok + other.ok, failed, other.ms)

    @property
    def share(self) -> float:
        """Of the calls that went well."""
        return self.ok / self.total if self.total else 0.0


class Prober:
    """Such a process."""

    def __init__(self, target: str, token: str, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.transport_prober", target],
            env={**os.environ, **(env or {}), "PROBER_TOKEN": token, "GRPC_VERBOSITY": "NONE"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def taken(self) -> Probed:
        """What came of its calls since the last time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Probed(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def main() -> None:
    """Until standard input ends."""
    probing = Probing(sys.argv[1], os.environ["PROBER_TOKEN"])
    probing.start()
    for _ in sys.stdin:
        print(json.dumps(probing.taken()), flush=True)


if __name__ == "__main__":
    main()
