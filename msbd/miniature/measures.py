"""What is measured of the miniature; every function returns a dict of plain figures.

Prompts and seeds here are used by no training.  Pictures are judged by ``oracle``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from .models import FACTOR
from .oracle import read
from .prompts import Prompt, draw_prompts
from .sampling import Edit, Sampler
from .world import (
    BASE,
    HELD_OUT,
    draw_background,
)

Figures = dict[str, float]
PASSES = 5
BOX = 80
TILE, OVERLAP = 192, 32
STRENGTHS = (0.25, 0.4)
BASE_GUIDANCE = 6.0


def _captions(prompts: list[Prompt]) -> list[str]:
    return [p.caption for p in prompts]


def _share(values: list[bool]) -> float:
    return round(float(np.mean(values)), 4) if values else float("nan")


def enlarge(images: np.ndarray, factor: int) -> np.ndarray:
    """Lanczos enlargement of uint8 [B, H, W, 3]."""
    size = (images.shape[2] * factor, images.shape[1] * factor)
    return np.stack(
        [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.LANCZOS)) for i in images]
    )


def sample_right(sampler: Sampler, count: int, seed: int) -> tuple[list[Prompt], np.ndarray]:
    """Base samples that are right, with their prompts."""
    prompts = draw_prompts(count, seed)
    images = sampler.decode(sampler.sample(_captions(prompts), BASE, BASE, seed))
    kept = [k for k, (p, i) in enumerate(zip(prompts, images, strict=True)) if p.judge(i, BASE)]
    return [prompts[k] for k in kept], images[kept]


def measure_base(sampler: Sampler, count: int = 400) -> Figures:
    """Pictures of the training size: exactly one whole object of the right colour and shape.

    The guidance was chosen on other prompts and seeds.
    """
    prompts, sampler = draw_prompts(count, 11), replace(sampler, guidance=BASE_GUIDANCE)
    images = sampler.decode(sampler.sample(_captions(prompts), BASE, BASE, 111))
    right = [p.judge(i, BASE) for p, i in zip(prompts, images, strict=True)]
    unseen = [(p.colour, p.shape) in HELD_OUT for p in prompts]
    return {
        "n": count,
        "guidance": sampler.guidance,
        "steps": sampler.steps,
        "right": _share(right),
        "right_seen_pairs": _share([r for r, u in zip(right, unseen, strict=True) if not u]),
        "right_held_out_pairs": _share([r for r, u in zip(right, unseen, strict=True) if u]),
        "n_held_out_pairs": sum(unseen),
        "mean_objects": round(float(np.mean([len(read(i)) for i in images])), 3),
    }


def _tile_weights(size: int) -> list[tuple[int, np.ndarray]]:
    """(start, alpha ramp [TILE]) of the tiles that cover ``size`` px, each over those before it."""
    starts = (
        np.linspace(0, size - TILE, -(-(size - OVERLAP) // (TILE - OVERLAP))).round().astype(int)
    )
    ramp = np.minimum(1, (np.arange(TILE) + 0.5) / OVERLAP).astype(np.float32)
    return [(int(s), np.ones(TILE, np.float32) if k == 0 else ramp) for k, s in enumerate(starts)]


def _edit_tiles(
    sampler: Sampler, images: np.ndarray, captions: list[str], strength: float, seed: int
) -> np.ndarray:
    """SDEdit of [B, S, S, 3] tile by tile, each alpha-pasted onto the picture so far."""
    canvas = images.astype(np.float32)
    spans = _tile_weights(images.shape[1])
    for row, (y, ramp_y) in enumerate(spans):
        for column, (x, ramp_x) in enumerate(spans):
            region = canvas[:, y : y + TILE, x : x + TILE]
            start = sampler.encode((region + 0.5).astype(np.uint8))
            latents = sampler.sample(
                captions, TILE, TILE, seed + 10 * row + column, start, strength
            )
            alpha = (ramp_y[:, None] * ramp_x)[..., None]
            region += (sampler.decode(latents) - region) * alpha
    return (canvas + 0.5).clip(0, 255).astype(np.uint8)


def _edit_whole(
    sampler: Sampler, images: np.ndarray, captions: list[str], strength: float, seed: int
) -> np.ndarray:
    """SDEdit of [B, S, S, 3] in one piece."""
    side, start = images.shape[1], sampler.encode(images)
    return sampler.decode(sampler.sample(captions, side, side, seed, start, strength))


def measure_sdedit(sampler: Sampler, count: int = 80) -> Figures:
    """Share of right pictures that stay so when enlarged and refined: 2x whole, 3x in tiles.

    With an empty prompt, unguided; a third of the pictures in tiles, since that takes longest.
    Half of them also 2x with their own prompts at the sampler's guidance.
    """
    prompts, images = sample_right(sampler, count, 2)
    figures, kept = Figures(), []
    free = replace(sampler, guidance=1.0)
    for factor, edit, part in ((2, _edit_whole, len(prompts)), (3, _edit_tiles, len(prompts) // 3)):
        asked, large = prompts[:part], enlarge(images[:part], factor)
        for strength in STRENGTHS:
            refined = edit(free, large, [""] * part, strength, 200 + factor)
            right = [p.judge(i, factor * BASE) for p, i in zip(asked, refined, strict=True)]
            figures[f"kept_{factor}x_strength_{strength}"] = _share(right)
            kept += right
        figures[f"n_{factor}x"] = part
    half = len(prompts) // 2
    asked, large = prompts[:half], enlarge(images[:half], 2)
    for strength in STRENGTHS:
        refined = _edit_whole(sampler, large, _captions(asked), strength, 204)
        right = [p.judge(i, 2 * BASE) for p, i in zip(asked, refined, strict=True)]
        figures[f"prompted_2x_strength_{strength}"] = _share(right)
    return {
        "n": len(kept),
        "kept": _share(kept),
        **figures,
        "n_prompted": half,
        "guidance": sampler.guidance,
    }


def measure_inpainting(sampler: Sampler, count: int = 200) -> Figures:
    """An object painted into a box of a bare background, with and without RePaint's resampling."""
    prompts = draw_prompts(count, 3)
    rng = np.random.default_rng([901, 3])
    images = np.stack([draw_background(rng, p.background, BASE, BASE) for p in prompts])
    corners = FACTOR * rng.integers(1, (BASE - BOX) // FACTOR, (count, 2))
    mask = torch.zeros(count, 1, BASE, BASE)
    for k, (y, x) in enumerate(corners):
        mask[k, :, y : y + BOX, x : x + BOX] = 1
    source, small = sampler.encode(images), mask[:, :, ::FACTOR, ::FACTOR]
    blend = mask.permute(0, 2, 3, 1).numpy()
    figures: Figures = {"n": count, "box_px": BOX, "guidance": sampler.guidance}
    for passes, part in ((PASSES, count), (1, count // 4)):
        asked, edit = prompts[:part], Edit(source[:part], small[:part], passes)
        painted = sampler.decode(sampler.sample(_captions(asked), BASE, BASE, 303, edit=edit))
        pasted = (
            images[:part] + (painted - images[:part].astype(np.float32)) * blend[:part] + 0.5
        ).astype(np.uint8)
        figures[f"right_{passes}_passes"] = _share(
            [p.judge(i, BASE) for p, i in zip(asked, pasted, strict=True)]
        )
    return figures


def measure_blind(sampler: Sampler, count: int = 16) -> Figures:
    """Sampling at three times the training size: the repetition that the draft stage avoids."""
    prompts = draw_prompts(count, 5)
    images = replace(sampler, chunk=8).sample(_captions(prompts), 3 * BASE, 3 * BASE, 505)
    found = [len(read(i)) for i in sampler.decode(images)]
    return {
        "n": count,
        "mean_objects": round(float(np.mean(found)), 2),
        "more_than_one": _share([f > 1 for f in found]),
    }
