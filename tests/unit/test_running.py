"""What a server asks of the system for itself."""

from __future__ import annotations

import subprocess
import sys


def printed(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    ).stdout


def test_a_server_may_open_as_many_files_as_the_system_allows() -> None:
    code = (
        "import resource as r; from codeq_grpc.cli import running\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (128, 200)); running.open_many_files()\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE))"
    )
    assert printed(code).strip() == "(200, 200)"


def test_large_blocks_go_back_to_the_system() -> None:
    code = (
        "from pathlib import Path; from codeq_grpc.cli import running\n"
        "def rss(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4 >> 10\n"
        "running.give_memory_back(); before = rss()\n"
        "blocks = [bytearray(b'x') * (1 << 20) for _ in range(64)]; most = rss()\n"
        "del blocks[:-1]; print(most - before, rss() - before)"
    )
    most, after = map(int, printed(code).split())
    assert most >= 64
    assert after <= 8
