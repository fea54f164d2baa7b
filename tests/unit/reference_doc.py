"""Writes docs/reference.md from the comments of proto/; `make docs` runs it."""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from grpc_tools import protoc

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PROTOS: Final = sorted((ROOT / "proto" / "codeq" / "v1").glob("*.proto"))
TITLE: Final = """\
# Reference

Every RPC, message and field of `codeq.v1`, made from the comments in `proto/` by `make docs`.
[protocol.md](protocol.md) has what they mean together, errors and limits.
"""
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD, _VALUE, _METHOD = 2, 2, 2
"""Field numbers of descriptor.proto, as paths of comments have them."""


def load() -> list[FileDescriptorProto]:
    """The files of the API with their comments."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "image"
        names = [str(path) for path in PROTOS]
        known = files("grpc_tools") / "_proto"
        options = [f"--proto_path={ROOT / 'proto'}", f"--proto_path={known}"]
        options.append("--include_source_info")
        if protoc.main(["protoc", *options, f"--descriptor_set_out={out}", *names]):
            raise SystemExit("protoc failed")
        return list(FileDescriptorSet.FromString(out.read_bytes()).file)


class Comments:
    """The comments of one file, by the path of what they stand before."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_path = {
            tuple(place.path): " ".join(place.leading_comments.split())
            for place in file.source_code_info.location
        }

    def at(self, *path: int) -> str:
        """One line."""
        return self._by_path.get(path, "").replace("|", "\\|")


def _type(field: FieldDescriptorProto, maps: dict[str, str]) -> str:
    if field.type_name in maps:
        return maps[field.type_name]
    if field.type_name:
        name = field.type_name.removeprefix(".codeq.v1.").removeprefix(".google.protobuf.")
    else:
        name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"repeated {name}" if field.label == FieldDescriptorProto.LABEL_REPEATED else name


def _maps(message: DescriptorProto, file: FileDescriptorProto) -> dict[str, str]:
    """Full name of each entry message -> how a map is written."""
    return {
        f".{file.package}.{message.name}.{nested.name}": "map<{}, {}>".format(
            *(_type(field, {}) for field in nested.field)
        )
        for nested in message.nested_type
        if nested.options.map_entry
    }


def _service(service: ServiceDescriptorProto, index: int, comments: Comments) -> Iterator[str]:
    yield f"\n## {service.name}\n\n{comments.at(_SERVICE, index)}\n\n"
    yield "| RPC | request | response | |\n|---|---|---|---|\n"
    for i, method in enumerate(service.method):
        answer = method.output_type.removeprefix(".codeq.v1.")
        answer = f"stream {answer}" if method.server_streaming else answer
        asked = method.input_type.removeprefix(".codeq.v1.")
        text = comments.at(_SERVICE, index, _METHOD, i)
        yield f"| {method.name} | {asked} | {answer} | {text} |\n"


def _message(
    message: DescriptorProto, index: int, file: FileDescriptorProto, comments: Comments
) -> Iterator[str]:
    yield f"\n### {message.name}\n\n{comments.at(_MESSAGE, index)}\n"
    if not message.field:
        return
    maps = _maps(message, file)
    yield "\n| field | number | type | |\n|---|---|---|---|\n"
    for i, field in enumerate(message.field):
        text = comments.at(_MESSAGE, index, _FIELD, i)
        yield f"| {field.name} | {field.number} | {_type(field, maps)} | {text} |\n"


def _enum(enum: EnumDescriptorProto, index: int, comments: Comments) -> Iterator[str]:
    yield f"\n### {enum.name}\n\n{comments.at(_ENUM, index)}\n"
    yield "\n| value | number | |\n|---|---|---|\n"
    for i, value in enumerate(enum.value):
        text = comments.at(_ENUM, index, _VALUE, i)
        yield f"| {value.name} | {value.number} | {text} |\n"


def text() -> str:
    """The page: services first, then what they speak of."""
    files = [(file, Comments(file)) for file in load()]
    parts = [TITLE]
    for file, comments in files:
        for index, service in enumerate(file.service):
            parts += _service(service, index, comments)
    parts.append("\n## Messages and enums\n")
    for file, comments in files:
        for index, enum in enumerate(file.enum_type):
            parts += _enum(enum, index, comments)
        for index, message in enumerate(file.message_type):
            parts += _message(message, index, file, comments)
    return "".join(parts)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
