"""The yardstick of unary calls: a bare grpcio server that answers Enqueue and does nothing."""

from __future__ import annotations

import asyncio

import grpc

from bench.drivers.talking import cpu_seconds, job, say, told
from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services


class Echo(services.CodeQServiceServicer):
    """Answers with the length of what came, as an id, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def Enqueue(  # noqa: N802 - gRPC's name
        self, request: pb.EnqueueRequest, context: object
    ) -> pb.EnqueueResponse:
        """A message in, a message out."""
        del context
        self.calls += 1
        return pb.EnqueueResponse(task_id=f"{len(request.task.payload.data):018}", created=True)


async def main() -> None:
    """Serves, and tells of its calls when it is asked."""
    work = job()
    server, echo = grpc.aio.server(), Echo()
    services.add_CodeQServiceServicer_to_server(echo, server)
    server.add_insecure_port(f"127.0.0.1:{work.port}")
    await server.start()
    say(ready=True)
    while await told() != "end":
        say(calls=echo.calls, cpu=cpu_seconds())
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main())
