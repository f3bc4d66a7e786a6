"""Resolution-free textures of the procedural world (numpy only).

Positions are in units (1 unit = the side of the base frame of 128 px), height
first.  A texture draws the same random numbers at every resolution, so the same
seed at 128 and at 384 pixels per unit gives the same picture, only finer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, pi, sqrt

import numpy as np


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a picture, y [H, 1] and x [1, W], in a scene of ``extent``; all in units."""

    y: np.ndarray
    x: np.ndarray
    extent: tuple[float, float]
    pixels_per_unit: float

    def noise(
        self, rng: np.random.Generator, fy: float, fx: float, octaves: int = 3, gain: float = 0.55
    ) -> np.ndarray:
        """Fractal value noise [H, W] of unit variance; fy, fx are lattice cells per unit.

        Octaves finer than two pixels a cell are drawn but not shown.
        """
        total = np.zeros((self.y.size, self.x.size), np.float32)
        amplitude, energy = 1.0, 0.0
        for octave in range(octaves):
            scale = 2.0**octave
            cells = (ceil(self.extent[0] * fy * scale) + 4, ceil(self.extent[1] * fx * scale) + 4)
            lattice = rng.standard_normal(cells, dtype=np.float32)
            if octave == 0 or max(fy, fx) * scale <= self.pixels_per_unit / 2:
                rows = _spline_weights(self.y.ravel() * fy * scale, cells[0])
                columns = _spline_weights(self.x.ravel() * fx * scale, cells[1])
                total += amplitude * (rows @ lattice @ columns.T)
            energy += amplitude**2
            amplitude *= gain
        return total / np.float32(sqrt(energy))


def _spline_weights(position: np.ndarray, cells: int) -> np.ndarray:
    """Catmull-Rom weights [n, cells] of positions (in cells) on a lattice that starts one early."""
    whole = np.floor(position)
    t = position - whole
    taps = (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )
    weights = np.zeros((position.size, cells), np.float32)
    row = np.arange(position.size)
    for offset, tap in enumerate(taps):
        np.add.at(weights, (row, np.clip(whole.astype(int) + offset, 0, cells - 1)), tap)
    return weights


def _tint(colour: tuple[int, int, int], factor: np.ndarray) -> np.ndarray:
    """Colour times a factor [H, W] -> [H, W, 3]."""
    return np.asarray(colour, np.float32) * factor[..., None]


def _mix(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """first where share is 0, second where it is 1."""
    return first + (second - first) * share[..., None]


def _constant(colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(colour, np.float32)


def _sky(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    depth = np.clip(grid.y / grid.extent[0] + rng.uniform(-0.2, 0.2) + 0 * grid.x, 0, 1)
    threshold = rng.uniform(0.0, 0.8)
    cloud = np.clip((grid.noise(rng, 3.4, 2.2) - threshold) * 0.8, 0, 1)
    cloud = cloud * cloud * (3 - 2 * cloud)
    return _mix(
        _mix(_constant((122, 170, 216)), _constant((186, 206, 224)), depth),
        _constant((236, 238, 240)),
        cloud,
    )


def _grass(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    blades = grid.noise(rng, 7, 17, octaves=2, gain=0.5)
    patches = grid.noise(rng, 3, 3, octaves=2)
    return _tint((96, 124, 72), 1 + 0.10 * blades + 0.09 * patches) + _tint((7, 3, -2), patches)


def _sand(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    frequency, slant = rng.uniform(5, 8), rng.uniform(-2, 2)
    bend = grid.noise(rng, 3, 2)
    ripple = np.sin(2 * pi * (grid.y * frequency + grid.x * slant + 0.3 * bend))
    grain = grid.noise(rng, 30, 30, octaves=2)
    return _tint((210, 188, 150), 1 + 0.055 * ripple + 0.012 * grain + 0.03 * bend)


def _sea(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    waves = grid.noise(rng, 11, 4, octaves=2, gain=0.5)
    swell = grid.noise(rng, 4, 1.5, octaves=2)
    foam = np.clip((waves - 1.2) * 1.0, 0, 0.7)
    return _mix(
        _tint((74, 120, 148), 1 + 0.11 * waves + 0.06 * swell), _constant((200, 214, 220)), foam
    )


def _bricks(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    height, width, joint = 1 / 6, 1 / 3, 0.013
    shift = rng.uniform(0, 1, 2)
    shades = rng.standard_normal((64, 64)).astype(np.float32)
    grime = grid.noise(rng, 10, 10, octaves=2)
    row_at = (grid.y + shift[0]) / height
    row = np.floor(row_at).astype(int)
    column_at = (grid.x + shift[1]) / width + 0.5 * (row % 2)
    column = np.floor(column_at).astype(int)
    in_y, in_x = (row_at - row) * height, (column_at - column) * width
    gap = np.minimum(np.minimum(in_y, height - in_y), np.minimum(in_x, width - in_x)) - joint
    brick = _tint((152, 98, 84), 1 + 0.08 * shades[row % 64, column % 64] + 0.04 * grime)
    mortar = _tint((186, 178, 168), 1 + 0.03 * grime)
    return _mix(mortar, brick, np.clip(gap * grid.pixels_per_unit + 0.5, 0, 1))


def _wood(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    plank, shift = 0.25, rng.uniform()
    shades = rng.standard_normal(64).astype(np.float32)
    bend = grid.noise(rng, 4, 1.2, octaves=2)
    fibre = grid.noise(rng, 24, 4, octaves=2)
    row_at = (grid.y + shift) / plank
    row = np.floor(row_at).astype(int)
    shade = shades[row % 64]
    rings = np.sin(2 * pi * (grid.y * 9 + 1.3 * bend + 3 * shade))
    board = _tint((158, 116, 78), 1 + 0.06 * rings + 0.03 * fibre + 0.07 * shade)
    in_y = (row_at - row) * plank
    gap = np.clip((np.minimum(in_y, plank - in_y) - 0.006) * grid.pixels_per_unit + 0.5, 0, 1)
    return board * (0.6 + 0.4 * gap)[..., None]


TEXTURES: dict[str, Callable[[np.random.Generator, Grid], np.ndarray]] = {
    "sky": _sky,
    "grass": _grass,
    "sand": _sand,
    "sea": _sea,
    "bricks": _bricks,
    "wood": _wood,
}
