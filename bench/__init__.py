"""Drivers that measure codeQ; see README.md."""
