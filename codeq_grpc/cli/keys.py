"""Ends a full screen by a key or a signal, and gives the terminal back as it was."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_QUIT: Final = frozenset(b"qQ\x03")
_ESCAPE: Final = b"\x1b"


@contextlib.contextmanager
def quit_keys() -> Iterator[asyncio.Event]:
    """An event that q, Ctrl-C and the signals that end programs set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as undo:
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
            undo.callback(loop.remove_signal_handler, number)
        if sys.stdin.isatty():
            undo.enter_context(_unbuffered(sys.stdin.fileno(), stop))
        yield stop


@contextlib.contextmanager
def _unbuffered(terminal: int, stop: asyncio.Event) -> Iterator[None]:
    """Key by key and without echo; Ctrl-Z does nothing, as it would leave the screen behind."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        pressed = os.read(terminal, 1024)
        # Arrows and the like come as an escape and letters, which were not pressed.
        if not pressed or (_QUIT.intersection(pressed) and not pressed.startswith(_ESCAPE)):
            stop.set()

    before = termios.tcgetattr(terminal)
    mode = termios.tcgetattr(terminal)
    mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG)
    termios.tcsetattr(terminal, termios.TCSADRAIN, mode)
    loop.add_reader(terminal, read)
    try:
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
