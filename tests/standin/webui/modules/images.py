"""Pictures: grids, sizes, transparency, files."""

import math
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
from PIL import Image

from modules import shared

LANCZOS = Image.Resampling.LANCZOS
Grid = namedtuple("Grid", "tiles tile_w tile_h image_w image_h overlap")
"""tiles: for each row (y, height, its tiles), for each tile (x, width, picture)."""
_saved = []


def split_grid(image, tile_w=512, tile_h=512, overlap=64):
    """As few tiles as overlap by so much at least; of a picture too small for that, or with tiles
    too small for it, it makes none, or such as leave parts of it out."""
    columns = _starts(image.width, tile_w, overlap)
    rows = [
        [y, tile_h, [[x, tile_w, image.crop((x, y, x + tile_w, y + tile_h))] for x in columns]]
        for y in _starts(image.height, tile_h, overlap)
    ]
    return Grid(rows, tile_w, tile_h, *image.size, overlap)


def _starts(length, tile, overlap):
    """Where the tiles of an axis begin; the last one ends with it."""
    count = math.ceil((length - overlap) / (tile - overlap))
    step = (length - tile) / (count - 1) if count > 1 else 0
    return [min(int(step * number), length - tile) for number in range(count)]


def combine_grid(grid):
    """Tiles fade in over the overlap, columns first; where there is none it stays black."""
    size = grid.image_w, grid.image_h
    picture = Image.new("RGB", size)
    for y, height, tiles in grid.tiles:
        row = Image.new("RGB", (grid.image_w, height))
        for x, width, tile in tiles:
            _fade_in(row, tile, (x, 0), (grid.overlap if x else 0, 0, width, height))
        _fade_in(picture, row, (0, y), (0, grid.overlap if y else 0, grid.image_w, height))
    return picture


def _fade_in(onto, tile, place, whole):
    """whole: the box of the tile from which on it is opaque."""
    left, top, right, bottom = whole
    ramp = np.full((bottom, right), 255, np.uint8)
    for levels, width in ((ramp, left), (ramp.T, top)):
        levels[:, :width] = np.arange(width, dtype=np.float32) * 255 / max(width, 1)
    onto.paste(tile, place, Image.fromarray(ramp))


def image_grid(imgs, batch_size=1, rows=None):
    if rows is None:
        by_option = {-1: round(math.sqrt(len(imgs))), 0: batch_size}
        rows = by_option.get(shared.opts.n_rows, shared.opts.n_rows)
    rows = min(rows, len(imgs))
    columns = math.ceil(len(imgs) / rows)
    width, height = (max(sides) for sides in zip(*(one.size for one in imgs)))  # noqa: B905
    background = shared.opts.grid_background_color
    grid = Image.new("RGB", (columns * width, rows * height), background)
    for number, one in enumerate(imgs):
        grid.paste(one, (number % columns * width, number // columns * height))
    return grid


def resize_image(resize_mode, im, width, height, upscaler_name=None):
    """resize_mode: 0 deforms, 1 fills and crops, 2 fits and pads."""
    if resize_mode == 0:
        return im.resize((width, height), LANCZOS)
    choose = max if resize_mode == 1 else min
    share = choose(width / im.width, height / im.height)
    inner = im.resize([round(side * share) for side in im.size], LANCZOS)
    result = Image.new("RGB", (width, height))
    result.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return result


def save_image(
    image, path, basename, seed=None, prompt=None, extension="png", info=None,
    short_filename=False, no_prompt=False, grid=False, pnginfo_section_name="parameters", p=None,
    existing_info=None, forced_filename=None, suffix="", save_to_dirs=None,
):  # fmt: skip
    """Keeps the picture in `_saved` instead of a file."""
    name = forced_filename or f"{basename or f'{len(_saved):05}'}-{seed}{suffix}"
    _saved.append(
        SimpleNamespace(image=image, path=path, seed=seed, prompt=prompt, info=info, grid=grid,
                        suffix=suffix, extension=extension, samples_save=shared.opts.samples_save)
    )  # fmt: skip
    return f"{path}/{name}.{extension}", None


def flatten(img, bgcolor):
    if img.mode == "RGBA":
        img = Image.alpha_composite(Image.new("RGBA", img.size, bgcolor), img)
    return img.convert("RGB")
