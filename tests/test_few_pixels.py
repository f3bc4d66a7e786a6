"""How many cells of the first stage a mask needs for the miniature to paint what is asked for.

    pytest -m slow tests/test_few_pixels.py -s

prints the table that `summary.FEWEST_PIXELS` goes by.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from msbd.geometry import Size
from msbd.miniature.oracle import read
from msbd.miniature.world import draw_background
from msbd.noise import Noise
from msbd.pictures.summary import FEWEST_PIXELS
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE, MINIATURE_CLIP

EDITS, SIDE, CELL = 24, 128, 8
COLOURS, SHAPES = ("red", "blue", "white"), ("star", "circle", "square", "triangle")
SETTINGS = preset("recommended").with_values(
    {"minimum_crop": 1.0, "decoder": "off", "guidance": 4.0}
)


def square(cells: int) -> np.ndarray:
    """A square of so many cells a side, in the middle as far as cells go."""
    mask, first = np.zeros((SIDE, SIDE), np.float32), (SIDE // CELL - cells) // 2 * CELL
    mask[first : first + cells * CELL, first : first + cells * CELL] = 1
    return mask


def right(model: StandaloneModel, mask: np.ndarray, seed: int) -> bool:
    """Whether what was asked for stands in the edit."""
    colour, shape = COLOURS[seed % len(COLOURS)], SHAPES[seed % len(SHAPES)]
    ground = draw_background(np.random.default_rng(seed), "grass", SIDE, SIDE, SIDE)
    image = torch.from_numpy(ground).permute(2, 0, 1)[None].float() / 255
    backend = model.bind(f"a {colour} {shape} on grass", guidance=SETTINGS.guidance)
    plan = plan_edit(Size(SIDE, SIDE), mask, SETTINGS, backend.spec)
    assert len(plan.stages) == 1 and plan.stages[0].size == Size(SIDE, SIDE)
    done = edit(image, mask, plan, SETTINGS, backend, Noise(seed)).image
    found = read((done[0].permute(1, 2, 0) * 255).round().byte().numpy())
    return (colour, shape) in [(one.colour, one.shape) for one in found]


@pytest.mark.slow
@pytest.mark.edits
@pytest.mark.timeout(3600)
def test_up_to_the_fewest_pixels_at_most_half_of_the_edits_are_right() -> None:
    model = StandaloneModel.load(MINIATURE, clip=MINIATURE_CLIP)
    shares = {
        cells: np.mean([right(model, square(cells), seed) for seed in range(EDITS)])
        for cells in range(2, 7)
    }
    for cells, share in shares.items():
        print(f"{cells**2} cells, {(cells * CELL) ** 2} pixels: {share:.0%} of {EDITS} right")
    fewest = round(FEWEST_PIXELS**0.5 / CELL)
    assert all(share <= 0.5 for cells, share in shares.items() if cells <= fewest)
    assert shares[fewest + 1] > 0.5 and shares[2] < 0.2
