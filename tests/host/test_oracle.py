"""What is asked for is what is seen, by an oracle of the miniature's world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from msbd.miniature.oracle import read
from msbd.miniature.world import draw_background

from .client import Scene, disc, edited
from .server import Webui

UNIT = 352.0
FIELDS: dict[str, Any] = {"preset": "fast", "decoder": "off"}
SEEDS = range(10)
ENOUGH = 8


def meadow() -> Scene:
    """768x640 pixels of grass, to be edited in a disc; the crop is about one unit wide."""
    rng = np.random.default_rng(11)
    picture = draw_background(rng, "grass", 640, 768, UNIT)
    return Scene(picture, disc(640, 768, 0.375 * UNIT))


@pytest.mark.parametrize(
    "upscaler",
    [
        "Lanczos",
        pytest.param("R-ESRGAN 4x+", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_a_red_star(webui: Webui, upscaler: str) -> None:
    """At least eight of ten seeds give exactly one red star; all leave the rest untouched."""
    scene, seen, fields = meadow(), [], {**FIELDS, "upscaler": upscaler}
    for seed in SEEDS:
        answer = edited(webui, scene, fields, seed=seed, steps=12, cfg_scale=6)
        assert scene.is_edited(answer.picture)
        seen.append([f"{found.colour} {found.shape}" for found in read(answer.picture, UNIT)])
    assert seen.count(["red star"]) >= ENOUGH, seen


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.timeout(1800)
def test_memory_does_not_grow(webui: Webui, small: Scene) -> None:
    """Fifty edits in one process; after the fifth it is warm and stays as large as it is."""
    fields = {"preset": "draft", "candidates": 2, "decoder": "fine-tune", "decoder_iterations": 1}
    sizes = []
    for seed in range(50):
        edited(webui, small, fields, seed=seed)
        sizes.append(webui.probe("memory"))
    warm, last = sizes[4], sizes[-1]
    growth = last["resident"] / warm["resident"] - 1
    assert growth < 0.03, f"resident memory grew by {growth:.1%}"
    for kind in ("decoders", "modules"):
        assert last[kind] == warm[kind], f"{kind}: {[size[kind] for size in sizes]}"
