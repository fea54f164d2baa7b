"""A value of each setting, and how to write them down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import yaml

from codeq_grpc.core.quotas import Quotas

if TYPE_CHECKING:
    from pathlib import Path

HASH: Final = hashlib.sha256(b"token").hexdigest()
ENTRY: Final[dict[str, Any]] = {
    "sha256": HASH,
    "subject": "s",
    "tenant": "acme",
    "roles": ["worker"],
    "scopes": [],
    "commands": [],
}
CERTIFIED: Final = {name: value for name, value in ENTRY.items() if name != "sha256"}
QUOTAS: Final = {field.name: number for number, field in enumerate(fields(Quotas), 2)}
SECRET: Final = "s3cr3t-canary"
RULES: Final[dict[str, Any]] = {
    "roles": ["worker"],
    "scopes": ["tasks.read"],
    "commands": [],
    "subject_claim": "sub",
    "tenant": "",
    "tenant_claims": ["tid"],
    "tenants": ["acme"],
    "roles_claim": "roles",
    "role_map": {"ops": "operator"},
    "scopes_claim": "scope",
    "commands_claim": "commands",
}
"""What claims mean, with everything that can be said of it."""

VALUES: Final[dict[str, Any]] = {
    "env": "staging",
    "firings_kept": 7,
    "grpc_host": "::1",
    "grpc_port": 1,
    "grpc_engine": "grpcio",
    "http_host": "::1",
    "http_port": 2,
    "redis_url": "rediss://store:7",
    "redis_addr": "store:7",
    "store_timeout_seconds": 1.5,
    "store_connections": 9,
    "durability": "D3",
    "tokens": [ENTRY],
    "plaintext": "http",
    "tls_cert_file": "/tls/cert.pem",
    "tls_key_file": "/tls/key.pem",
    "tls_client_ca_file": "/tls/ca.pem",
    "certificates": [{**CERTIFIED, "name": "dns:worker.example"}],
    "redis_ca_file": "/store/ca.pem",
    "redis_cert_file": "/store/cert.pem",
    "redis_key_file": "/store/key.pem",
    "roles": {"night-watch": ["queues.read", "queues.admin"]},
    "tenants": {"acme": QUOTAS},
    "tenant_defaults": QUOTAS,
    "strict_tenants": True,
    "timezone": "America/Sao_Paulo",
    "log_level": "debug",
    "log_format": "text",
    "default_lease_seconds": 77,
    "requeue_inspect_limit": 9,
    "retention_hours": 0.5,
    "max_payload_bytes": 99,
    "max_working": 30,
    "max_calls": 31,
    "max_calls_per_principal": 32,
    "max_calls_per_address": 33,
    "max_request_bytes": 9 << 20,
    "max_request_bytes_per_principal": 8 << 20,
    "max_streams": 3,
    "max_streams_per_principal": 34,
    "max_streams_per_address": 35,
    "max_watches": 7,
    "max_watches_per_principal": 36,
    "max_watches_per_address": 37,
    "max_failures_per_second": 38,
    "max_stream_age_seconds": 4.5,
    "drain_seconds": 5.5,
    "audit": "all",
    "audit_retention_days": 1.5,
    "firing_retention_days": 2.5,
    "system_tenant": "house",
    "reflection": True,
    "reuse_port": True,
    "processes": 3,
    "identity_service_url": "https://id",
    "identity_service_api_key": "key",
    "identity_claims": {**RULES, "subject_claim": "email"},
    "issuers": [
        {
            **RULES,
            "issuer": "https://issuer",
            "audiences": ["codeq"],
            "algorithms": ["ES256"],
            "jwks_url": "https://issuer/jwks",
            "public_key": "",
            "token_types": ["at+jwt"],
            "leeway_seconds": 9,
            "max_lifetime_seconds": 99,
        }
    ],
    "allow_http_identities": True,
}
"""A value of each setting, none of them the default."""


def toml(value: Any) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def written(path: Path, values: dict[str, Any]) -> Path:
    """A configuration file in the format that its name asks for."""
    if path.suffix == ".toml":
        path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in values.items()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(values))
    else:
        path.write_text(yaml.safe_dump(values))
    return path
