"""Prompts as Stable Diffusion 1.x reads them: 77 tokens, the text encoder's last hidden state.

Longer ones, and emphasis, as the WebUI reads them: 77 tokens after 77, and weighted states.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..miniature.torchvision_patch import patch_torchvision
from ..precision import finite_in_single, single_precision
from .prompt_syntax import BREAK, weighted_parts

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

logger = logging.getLogger(__name__)
POSITIONS = 77
"""Tokens the text encoder was trained on, with those for start and end."""
_ROOM = POSITIONS - 2
_COMMA = ","
_NEAR = 20
"""So many tokens before the end of the room, a comma is where a long prompt is divided."""
Chunk = list[tuple[int, float]]
"""Tokens and their weights."""


@lru_cache(maxsize=1)
def tokenizer() -> SimpleTokenizer:
    """CLIP's tokenizer, from the word list that open_clip brings along."""
    patch_torchvision()
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def chunks(text: str) -> list[Chunk]:
    """A prompt in pieces of 77 tokens: start, up to 75 words, and the end's up to the full length.

    It is divided at BREAK and where there is no more room, then after the last comma if that is
    near.
    """
    words = tokenizer()
    (comma,) = words.encode(_COMMA)
    found: list[Chunk] = [[]]
    for part in weighted_parts(text):
        if part == BREAK:
            found.append([])
            continue
        for token in words.encode(part[0]):
            if len(found[-1]) == _ROOM:
                found.append(_after_comma(found[-1], comma) if token != comma else [])
            found[-1].append((token, part[1]))
    if len(found) > 1 and not found[-1]:
        found.pop()
    return [_whole(chunk) for chunk in found]


def _after_comma(chunk: Chunk, comma: int) -> Chunk:
    """Take what follows the last comma off a full chunk, if that is not much."""
    near = [place for place, (token, _) in enumerate(chunk) if token == comma][-1:]
    if not near or len(chunk) - near[0] > _NEAR:
        return []
    moved = chunk[near[0] + 1 :]
    del chunk[near[0] + 1 :]
    return moved


def _whole(chunk: Chunk) -> Chunk:
    words = tokenizer()
    ends = POSITIONS - 1 - len(chunk)
    return [(words.sot_token_id, 1.0), *chunk, *[(words.eot_token_id, 1.0)] * ends]


def encode(text_encoder: Any, texts: Sequence[str]) -> Tensor:
    """What the denoising network attends to for some texts: [N,77 n,C] in the encoder's precision.

    All are as long as the longest, the others with an empty prompt behind. text_encoder:
    transformers' `CLIPTextModel`.
    """
    every = [chunks(text) for text in texts]
    longest = max(map(len, every))
    rows = ([*own, *chunks("") * (longest - len(own))] for own in every)
    return torch.cat(
        [torch.cat([_encoded(text_encoder, chunk) for chunk in row], dim=1) for row in rows]
    )


@single_precision()
def _encoded(text_encoder: Any, chunk: Chunk) -> Tensor:
    """[1,77,C]: each token's state times its weight, and the mean of all as without weights."""
    ids = torch.tensor([[token for token, _ in chunk]], device=text_encoder.device)

    def run() -> Tensor:
        return cast(Tensor, text_encoder(input_ids=ids).last_hidden_state)

    states = finite_in_single(text_encoder, run, "the text encoder")
    weights = torch.tensor([weight for _, weight in chunk], device=states.device)
    if bool((weights == 1).all()):
        return states
    weighted = states.float() * weights[None, :, None]
    restoring = states.float().mean() / weighted.mean()
    if not 0.5 < float(restoring) < 2:
        logger.warning("this text encoder takes emphasis badly: write the prompt without brackets")
    return (weighted * restoring).to(states.dtype)
