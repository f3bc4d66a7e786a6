"""Networks that enlarge pictures, in tiles."""

import numpy as np
import torch
from PIL import Image

from modules import devices, images, shared


def upscale_with_model(model, img, *, tile_size, tile_overlap=0, desc="tiled upscale"):
    """If interrupted, the picture as it is."""
    if tile_size <= 0:
        return _enlarged(model, img)
    grid = images.split_grid(img, tile_size, tile_size, tile_overlap)
    rows = []
    for y, height, tiles in grid.tiles:
        row = []
        for x, width, tile in tiles:
            if shared.state.interrupted:
                return img
            large = _enlarged(model, tile)
            scale = large.width // tile.width
            row.append([x * scale, width * scale, large])
        rows.append([y * scale, height * scale, row])
    return images.combine_grid(images.Grid(rows, *(side * scale for side in grid[1:])))


def _enlarged(model, img):
    """Whatever is not a number becomes black."""
    weight = next(model.parameters())
    with torch.inference_mode(), devices.without_autocast():
        pixels = torch.from_numpy(np.asarray(img.convert("RGB")) / 255).permute(2, 0, 1)[None]
        large = model(pixels.to(weight.device, weight.dtype))[0].float().cpu()
    levels = np.nan_to_num(large.permute(1, 2, 0).numpy().clip(0, 1) * 255).round()
    return Image.fromarray(levels.astype(np.uint8))
