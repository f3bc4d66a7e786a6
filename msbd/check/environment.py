"""On what it runs: versions, device, memory."""

from __future__ import annotations

import os
import platform
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
    found = {name: _version(name) for name in _PACKAGES}
    packages = [f"{name} {version}" for name, version in found.items() if version]
    return [
        f"msbd {__version__}, Python {platform.python_version()}, {platform.platform()}",
        ", ".join([f"torch {torch.__version__}", *packages]),
    ]


def device_in_words(device: torch.device, precision: str) -> str:
    """Its name, memory and capability, and the precision that is computed in."""
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        place = f"{facts.name}, {_gib(facts.total_memory)}, capability {facts.major}.{facts.minor}"
    else:
        place = f"{_processor()}, {torch.get_num_threads()} threads"
    return f"{device}: {place}, {precision}; main memory {_gib(_main_memory())}"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _main_memory() -> int:
    """Bytes; 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows
        return 0


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count else "unknown"
