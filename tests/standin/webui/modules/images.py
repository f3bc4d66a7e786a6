"""Pictures: grids, sizes, transparency, files."""

import math
from types import SimpleNamespace

from PIL import Image

from modules import shared

LANCZOS = Image.Resampling.LANCZOS
_saved = []


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
