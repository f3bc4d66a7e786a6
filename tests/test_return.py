"""Photographs that return: `pytest -m slow tests/test_return.py -s`, about 15 minutes on two cores.

The masked part of a photograph, reduced to the first stage's size, goes through the later stages as
if it had been painted; the photograph itself is what should come out. So it can be told, octave by
octave, what the way from the model's size to the picture's loses, and what texture puts back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray
from scipy import ndimage

from msbd.evaluation.texture import grey, octave_energies
from msbd.evaluation.ways import Task, in_two_passes
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.presets import preset
from msbd.standalone import models
from msbd.standalone.pictures import to_pixels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

SEED = 921
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
WAYS = ("plain", "ours", "two passes")
"""Without texture; with it; one enlargement and one pass at full size, in the draft's colours."""
AS_PAINTED = {"start": "picture", "strength": 0.0, "candidates": 1}
BLUR = 2.5
"""Of the defocused versions, in pixels."""
Pixels = NDArray[np.uint8]


@cache
def model() -> Any:
    torch.set_num_threads(1)
    return models.load(models.choose(preset("recommended"), device="cpu"))


def photograph(name: str, version: str) -> Pixels:
    """As it is, defocused, with grain, or defocused with canvas over it."""
    found = getattr(skimage.data, name)()
    picture = np.asarray(found[0] if isinstance(found, tuple) else found)
    picture = np.stack([picture] * 3, -1) if picture.ndim == 2 else picture[..., :3]
    if version == "own":
        return picture.astype(np.uint8)
    soft = ndimage.gaussian_filter(picture.astype(np.float32), (BLUR, BLUR, 0))
    if version != "defocused":
        soft += canvas(soft.shape) if version == "canvas" else grain(soft.shape, *GRAIN[version])
    return soft.round().clip(0, 255).astype(np.uint8)


def grain(shape: tuple[int, ...], deviation: float, blur: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(SEED).standard_normal(shape).astype(np.float32)
    noise = ndimage.gaussian_filter(0.3 * noise + 0.7 * noise[..., :1], (blur, blur, 0))
    return deviation * noise / noise.std()


def canvas(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Threads, unevenly thick, over and under each other."""
    noise = np.random.default_rng(SEED).standard_normal(shape[:2]).astype(np.float32)
    wobble = 2 * ndimage.gaussian_filter(noise, 6) / ndimage.gaussian_filter(noise, 6).std()
    down, across = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    weave = np.sin((down + wobble) * 2 * np.pi / 5) * np.sin((across + wobble) * 2 * np.pi / 6)
    weave = weave + 0.5 * noise
    return (7 * weave / weave.std())[..., None]


def returned(name: str, version: str) -> dict[str, Any]:
    """Texture inside the mask before and after, by octave, in levels; finest first."""
    picture = photograph(name, version)
    row, column, radius = PLACES[name]
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]]
    away = np.hypot(y - row, x - column)
    mask, inside = (away < radius).astype(np.float32), away < radius - 6
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    found: dict[str, Any] = {"name": name, "version": version, "truth": rms(picture, inside)}
    for way in WAYS:
        settings = preset("recommended").with_values(
            {**AS_PAINTED, "texture": float(way == "ours")}
        )
        if way == "two passes":
            settings = settings.with_values({"decoder": "off"})
        backend = model().bind("", "", 6.0, "euler_ancestral")
        task = Task(image, mask, settings, backend, Noise(SEED))
        plan = in_two_passes(task.plan, task) if way == "two passes" else task.plan
        done = edit(image, mask, plan, settings, backend, task.noise)
        found[way] = rms(to_pixels(done.image), inside)
    return found


def rms(picture: Pixels, inside: NDArray[np.bool_]) -> list[float]:
    return [255 * energy**0.5 for energy in octave_energies(grey(picture / 255), inside)]


def error(found: dict[str, Any], way: str) -> float:
    """Mean distance of the octaves from what is true, in doublings; half a level is nothing."""
    pairs = zip(found[way], found["truth"], strict=True)
    return float(np.mean([abs(np.log2((ours + 0.5) / (true + 0.5))) for ours, true in pairs]))


@pytest.fixture(scope="module")
def all_returned() -> Iterator[list[dict[str, Any]]]:
    versions = ("own", "defocused", *GRAIN, "canvas")
    pairs = [(name, version) for name in PLACES for version in versions]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield list(pool.map(returned, *zip(*pairs, strict=True)))


def told(found: dict[str, Any]) -> None:
    octaves = zip(found["truth"], *(found[way] for way in WAYS), strict=True)
    text = "  ".join("{:5.1f} {:5.1f} {:5.1f} {:5.1f}".format(*octave) for octave in octaves)
    errors = " ".join(f"{error(found, way):.2f}" for way in WAYS)
    print(f"{found['name']:18} {found['version']:10} {text}   {errors}")


def test_texture_comes_back(all_returned) -> None:
    """In fours: true, without texture, with it, by two passes; and the errors of the three."""
    for found in all_returned:
        told(found)
    grainy = [one for one in all_returned if one["version"] not in ("own", "defocused")]
    for other in ("plain", "two passes"):
        better = sum(error(one, "ours") < error(one, other) for one in grainy)
        print(f"nearer with texture than {other}: {better} of {len(grainy)} with grain or canvas")
        assert better >= 0.8 * len(grainy)
    for one in grainy:
        for octave in range(2):  # coarser ones hold what is shown more than its grain
            true, plain, ours = (one[way][octave] for way in ("truth", "plain", "ours"))
            if plain < true / 2:
                assert ours == pytest.approx(true, rel=0.15), (one["name"], one["version"])


def test_nothing_is_put_where_nothing_was(all_returned) -> None:
    for one in all_returned:
        if one["version"] == "defocused":
            assert error(one, "ours") <= 1.02 * error(one, "plain") + 0.005, one["name"]
