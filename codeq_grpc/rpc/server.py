"""Builds the gRPC server: limits set on purpose, servicers, reflection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from codeq.v1 import admin_service_pb2_grpc, codeq_service_pb2_grpc, schedule_service_pb2_grpc
from codeq_grpc.core import limits
from codeq_grpc.rpc.health import SERVICES

if TYPE_CHECKING:
    from codeq_grpc.rpc.admin_service import AdminServicer
    from codeq_grpc.rpc.codeq_service import CodeQServicer
    from codeq_grpc.rpc.engines import Engine, Interceptors
    from codeq_grpc.rpc.health import HealthServicer
    from codeq_grpc.rpc.schedule_service import ScheduleServicer

OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    # A dead peer is noticed within the sum of the two; ping_timeout is what bounds it.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Clients may ping every 10 s, a little earlier by their clocks.
    ("grpc.http2.min_ping_interval_without_data_ms", 9_000),
    ("grpc.http2.max_ping_strikes", 3),
    ("grpc.max_receive_message_length", limits.MESSAGE_BYTES),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES),
    # Soft and hard limit the same: between the two, refusal is a matter of luck.
    ("grpc.max_metadata_size", limits.METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", limits.METADATA_BYTES),
    ("grpc.max_concurrent_streams", 1_000),
    # Calls that Python has yet to take up, those that gRPC itself has refused for their headers
    # among them. Of more than 1,000 grpcio cancels some at random by itself, so that a flood of
    # such calls costs others theirs; so many are taken up in about 10 s, as long as callers wait.
    ("grpc.server.max_pending_requests", 30_000),
    ("grpc.server.max_pending_requests_hard_limit", 30_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    # As much of a stream comes in before somebody reads it: thousands of calls may wait for room.
    # With the probe, calls that are refused unread took in megabytes each.
    ("grpc.http2.lookahead_bytes", 16_384),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.max_connection_idle_ms", 600_000),
)


class Servicers(NamedTuple):
    """One of each."""

    queue: CodeQServicer
    admin: AdminServicer
    schedules: ScheduleServicer
    health: HealthServicer


def build_server(
    servicers: Servicers,
    interceptors: Interceptors,
    *,
    engine: Engine,
    reflect: bool,
    reuse_port: bool,
) -> grpc.aio.Server:
    """A server without ports. `reflect` adds reflection, v1 and v1alpha."""
    options = (*OPTIONS, ("grpc.so_reuseport", int(reuse_port)))
    server = engine.make(interceptors, options)
    codeq_service_pb2_grpc.add_CodeQServiceServicer_to_server(servicers.queue, server)
    admin_service_pb2_grpc.add_AdminServiceServicer_to_server(servicers.admin, server)
    schedule_service_pb2_grpc.add_ScheduleServiceServicer_to_server(servicers.schedules, server)
    health_pb2_grpc.add_HealthServicer_to_server(servicers.health, server)
    if reflect:
        _add_reflection(server)
    return server


def _add_reflection(server: grpc.aio.Server) -> None:
    names = (*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    servicer = ReflectionServicer(service_names=names)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    # grpcio ships v1alpha only; the messages of v1 are the same.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    generic = grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
    )
    server.add_generic_rpc_handlers((generic,))
