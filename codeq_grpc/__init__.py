"""codeQ: a task queue for workers in any language, in front of Redis or Valkey."""

from __future__ import annotations

__version__ = "0.1.0"
