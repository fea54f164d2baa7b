"""The certificate of a server, read anew when its files change.

New connections get the latest pair that is whole and valid; those that are open stay as they are.
What is broken is told of, once, and the pair before goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from codeq_grpc.core.clock import now

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

_log = logging.getLogger(__name__)
_EVERY: Final = 1.0
"""Seconds between looks at the files."""
_SOON_DAYS: Final = 7
_CURVES: Final = frozenset({"secp256r1", "secp384r1"})
_AGAIN: Final = 24 * 3600
"""Looks between reminders that it ends soon."""


class BadCertificate(Exception):
    """A certificate or key cannot be used; the message says which and why."""


class Files(NamedTuple):
    """Where they are. With `client_ca`, clients must show a certificate of it."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def read(self) -> Contents:
        """What is there now. Raises BadCertificate."""
        ca = _read("tls_client_ca_file", self.client_ca) if self.client_ca else b""
        return Contents(
            _read("tls_cert_file", self.certificate), _read("tls_key_file", self.key), ca
        )


class Contents(NamedTuple):
    """The files, in PEM."""

    certificate: bytes
    key: bytes
    client_ca: bytes

    def __repr__(self) -> str:
        return "Contents()"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, whole and valid."""

    contents: Contents
    ends: datetime
    serial: str
    context: ssl.SSLContext = field(repr=False)
    """Asks clients for no certificate."""


class ServerCertificate:
    """The latest pair that can be used. Raises BadCertificate if there is none to begin with."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._problem = ""
        self._looks = 0
        self.pair = _pair(files, files.read())
        self.context = self.pair.context
        """For HTTP: gives every new connection the latest pair."""
        self.context.sni_callback = self._choose
        self._tell()

    def _choose(self, connection: ssl.SSLSocket | ssl.SSLObject, *_: Any) -> None:
        connection.context = self.pair.context

    async def run(self) -> None:
        """Looks at the files, for ever."""
        while True:
            await asyncio.sleep(_EVERY)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """One look."""
        self._looks += 1
        if self._looks % _AGAIN == 0:
            self._remind()
        try:
            contents = self._files.read()
            if contents == self.pair.contents:
                self._problem = ""
                return
            # Again and again, if it does not fit: it may have to wait for its day.
            self.pair = _pair(self._files, contents)
        except BadCertificate as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("the new certificate is not used, the one before is: %s", error)
            return
        self._problem = ""
        self._tell()

    def _tell(self) -> None:
        ends = self.pair.ends.isoformat()
        _log.info("certificate loaded", extra={"serial": self.pair.serial, "ends": ends})
        with contextlib.suppress(OSError):  # it has just been replaced
            if self._files.key.stat().st_mode & stat.S_IROTH:
                _log.warning("everybody on this machine can read tls_key_file %s", self._files.key)
        self._remind()

    def _remind(self) -> None:
        days = (self.pair.ends - now()).days
        if days < _SOON_DAYS:
            _log.warning("the certificate ends in less than %d days", days + 1)


def check_client(files: Mapping[str, Path | None]) -> None:
    """Looks whether a CA, a certificate and its key, each by its setting, can be used. Raises
    BadCertificate.
    """
    given = {name: path for name, path in files.items() if path is not None}
    for name, path in given.items():
        _read(name, path)
    ca, certificate, key = files.values()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca is not None:
            context.load_verify_locations(ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        message = f"{', '.join(given)}: cannot be used together: {error.reason or error}"
        raise BadCertificate(message) from error


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadCertificate(f"{setting} {path}: {error.strerror}") from error


def _pair(files: Files, contents: Contents) -> Pair:
    chain = _certificates("tls_cert_file", files.certificate, contents.certificate)
    if files.client_ca:
        _certificates("tls_client_ca_file", files.client_ca, contents.client_ca)
    leaf = chain[0]
    where = f"tls_cert_file {files.certificate}"
    _check_kind(where, leaf)
    if _spki(leaf) != _spki(_key(files.key, contents.key)):
        raise BadCertificate(f"{where}: is not the certificate of the key in {files.key}")
    if now() < leaf.not_valid_before_utc:
        raise BadCertificate(f"{where}: is not valid before {leaf.not_valid_before_utc}")
    if now() >= leaf.not_valid_after_utc:
        raise BadCertificate(f"{where}: ended at {leaf.not_valid_after_utc}")
    serial = f"{leaf.serial_number:x}"
    return Pair(contents, leaf.not_valid_after_utc, serial, _context(files))


def _certificates(setting: str, path: Path, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise BadCertificate(f"{setting} {path}: holds no certificate in PEM") from error


def _check_kind(where: str, leaf: x509.Certificate) -> None:
    """The TLS of gRPC takes no others: its server goes on with the pair before, or its clients do
    not come in.
    """
    try:
        key = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        key = None
    curve = key.curve.name if isinstance(key, EllipticCurvePublicKey) else ""
    if not isinstance(key, RSAPublicKey) and curve not in _CURVES:
        raise BadCertificate(f"{where}: its key is neither RSA nor on P-256 or P-384")


def _key(path: Path, pem: bytes) -> Any:
    try:
        return load_pem_private_key(pem, None)
    except TypeError as error:
        raise BadCertificate(f"tls_key_file {path}: is encrypted, which it may not be") from error
    except (ValueError, UnsupportedAlgorithm):
        # Without the cause: it may show some of the file.
        raise BadCertificate(f"tls_key_file {path}: holds no private key in PEM") from None


def _spki(of: Any) -> bytes:
    key = of.public_key()
    spki: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "reason", None) or error.strerror
        raise BadCertificate(f"tls_cert_file {files.certificate}: {why}") from error
    return context
