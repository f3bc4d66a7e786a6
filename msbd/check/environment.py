"""On what it runs: versions, device, memory."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import torch

from .. import __version__

_PACKAGES = (
    *("numpy", "pillow", "safetensors", "diffusers", "transformers", "accelerate", "spandrel"),
    *("open_clip_torch", "k-diffusion", "gradio", "xformers"),
)


def versions() -> list[str]:
    """Of ourselves, of Python, of the system and of the packages, as far as they are installed."""
    packages = [f"torch {torch.__version__}"]
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            packages.append(f"{name} {metadata.version(name)}")
    system = f"Python {platform.python_version()}, {platform.platform()}"
    return [f"msbd {__version__}, {system}", ", ".join(packages)]


def device_in_words(device: torch.device, precision: str) -> str:
    """Its name, memory and capability, and the precision that is computed in."""
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        place = f"{facts.name}, {_gib(facts.total_memory)}, capability {facts.major}.{facts.minor}"
    else:
        place = f"{processor()}, {torch.get_num_threads()} threads"
    return f"{device}: {place}, {precision}; main memory {_gib(_main_memory())}"


def processor() -> str:
    """The processor's own name, where Linux tells it."""
    with suppress(OSError):
        if named := re.search(r"^model name\s*: *(.+)", Path("/proc/cpuinfo").read_text(), re.M):
            return named[1].strip()
    return platform.processor() or platform.machine()


def _main_memory() -> int:
    """Bytes; 0 if the system does not tell."""
    with suppress(AttributeError, OSError, ValueError):  # Windows
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 0


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count else "unknown"
