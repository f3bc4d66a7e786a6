"""The README's pictures of texture put back: `python tests/texture_pictures.py`.

Photographs that scikit-image brings, defocused, with grain or canvas over them. A row each: the
photograph, the edit without texture, the edit with it, at 100 %. Written to docs/texture.jpg, or
where the first argument says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from msbd.evaluation.photographs import (
    GUIDANCE,
    PLACES,
    SEED,
    Pixels,
    mask_of,
    model,
    photograph,
)
from msbd.geometry import Size
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.standalone.pictures import to_pixels

ROWS = (
    ("chelsea", "film", {"start": "picture", "strength": 0.0}, ""),
    ("chelsea", "canvas", {"start": "surroundings", "strength": 0.5}, ""),
    ("rocket", "canvas", {}, "a yellow circle on sky"),
)
WIDE, GAP = 260, 6


def row(name: str, version: str, values: dict[str, object], prompt: str) -> Pixels:
    picture = photograph(name, version)
    down, across, _ = PLACES[name]
    mask = mask_of(name, picture.shape).astype(np.float32)
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    shown = [picture]
    for texture in (0.0, 1.0):
        settings = preset("recommended").with_values({**values, "texture": texture})
        settings = settings.decided(False, prompt)
        backend = model(settings.upscaler).bind(prompt, "", GUIDANCE, settings.ablation.sampler)
        plan = plan_edit(Size(*picture.shape[:2]), mask, settings, backend.spec)
        shown.append(to_pixels(edit(image, mask, plan, settings, backend, Noise(SEED)).image))
    top, left = max(0, down - WIDE // 2), max(0, across - WIDE // 2)
    return np.hstack([one[top : top + WIDE, left : left + WIDE] for one in shown])


def main() -> None:
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/texture.jpg")
    rows = [row(*values) for values in ROWS]
    width = max(one.shape[1] for one in rows)
    page = [np.pad(one, ((0, GAP), (0, width - one.shape[1]), (0, 0))) for one in rows]
    Image.fromarray(np.vstack(page)[:-GAP]).save(target, quality=92)


if __name__ == "__main__":
    main()
