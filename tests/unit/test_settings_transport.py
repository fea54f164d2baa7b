"""Nothing leaves this machine in the clear unless somebody asks for it, and what settings of
transport do not go together is told before anything starts.
"""

from __future__ import annotations

from typing import Any, Final

import pytest

from codeq_grpc.settings import SettingsError, load_settings

TLS: Final = {"tls_cert_file": "/c.pem", "tls_key_file": "/k.pem"}
MUTUAL: Final = {**TLS, "tls_client_ca_file": "/ca.pem"}
WORKER: Final = {"name": "dns:w.example", "subject": "w", "tenant": "acme", "roles": ["worker"]}
LOCAL: Final = (
    *("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"),
    *("unix:///run/codeq.sock", "unix:/run/codeq.sock"),
)
BEYOND: Final = (
    *("0.0.0.0", "::", "[::]", "", "10.0.0.7", "192.168.1.1", "169.254.1.1", "queue.internal"),  # noqa: S104 - nobody binds it
    *("localhost.evil.example", "::ffff:10.0.0.7", "0", "127.1", "2130706433"),
)


def refused(**given: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**given)
    return str(caught.value)


@pytest.mark.parametrize("name", ["grpc_host", "http_host"])
@pytest.mark.parametrize("host", LOCAL)
def test_this_machine_may_be_served_in_the_clear(name: str, host: str) -> None:
    assert getattr(load_settings(**{name: host}), name) == host


@pytest.mark.parametrize("host", BEYOND)
def test_others_may_not_unless_it_is_asked_for(host: str) -> None:
    for name, asked in (("grpc_host", "all"), ("http_host", "http")):
        told = refused(**{name: host})
        assert told.startswith(f"settings are not valid: {name}: other machines reach {host!r}")
        assert "tls_cert_file" in told
        assert f"plaintext to {asked}" in told
        assert getattr(load_settings(**{name: host}, plaintext=asked), name) == host
        assert getattr(load_settings(**{name: host}, **TLS), name) == host
    assert "grpc_host" in refused(grpc_host=host, plaintext="http")
    assert load_settings(grpc_host=host, http_host=host, plaintext="all").grpc_host == host


@pytest.mark.parametrize("plaintext", ["", "yes", "grpc", "ALL", True, None])
def test_nothing_but_its_three_words_asks_for_plaintext(plaintext: Any) -> None:
    assert "plaintext" in refused(grpc_host="10.0.0.7", plaintext=plaintext)


def test_what_is_served_by_tls() -> None:
    def served(**given: Any) -> tuple[bool, bool]:
        settings = load_settings(**given)
        return settings.grpc_tls, settings.http_tls

    assert served() == (False, False)
    assert served(**TLS) == (True, True)
    assert served(**TLS, plaintext="http") == (True, False)
    assert served(**TLS, http_host="unix:///h.sock") == (True, False)
    assert served(**TLS, grpc_host="unix:///g.sock") == (False, True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tls_cert_file": "/c.pem"}, "tls_cert_file and tls_key_file go together"),
        ({"tls_key_file": "/k.pem"}, "tls_cert_file and tls_key_file go together"),
        ({**TLS, "plaintext": "all"}, "plaintext: all says that there is no TLS"),
        ({**TLS, "grpc_engine": "native"}, "grpc_engine: native has no TLS"),
        ({"tls_client_ca_file": "/ca.pem"}, "tls_client_ca_file: needs gRPC with TLS"),
        ({**MUTUAL, "grpc_host": "unix:///s"}, "tls_client_ca_file: needs gRPC with TLS"),
        ({"certificates": [WORKER]}, "certificates: need tls_client_ca_file"),
        ({**TLS, "certificates": [WORKER]}, "certificates: need tls_client_ca_file"),
        ({**MUTUAL, "certificates": [WORKER] * 2}, "certificates: dns:w.example is there twice"),
        ({"grpc_host": "unix:///s", "processes": 2}, "processes: one only"),
        ({"grpc_host": "unix:///s", "http_host": "unix:/s"}, "http_host: is the socket of"),
        ({"redis_cert_file": "/c.pem"}, "redis_cert_file and redis_key_file go together"),
        ({"redis_ca_file": "/ca.pem"}, "need a redis_url of rediss://"),
        ({"redis_ca_file": "/ca.pem", "redis_url": "redis://s"}, "need a redis_url of rediss://"),
        ({"redis_url": "rediss://s?ssl_cert_reqs=none"}, "redis_url: may have no options of TLS"),
        ({"redis_url": "rediss://s?ssl_check_hostname=0"}, "redis_url: may have no options of TLS"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], told: str) -> None:
    assert told in refused(**given)


@pytest.mark.parametrize(
    "host", ["unix:", "unix://", "unix:///", "unix:s", "unix://s", "unix:///a/", "unix:/a\0b"]
)
def test_a_unix_socket_has_an_absolute_path(host: str) -> None:
    assert "grpc_host: must be unix:///PATH" in refused(grpc_host=host)


def test_a_unix_socket_has_a_short_path() -> None:
    assert "grpc_host: the path" in refused(grpc_host=f"unix:///{'é' * 50}")


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": "w.example"}, "name"),
        ({"name": "dns:*.example"}, "name"),
        ({"name": "dns:W.example"}, "name"),
        ({"name": "dns:"}, "name"),
        ({"name": "ip:10.0.0.7"}, "name"),
        ({"name": "cn:"}, "name"),
        ({"name": "cn:a\nb"}, "name"),
        ({"tenant": "a/b"}, "tenant"),
        ({"subject": ""}, "subject"),
        ({"roles": ["root"]}, "roles: unknown role 'root'"),
        ({"roles": []}, "roles: must have roles"),
        ({"sha256": "0" * 64}, "sha256"),
    ],
)
def test_a_bad_entry_of_the_certificates_is_refused_by_place(
    change: dict[str, Any], where: str
) -> None:
    told = refused(**MUTUAL, certificates=[{**WORKER, **change}])
    assert f"certificates.0.{where}" in told


def test_a_certificate_stands_for_a_principal() -> None:
    (found,) = load_settings(**MUTUAL, certificates=[WORKER]).certified().items()
    name, principal = found
    assert (name, principal.credential) == ("dns:w.example", "cert:dns:w.example")
    assert (principal.subject, principal.tenant) == ("w", "acme")
