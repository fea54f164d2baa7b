"""Producers and workers of the peers; they run with what `bench.peers.parts` made."""

from __future__ import annotations
