"""Which gRPC engine serves."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.rpc import engines


@pytest.fixture
def uninstalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform without a wheel."""
    find: Any = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pygrpc_native" else find(name)
    )


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "native"),
        ("127.0.0.9", "native"),
        ("::1", "native"),
        ("[::1]", "native"),
        ("localhost", "native"),
        ("unix:///run/codeq.sock", "native"),
        ("0.0.0.0", "grpcio"),  # noqa: S104 - nobody binds it
        ("::", "grpcio"),
        ("[::]", "grpcio"),
        ("10.0.0.7", "grpcio"),
        ("queue.internal", "grpcio"),
        ("localhost.evil.example", "grpcio"),
    ],
)
def test_auto_is_native_where_only_this_machine_can_connect(host: str, name: str) -> None:
    assert engines.choose("auto", host).name == name


@pytest.mark.parametrize("name", ["native", "grpcio"])
@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7"])
def test_a_named_engine_is_taken(name: str, host: str) -> None:
    assert engines.choose(name, host).name == name


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7"])
def test_tls_is_grpcios(host: str) -> None:
    for name in ("auto", "grpcio"):
        assert engines.choose(name, host, tls=True).name == "grpcio"
    with pytest.raises(ImportError, match="native has no TLS"):
        engines.choose("native", host, tls=True)


@pytest.mark.usefixtures("uninstalled")
def test_without_native_auto_is_grpcio_and_native_an_error() -> None:
    assert engines.choose("auto", "127.0.0.1").name == "grpcio"
    assert engines.choose("grpcio", "127.0.0.1").name == "grpcio"
    with pytest.raises(ImportError, match=r"CODEQ_GRPC_ENGINE=native needs .* pygrpc-native"):
        engines.choose("native", "127.0.0.1")


def test_native_reads_the_request_of_every_method_but_reflection_first() -> None:
    eager = engines.choose("native", "127.0.0.1").eager
    assert {method for method in PERMISSIONS if method not in eager} == {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }
    assert not any(method in engines.choose("grpcio", "::1").eager for method in PERMISSIONS)
