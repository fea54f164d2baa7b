"""The one reader of the environment and of the configuration file.

Every setting can be given as `CODEQ_<NAME>`, in the file as `name` or `camelName`; the names of
the scheduler that codeQ replaces are accepted too (PORT, REDIS_ADDR, IDENTITY_SERVICE_URL,
IDENTITY_SERVICE_API_KEY). The environment goes before the file.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from codeq_grpc.core.durability import Level
from codeq_grpc.core.principal import ROLES, Principal, Scope
from codeq_grpc.core.quotas import Tenants
from codeq_grpc.identity_settings import TokenEntry
from codeq_grpc.issuer_settings import IdentityClaims, IssuerEntry, check_identities
from codeq_grpc.tenant_settings import QuotasEntry, check_tenants, read_tenants
from codeq_grpc.transport_settings import TransportSettings

if TYPE_CHECKING:
    from codeq_grpc.core.claims import Issuer, Lookup

_BARE: Final = ("PORT", "REDIS_ADDR", "IDENTITY_SERVICE_URL", "IDENTITY_SERVICE_API_KEY")
_STRUCTURED: Final = frozenset(
    {
        *("tokens", "roles", "issuers", "identity_claims", "certificates"),
        *("tenants", "tenant_defaults"),
    }
)
"""Settings that stand in the environment as JSON."""
_ADDRESS: Final = re.compile(r"[^/@?#\s]+")
"""A host, and a port or none."""
_OTHERS: Final = frozenset(
    {
        *("CODEQ_CONFIG", "CODEQ_ADDRESS", "CODEQ_TOKEN"),
        *("CODEQ_TLS", "CODEQ_CA_FILE", "CODEQ_CERT_FILE", "CODEQ_KEY_FILE"),
        "CODEQ_LEGACY_URL",
        *("CODEQ_TASK_ID", "CODEQ_COMMAND", "CODEQ_ATTEMPT", "CODEQ_FENCE"),
    }
)
"""Variables that are no settings: where they are, those of the CLI, and what `codeq work` tells a
program of its task, besides CODEQ_HEADER_<NAME>."""
_KUBERNETES: Final = re.compile(
    r"CODEQ(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""What it announces of services called codeq, codeq-grpc and so on to every container, besides
an address with its protocol."""
_ADDRESSES: Final = ("tcp://", "udp://", "sctp://")
_SAID: Final = {"extra_forbidden": "there is no such setting"}
_RAISED: Final = "Value error, "
"""What pydantic writes before a validator's own words."""


class SettingsError(Exception):
    """The settings are not valid; the message says which and why."""


class Settings(TransportSettings):
    """Settings of a server. Times in the unit their name says."""

    env: str = "production"
    redis_url: str = Field("")
    redis_addr: str = Field("localhost:6379")
    store_timeout_seconds: float = Field(5.0, gt=0, le=60)
    store_connections: int = Field(64, ge=4, le=4096)
    durability: Level = Level.D1
    tokens_file: Path | None = Field(None)
    tokens: tuple[TokenEntry, ...] = ()
    roles: dict[str, tuple[Scope, ...]] = Field(default_factory=dict)
    tenants: dict[str, QuotasEntry] = Field(default_factory=dict)
    tenant_defaults: QuotasEntry = Field(default_factory=QuotasEntry)
    strict_tenants: bool = False
    timezone: str = "UTC"
    log_level: Literal["debug", "info", "warning", "error"] = Field("info")
    log_format: Literal["json", "text"] = Field("json")
    default_lease_seconds: int = Field(300, ge=1, le=86_400)
    requeue_inspect_limit: int = Field(200, ge=1, le=500)
    retention_hours: float = Field(24.0, gt=0)
    max_payload_bytes: int = Field(1 << 20, ge=1, le=3 << 19)
    max_calls: int = Field(4_000, ge=1)
    max_calls_per_principal: int = Field(3_000, ge=1)
    max_calls_per_address: int = Field(3_000, ge=1)
    max_request_bytes: int = Field(32 << 20, ge=8 << 20)
    max_request_bytes_per_principal: int = Field(24 << 20, ge=8 << 20)
    max_working: int = Field(32, ge=1)
    max_streams: int = Field(2_000, ge=1)
    max_streams_per_principal: int = Field(1_500, ge=1)
    max_streams_per_address: int = Field(1_500, ge=1)
    max_watches: int = Field(256, ge=1)
    max_watches_per_principal: int = Field(192, ge=1)
    max_watches_per_address: int = Field(192, ge=1)
    max_failures_per_second: int = Field(20, ge=1)
    max_stream_age_seconds: float = Field(0.0, ge=0)
    drain_seconds: float = Field(20.0, ge=0)
    audit: Literal["changes", "all"] = Field("changes")
    audit_retention_days: float = Field(90.0, gt=0, le=3_653)
    firings_kept: int = Field(100, ge=1, le=10_000)
    firing_retention_days: float = Field(90.0, gt=0, le=3_653)
    system_tenant: str = Field("codeq", pattern=r"^([A-Za-z0-9._-]{1,64})?$")
    reflection: bool = False
    reuse_port: bool = Field(False)
    identity_service_url: str = Field("")
    identity_service_api_key: str = Field("", repr=False)
    identity_claims: IdentityClaims = Field(
        default_factory=lambda: IdentityClaims.model_validate({})
    )
    issuers: tuple[IssuerEntry, ...] = Field((), max_length=32)
    allow_http_identities: bool = False

    @field_validator("timezone")
    @classmethod
    def _timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            message = f"{value!r} is not an IANA time zone"
            raise ValueError(message) from error
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        if value and not _names_a_store(value):
            # Not shown: it may hold a password.
            raise ValueError(
                "must be redis://HOST:PORT/DATABASE, rediss:// the same, or unix:///PATH"
            )
        if "ssl_" in urlsplit(value).query:
            raise ValueError(
                "may have no options of TLS: redis_ca_file and its siblings are settings, and the"
                " store's certificate is always verified"
            )
        return value

    @field_validator("redis_addr")
    @classmethod
    def _redis_addr(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value) or not _names_a_store(f"redis://{value}"):
            raise ValueError("must be HOST:PORT; a URL goes into redis_url")
        return value

    @field_validator("tenants", mode="before")
    @classmethod
    def _tenants(cls, value: Any) -> Any:
        return read_tenants(value)

    @field_validator("roles")
    @classmethod
    def _roles(cls, value: dict[str, tuple[Scope, ...]]) -> dict[str, tuple[Scope, ...]]:
        known = sorted(set(value) & set(ROLES))
        if known:
            message = f"{known[0]!r} is a role that codeQ has already; take another name"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _known_roles(self) -> Self:
        roles = self.all_roles()
        listed = [(f"tokens.{i}", entry) for i, entry in enumerate(self.tokens)]
        seen: set[str] = set()
        for where, token in listed:
            if token.sha256 in seen:
                raise ValueError(f"{where}.sha256: is there twice")
            seen.add(token.sha256)
        certified = [(f"certificates.{i}", entry) for i, entry in enumerate(self.certificates)]
        for where, entry in (*listed, *certified):
            unknown = entry.unknown_role(roles)
            if unknown is not None:
                known = ", ".join(roles)
                raise ValueError(f"{where}.roles: unknown role {unknown!r}, known are {known}")
            if not entry.granted(roles):
                raise ValueError(f"{where}.roles: must have roles, or scopes beside them")
        service = (self.identity_service_url, self.identity_claims)
        check_identities(self.issuers, service, roles, allow_http=self.allow_http_identities)
        return self

    @model_validator(mode="after")
    def _store_by_tls(self) -> Self:
        files = self.redis_ca_file or self.redis_cert_file
        if files and not self.store_url().startswith("rediss:"):
            raise ValueError("redis_ca_file, redis_cert_file: need a redis_url of rediss://")
        return self

    @model_validator(mode="after")
    def _known_tenants(self) -> Self:
        check_tenants(
            self.tenants,
            self.tenant_defaults,
            strict=self.strict_tenants,
            payload_bytes=self.max_payload_bytes,
        )
        return self

    def all_roles(self) -> dict[str, frozenset[Scope]]:
        """Role -> scopes: those that codeQ has and those of the settings."""
        return {**ROLES, **{name: frozenset(scopes) for name, scopes in self.roles.items()}}

    @property
    def retention_ms(self) -> int:
        """How long ended tasks of queues are kept that have no retention of their own."""
        return int(self.retention_hours * 3_600_000)

    def store_url(self) -> str:
        """Where the store is."""
        return self.redis_url or f"redis://{self.redis_addr}"

    def store_place(self) -> str:
        """The same for the log: without user, password and options."""
        parts = urlsplit(self.store_url())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def places(self, name: str) -> tuple[int, int, int]:
        """A limit by its name: the server's, each principal's and each address's."""
        of_principal = getattr(self, f"{name}_per_principal")
        return getattr(self, name), of_principal, getattr(self, f"{name}_per_address")

    def tenant_rules(self) -> Tenants:
        """Who is served, and what each may have."""
        named = {name: entry.quotas() for name, entry in self.tenants.items()}
        return Tenants(named, self.tenant_defaults.quotas(), strict=self.strict_tenants)

    def principals(self) -> dict[str, Principal]:
        """Known tokens: SHA-256 -> principal."""
        roles = self.all_roles()
        return {entry.sha256: entry.principal(roles) for entry in self.tokens}

    def known_issuers(self) -> list[Issuer]:
        """Who signs tokens."""
        roles = self.all_roles()
        return [entry.known(roles) for entry in self.issuers]

    def lookup(self) -> Lookup | None:
        """The identity service, if there is one."""
        url, key = self.identity_service_url, self.identity_service_api_key
        return self.identity_claims.lookup(url, key, self.all_roles()) if url else None

    def certified(self) -> dict[str, Principal]:
        """Known client certificates: name -> principal."""
        roles = self.all_roles()
        return {entry.name: entry.principal(roles) for entry in self.certificates}


def _names_a_store(url: str) -> bool:
    """Whether the client of the store can make something of it."""
    try:
        parts = urlsplit(url)
        port = parts.port if parts.scheme != "unix" else None
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    database = parts.path.removeprefix("/") or "0"
    return parts.scheme in {"redis", "rediss"} and port != 0 and database.isdigit()


def _parse(path: Path) -> Any:
    text = path.read_text()
    if path.suffix == ".toml":
        return tomllib.loads(text)
    if path.suffix == ".json":
        return json.loads(text)
    return yaml.safe_load(text)


def _read_file(path: Path, what: str) -> Any:
    try:
        return _parse(path)
    except OSError as error:
        message = f"{what} {path}: {error.strerror}"
        raise SettingsError(message) from error
    except yaml.YAMLError as error:
        # What stands there is left out: it may be a secret.
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SettingsError(f"{what} {path}: not valid YAML{place}") from None
    except ValueError as error:
        message = f"{what} {path}: {error}"
        raise SettingsError(message) from error


def _read_tokens(path: Path) -> list[Any]:
    entries = _read_file(path, "tokens file")
    if not isinstance(entries, list | None):
        raise SettingsError(f"tokens file {path}: must be a list of tokens")
    return entries or []


def _environment() -> dict[str, Any]:
    found: dict[str, Any] = {
        name.lower(): os.environ[name] for name in _BARE if os.environ.get(name)
    }
    unknown = []
    for name, value in sorted(os.environ.items()):
        field = name.removeprefix("CODEQ_").lower()
        if not name.startswith("CODEQ_") or not value or value.startswith(_ADDRESSES):
            continue
        if field in Settings.model_fields:
            found[field] = value
        elif not _is_of_others(name):
            nearest = _nearest(field)
            hint = f", did you mean CODEQ_{nearest.upper()}?" if nearest else ""
            unknown.append(f"{name}: {_SAID['extra_forbidden']}{hint}")
    if unknown:
        raise SettingsError(f"settings are not valid: {'; '.join(unknown)}")
    if "http_port" in found:
        found.pop("port", None)
    for name in _STRUCTURED & found.keys():
        try:
            found[name] = json.loads(found[name])
        except ValueError as error:
            message = f"CODEQ_{name.upper()} is not JSON: {error}"
            raise SettingsError(message) from error
    return found


def _is_of_others(name: str) -> bool:
    headers = name.startswith("CODEQ_HEADER_")
    return name in _OTHERS or headers or _KUBERNETES.fullmatch(name) is not None


def _nearest(field: str) -> str:
    return next(iter(difflib.get_close_matches(field, Settings.model_fields, n=1)), "")


def _canonical(given: dict[str, Any]) -> dict[str, Any]:
    """Every alias under its field's name, so that sources can go before one another."""
    names = {"port": "http_port"}
    for name in Settings.model_fields:
        names[to_camel(name)] = name
    return {names.get(key, key): value for key, value in given.items()}


def load_settings(config: Path | None = None, /, **given: Any) -> Settings:
    """Settings from `given`, the environment and the file, in this order of precedence; raises
    SettingsError.
    """
    config = config or (
        Path(os.environ["CODEQ_CONFIG"]) if os.environ.get("CODEQ_CONFIG") else None
    )
    from_file = _read_file(config, "configuration file") if config else {}
    if from_file is not None and not isinstance(from_file, dict):
        message = f"configuration file {config}: must be a mapping of names to values"
        raise SettingsError(message)
    values: dict[str, Any] = {}
    for source in (_canonical(from_file or {}), _canonical(_environment()), given):
        if "redis_addr" in source:
            values.pop("redis_url", None)  # of a source that this one goes before
        values |= source
    if values.get("tokens_file"):
        entries, more = _read_tokens(Path(str(values["tokens_file"]))), values.get("tokens")
        if not more or isinstance(more, list | tuple):
            values["tokens"] = [*entries, *(more or [])]
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    # The input is left out: it may be a secret.
    lines = []
    for found in error.errors():
        place = [".".join(map(str, found["loc"]))] if found["loc"] else []
        said = _SAID.get(found["type"], found["msg"].removeprefix(_RAISED))
        if found["type"] == "extra_forbidden" and len(found["loc"]) == 1:
            nearest = _nearest(place[0])
            said += f", did you mean {nearest}?" if nearest else ""
        lines.append(": ".join([*place, said]))
    return "settings are not valid: " + "; ".join(lines)
