"""How faithfully the autoencoder reproduces the world and photographs it has not seen."""

from __future__ import annotations

import numpy as np

from .measures import Figures
from .pictures import HELD_OUT_PHOTOS, load_photo
from .sampling import Sampler
from .world import BASE, draw_scene, draw_window


def _psnr(output: np.ndarray, target: np.ndarray) -> float:
    error = np.square(output.astype(np.float32) - target).mean((1, 2, 3))
    return round(float(np.mean(10 * np.log10(255**2 / error))), 2)


def _drift(output: np.ndarray, target: np.ndarray) -> float:
    """Mean absolute difference of the pictures' mean colours, of 255."""
    return round(float(np.abs((output.astype(np.float32) - target).mean((1, 2))).mean()), 2)


def measure_autoencoder(sampler: Sampler, count: int = 64) -> Figures:
    """Round trips of frames, windows and held-out photographs; consistency of tiles."""
    rng = np.random.default_rng([902, 4])
    sets = {
        "frames": np.stack([draw_scene(rng)[0] for _ in range(count)]),
        "windows": np.stack([draw_window(rng)[0] for _ in range(count)]),
        "frames_256": np.stack([draw_scene(rng, 256, 256, 256)[0] for _ in range(count // 4)]),
    }
    for name in HELD_OUT_PHOTOS:
        photo = load_photo(name, 256)
        top, left = ((n - 256) // 2 for n in photo.shape[:2])
        sets[f"photo_{name.split('.')[0]}"] = photo[None, top : top + 256, left : left + 256]
    figures: Figures = {}
    for name, images in sets.items():
        output = sampler.decode(sampler.encode(images))
        figures[f"psnr_{name}"] = _psnr(output, images)
        figures[f"drift_{name}"] = _drift(output, images)
    figures["psnr_photos"] = round(
        float(np.mean([v for k, v in figures.items() if k.startswith("psnr_photo_")])), 2
    )
    whole = sampler.decode(sampler.encode(sets["frames_256"])).astype(np.float32)
    differences = []
    for y in (0, BASE):
        for x in (0, BASE):
            tile = sampler.decode(sampler.encode(sets["frames_256"][:, y : y + BASE, x : x + BASE]))
            differences.append(
                np.abs((tile - whole[:, y : y + BASE, x : x + BASE]).mean((1, 2))).mean()
            )
    figures["tile_colour_difference"] = round(float(np.mean(differences)), 2)
    return figures
