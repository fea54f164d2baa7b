"""The store's users as docs/operations.md has them, and what they were refused."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.support.admin import Admin

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.stores import StoreProcess

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
PASSWORD: Final = "PASSWORD"
NEEDS_7_2: Final = "+waitaof"


def documented() -> list[list[str]]:
    """Words of the lines in the page as a shell hands them on, in order: servers, servers at D3
    and D4, the doctor.
    """
    blocks = re.findall(r"(?ms)^```sh\n(redis-cli ACL SETUSER .*?)```", PAGE.read_text())
    return [_words(block.replace("\\\n", " "))[1:] for block in blocks]


def _words(line: str) -> list[str]:
    # What is not quoted and means something to a shell comes out in pieces.
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return list(words)


def commands(*lines: list[str]) -> set[str]:
    """What is allowed, in small letters."""
    return {word[1:] for line in lines for word in line if word.startswith("+")}


class StoreUser:
    """One user of a store that runs, made anew, whose refusals are looked at."""

    def __init__(self, store: StoreProcess, *, waits: bool = False, doctor: bool = False) -> None:
        self._admin = Admin(store.socket_path)
        server, waiting, doctoring = documented()
        self._words = list(server)
        if waits:
            self._words += [w for w in waiting if w[0] == "+" and self._knows(store, w)]
        if doctor:
            self._words += [word for word in doctoring if word[0] == "+"]
        self.url = f"unix://codeq:{PASSWORD}@{store.socket_path}"
        self.allow()

    @staticmethod
    def _knows(store: StoreProcess, word: str) -> bool:
        return word != NEEDS_7_2 or not store.engine.version.startswith("7.0")

    def allow(self, *, but: str = "") -> None:
        """All that the page says, but one."""
        words = [word for word in self._words if word != f"+{but}"]
        assert not but or len(words) < len(self._words), f"{but} is not allowed anyway"
        self._admin.call(*words)
        self._admin.call("ACL", "LOG", "RESET")

    def refused(self) -> list[str]:
        """What somebody tried and may not."""
        found = []
        for entry in self._admin.call("ACL", "LOG"):
            facts = dict(zip(entry[::2], entry[1::2], strict=True))
            found.append(
                b" ".join((facts[b"reason"], facts[b"context"], facts[b"object"])).decode()
            )
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._admin.call("ACL", "DELUSER", "codeq")
        self._admin.close()
