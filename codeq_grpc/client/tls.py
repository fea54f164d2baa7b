"""How a client knows its server, and shows who it is: TLS with certificates from files."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc


def tls_credentials(
    ca_file: Path | str | None = None,
    cert_file: Path | str | None = None,
    key_file: Path | str | None = None,
) -> grpc.ChannelCredentials:
    """What `Client` takes as `credentials`: the server must have a certificate of the CA in
    `ca_file`, or without one of a CA that gRPC knows. `cert_file` and `key_file`, in PEM, are what
    the server is shown. They are read now: a client that is to use others is a new one.

    Raises:
        OSError: A file cannot be read.
        ValueError: It holds something else than it should.
    """
    if (cert_file is None) != (key_file is None):
        raise ValueError("a certificate and its key go together")
    given = [Path(path).read_bytes() for path in (cert_file, key_file) if path is not None]
    ca = None if ca_file is None else Path(ca_file).read_bytes()
    _check(ca_file, cert_file, key_file)
    certificate, key = given or (None, None)
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _check(
    ca_file: Path | str | None, cert_file: Path | str | None, key_file: Path | str | None
) -> None:
    """Because gRPC would only tell that there is no connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if ca_file is not None:
            context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"{ca_file} holds no certificate in PEM") from error
    try:
        if cert_file is not None:
            # Without a password, instead of asking whoever sits there.
            context.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        told = "are no certificate and its key, both in PEM and not encrypted"
        raise ValueError(f"{cert_file} and {key_file} {told}") from error
