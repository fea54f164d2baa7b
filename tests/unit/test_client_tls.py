"""Credentials of clients: what cannot work is told before anything connects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from codeq_grpc.client import tls_credentials
from tests.support.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    authority = Authority()
    found = authority.issue("w.example").write(tmp_path, "w")
    found["ca"] = tmp_path / "ca.pem"
    found["ca"].write_bytes(authority.pem)
    return found


def test_credentials_of_files(files: dict[str, Path]) -> None:
    for given in ((), (files["ca"],), (files["ca"], files["certificate"], str(files["key"]))):
        assert isinstance(tls_credentials(*given), grpc.ChannelCredentials)
    assert isinstance(
        tls_credentials(cert_file=files["certificate"], key_file=files["key"]),
        grpc.ChannelCredentials,
    )


def test_what_cannot_work_is_told(files: dict[str, Path], tmp_path: Path) -> None:
    certificate, key = files["certificate"], files["key"]
    with pytest.raises(OSError, match="none"):
        tls_credentials(tmp_path / "none")
    with pytest.raises(ValueError, match="go together"):
        tls_credentials(cert_file=certificate)
    with pytest.raises(ValueError, match="go together"):
        tls_credentials(key_file=key)
    with pytest.raises(ValueError, match=r"w\.key holds no certificate in PEM"):
        tls_credentials(key)
    other = Authority().issue("w.example").write(tmp_path, "other")["key"]
    for broken in (certificate, other):
        with pytest.raises(ValueError, match="are no certificate and its key"):
            tls_credentials(None, certificate, broken)


def test_an_encrypted_key_is_refused_without_asking_for_a_password(
    files: dict[str, Path],
) -> None:
    loaded = load_pem_private_key(files["key"].read_bytes(), None)
    encrypted = loaded.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"password")
    )
    files["key"].write_bytes(encrypted)
    with pytest.raises(ValueError, match="not encrypted"):
        tls_credentials(None, files["certificate"], files["key"])
