"""Pictures to train on: renderings of the world and scikit-image's bundled photographs."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import skimage
from PIL import Image

from .world import BASE, draw_scene, draw_window

TRAINING_PHOTOS = (
    "astronaut.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
    "coins.png",
)
HELD_OUT_PHOTOS = ("coffee.png", "chelsea.png", "camera.png")
PHOTO_SIDES = (192, 256, 384)


@cache
def load_photo(name: str, side: int) -> np.ndarray:
    """A bundled photograph, its shorter side scaled to ``side`` px, as uint8 [H, W, 3]."""
    image = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
    scale = side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def crop(rng: np.random.Generator, image: np.ndarray, side: int) -> np.ndarray:
    """A random square of ``side`` px, mirrored half the time."""
    y, x = (rng.integers(n - side + 1) for n in image.shape[:2])
    part = image[y : y + side, x : x + side]
    return part[:, ::-1] if rng.uniform() < 0.5 else part


def draw_training_picture(rng: np.random.Generator, side: int, photos: float) -> np.ndarray:
    """A square of the world, half of the time a window, or of a photograph.

    photos: probability of a photograph; side is at most 192 px.
    """
    if rng.uniform() < photos:
        name = TRAINING_PHOTOS[rng.integers(len(TRAINING_PHOTOS))]
        return crop(rng, load_photo(name, int(rng.choice(PHOTO_SIDES))), side)
    if rng.uniform() < 0.5:
        return draw_window(rng, side, side)[0]
    if side < BASE:
        return crop(rng, draw_scene(rng, empty=0.05)[0], side)
    return draw_scene(rng, side, side, side if rng.uniform() < 0.5 else BASE, empty=0.05)[0]


def draw_batch(rng: np.random.Generator, count: int, side: int, photos: float) -> np.ndarray:
    """``count`` training pictures as uint8 [count, side, side, 3]."""
    return np.stack([draw_training_picture(rng, side, photos) for _ in range(count)])
