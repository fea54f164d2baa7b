"""Requests that nobody thought of, made from the descriptors: any field may have any value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from tests.integration.requests import is_map

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

ODD_TEXTS: Final = (
    "",
    " ",
    "\0",
    "a\0b",
    "\r\nx-role: admin",
    "{tag}",
    "}:r5",
    "codeq:{registry}:names",
    "*",
    "****?[a-z]",
    "../../etc/passwd",
    "%s%n{0}",
    "' OR 1=1 --",
    "A\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN CAPITAL LETTER A WITH ACUTE}",
    "\N{RIGHT-TO-LEFT OVERRIDE}REDNER",
    "\N{CYRILLIC CAPITAL LETTER ER}ENDER",
    "\N{KELVIN SIGN}",
    "\N{ZERO WIDTH SPACE}",
    "\N{GRINNING FACE}" * 130,
    "\U0010ffff",
    "\ufeff",
    "x" * 70_000,
    "RENDER",
    "A" * 18,
)
_EDGES: Final = [0, 1, -1, 9, 10, 100, 101, 1_000, 1_001, 10_000, 10_001]
_INT32: Final = [*_EDGES, 2**31 - 1, -(2**31)]
_INT64: Final = [*_INT32, 2**53 - 1, 2**53, 2**63 - 1, -(2**63), 253_402_300_799, 253_402_300_800]
_SCALARS: Final[dict[int, st.SearchStrategy[Any]]] = {
    FieldDescriptor.TYPE_INT32: st.sampled_from(_INT32) | st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.sampled_from(_INT64) | st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: st.sampled_from([0, 1, 2**53 - 1, 2**53, 2**64 - 1])
    | st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_DOUBLE: st.sampled_from([0.0, -0.0, 0.5, 1.0, 5e-324]) | st.floats(),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_ENUM: st.sampled_from([0, 1, 2, 3, 4, 99, -1, -(2**31)])
    | st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_STRING: st.sampled_from(ODD_TEXTS) | st.text(max_size=40),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40)
    | st.sampled_from([bytes((1 << 20) + 1), bytes(1 << 20), b"\xff" * 1_000]),
}
_MANY: Final = (33, 101, 1_000, 1_001)
"""How often one entry may be repeated, besides a few different ones."""
_SMALL: Final = 2_000
"""Characters or bytes of what is repeated so often."""


def value_of(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """A value of one entry of a field, fit or not."""
    inner = field.message_type
    return _SCALARS[field.type] if inner is None else messages_of(inner)


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    inner = field.message_type
    if inner is not None and is_map(field):
        key, value = inner.fields
        entries = st.dictionaries(value_of(key), value_of(value), max_size=3)
        many = st.sampled_from(_MANY).map(lambda n: {f"k{i}": "" for i in range(n)})
        return entries | many
    one = value_of(field)
    if not field.is_repeated:
        return one
    return st.lists(one, max_size=3) | st.builds(_repeated, one, st.sampled_from(_MANY))


def _repeated(value: Any, times: int) -> list[Any]:
    size = value.ByteSize() if isinstance(value, Message) else len(str(value))
    return [value] * (times if size < _SMALL else 2)


def messages_of(descriptor: Descriptor) -> st.SearchStrategy[Any]:
    """Messages of a type with any of its fields set to anything."""
    make = GetMessageClass(descriptor)
    optional = {field.name: _values(field) for field in descriptor.fields}
    return st.fixed_dictionaries({}, optional=optional).map(lambda fields: _made(make, fields))


def _made(make: Any, fields: dict[str, Any]) -> Any:
    message = make()
    for name, value in fields.items():
        put(message, name, value)
    return message


def put(message: Any, name: str, value: Any) -> None:
    """Sets a field of whatever kind to a value; of two entries of a map the last counts."""
    field = message.DESCRIPTOR.fields_by_name[name]
    message.ClearField(name)
    if is_map(field):
        getattr(message, name).update(value)
    elif field.is_repeated:
        getattr(message, name).extend(value)
    elif field.message_type is not None:
        getattr(message, name).CopyFrom(value)
    else:
        setattr(message, name, value)


def _inside(message: Message) -> list[Message]:
    """A message and those that are set within."""
    found = [message]
    for field, value in message.ListFields():
        if field.message_type is not None and not is_map(field):
            for one in value if field.is_repeated else (value,):
                found += _inside(one)
    return found


@st.composite
def nearly_good(draw: st.DrawFn, good: Message) -> Any:
    """A copy of a good request in which a field or two are anything."""
    request = type(good).FromString(good.SerializeToString())
    for _ in range(draw(st.integers(1, 2))):
        message = draw(st.sampled_from(_inside(request)))
        fields: list[Any] = list(message.DESCRIPTOR.fields)
        if fields:
            field = draw(st.sampled_from(fields))
            put(message, field.name, draw(_values(field)))
    return request


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes of a request with something changed, cut out, repeated or put in."""
    for _ in range(draw(st.integers(1, 3))):
        at, to = sorted(draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
        kind = draw(st.sampled_from(["flip", "cut", "repeat", "insert", "tag"]))
        if kind == "cut":
            raw = raw[:at] + raw[to:]
        elif kind == "repeat":
            raw = raw[:to] + raw[at:to] + raw[to:]
        elif kind == "insert":
            raw = raw[:at] + draw(st.binary(max_size=12)) + raw[at:]
        elif at < len(raw):
            # The lowest three bits of a tag are its wire type.
            bits = draw(st.integers(1, 7 if kind == "tag" else 255))
            raw = raw[:at] + bytes((raw[at] ^ bits,)) + raw[at + 1 :]
    return raw
