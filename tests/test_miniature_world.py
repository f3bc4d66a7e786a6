"""The procedural world is the same at every size, and the oracle reads it without fault."""

from __future__ import annotations

import numpy as np
import pytest

from msbd.miniature.oracle import is_right, read
from msbd.miniature.world import (
    BACKGROUNDS,
    COLOURS,
    HELD_OUT,
    SHAPES,
    TRAINING_PAIRS,
    draw_background,
    draw_object,
    draw_scene,
    draw_window,
)


def test_held_out_pairs_use_every_shape_once_and_no_colour_twice() -> None:
    assert sorted(s for _, s in HELD_OUT) == sorted(SHAPES)
    assert len({c for c, _ in HELD_OUT}) == len(HELD_OUT)
    assert not set(HELD_OUT) & set(TRAINING_PAIRS)


@pytest.mark.parametrize("colour, shape", HELD_OUT)
def test_held_out_pair_is_never_drawn(colour: str, shape: str) -> None:
    rng = np.random.default_rng(0)
    scenes = [draw_scene(rng, 16, 16, 16, shape=shape)[1] for _ in range(60)]
    scenes += [draw_scene(rng, 16, 16, 16, colour=colour)[1] for _ in range(60)]
    scenes += [draw_window(rng, 16, 16)[1] for _ in range(60)]
    assert all((s.colour, s.shape) != (colour, shape) for s in scenes)


@pytest.mark.parametrize("side", [128, 256, 384])
def test_oracle_is_right_on_clean_renderings(side: int) -> None:
    rng = np.random.default_rng(side)
    scenes = [draw_scene(rng, side, side, side) for _ in range(30)]
    assert all(is_right(image, s.colour, s.shape, side) for image, s in scenes)


@pytest.mark.parametrize("name", BACKGROUNDS)
@pytest.mark.parametrize("zoom", [1, 3])
def test_bare_background_has_no_object(name: str, zoom: int) -> None:
    rng = np.random.default_rng(zoom)
    assert not any(read(draw_background(rng, name, 160, 224, 128 * zoom), 128) for _ in range(5))


def test_oracle_counts_objects_and_tells_them_apart() -> None:
    image = draw_background(np.random.default_rng(1), "sand", 256, 256)
    image = draw_object(image, "ring", "blue", (0.5, 0.6), 0.6)
    image = draw_object(image, "star", "red", (1.4, 1.4), 0.5)
    assert {(f.colour, f.shape) for f in read(image)} == {("blue", "ring"), ("red", "star")}
    assert not is_right(image, "red", "star")


def test_cut_object_is_not_right() -> None:
    image = draw_background(np.random.default_rng(1), "sky", 128, 128)
    assert not is_right(draw_object(image, "circle", "red", (0.1, 0.5), 0.5), "red", "circle")


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_scene_is_the_same_at_twice_the_resolution(name: str) -> None:
    small, scene = draw_scene(np.random.default_rng(7), 128, 128, 128, background=name)
    large, same = draw_scene(np.random.default_rng(7), 256, 256, 256, background=name)
    reduced = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert (scene.caption, scene.centre) == (same.caption, same.centre)
    assert np.abs(reduced - small).mean() < 6


@pytest.mark.parametrize("height, width", [(64, 320), (300, 90), (17, 31)])
def test_any_size_can_be_drawn(height: int, width: int) -> None:
    image, scene = draw_scene(np.random.default_rng(3), height, width)
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
    assert (
        scene.colour in COLOURS
        and draw_window(np.random.default_rng(3), height, width)[0].shape == image.shape
    )
