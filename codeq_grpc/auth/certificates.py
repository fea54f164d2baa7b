"""Client certificates as credentials: whoever shows one that is listed is the principal there.

That a certificate is of the right CA, and that its key is the client's, TLS has verified before.
It does not look again, so a connection may outlast the certificate that it began with: the end of
that is the end of the credential.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.x509.oid import NameOID

from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.core.clock import now
from codeq_grpc.core.errors import CredentialExpired, CredentialInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from codeq_grpc.core.principal import Principal

    Found = tuple[Principal, Credential]

_KNOWN: Final = 4_096
"""Certificates whose principal is remembered."""


class Certificates:
    """Listed certificates: name -> principal. A name is `dns:`, `uri:` or `email:` with one of the
    subject's alternative names, or `cn:` with its common name.
    """

    def __init__(self, listed: Mapping[str, Principal]) -> None:
        self._listed = dict(listed)
        self._look_up = functools.lru_cache(maxsize=_KNOWN)(self._found)

    @classmethod
    def of(cls, listed: Mapping[str, Principal]) -> Self | None:
        """Nothing where none is listed: calls are not looked at for it then."""
        return cls(listed) if listed else None

    def find(self, pem: bytes) -> Found | None:
        """Whose certificate it is; None for one that is not listed. Raises CredentialInvalid for
        one that is several of those listed, and CredentialExpired.
        """
        found = self._look_up(pem)
        if not found:
            return None
        if len(found) > 1:
            raise CredentialInvalid("the certificate has the names of several that are listed")
        principal, credential = found[0]
        if principal.expires_at <= now().timestamp():
            raise CredentialExpired.of(principal)
        return principal, credential

    def _found(self, pem: bytes) -> list[Found]:
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            names = set(_names(certificate))
            ends = certificate.not_valid_after_utc.timestamp()
        except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            return []  # nothing that we can read
        # Two with one name are two credentials: each ends by itself.
        digest = hashlib.sha256(pem).hexdigest()
        return [
            (
                replace(self._listed[name], expires_at=ends),
                Credential(Source.CERTIFICATE, f"{name} {digest}"),
            )
            for name in sorted(names & self._listed.keys())
        ]


def _names(certificate: x509.Certificate) -> Iterator[str]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        pass
    else:
        names = alternative.value
        yield from (f"dns:{name.lower()}" for name in names.get_values_for_type(x509.DNSName))
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        yield from (f"uri:{uri}" for uri in uris)
        yield from (f"email:{name}" for name in names.get_values_for_type(x509.RFC822Name))
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) == 1:
        yield f"cn:{common[0].value!s}"
