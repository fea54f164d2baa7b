"""Where a server listens, how it is protected there, and by what certificates clients are known,
as people write it in settings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from codeq_grpc.core.principal import ROLES, Principal
from codeq_grpc.identity_settings import Rights, check_tenant
from codeq_grpc.transport.addresses import check_host, is_local, unix_path

if TYPE_CHECKING:
    from codeq_grpc.identity_settings import Roles

_NAME: Final = re.compile(r"(?:dns:[a-z0-9._-]{1,253}|(?:uri|email|cn):[^\x00-\x1f\x7f]{1,512})")


class CertificateEntry(Rights):
    """One known client certificate: whoever has one with this name, from the CA that clients must
    be of, is this principal.
    """

    name: str
    subject: str = Field(min_length=1, max_length=128)
    tenant: str

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                "must be dns:NAME (in small letters, without *), uri:URI, email:ADDRESS or cn:NAME"
            )
        return value

    @field_validator("tenant")
    @classmethod
    def _tenant(cls, value: str) -> str:
        return check_tenant(value)

    def principal(self, roles: Roles = ROLES) -> Principal:
        """Who this is."""
        return Principal(
            subject=self.subject,
            tenant=self.tenant,
            scopes=self.granted(roles),
            commands=self.commands,
            credential=f"cert:{self.name}",
        )


class TransportSettings(BaseModel):
    """A part of the settings of a server."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    grpc_host: str = Field("127.0.0.1")
    grpc_port: int = Field(50051, ge=0, le=65535)
    grpc_engine: Literal["auto", "native", "grpcio"] = Field("auto")
    http_host: str = Field("127.0.0.1")
    http_port: int = Field(8080, ge=0, le=65535)
    processes: int = Field(1, ge=1, le=256)
    plaintext: Literal["none", "http", "all"] = Field("none")
    tls_cert_file: Path | None = Field(None)
    tls_key_file: Path | None = Field(None)
    tls_client_ca_file: Path | None = Field(None)
    certificates: tuple[CertificateEntry, ...] = ()
    redis_ca_file: Path | None = Field(None)
    redis_cert_file: Path | None = Field(None)
    redis_key_file: Path | None = Field(None)

    @field_validator("grpc_host", "http_host")
    @classmethod
    def _host(cls, value: str) -> str:
        return check_host(value)

    @property
    def grpc_tls(self) -> bool:
        """Whether gRPC speaks TLS. Unix sockets never do."""
        return self.tls_cert_file is not None and unix_path(self.grpc_host) is None

    @property
    def http_tls(self) -> bool:
        """Whether HTTP speaks TLS."""
        wanted = self.tls_cert_file is not None and self.plaintext != "http"
        return wanted and unix_path(self.http_host) is None

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.plaintext == "all" and self.tls_cert_file:
            raise ValueError("plaintext: all says that there is no TLS, and tls_cert_file is set")
        if not self.grpc_tls and self.plaintext != "all":
            _check_local("grpc_host", self.grpc_host, "all")
        if not self.http_tls and self.plaintext == "none":
            _check_local("http_host", self.http_host, "http")
        if self.grpc_tls and self.grpc_engine == "native":
            raise ValueError("grpc_engine: native has no TLS; take grpcio, or auto")
        path = unix_path(self.grpc_host)
        if path is not None and self.processes > 1:
            raise ValueError("processes: one only can listen on the unix socket of grpc_host")
        if path is not None and path == unix_path(self.http_host):
            raise ValueError("http_host: is the socket of grpc_host")
        return self

    @model_validator(mode="after")
    def _known_clients(self) -> Self:
        if self.tls_client_ca_file and not self.grpc_tls:
            raise ValueError("tls_client_ca_file: needs gRPC with TLS, thus tls_cert_file")
        if self.certificates and not self.tls_client_ca_file:
            raise ValueError("certificates: need tls_client_ca_file, the CA that they are of")
        names = [entry.name for entry in self.certificates]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"certificates: {twice} is there twice")
        return self

    @model_validator(mode="after")
    def _store_files(self) -> Self:
        if (self.redis_cert_file is None) != (self.redis_key_file is None):
            raise ValueError("redis_cert_file and redis_key_file go together")
        return self


def _check_local(name: str, host: str, asked: str) -> None:
    if not is_local(host):
        message = (
            f"{name}: other machines reach {host!r}, and what they send there would be in clear;"
            " set tls_cert_file and tls_key_file, or, if something else protects it, plaintext to"
            f" {asked}"
        )
        raise ValueError(message)
