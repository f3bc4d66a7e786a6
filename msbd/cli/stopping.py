"""The ways in which a terminal or a system asks a program to end: all are as Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""Ctrl-C; a request to end; a closed terminal; Ctrl-Break and a closed window on Windows."""
_STDERR = 2
_OUTPUTS = (1, _STDERR)


@contextmanager
def on_request(stop: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `stop` is called when the program is asked to end; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminals = [number for number in _OUTPUTS if _is_terminal(number)]

    def asked(number: int, _: Any) -> None:
        if signal.Signals(number).name == "SIGHUP":
            silence(*terminals)
        stop()

    known = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.signal(number, asked) for number in known}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt() -> None:
    """End at once."""
    raise KeyboardInterrupt


class Gently:
    """What a program does that finishes something first: it answers the first request to end, which
    `asked` remembers, and ends at once with the second."""

    def __init__(self, answer: bytes) -> None:
        self.asked, self._answer = False, answer

    def __call__(self) -> None:
        if self.asked:
            interrupt()
        self.asked = True
        # Not through a buffered stream: the signal may have come in the middle of a write.
        with suppress(OSError):
            os.write(_STDERR, self._answer)


def _is_terminal(number: int) -> bool:
    with suppress(OSError):
        return os.isatty(number)
    return False


def silence(*descriptors: int) -> None:
    """What is still said there goes nowhere: a terminal that is closed refuses it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in descriptors:
        os.dup2(nowhere, number)
    os.close(nowhere)
