"""The table of limits: for each field values at its limits, and values just beyond."""

from __future__ import annotations

from typing import Final

from tests.integration.limit_cases_keys import KEYS
from tests.integration.limit_cases_operators import LISTS, QUEUES
from tests.integration.limit_cases_schedules import SCHEDULES
from tests.integration.limit_cases_specs import SPECS
from tests.integration.limit_cases_workers import WORKERS

CASES: Final = [*SPECS, *WORKERS, *LISTS, *QUEUES, *KEYS, *SCHEDULES]
