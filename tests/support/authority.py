"""A certificate authority of tests, and what is done with its certificates."""

from __future__ import annotations

import contextlib
import ssl
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from codeq_grpc.app import App
from codeq_grpc.core.clock import now
from tests.support.server import Caller, Server, bearer, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.server import Metadata
    from tests.support.stores import StoreProcess

ADMIN = bearer("acme", "admin")
SERVER_NAMES = ("localhost", "127.0.0.1")
_END = "-----END CERTIFICATE-----\n"
PAST, FUTURE = timedelta(days=-400), timedelta(days=400)


class Certificate:
    """A leaf with its key, in PEM."""

    def __init__(self, leaf: trustme.LeafCert) -> None:
        self.chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        self.key = leaf.private_key_pem.bytes()

    @property
    def der(self) -> bytes:
        """The leaf, as connections show it."""
        return ssl.PEM_cert_to_DER_cert(self.chain.decode().partition("-----END")[0] + _END)

    @property
    def serial(self) -> str:
        """As logs tell it."""
        return f"{x509.load_der_x509_certificate(self.der).serial_number:x}"

    def write(self, folder: Path, name: str) -> dict[str, Path]:
        """`NAME.pem` and `NAME.key` with it; their paths."""
        paths = {"certificate": folder / f"{name}.pem", "key": folder / f"{name}.key"}
        paths["certificate"].write_bytes(self.chain)
        paths["key"].touch(mode=0o600)
        paths["key"].write_bytes(self.key)
        return paths


class Authority:
    """Issues certificates."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem = self._ca.cert_pem.bytes()

    def issue(self, *names: str, common_name: str | None = None) -> Certificate:
        """One that is valid."""
        return Certificate(self._ca.issue_cert(*names, common_name=common_name))

    def issue_uri(self, uri: str) -> Certificate:
        """One for a URI, which trustme does not issue."""
        leaf = self._ca.issue_cert("replaced.example")
        model = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        builder = x509.CertificateBuilder(
            issuer_name=model.issuer,
            subject_name=model.subject,
            public_key=model.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=model.not_valid_before_utc,
            not_valid_after=model.not_valid_after_utc,
        )
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
        key: Any = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
        found = Certificate(leaf)
        found.chain = signed.public_bytes(Encoding.PEM)
        return found

    def issue_of(self, private: Any, *names: str) -> Certificate:
        """One of a key that trustme does not make."""
        leaf = self._ca.issue_cert(*names)
        model = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
        builder = x509.CertificateBuilder(
            issuer_name=model.issuer,
            subject_name=model.subject,
            public_key=private.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=model.not_valid_before_utc,
            not_valid_after=model.not_valid_after_utc,
        )
        alternative = model.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        key: Any = load_pem_private_key(self._ca.private_key_pem.bytes(), None)
        signed = builder.add_extension(alternative.value, critical=False)
        found = Certificate(leaf)
        found.chain = signed.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        found.key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return found

    def issue_ended(self, *names: str) -> Certificate:
        """One that was valid until yesterday."""
        end = now() - timedelta(days=1)
        return Certificate(self._ca.issue_cert(*names, not_before=end + PAST, not_after=end))

    def issue_short(self, *names: str, **span: float) -> Certificate:
        """One that is valid for a while yet, in the words of `timedelta`."""
        return Certificate(self._ca.issue_cert(*names, not_after=now() + timedelta(**span)))

    def issue_early(self, *names: str, days: float = 1) -> Certificate:
        """One that will be valid from tomorrow on, or another day."""
        begin = now() + timedelta(days=days)
        leaf = self._ca.issue_cert(*names, not_before=begin, not_after=begin + FUTURE)
        return Certificate(leaf)

    @staticmethod
    def self_signed() -> Certificate:
        """One that vouches for itself."""
        ca = trustme.CA()
        found = Certificate(ca.issue_cert("w.example"))
        found.chain, found.key = ca.cert_pem.bytes(), ca.private_key_pem.bytes()
        return found

    def client_context(self) -> ssl.SSLContext:
        """For clients of HTTP who trust this authority only."""
        return ssl.create_default_context(cadata=self.pem.decode())

    def credentials(self, client: Certificate | None = None) -> grpc.ChannelCredentials:
        """For clients of gRPC who trust this authority only."""
        if client is None:
            return grpc.ssl_channel_credentials(self.pem)
        return grpc.ssl_channel_credentials(self.pem, client.key, client.chain)


class TlsServer:
    """One that runs, and whose certificate may be replaced."""

    def __init__(self, app: App, server: Server, folder: Path) -> None:
        self.app = app
        self.ports = server.ports
        self.server = server
        self._folder = folder

    def replace(self, certificate: Certificate) -> None:
        """Puts another one where the server looks."""
        certificate.write(self._folder, "server")

    @contextlib.asynccontextmanager
    async def connected(
        self,
        credentials: grpc.ChannelCredentials | None,
        metadata: Metadata = ADMIN,
        *,
        host: str = "localhost",
        **options: Any,
    ) -> AsyncIterator[Caller]:
        """Somebody with a connection of its own; without credentials it speaks plain text."""
        given = [("grpc.use_local_subchannel_pool", 1), *options.items()]
        target = f"{host}:{self.ports.grpc}"
        channel = (
            grpc.aio.insecure_channel(target, options=given)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=given)
        )
        async with channel:
            yield Caller(channel, metadata)


@contextlib.asynccontextmanager
async def tls_server(
    store: StoreProcess,
    folder: Path,
    certificate: Certificate,
    client_ca: bytes = b"",
    **settings: Any,
) -> AsyncIterator[TlsServer]:
    """A server with this certificate while the block runs; with `client_ca`, clients must have one,
    too.
    """
    files = certificate.write(folder, "server")
    given = {"tls_cert_file": files["certificate"], "tls_key_file": files["key"]}
    if client_ca:
        given["tls_client_ca_file"] = folder / "clients.pem"
        given["tls_client_ca_file"].write_bytes(client_ca)
    app = App(settings_for(store, **{"grpc_engine": "auto", **given, **settings}))
    async with app.running() as ports:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}")
        async with channel:
            yield TlsServer(app, Server(app=app, ports=ports, channel=channel), folder)
