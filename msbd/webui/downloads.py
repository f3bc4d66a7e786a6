"""What an edit will download, told before it does: CLIP, and the host's upscalers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from modules import shared

from ..settings import SETTINGS, EditSettings
from ..standalone.clip import ClipRanker
from ..standalone.downloads import Download, clip_download
from .hosts.sampling import own_randomness

logger = logging.getLogger(__name__)
_SIZES = {
    "RealESRGAN_x4plus.pth": 67_000_000,
    "RealESRGAN_x4plus_anime_6B.pth": 18_000_000,
    "RealESRGAN_x2plus.pth": 67_000_000,
    "realesr-general-x4v3.pth": 5_000_000,
    "realesr-general-wdn-x4v3.pth": 5_000_000,
    "realesr-animevideov3.pth": 2_500_000,
}
"""Bytes of the host's upscalers, by the name of their file."""


def upscaler_download(upscaler: Any) -> Download | None:
    """What the first use of a `HostUpscaler` will download; None if nothing."""
    host: Any = getattr(upscaler, "host", None)
    address = urlparse(str(getattr(host, "data_path", None) or ""))
    if not address.scheme.startswith("http"):
        return None
    local = str(getattr(host, "local_data_path", None) or "")
    owner, file = host.scaler, Path(address.path).name
    folder = Path(getattr(owner, "model_download_path", None) or owner.model_path)
    if (local and not local.startswith("http")) or (folder / file).is_file():
        return None
    what = f"The upscaler {host.name}"
    return Download(what, _SIZES.get(file), address.netloc, folder)


def of_upscaler(upscaler: Any) -> list[str]:
    """What a `HostUpscaler` will download, and what goes on without, in a sentence; if anything."""
    pending = upscaler_download(upscaler)
    return [f"{pending}; Lanczos as {SETTINGS['upscaler'].label} needs none"] if pending else []


def of_clip(source: str | Path | None, settings: EditSettings | None = None) -> list[str]:
    """What CLIP will download, likewise; nothing for settings that need no CLIP.

    source: see `ClipRanker`.
    """
    if settings and not settings.ranks_by_clip:
        return []
    pending = clip_download(source)
    return [f"{pending}; {SETTINGS['candidates'].label}: 1 needs none"] if pending else []


def fetch_clip(ranker: ClipRanker, settings: EditSettings | None = None) -> None:
    """If CLIP is to be downloaded, say so and load it; unless the user has stopped."""
    notes = [] if shared.state.interrupted else of_clip(ranker.source, settings)
    if notes:
        with told(notes), own_randomness():
            ranker.prepare()


@contextmanager
def told(notes: list[str]) -> Iterator[None]:
    """Say this on the console, and in the progress text as long as it lasts."""
    before = shared.state.textinfo
    for note in notes:
        logger.warning(note)
        shared.state.textinfo = note
    try:
        yield
    finally:
        shared.state.textinfo = before
