"""Writes the keyspace of codeQ's predecessors, command by command as they did it."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.admin import Admin

_DAY = 86_400


def stamp(seconds: float, nanos: int = 123_456_789, offset_hours: int = -3) -> str:
    """RFC 3339 with nanoseconds and an offset, as Go writes it."""
    at = datetime.fromtimestamp(int(seconds), timezone(timedelta(hours=offset_hours)))
    return f"{at:%Y-%m-%dT%H:%M:%S}.{nanos:09d}{offset_hours:+03d}:00"


class Predecessor:
    """The old programs: those with tenants, priorities and SETs, or their earlier versions."""

    def __init__(
        self,
        admin: Admin,
        prefix: str = "codeq:",
        *,
        sets: bool = True,
        priorities: bool = True,
        tenant: str = "",
        shard: str = "",
    ) -> None:
        self.admin = admin
        self.prefix = prefix
        self.sets = sets
        self.priorities = priorities
        self.tenant = tenant
        self.shard = shard

    def queue(self, command: str, end: str) -> str:
        """Lower-cased command, tenant and shard if there are any."""
        name = command.lower() if self.priorities else command
        tenant = f":{self.tenant}" if self.tenant else ""
        shard = f":s:{self.shard}" if self.shard else ""
        return f"{self.prefix}q:{name}{tenant}{shard}:{end}"

    def pending(self, command: str, priority: int = 0) -> str:
        """The list of pending tasks."""
        return self.queue(command, f"pending:{priority}" if self.priorities else "pending")

    def record(self, task_id: str) -> dict[str, Any]:
        """A task as it stands there."""
        found: dict[str, Any] = json.loads(self.admin.call("HGET", f"{self.prefix}tasks", task_id))
        return found

    def write(self, task_id: str, **changes: Any) -> dict[str, Any]:
        """Changes it, read and written in two steps."""
        record = {**self.record(task_id), **changes}
        self.put(task_id, record)
        return record

    def put(self, task_id: str, record: Any) -> None:
        """A record, whatever it is."""
        raw = record if isinstance(record, bytes) else json.dumps(record).encode()
        self.admin.call("HSET", f"{self.prefix}tasks", task_id, raw)
        self.admin.call("ZADD", f"{self.prefix}tasks:ttl", int(time.time()) + _DAY, task_id)

    def create(
        self,
        command: str,
        payload: object = None,
        *,
        priority: int = 0,
        delay: float | None = None,
        key: str = "",
        queued: bool = True,
        **fields: Any,
    ) -> str:
        """A new task: HSET, ZADD, LPUSH; what is 0 or empty is left out of its JSON."""
        task_id, now = str(uuid.uuid4()), time.time()
        record = {
            "id": task_id,
            "command": command,
            "payload": json.dumps(payload),
            **({"priority": priority} if priority else {}),
            "status": "PENDING",
            "lastKnownLocation": "PENDING_LIST",
            **({"maxAttempts": 5} if self.sets else {}),
            **({"tenantId": self.tenant} if self.tenant else {}),
            "createdAt": stamp(now),
            "updatedAt": stamp(now),
            **fields,
        }
        self.put(task_id, record)
        if key:
            self.admin.call("SET", f"{self.prefix}idempo:{key}", task_id, "NX", "EX", _DAY)
        if delay is not None:
            at = int(now + delay)
            self.admin.call("ZADD", self.queue(command, "delayed"), at, task_id)
        elif queued:
            self.admin.call("LPUSH", self.pending(command, priority), task_id)
        return task_id

    def claim(self, command: str, priority: int = 0, lease: int = 300) -> str:
        """The next one, from the tail, under a lease; without one it is over already."""
        source, target = self.pending(command, priority), self.queue(command, "inprog")
        if self.sets:
            task_id: str = self.admin.call("RPOP", source).decode()
            self.admin.call("SADD", target, task_id)
        else:
            task_id = self.admin.call("RPOPLPUSH", source, target).decode()
        if lease:
            self.admin.call("SETEX", f"{self.prefix}lease:{task_id}", lease, "worker-1")
        until = datetime.now(UTC) + timedelta(seconds=lease)
        self.write(
            task_id,
            status="IN_PROGRESS",
            workerId="worker-1",
            leaseUntil=f"{until:%Y-%m-%dT%H:%M:%SZ}",
            attempts=self.record(task_id).get("attempts", 0) + 1,
        )
        return task_id

    def _leave(self, task_id: str, command: str) -> None:
        gone = ("SREM",) if self.sets else ("LREM",)
        count: tuple[int, ...] = () if self.sets else (0,)
        self.admin.call(*gone, self.queue(command, "inprog"), *count, task_id)
        self.admin.call("DEL", f"{self.prefix}lease:{task_id}")

    def nack(self, task_id: str, command: str, delay: float) -> None:
        """Not now: delayed, and counted once more."""
        self._leave(task_id, command)
        at = int(time.time() + delay)
        self.admin.call("ZADD", self.queue(command, "delayed"), at, task_id)
        self.write(task_id, status="PENDING", attempts=self.record(task_id)["attempts"] + 1)

    def bury(self, task_id: str, command: str, error: str = "MAX_ATTEMPTS") -> None:
        """To the dead letters."""
        self._leave(task_id, command)
        self.admin.call("SADD" if self.sets else "LPUSH", self.queue(command, "dlq"), task_id)
        self.write(task_id, status="FAILED", error=error)

    def end(self, task_id: str, command: str, status: str = "COMPLETED") -> None:
        """Well or badly, with a result."""
        self._leave(task_id, command)
        result = {"taskId": task_id, "status": status, "result": {"ok": True}}
        self.admin.call("HSET", f"{self.prefix}results", task_id, json.dumps(result))
        self.write(task_id, status=status)

    def keys(self) -> dict[bytes, Any]:
        """All that is theirs: key -> what it holds."""
        found = sorted(self.admin.call("KEYS", f"{self.prefix}*"))
        return {key: self._held(key) for key in found if not key.startswith(b"codeq:{")}

    def _held(self, key: bytes) -> Any:
        kind = self.admin.call("TYPE", key).decode()
        if kind == "list":
            return self.admin.call("LRANGE", key, 0, -1)
        if kind == "zset":
            return self.admin.call("ZRANGE", key, 0, -1, "WITHSCORES")
        if kind == "set":
            return sorted(self.admin.call("SMEMBERS", key))
        if kind == "hash":
            flat = self.admin.call("HGETALL", key)
            return dict(zip(flat[::2], flat[1::2], strict=True))
        return self.admin.call("GET", key)
