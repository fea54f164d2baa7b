"""Keywords that functions take by the dozen, described by a TypedDict."""

from __future__ import annotations

from typing import TYPE_CHECKING, is_typeddict

if TYPE_CHECKING:
    from collections.abc import Mapping


def check(options: Mapping[str, object], kind: type) -> None:
    """Whether a TypedDict knows all of these: Python does not look when they are given.

    Raises:
        TypeError: It does not; a filter that lacks what was meant would match too much.
    """
    assert is_typeddict(kind)  # noqa: S101 - a mistake of ours
    known = kind.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(f"unexpected keyword argument {name!r}; there are {', '.join(known)}")
