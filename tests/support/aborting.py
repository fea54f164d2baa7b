"""Scripts that stop midway, as a script error would make them: before their n-th write."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from codeq_grpc.core.errors import CodeQError
from tests.support.clock import ClockedConnection, VirtualClock, with_prelude
from tests.support.lua import commands_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.scripts import Script

_READS: Final = frozenset(
    {
        *("TIME", "GET", "HGET", "HMGET", "HGETALL", "HLEN", "HEXISTS", "HSCAN"),
        *("LLEN", "LINDEX", "LRANGE", "LPOS"),
        *("ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZRANGEBYLEX"),
        *("ZREVRANGE", "ZREVRANGEBYLEX", "ZRANK", "ZREVRANK", "ZSCORE", "ZMSCORE"),
        "XREVRANGE",
    }
)
_PRELUDE: Final = b"""\
local ABORT_AT, WRITES, STORE = tonumber(table.remove(ARGV)), 0, redis
local READS = { %s }
local redis = {}
function redis.call(name, ...)
  if not READS[name] then
    WRITES = WRITES + 1
    if WRITES == ABORT_AT then error('aborted by a test before ' .. name) end
  end
  return STORE.call(name, ...)
end
""" % b", ".join(b"%s = true" % name.encode() for name in sorted(_READS))

_ABORTED: Final = re.compile(r"aborted by a test before (\w+)")


def writes_of(script: Script) -> set[str]:
    """The commands that a script can reach and that write or publish."""
    return set(commands_of(script) - _READS)


@functools.cache
def _with_abort(script: Script) -> Script:
    return with_prelude(script, _PRELUDE)


class AbortingConnection(ClockedConnection):
    """Runs scripts whole, but the next one of `abort(name, write)` only up to that write."""

    def __init__(self, url: str, clock: VirtualClock) -> None:
        super().__init__(url, clock)
        self._abort: tuple[str, int] = ("", 0)
        self.aborted = ""
        """The command that was not carried out; empty when the script ran whole."""

    def abort(self, name: str, write: int) -> None:
        """Aborts one run of the script of that name before that write, from 1."""
        self._abort = (name, write)
        self.aborted = ""

    @override
    async def run(self, script: Script, names: Sequence[bytes | str], args: Sequence[Any]) -> Any:
        name, write = self._abort
        if script.name != name:
            return await super().run(script, names, args)
        self._abort = ("", 0)
        try:
            return await super().run(_with_abort(script), names, [*args, write])
        except CodeQError as error:
            found = _ABORTED.search(error.message)
            self.aborted = found.group(1) if found else ""
            raise
