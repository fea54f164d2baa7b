"""A clock that tests move: store and test read the same one.

The scripts that read the store's clock are altered for it: `redis.call('TIME')` becomes a time
that comes as one more argument. Nothing else of a script changes.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from codeq_grpc.store.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.scripts import Script

START_MS: Final = 1_760_000_000_000
"""Where every such clock begins; October 2025."""

TIME_CALL: Final = b"redis.call('TIME')"
_PRELUDE: Final = (
    b"local CLOCK = tonumber(table.remove(ARGV))\n"
    b"CLOCK = { math.floor(CLOCK / 1000), CLOCK % 1000 * 1000 + 999 }\n"
)


def with_prelude(script: Script, prelude: bytes) -> Script:
    """The script with lines put after its shebang."""
    shebang, body = script.source.split(b"\n", 1)
    assert shebang.startswith(b"#!lua"), f"{script.name} has no shebang"
    source = shebang + b"\n" + prelude + body
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return replace(script, source=source, sha=sha)


def reads_clock(script: Script) -> bool:
    """Whether a script asks the store for the time."""
    return TIME_CALL in script.source


@functools.cache
def with_clock(script: Script) -> Script:
    """The script, reading the clock from its last argument if it reads one."""
    if not reads_clock(script):
        return script
    altered = replace(script, source=script.source.replace(TIME_CALL, b"CLOCK"))
    return with_prelude(altered, _PRELUDE)


class VirtualClock:
    """Milliseconds; stands still until moved."""

    def __init__(self) -> None:
        self.ms = START_MS

    def advance(self, ms: int) -> None:
        """Forward; backward when negative."""
        self.ms += ms


class ClockedConnection(Connection):
    """Runs every script under a virtual clock."""

    def __init__(self, url: str, clock: VirtualClock) -> None:
        super().__init__(url)
        self.clock = clock

    @override
    async def run(self, script: Script, names: Sequence[bytes | str], args: Sequence[Any]) -> Any:
        if reads_clock(script):
            args = [*args, self.clock.ms]
        return await super().run(with_clock(script), names, args)

    @override
    async def run_each(
        self, script: Script, calls: Sequence[tuple[Sequence[bytes], Sequence[Any]]]
    ) -> list[Any]:
        clocked = [(names, [*args, self.clock.ms]) for names, args in calls]
        return await super().run_each(with_clock(script), clocked)
