"""The client: one typed method for each call of the API, asynchronous, over one channel."""

from __future__ import annotations

from codeq_grpc.client.leasing import Leasing
from codeq_grpc.client.looking import Looking
from codeq_grpc.client.operating import Operating
from codeq_grpc.client.producing import Producing
from codeq_grpc.client.scheduling import Scheduling


class Client(Producing, Leasing, Looking, Operating, Scheduling):
    """Speaks to a codeQ server; an asynchronous context manager.

    ```python
    async with Client("127.0.0.1:50051", token="cq_...") as client:
        task_id = (await client.enqueue("greet", {"name": "Ada"})).task_id
        print(await client.result(task_id, timeout=60))
    ```

    A target is `host:port` or `unix:///path`. `timeout` is the deadline of a call in seconds;
    `credentials` are those of TLS, e.g. of `tls_credentials`, without them the connection is plain
    text; `wait_for_ready` makes calls wait for a server that is
    not there yet instead of failing; `options` are gRPC channel options on top of ours.

    Every method raises `CodeQError`: the classes of `codeq_grpc.core.errors` for what the
    server refused, those of `codeq_grpc.client.errors` for calls it did not answer.

    Code that is not asynchronous uses `SyncClient`.
    """
