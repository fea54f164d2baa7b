"""Reflection, in both its versions, for whoever has a credential, where it is switched on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2

from tests.integration.calling import SERVICES
from tests.integration.refusals import refused
from tests.support.server import running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

VERSIONS: Final = ("v1", "v1alpha")


def ask(caller: Caller, version: str, **request: Any) -> Any:
    """The call, whose first message answers the request."""
    make: Any = caller.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = iter([reflection_pb2.ServerReflectionRequest(**request)])
    return make(requests, metadata=caller.metadata, timeout=10)


@pytest.mark.parametrize("version", VERSIONS)
async def test_whoever_has_a_credential_may_ask(store: StoreProcess, version: str) -> None:
    async with running_server(store, reflection=True) as server:
        viewer = server.caller("rival", "viewer")
        listed = await ask(viewer, version, list_services="").read()
        names = {service.name for service in listed.list_services_response.service}
        assert {*(one.full_name for one in SERVICES), "grpc.health.v1.Health"} <= names
        for known in SERVICES:
            found = await ask(viewer, version, file_containing_symbol=known.full_name).read()
            files = [
                FileDescriptorProto.FromString(raw)
                for raw in found.file_descriptor_response.file_descriptor_proto
            ]
            services = {service.name: service for file in files for service in file.service}
            methods = [method.name for method in services[known.name].method]
            assert methods == list(known.methods_by_name)
        unknown = await ask(viewer, version, file_containing_symbol="no.such.Thing").read()
        assert unknown.HasField("error_response")


@pytest.mark.parametrize("version", VERSIONS)
async def test_strangers_may_not_ask(store: StoreProcess, version: str) -> None:
    async with running_server(store, reflection=True) as server:
        refusal = await refused(ask(server.stranger(), version, list_services="").read())
        assert refusal.kind == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_is_off_unless_asked_for(server: Server, version: str) -> None:
    refusal = await refused(ask(server.caller(), version, list_services="").read())
    assert refusal.code.name == "UNIMPLEMENTED"
    refusal = await refused(ask(server.stranger(), version, list_services="").read())
    assert refusal.kind == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
