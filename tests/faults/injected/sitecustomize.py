"""Lets a test block the event loop of a server: SIGUSR2 makes its main thread sleep for 2 s."""

from __future__ import annotations

import signal
import time

signal.signal(signal.SIGUSR2, lambda *_: time.sleep(2.0))
