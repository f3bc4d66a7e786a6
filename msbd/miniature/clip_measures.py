"""How well the shipped judge tells captions and pictures of the world apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .clip_model import FILE, load_clip, to_input
from .clip_pictures import Facts, draw_view, paint
from .sampling import Sampler
from .vocabulary import encode
from .world import COLOURS, HELD_OUT, SHAPES, TRAINING_PAIRS

if TYPE_CHECKING:
    from open_clip import CLIP

CHOICES = 8
TEMPLATES = (
    "a {colour} {shape}",
    "a {colour} {shape} on {background}",
    "{background} with a {colour} {shape}",
)
HELD_OUT_SEED = 78
PAINTED_COUNT = 80


@torch.no_grad()
def similarity(model: CLIP, images: np.ndarray, captions: list[str]) -> Tensor:
    """Cosines [B,C] of pictures (uint8 [B,SIDE,SIDE,3]) and captions."""
    pictures = functional.normalize(model.encode_image(to_input(images)), dim=-1)
    return pictures @ functional.normalize(model.encode_text(encode(captions)), dim=-1).T


def distractors(rng: np.random.Generator, colour: str, shape: str) -> list[tuple[str, str]]:
    """CHOICES - 1 other pairs: two of the same shape, two of the same colour, the rest any."""
    same_shape = [(c, shape) for c in COLOURS if c != colour]
    same_colour = [(colour, s) for s in SHAPES if s != shape]
    others = [(c, s) for c in COLOURS for s in SHAPES if c != colour and s != shape]
    counts = ((same_shape, 2), (same_colour, 2), (others, CHOICES - 5))
    return [pairs[i] for pairs, n in counts for i in rng.choice(len(pairs), n, replace=False)]


def _first(model: CLIP, rng: np.random.Generator, image: np.ndarray, facts: Facts) -> bool:
    """Whether the true caption of a picture scores above those of its distractors, worded alike."""
    assert facts.colour and facts.shape
    template = TEMPLATES[rng.integers(len(TEMPLATES)) if facts.background else 0]
    pairs = [(facts.colour, facts.shape), *distractors(rng, facts.colour, facts.shape)]
    captions = [template.format(colour=c, shape=s, background=facts.background) for c, s in pairs]
    return int(similarity(model, image[None], captions).argmax()) == 0


def _chosen(model: CLIP, rng: np.random.Generator) -> bool:
    """Whether the picture a caption is true of scores above those of seven distractors."""
    pair = TRAINING_PAIRS[rng.integers(len(TRAINING_PAIRS))]
    views = [draw_view(rng, *other, empty=0.0)[0] for other in (pair, *distractors(rng, *pair))]
    return int(similarity(model, np.stack(views), ["a {} {}".format(*pair)]).argmax()) == 0


def measure_clip(
    sampler: Sampler | None = None, count: int = 240, path: Path = FILE
) -> dict[str, float]:
    """Shares of right answers of an exported file, one guess in eight being 0.125.

    captions: the true caption of an unseen rendering comes first among 8; held_out: the same
    for the pairs no training picture shows; pictures: the true picture comes first for one
    caption; painted: as captions, for what ``sampler`` paints and the oracle finds right.
    """
    model, rng = load_clip(path), np.random.default_rng(HELD_OUT_SEED)

    def share(pairs: tuple[tuple[str, str], ...], total: int) -> float:
        views = [draw_view(rng, *pairs[i % len(pairs)], empty=0.0) for i in range(total)]
        return float(np.mean([_first(model, rng, *view) for view in views]))

    figures = {
        "captions": share(TRAINING_PAIRS, count),
        "held_out": share(HELD_OUT, count // 4),
        "pictures": float(np.mean([_chosen(model, rng) for _ in range(count // 4)])),
    }
    if sampler is None:
        return figures
    painted = paint(sampler, rng, PAINTED_COUNT)
    right = [
        _first(model, rng, i, facts)
        for i, facts in zip(painted.images, painted.facts, strict=True)
        if facts
    ]
    return figures | {"painted": float(np.mean(right)), "painted_count": float(len(right))}
