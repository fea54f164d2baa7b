"""Lets callers in: by a credential of the metadata, or by the certificate of their connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.auth.authenticator import check_scope
from codeq_grpc.core.errors import CredentialInvalid, CredentialMissing
from codeq_grpc.rpc.context import CREDENTIAL, PRINCIPAL

if TYPE_CHECKING:
    from codeq_grpc.auth.certificates import Certificates
    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.auth.permissions import Access
    from codeq_grpc.core.principal import Principal, Scope
    from codeq_grpc.rpc.tenancy import Tenancy

    Context = grpc.aio.ServicerContext[Any, Any]


def admit(
    tenancy: Tenancy,
    method: str,
    needed: Scope | Access,
    principal: Principal,
    credential: Credential,
) -> None:
    """From now on the call is this principal's. Raises TenantUnknown, QuotaExceeded and
    ScopeMissing.
    """
    PRINCIPAL.set(principal)
    tenancy.admit(principal.tenant)
    if not principal.lasting:
        CREDENTIAL.set(credential)
    check_scope(method, needed, principal)


def admit_certified(
    tenancy: Tenancy,
    certificates: Certificates,
    method: str,
    needed: Scope | Access,
    shown: bool,  # noqa: FBT001 - bound in advance
    context: Context,
) -> None:
    """Looks at the certificate of the connection: a credential, if it is listed. `shown` says that
    there was another one in the metadata. Raises CredentialMissing, CredentialInvalid,
    CredentialExpired and what `admit` does.
    """
    pem = next(iter((context.auth_context() or {}).get("x509_pem_cert", ())), None)
    found = certificates.find(pem) if pem else None
    if found is None:
        if not shown:
            raise CredentialMissing
        return
    if shown:
        raise CredentialInvalid("send one credential, not several")
    admit(tenancy, method, needed, *found)


async def _refuse(_: Any, context: Context) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


UNKNOWN_METHOD: Final[grpc.RpcMethodHandler[Any, Any]] = grpc.stream_stream_rpc_method_handler(
    _refuse
)
"""Stands for a method that there is not, so that first of all it is asked who calls."""
