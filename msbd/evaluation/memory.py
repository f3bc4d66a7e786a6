"""The peak memory of a piece of work, where the system tells."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """Bytes by which the process grew above its size when this was made, at the most.

    Linux only; elsewhere `grown` is None.
    """

    def __init__(self) -> None:
        self._before: int | None = None
        if not _RESET.exists():
            return
        _give_back()
        try:
            _RESET.write_text("5")  # proc(5): start the high-water mark anew
            self._before = _read("VmRSS")
        except OSError:  # not allowed
            return

    def grown(self) -> int | None:
        if self._before is None:
            return None
        return max(0, _read("VmHWM") - self._before)


def _give_back() -> None:
    """Let the allocator return what it keeps for later, or it would hide the next growth."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim is not None:
        trim(0)


def _read(name: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name} in {_STATUS}")
