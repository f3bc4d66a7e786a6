"""The seam figure sees what an eye sees."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from msbd.compositing import feathered
from msbd.noise import Noise
from msbd.seam import Seam, seam

PAIRS = Path(__file__).parent / "seams"
ALIKE = 0.1
"""Difference of the figure up to which two edits count as alike."""
SIDE = 192
LEVEL = 1 / 255


def picture(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def test_it_ranks_pairs_as_an_eye_does() -> None:
    """See seams/README.md."""
    right = []
    for row in json.loads((PAIRS / "ranking.json").read_text()):
        both = np.asarray(Image.open(PAIRS / f"{row['pair']:02}.jpg"))
        drawn = np.asarray(Image.open(PAIRS / f"{row['pair']:02}-mask.png").convert("L"))
        mask = torch.from_numpy(drawn > 0)[None, None].float()
        figures = []
        for pixels, feather in zip(np.split(both, 2, 1), row["feather"], strict=True):
            found = seam(picture(pixels), feathered(mask, feather))
            assert found is not None
            figures.append(found.figure)
        less = figures[1] - figures[0]
        better = "tie" if abs(less) < ALIKE else "left" if less > 0 else "right"
        right.append(better == row["better"])
    assert len(right) == 40 and sum(right) >= 34, right


def disc(radius: float, side: int = SIDE) -> Tensor:
    place = torch.arange(side) - (side - 1) / 2
    return (torch.hypot(place[:, None], place[None]) < radius).float()[None, None]


def field(key: str, blur: int = 1, side: int = SIDE) -> Tensor:
    """Noise of deviation 1, blurred by boxes."""
    noise = F.avg_pool2d(Noise(3)((1, 3, side, side), key), blur, 1, blur // 2)
    return noise / noise.std()


def slope(side: int = SIDE) -> Tensor:
    place = torch.arange(side) / side - 0.5
    return (0.5 + 0.1 * place[:, None] + 0.15 * place[None]).expand(1, 3, side, side)


GROUNDS: dict[str, Callable[[], Tensor]] = {
    "slope": slope,
    "grain": lambda: slope() + 6 * LEVEL * field("ground"),
    "canvas": lambda: slope() + 9 * LEVEL * field("ground", 3),
    "clouds": lambda: slope() + LEVEL * (12 * field("ground", 31) + 3 * field("grain")),
}
GROWING: dict[str, tuple[tuple[float, ...], Callable[[Tensor, float], Tensor]]] = {
    "grain added": ((4, 8, 16), lambda image, much: image + much * LEVEL * field("added")),
    "tone moved": ((6, 12, 24), lambda image, much: image + much * LEVEL),
    "tint": ((10, 20, 40), lambda image, much: image + much * LEVEL * tint()),
}


def tint() -> Tensor:
    return torch.tensor([1.0, 0.0, -0.5])[None, :, None, None]


def figure(image: Tensor, alpha: Tensor) -> float:
    found = seam(image.clamp(0, 1), alpha)
    assert found is not None
    return found.figure


@pytest.mark.parametrize("feather", [0, 4, 16])
@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("change", GROWING)
def test_more_of_a_fault_is_more_of_a_seam(ground: str, change: str, feather: int) -> None:
    image, alpha = GROUNDS[ground](), feathered(disc(55), feather)
    amounts, changed = GROWING[change]
    figures = [figure(image, alpha)]
    for much in amounts:
        figures.append(figure(torch.lerp(image, changed(image, much), alpha), alpha))
    if feather < 16:
        assert figures == sorted(figures)
    assert all(more > less - ALIKE / 2 for less, more in pairwise(figures))
    assert figures[-1] > figures[0] + ALIKE


@pytest.mark.parametrize("ground", ["grain", "canvas"])
def test_the_more_texture_is_blurred_the_more_it_shows(ground: str) -> None:
    image, alpha = GROUNDS[ground](), feathered(disc(55), 4)
    figures, softer = [], []
    for blur in (1, 3, 5, 9):
        soft = F.avg_pool2d(image, blur, 1, blur // 2, count_include_pad=False)
        found = seam(torch.lerp(image, soft, alpha), alpha)
        assert found is not None
        figures.append(found.figure)
        softer.append(found.texture[0])
    assert figures == sorted(figures) and figures[1] > figures[0] + ALIKE
    assert softer == sorted(softer, reverse=True)


@pytest.mark.parametrize("levels", [4, 10, 25])
def test_its_parts_are_in_their_units(levels: int) -> None:
    alpha = disc(55)
    moved = seam(slope() + levels * LEVEL * alpha, alpha)
    assert moved is not None and moved.tone == pytest.approx(levels, rel=0.05)
    assert max(map(abs, moved.texture)) < 0.05
    grain = 20 * LEVEL * field("ground")
    halved = seam(slope() + torch.lerp(grain, grain / 2, alpha), alpha)
    assert halved is not None and halved.texture == pytest.approx([-1, -1, -1], abs=0.2)
    assert abs(halved.sharpness) < 0.2


def test_a_slope_has_no_seam_and_grain_hardly_any() -> None:
    for feather in (0, 4, 40):
        assert figure(slope(), feathered(disc(40), feather)) < 0.05
    assert figure(GROUNDS["grain"](), disc(55)) < 0.6


def test_transposed_it_is_the_same() -> None:
    image, alpha = GROUNDS["clouds"](), feathered(disc(50), 3)
    image = torch.lerp(image, image.flip(2), alpha)
    assert figure(image, alpha) == pytest.approx(figure(image.mT, alpha.mT), abs=0.01)


@pytest.mark.parametrize("width", [2, 4, 8])
def test_of_a_scratch_too(width: int) -> None:
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., 90 : 90 + width] = 1
    assert figure(slope() + 12 * LEVEL * alpha, alpha) > figure(slope(), alpha) + ALIKE


def test_across_the_widest_feather() -> None:
    alpha = feathered(disc(90, 512), 128)
    assert isinstance(seam(slope(512), alpha), Seam)
    faded = torch.lerp(slope(512), slope(512) + 30 * LEVEL, alpha)
    hard = torch.lerp(slope(512), slope(512) + 30 * LEVEL, disc(150, 512))
    assert figure(faded, alpha) < figure(hard, disc(150, 512))


def test_without_an_edge_there_is_none() -> None:
    for opacity in (0.0, 0.4, 1.0):
        assert seam(slope(), torch.full((1, 1, SIDE, SIDE), opacity)) is None
    assert seam(slope(20), disc(5, 20)) is None
