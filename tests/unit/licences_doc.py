"""What codeQ installs beside itself, and under which licences: docs/licences.md is made from it."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ALLOWED: Final = {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "PSF-2.0"}
"""Those that ask for no more than to be named."""
_SPOKEN: Final = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "OSI Approved :: MIT License": "MIT",
    "OSI Approved :: Python Software Foundation License": "PSF-2.0",
}
"""What packages wrote before there were expressions (PEP 639)."""
_READ: Final = {"cronsim": "BSD-3-Clause"}
"""Where the metadata says less than the text of the licence."""
ELSEWHERE: Final = {"async-timeout": "Apache-2.0"}
"""What only other versions of Python need: this one before 3.11.3."""
HEAD: Final = """\
# Licences

What a server installs beside codeQ, with all that it brings, by the metadata of the packages. Made
by `make docs`; a test fails when a package comes with another licence than those here. `make audit`
writes the same with versions as build/sbom.json (CycloneDX).

| package | licence |
|---|---|
"""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence_of(name: str) -> str:
    """As an SPDX expression if it can be told."""
    about: Any = metadata.metadata(name)
    told = [about.get("License-Expression"), about.get("License")]
    told += [c.partition(" :: ")[2] for c in about.get_all("Classifier", []) if "License ::" in c]
    first = [str(text).partition("\n")[0].strip() for text in told if text]
    return _READ.get(name) or next((_SPOKEN.get(text, text) for text in first), "")


def installed(root: str = "codeq-grpc") -> dict[str, str]:
    """Name -> licence of all that codeQ needs to run, on this platform and this Python."""
    found: dict[str, str] = {}
    left = [root]
    while left:
        for text in metadata.requires(left.pop()) or ():
            needed = Requirement(text)
            wanted = needed.marker is None or needed.marker.evaluate({"extra": ""})
            if wanted and (name := _plain(needed.name)) not in found:
                found[name] = licence_of(name)
                left.append(name)
    return dict(sorted(found.items()))


def document() -> str:
    """The page."""
    rows = sorted({**ELSEWHERE, **installed()}.items())
    return HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in rows)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(document())
