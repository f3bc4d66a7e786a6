"""Everyday edits, judged by the oracle, forty of each: `pytest -m slow tests/test_everyday.py -s`.

Something is given another colour, finished after a rough sketch, removed; and two things are
painted far apart in one edit. About half an hour on two cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msbd.compositing import feathered
from msbd.evaluation.verdict import Verdict, judge
from msbd.geometry import Size
from msbd.masks import Mask
from msbd.miniature.world import BACKGROUNDS, COLOURS, SHAPES, draw_background, draw_object
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.seam import seam
from msbd.standalone import models
from msbd.standalone.pictures import Picture, to_pixels

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

EDITS, SEED, GUIDANCE = 40, 920, 6.0
HEIGHT, WIDTH, UNIT = 512, 704, 256
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A place on some ground, with a thing there or not. place: row and column in units."""

    number: int
    ground: str
    shape: str
    colour: str
    other: str
    place: tuple[float, float]

    @classmethod
    def of(cls, number: int, shape: str = "") -> Subject:
        rng = np.random.default_rng([SEED, number])
        colours = rng.permutation([*COLOURS])
        ground, place = BACKGROUNDS[number % len(BACKGROUNDS)], rng.uniform(0.85, 1.15, 2)
        named = shape or str(rng.choice(SHAPES))
        return cls(number, ground, named, colours[0], colours[1], (place[0], place[1] + 0.3))

    @property
    def plain(self) -> Pixels:
        rng = np.random.default_rng([SEED, self.number, 1])
        return draw_background(rng, self.ground, HEIGHT, WIDTH, UNIT)

    def disc(self, radius: float, place: tuple[float, float] | None = None) -> NDArray[np.bool_]:
        row, column = place or self.place
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        return np.hypot(y - row * UNIT, x - column * UNIT) < radius * UNIT


@cache
def model() -> Any:
    torch.set_num_threads(1)
    return models.load(models.choose(preset("recommended"), device="cpu"))


def made(
    picture: Pixels,
    mask: Mask,
    prompt: str,
    seed: int,
    name: str = "recommended",
    paint: Pixels | None = None,
    **values: Any,
) -> Pixels:
    settings = preset(name).with_values({"guidance": GUIDANCE, **values})
    settings = settings.decided(paint is not None, prompt)
    backend = model().bind(prompt, "", GUIDANCE, "euler_ancestral")
    plan = plan_edit(Size(HEIGHT, WIDTH), mask, settings, backend.spec)
    colours = None if paint is None else tensor(paint)
    done = edit(tensor(picture), mask, plan, settings, backend, Noise(seed), paint=colours)
    return to_pixels(done.image)


def tensor(picture: Pixels) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def recoloured(number: int, strength: float) -> tuple[bool, float]:
    """Whether a blue circle has become red, and how much of its shape is kept (IoU)."""
    one = Subject.of(number, "circle")
    before = draw_object(one.plain, "circle", "blue", one.place, 0.5, UNIT)
    mask = one.disc(0.4)
    prompt, seed = f"a red circle on {one.ground}", SEED * 1000 + number
    values = {"start": "picture", "strength": strength}
    after = made(before, mask.astype(np.float32), prompt, seed, **values)
    found, there = judge(after, mask, "red", "circle", UNIT), judge(before, mask, "", "x", UNIT)
    return found.right_colour, overlap(found, there)


def overlap(one: Verdict, other: Verdict) -> float:
    if one.region is None or other.region is None:
        return 0.0
    return float((one.region & other.region).sum() / (one.region | other.region).sum())


def finished(number: int, _: float) -> bool:
    """Whether a red and a blue blot, which the prompt does not tell apart, stay red and blue."""
    one = Subject.of(number, "circle")
    plain, mask, middle = one.plain, one.disc(0.4), one.disc(0.12)
    prompt, seed = f"a circle on {one.ground}", SEED * 1000 + number
    reds = []
    for colour in ("red", "blue"):
        paint = np.where(one.disc(0.24)[..., None], np.uint8(COLOURS[colour]), plain)
        values = {"paint": paint, "strength": 0.5}
        after = made(plain, mask.astype(np.float32), prompt, seed, **values)
        red, _, blue = after[middle].mean(0)
        reds.append(red > blue)
    return reds == [True, False]


def removed(number: int, strength: float) -> tuple[bool, float]:
    """Whether nothing is left of a thing, without a prompt, and the seam, less what a picture that
    never had it shows there."""
    one = Subject.of(number)
    plain, mask = one.plain, one.disc(0.4)
    before = draw_object(plain, one.shape, one.colour, one.place, 0.5, UNIT)
    seed = SEED * 1000 + number
    after = made(before, mask.astype(np.float32), "", seed, "remove", strength=strength)
    alpha = feathered(torch.from_numpy(mask)[None, None].float(), preset("remove").feather)
    seams = [seam(Picture(one).tensor(), alpha) for one in (after, plain)]
    figures = [one.figure for one in seams if one is not None]
    return not judge(after, mask, "", "", UNIT).objects, figures[0] - figures[1]


def apart(number: int, _: float) -> tuple[bool, bool]:
    """Whether each of two parts far apart shows what was asked for."""
    one = Subject.of(number)
    places = (0.5 + one.place[0] / 2, 0.55), (0.5 + one.place[1] / 3, 2.2)
    discs = [one.disc(0.4, place) for place in places]
    prompt, seed = f"a {one.colour} {one.shape} on {one.ground}", SEED * 1000 + number
    mask = (discs[0] | discs[1]).astype(np.float32)
    after = made(one.plain, mask, prompt, seed)
    halves = slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH)
    right = (
        judge(after[:, half], disc[:, half], one.colour, one.shape, UNIT).one_right
        for disc, half in zip(discs, halves, strict=True)
    )
    return tuple(right)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        yield workers


def all_of(pool: ProcessPoolExecutor, one: Callable[[int, float], Any], value: float = 0) -> Any:
    return list(pool.map(one, range(EDITS), [value] * EDITS))


@pytest.mark.parametrize(
    ("strength", "fewest"),
    [
        (0.3, 0),
        pytest.param(0.5, 30, marks=pytest.mark.xfail(reason="10 of 40, 2026-11-30")),
        (0.7, 0),
    ],
)
def test_a_thing_in_another_colour(pool, strength: float, fewest: int) -> None:
    found = all_of(pool, recoloured, strength)
    kept = [colour and shape >= 0.8 for colour, shape in found]
    print(
        f"blue circles made red at strength {strength}: {sum(c for c, _ in found)} red, "
        f"{sum(kept)} of {EDITS} red and of the same shape, "
        f"IoU {np.mean([s for _, s in found]):.2f} on average"
    )
    assert sum(colour for colour, _ in found) >= 36
    assert sum(kept) >= fewest


@pytest.mark.xfail(reason="34 of 40, 2026-11-30")
def test_a_sketch_keeps_its_colours(pool) -> None:
    found = all_of(pool, finished)
    print(f"red blots stay red and blue ones blue: {sum(found)} of {EDITS}")
    assert sum(found) >= 36


def test_something_is_removed(pool) -> None:
    found = all_of(pool, removed, 0.75)
    clean = sum(gone for gone, _ in found)
    left = np.mean([s for _, s in found])
    print(f"removed without a trace: {clean} of {EDITS}, seam {left:.2f}")
    assert clean >= 36


def test_two_parts_far_apart(pool) -> None:
    found = all_of(pool, apart)
    right = sum(map(sum, found))
    print(f"right in two parts far apart: {right} of {2 * EDITS}")
    assert right >= 1.6 * EDITS
