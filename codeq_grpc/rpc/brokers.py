"""What the servicers ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codeq_grpc.broker.api_keys import ApiKeys
    from codeq_grpc.broker.bulk import Bulk
    from codeq_grpc.broker.claims import Claims
    from codeq_grpc.broker.queues import Queues
    from codeq_grpc.broker.reports import Reports
    from codeq_grpc.broker.schedules import Schedules
    from codeq_grpc.broker.selecting import Searches
    from codeq_grpc.broker.streams import Streams
    from codeq_grpc.broker.tasks import Tasks
    from codeq_grpc.broker.trail import Trail
    from codeq_grpc.broker.triggers import Triggers
    from codeq_grpc.broker.watches import Watches
    from codeq_grpc.broker.workers import Presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Brokers:
    """One of each."""

    tasks: Tasks
    claims: Claims
    reports: Reports
    streams: Streams
    searches: Searches
    bulk: Bulk
    watches: Watches
    queues: Queues
    presence: Presence
    trail: Trail
    api_keys: ApiKeys
    schedules: Schedules
    triggers: Triggers
