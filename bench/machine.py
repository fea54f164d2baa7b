"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import redis

_PACKAGES = ("grpcio", "pygrpc-native", "protobuf", "redis", "hiredis")


def versions() -> str:
    """Of Python and of the packages that matter."""
    found = [f"Python {platform.python_version()}", f"codeq-grpc {_version('codeq-grpc')}"]
    return ", ".join([*found, *(f"{name} {_version(name)}" for name in _PACKAGES)])


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """Model and number of processors, and the kernel."""
    model = platform.processor() or platform.machine()
    path = Path("/proc/cpuinfo")
    if path.exists():
        lines = path.read_text().splitlines()
        names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
        model = names[0].strip() if names else model
    system = f"{platform.system()} {platform.release()}"
    return f"{model}, {os.cpu_count()} cores, {system}, load {os.getloadavg()[0]:.1f} at the start"


def store_version(url: str) -> str:
    """Name and version of a store."""
    with redis.Redis.from_url(url) as store:
        facts = store.info("server")
    if "valkey_version" in facts:
        return f"Valkey {facts['valkey_version']}"
    return f"Redis {facts['redis_version']}"
