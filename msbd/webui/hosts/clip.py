"""CLIP as the settings panel names it, kept between edits."""

from __future__ import annotations

import functools

import torch
from modules import prompt_parser, shared

from ...standalone.clip import ClipRanker
from ..options import option


def ranker() -> ClipRanker:
    """The ranker of the settings panel; loaded at its first use and then kept.

    It works on the GPU if that is what the panel says and the GPU is one of CUDA's.
    """
    source, device = clip_source(), clip_device()
    kept = _ranker(source, device)
    if kept.reason is not None and source:
        # It failed before; perhaps the file has come since.
        _ranker.cache_clear()
        kept = _ranker(source, device)
    return kept


def clip_device() -> torch.device:
    """Where CLIP works."""
    device = torch.device(shared.device)
    elsewhere = option("clip_device") == "CPU" or device.type != "cuda"
    return torch.device("cpu") if elsewhere else device


def clip_source() -> str | None:
    """The settings panel's file or name of CLIP, see `ClipRanker`."""
    return option("clip_weights") or option("clip_model") or None


@functools.lru_cache(maxsize=1)
def _ranker(source: str | None, device: torch.device) -> ClipRanker:
    return ClipRanker(source, device)


def plain_text(prompt: str, steps: int) -> str:
    """The words of a prompt as it stands at the end, without the host's notation.

    prompt: extra networks already taken out. Emphasis loses its brackets, prompt editing
    `[from:to:when]` shows its end, and parts joined by AND are joined by commas.
    """
    _, parts, _ = prompt_parser.get_multicond_prompt_list([prompt])
    ends = [
        schedule[-1][1]
        for schedule in prompt_parser.get_learned_conditioning_prompt_schedules(parts, steps)
    ]
    texts = (
        "".join(
            " " if text == "BREAK" else text
            for text, _ in prompt_parser.parse_prompt_attention(end)
        )
        for end in ends
    )
    return ", ".join(" ".join(text.split()) for text in texts)
