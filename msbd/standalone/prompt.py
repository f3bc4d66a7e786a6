"""Prompts as Stable Diffusion 1.x reads them: 77 tokens, the text encoder's last hidden state."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..miniature.torchvision_patch import patch_torchvision
from ..precision import finite_in_single, single_precision

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

logger = logging.getLogger(__name__)
POSITIONS = 77
"""Tokens the text encoder was trained on, with those for start and end."""


@lru_cache(maxsize=1)
def tokenizer() -> SimpleTokenizer:
    """CLIP's tokenizer, from the word list that open_clip brings along."""
    patch_torchvision()
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def tokenise(text: str) -> list[int]:
    """The 77 token ids of a text: start, words, end, and the end's again up to the full length.

    Words beyond the 75th token are dropped and a warning is logged. There is no syntax for
    emphasis: brackets are words.
    """
    words = tokenizer()
    start, end = words.sot_token_id, words.eot_token_id
    ids = words.encode(text)
    kept, dropped = ids[: POSITIONS - 2], ids[POSITIONS - 2 :]
    if dropped:
        logger.warning("the prompt is too long; left out: %s", words.decode(dropped).strip())
    return [start, *kept, *[end] * (POSITIONS - 1 - len(kept))]


@single_precision()
def encode(text_encoder: Any, text: str) -> Tensor:
    """What the denoising network attends to for a text: [1,77,C] in the encoder's precision.

    text_encoder: transformers' `CLIPTextModel`.
    """
    ids = torch.tensor([tokenise(text)], device=text_encoder.device)

    def run() -> Tensor:
        return cast(Tensor, text_encoder(input_ids=ids).last_hidden_state)

    return finite_in_single(text_encoder, run, "the text encoder")
