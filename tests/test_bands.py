"""Tone over many tiles, painted by the miniature: `pytest -m slow tests/test_bands.py -s`, about
four minutes on two cores."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from engine import box_mask
from numpy.typing import NDArray
from scipy import ndimage

from msbd.evaluation.verdict import object_region
from msbd.geometry import Box, Size
from msbd.miniature.world import draw_background
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.plan import StagePlan
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.progress import Callbacks
from msbd.standalone import models
from msbd.standalone.pictures import Picture, to_pixels

SIDE = 900
UNIT = 6 * 128
"""The crop's side: six times the model's resolution."""
PAINTED = Box(155, 155, 745, 745)
AWAY = 48
"""Pixels from the edge of an object's region, which lies 16 beyond its outline, from which on it is
flat: nearer, the change is that of the outline."""
FEWEST = 400
"""Pixels of an object in a tile or strip from which on its tone is compared."""
STRIP = 8
"""Width of the strips in which lines between tiles are looked for."""


def bands(prompt: str, ground: str, hold: bool, seed: int) -> tuple[float, float]:
    """What the last stage changes of a flat object, in 8-bit levels: the largest difference between
    the means of two tiles, each where no other tile paints; and between those of two strips right
    across the object, which show the lines between tiles."""
    pixels = draw_background(np.random.default_rng(seed), ground, SIDE, SIDE, UNIT)
    mask = box_mask(Size(SIDE, SIDE), PAINTED)
    settings = preset("recommended").with_values({"hold_tone": hold, "texture": 0.0})
    model = models.load(models.choose(settings, device="cpu"))
    backend = model.bind(prompt, "", 6.0, settings.ablation.sampler)
    plan = plan_edit(Size(SIDE, SIDE), mask, settings, backend.spec)
    last, shown = plan.stages[-1], {}

    def keep(name: str, image: torch.Tensor, stage: StagePlan, caption: str) -> None:
        if stage.index == last.index:
            shown[name] = image[0].numpy()

    callbacks = Callbacks(picture=keep, wanted=frozenset({"draft", "result"}))
    edit(Picture(pixels).tensor(), mask, plan, settings, backend, Noise(seed), callbacks)
    flat = inner(shown["draft"]) & inner(shown["result"])
    change = 255 * (shown["result"] - shown["draft"])
    painted_by = np.zeros((last.canvas.height, last.canvas.width), int)
    for tile in last.tiles:
        painted_by[tile.rows, tile.columns] += 1
    tiles = []
    for tile in last.tiles:
        alone = np.zeros(painted_by.shape, bool)
        alone[tile.rows, tile.columns] = painted_by[tile.rows, tile.columns] == 1
        where = flat & alone[: flat.shape[0], : flat.shape[1]]
        if where.sum() >= FEWEST:
            tiles.append(change[:, where].mean(1))
    assert len(tiles) >= 4
    across, down = strips(change, flat), strips(change.transpose(0, 2, 1), flat.T)
    lines = [np.ptp(one, 1).max() for one in (across, down)]
    return float(np.ptp(tiles, 0).max()), float(max(lines))


def inner(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where an object of [3,H,W] is flat."""
    found = object_region(to_pixels(torch.from_numpy(image)[None]), UNIT)
    return ndimage.distance_transform_edt(found) > AWAY


def strips(change: NDArray[np.float32], flat: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The means of [3,H,W] over what is flat of each `STRIP` columns, [3,n]."""
    sums, counts = (
        one.sum(-2).reshape(*one.shape[:-2], -1, STRIP).sum(-1) for one in (change * flat, flat)
    )
    enough = counts >= FEWEST
    return sums[:, enough] / counts[enough]


@pytest.mark.edits
@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_flat_object_over_many_tiles_has_no_bands() -> None:
    held, free = [], []
    for seed, (prompt, ground) in enumerate(
        [("a red square on sky", "sky"), ("a blue circle on sand", "sand")]
    ):
        held.append(bands(prompt, ground, True, seed))
        free.append(bands(prompt, ground, False, seed))
    print(f"between tiles and strips, with tone held: {held}, without: {free}")
    tiles, lines = zip(*held, strict=True)
    assert max(tiles) < 1 and max(lines) < 2
    assert min(min(one) for one in free) > 10
