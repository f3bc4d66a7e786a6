"""Photographs that return: what the way from the model's size to the picture's loses and adds.

The masked part of a photograph, reduced to the first stage's size, goes through the later stages as
if it had been painted; the photograph itself is what should come out. So it can be told, octave by
octave, what is lost and what is added, for pictures whose texture the miniature has never seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..presets import preset
from ..settings import OFF
from .texture import grey, octave_energies, octaves

if TYPE_CHECKING:
    from ..standalone.model import StandaloneModel
    from .ways import Replan

Pixels = NDArray[np.uint8]
SEED, GUIDANCE = 921, 6.0
PLACES = {
    "astronaut": (95, 370, 70),
    "camera": (130, 400, 90),
    "chelsea": (210, 90, 70),
    "coffee": (110, 480, 90),
    "rocket": (110, 250, 90),
    "retina": (700, 500, 170),
    "moon": (256, 180, 110),
    "stereo_motorcycle": (120, 560, 90),
}
"""Row, column and radius of a mask in photographs that scikit-image brings."""
GRAIN = {"fine": (5.0, 0.5), "coarse": (7.0, 1.1), "film": (10.0, 0.8)}
"""Deviation in 8-bit levels, and of its blur in pixels."""
BLUR = 2.5
"""Of the defocused versions, in pixels."""
AS_PAINTED = {"start": "picture", "strength": 0.0, "candidates": 1}
INNER = 6
"""Pixels inside the mask's edge that are left out."""
WITH_TEXTURE = (*GRAIN, "canvas")
SHOWN = tuple(
    (name, version)
    for version, names in {
        "own": ("chelsea", "camera", "coffee", "rocket"),
        "fine": ("astronaut",),
        "coarse": ("stereo_motorcycle",),
        "film": ("chelsea", "moon"),
        "canvas": ("rocket", "retina"),
        "defocused": ("camera", "coffee"),
    }.items()
    for name in names
)
"""The twelve crops of the tables."""


@dataclass(frozen=True)
class Way:
    """changes: to the preset `recommended`. two_passes: one enlargement and one pass at full size,
    in the draft's colours. upscaler: another file, or the miniature's own."""

    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    two_passes: bool = False


WAYS = {
    "recommended": Way("the preset"),
    "no_texture": Way("without texture of the surroundings", {"texture": 0.0}),
    "free_tone": Way("with tone that is not held", {"hold_tone": False}),
    "sharp_background": Way("with an unfiltered background", {"lowpass_background": False}),
    "bilinear": Way("enlarged bilinearly, not by Real-ESRGAN", {"upscaler": "bilinear"}),
    "two_passes": Way(
        "one enlargement and one pass at the crop's own size with strength 0.4, in the draft's "
        "colours",
        {"texture": 0.0, "decoder": OFF},
        two_passes=True,
    ),
}


def photograph(name: str, version: str) -> Pixels:
    """As it is, defocused, with grain, or defocused with canvas over it, [H,W,3]."""
    import skimage.data

    found = getattr(skimage.data, name)()
    picture = np.asarray(found[0] if isinstance(found, tuple) else found)
    picture = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]
    if version == "own":
        return picture.astype(np.uint8)
    soft = ndimage.gaussian_filter(picture.astype(np.float32), (BLUR, BLUR, 0))
    if version != "defocused":
        soft += _canvas(soft.shape) if version == "canvas" else _grain(soft.shape, *GRAIN[version])
    return soft.round().clip(0, 255).astype(np.uint8)


def _grain(shape: tuple[int, ...], deviation: float, blur: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    noise = ndimage.gaussian_filter(0.3 * noise + 0.7 * noise[..., :1], (blur, blur, 0))
    return np.asarray(deviation * noise / noise.std())


def _canvas(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Threads, unevenly thick, over and under each other."""
    noise = np.random.default_rng(SEED).standard_normal(shape[:2]).astype(np.float32)
    wobble = 2 * ndimage.gaussian_filter(noise, 6) / ndimage.gaussian_filter(noise, 6).std()
    down, across = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    weave = np.sin((down + wobble) * 2 * np.pi / 5) * np.sin((across + wobble) * 2 * np.pi / 6)
    weave = weave + 0.5 * noise
    return np.asarray((7 * weave / weave.std())[..., None])


def mask_of(name: str, shape: tuple[int, ...], less: float = 0.0) -> NDArray[np.bool_]:
    """The disc that is edited. less: pixels by which its radius is smaller."""
    row, column, radius = PLACES[name]
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(y - row, x - column) < radius - less)


@cache
def model(upscaler: str) -> StandaloneModel:
    import torch

    from ..standalone import models

    torch.set_num_threads(1)
    settings = preset("recommended").with_values({"upscaler": upscaler})
    return models.load(models.choose(settings, device="cpu"))


def returned(name: str, version: str, way: Way) -> Pixels:
    """The photograph after its part has come back."""
    from ..noise import Noise
    from ..pipeline import edit
    from ..standalone.pictures import Picture, to_pixels
    from .ways import Task, as_planned, in_two_passes

    pixels = photograph(name, version)
    settings = preset("recommended").with_values({**AS_PAINTED, **way.changes})
    backend = model(settings.upscaler).bind("", "", GUIDANCE, settings.ablation.sampler)
    mask = mask_of(name, pixels.shape).astype(np.float32)
    task = Task(Picture(pixels).tensor(), mask, settings, backend, Noise(SEED))
    replan: Replan = in_two_passes if way.two_passes else as_planned
    plan = replan(task.plan, task)
    return to_pixels(edit(task.image, mask, plan, settings, backend, task.noise).image)


def rms(pixels: Pixels, inside: NDArray[np.bool_]) -> list[float]:
    """Of each octave, in levels."""
    return [energy**0.5 for energy in octave_energies(grey(pixels), inside)]


def doublings(ours: float, true: float) -> float:
    """Of an octave's deviation; half a level is nothing."""
    return float(np.log2((ours + 0.5) / (true + 0.5)))


def compared(name: str, version: str, before: Pixels, after: Pixels) -> dict[str, Any]:
    """What has become of the photograph inside the mask.

    octaves: doublings of detail, less than 0 is lost, more is added; finest first. error: the mean
    of their sizes. displaced: the share of each octave's detail that is not where it was, in
    power. tone: mean distance of the colours without detail, in levels. structure: structural
    similarity of the luma (Wang et al. 2004). seam: see `msbd/seam.py`, less the photograph's own.
    """
    import torch
    from skimage.metrics import structural_similarity

    from ..compositing import feathered
    from ..seam import seam
    from ..standalone.pictures import Picture

    inside = mask_of(name, before.shape, INNER)
    lumas = [grey(one) for one in (after, before)]
    pairs = list(zip(*(octaves(luma, inside) for luma in lumas), strict=True))
    found = [doublings(float(ours.std()), float(true.std())) for ours, true in pairs]
    tones = [ndimage.gaussian_filter(one.astype(np.float32), (6, 6, 0)) for one in (after, before)]
    _, similar = structural_similarity(*lumas, data_range=255, full=True)
    mask = torch.from_numpy(mask_of(name, before.shape))[None, None].float()
    alpha = feathered(mask, preset("recommended").feather)
    seams = [seam(Picture(one).tensor(), alpha) for one in (after, before)]
    figures = [one.figure for one in seams if one is not None]
    return {
        "name": name,
        "version": version,
        "octaves": [round(one, 3) for one in found],
        "error": round(float(np.mean(np.abs(found))), 3),
        "displaced": [round(1 - _kept(*pair), 3) for pair in pairs],
        "tone": round(float(np.abs(tones[0] - tones[1])[inside].mean()), 2),
        "structure": round(float(similar[inside].mean()), 3),
        "seam": round(figures[0] - figures[1], 3),
    }


def _kept(ours: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Squared correlation, 0 where they are each other's negative."""
    if not ours.std() or not true.std():
        return 0.0
    return float(max(np.corrcoef(ours, true)[0, 1], 0.0) ** 2)
