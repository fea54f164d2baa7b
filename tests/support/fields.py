"""Paths of fields, as errors name them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor


def names_a_field(message: Descriptor, path: str) -> bool:
    """Whether a path leads to a field of the message: `task.labels[key]`, `tasks[3].delay`."""
    name = re.match("[a-z_]*", path)
    assert name is not None
    field = message.fields_by_name.get(name[0])
    if field is None:
        return False
    rest = path[name.end() :]
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        return not rest or (rest.startswith("[") and rest.endswith("]"))
    if field.is_repeated:
        rest = re.sub(r"^\[[0-9]+\]", "", rest)
    return not rest or (
        inner is not None and rest.startswith(".") and names_a_field(inner, rest[1:])
    )
