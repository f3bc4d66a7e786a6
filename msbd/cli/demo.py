"""`demo`: draw a megapixel picture and a mask, edit it with the miniature, say what came out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from ..errors import EditError
from ..miniature.scene import Scene, draw_mask, draw_picture, in_words
from ..presets import preset
from ..standalone import models
from ..standalone.pictures import to_pixels
from . import saving
from .editing import Outputs, Request, perform, read_inputs
from .recipe import Recipe

CHANGES = {"guidance": 4.0}
"""The miniature is best guided less than Stable Diffusion, and hardly in partial views
(docs/miniature.md)."""


def run(
    folder: Path,
    device: str | None,
    quiet: bool,
    say: Callable[[str], None],
    scene: Scene = Scene(),
) -> bool:
    """Write input.png, mask.png, result.png, sheet.png and report.json; whether it was stopped."""
    settings = preset("fast").with_values(CHANGES)
    chosen = models.choose(settings, device=device)
    outputs = Outputs(folder / "result.png", folder / "sheet.png", folder / "report.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot make the folder {folder}: {error.strerror}") from None
    sources = folder / "input.png", folder / "mask.png"
    for path, image in zip(sources, (draw_picture(scene), draw_mask(scene)), strict=True):
        saving.check_output(path)
        saving.save_drawing(path, Image.fromarray(image))
        say(f"wrote {path}")
    inputs = read_inputs(*sources, None, settings, soft=False)
    outputs.check(inputs.picture)
    recipe = Recipe(scene.prompt, "", scene.seed, settings, chosen.checkpoint.name)
    say(f"painting {scene.prompt!r} into a picture of {scene.size}")
    done, stopped = perform(Request(inputs, recipe, chosen, outputs, quiet), say)
    say(f"the result shows {in_words(to_pixels(done.image), scene)}")
    return stopped
