"""What will be downloaded at its first use, told before it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILES = (".safetensors", ".pt", ".pth", ".bin")
"""Endings of files of weights."""
_FROM_HUB, _FROM_URL = 1_710_000_000, 933_000_000
"""Bytes of CLIP ViT-L/14: in single precision at the Hugging Face hub, in half at OpenAI."""
_HUB = {
    "ViT-B-32": "timm/vit_base_patch32_clip_224.openai",
    "ViT-B-16": "timm/vit_base_patch16_clip_224.openai",
    "ViT-L-14": "timm/vit_large_patch14_clip_224.openai",
    "ViT-L-14-336": "timm/vit_large_patch14_clip_336.openai",
}
"""Repositories of OpenAI's vision transformers, as open_clip's version 3 has them."""


@dataclass(frozen=True)
class Download:
    """what: its name. size: in bytes, None if not known. source: where it lies. folder: where it
    will be kept."""

    what: str
    size: int | None
    source: str
    folder: Path

    def __str__(self) -> str:
        size = f"about {in_words(self.size)}" if self.size else "several hundred megabytes"
        return f"{self.what} is to be downloaded: {size} from {self.source} to {self.folder}"


def in_words(size: int) -> str:
    """Bytes as people are used to them in downloads."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def clip_download(source: str | Path | None) -> Download | None:
    """What the first use of a `ClipRanker`'s source will download.

    None if the weights are a file or in a cache, and where CLIP will fail without a download, as
    for a name that is not known. Downloads nothing itself.
    """
    if not source or Path(source).suffix in FILES:
        return None
    architecture, tag = _named(source)
    try:
        from open_clip import pretrained
    except ImportError:
        url, repository = "", on_the_hub(source) or ""
    else:
        facts = pretrained.get_pretrained_cfg(architecture, tag)
        url, repository = facts.get("url", ""), facts.get("hf_hub", "").rpartition("/")[0]
        url = "" if repository and _prefers_the_hub(pretrained) else url
    if url:
        size, place, folder = _FROM_URL, url.split("/")[2], Path("~/.cache/clip").expanduser()
        pending = not (folder / url.rpartition("/")[2]).is_file()
    else:
        size, place, (folder, reachable) = _FROM_HUB, "huggingface.co", _hub()
        pending = bool(repository) and reachable and not _is_kept(folder, repository)
    known = (architecture, tag) == ("ViT-L-14", "openai")
    return Download(f"CLIP {source}", size if known else None, place, folder) if pending else None


def on_the_hub(source: str | Path) -> str | None:
    """The repository of one of OpenAI's vision transformers; None for other names."""
    architecture, tag = _named(source)
    return _HUB.get(architecture) if tag == "openai" else None


def fetch_clip(source: str | None, prepare: Callable[[], None], say: Callable[[str], None]) -> None:
    """Say what CLIP will download and how to go on without, and load it; else do nothing.

    prepare: `ClipRanker.prepare`, after which the ranker gives no scores if Ctrl-C ended it.
    """
    pending = clip_download(source)
    if pending is not None:
        say(f"{pending}; Ctrl-C goes on without it, and so does --clip none from the start")
        prepare()


def _named(source: str | Path) -> tuple[str, str]:
    """The architecture and the weights that a `ClipRanker`'s source names."""
    architecture, _, tag = str(source).partition("/")
    return architecture, tag or "openai"


def _prefers_the_hub(pretrained: Any) -> bool:
    """Since its version 3 open_clip takes weights from there where it can."""
    return "prefer_hf_hub" in inspect.signature(pretrained.download_pretrained).parameters


def _hub() -> tuple[Path, bool]:
    """The folder of its cache, and whether anything may be taken from it."""
    try:
        from huggingface_hub import constants
    except ImportError:
        return Path("~/.cache/huggingface/hub").expanduser(), False
    return Path(constants.HF_HUB_CACHE), not constants.HF_HUB_OFFLINE


def _is_kept(folder: Path, repository: str) -> bool:
    """Whether the hub's cache holds any weights of a repository."""
    snapshots = folder / f"models--{repository.replace('/', '--')}" / "snapshots"
    return any(path.suffix in FILES and path.exists() for path in snapshots.rglob("*"))
