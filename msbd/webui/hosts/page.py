"""Where the img2img tab keeps the picture and the mask of each of its modes.

With gradio 3 a picture that is drawn on is one component. Forge's canvas is two texts: the picture
below, and what is drawn on it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import gradio as gr
import numpy as np
from PIL import Image, ImageFilter

from ...standalone.beside import upright
from .which import LogicalImage

logger = logging.getLogger(__name__)
INPAINT, SKETCH, UPLOAD, BATCH = 2, 3, 4, 5
"""Places of the tab's modes that have a mask."""
Pair = tuple[Image.Image | None, Image.Image | None]
"""Picture and mask, white = repaint."""
Layers = tuple[Image.Image, Image.Image]
"""The picture below a sketch, and the same with it."""
_IMG2IMG = ("img2img", "img2img_function")
"""What the host calls the function behind its Generate button."""


class Canvas(Protocol):
    """Inpaint and Inpaint sketch. inpaint, sketch: the names of their components."""

    inpaint: tuple[str, ...]
    sketch: tuple[str, ...]

    def name_of(self, component: Any, known: Collection[str]) -> str | None:
        """A component's name. known: of the components made before it."""

    def inpainted(self, values: Sequence[Any]) -> Pair:
        """Of the values of `inpaint`."""

    def sketched(self, values: Sequence[Any], transparency: float) -> Pair:
        """Of the values of `sketch`. transparency: of the mask, in per cent."""

    def layers(self, given: Mapping[str, Any]) -> Layers:
        """Of the arguments of the host's img2img, in Inpaint sketch."""


class DrawnImage:
    """gradio 3: a picture with a mask of its own; a sketch, beside its original in a state."""

    inpaint: tuple[str, ...] = ("img2maskimg",)
    sketch: tuple[str, ...] = ("inpaint_sketch", "inpaint_sketch_original")

    def name_of(self, component: Any, known: Collection[str]) -> str | None:
        # The original has no elem_id; it is the first state after the sketch.
        if isinstance(component, gr.State) and self.sketch[0] in known:
            return self.sketch[1]
        return getattr(component, "elem_id", None)

    def inpainted(self, values: Sequence[Any]) -> Pair:
        both = values[0] or {}
        return _upright(both.get("image")), _upright(both.get("mask"))

    def sketched(self, values: Sequence[Any], transparency: float) -> Pair:
        """White where the sketch differs from the original; the more transparent, the darker."""
        sketch, original = values
        if sketch is None:
            return None, None
        changed = np.asarray(sketch) != np.asarray(original or sketch)
        level = round(255 * (1 - transparency / 100))
        return sketch, Image.fromarray(changed.any(axis=-1).astype(np.uint8) * np.uint8(level))

    def layers(self, given: Mapping[str, Any]) -> Layers:
        sketch, original = (given[f"inpaint_color_sketch{name}"] for name in ("", "_orig"))
        return original or sketch, sketch


class ForgeCanvas:
    """Forge: the two texts follow the canvas, what is drawn first; opaque = repaint."""

    inpaint: tuple[str, ...] = ("img2maskimg drawn", "img2maskimg picture")
    sketch: tuple[str, ...] = ("inpaint_sketch drawn", "inpaint_sketch picture")

    def name_of(self, component: Any, known: Collection[str]) -> str | None:
        if isinstance(component, LogicalImage):
            both = (self.inpaint, self.sketch)
            made = [name for names in both if names[0].split()[0] in known for name in names]
            return next((name for name in made if name not in known), None)
        return getattr(component, "elem_id", None)

    def inpainted(self, values: Sequence[Any]) -> Pair:
        drawn, picture = values
        return picture, None if drawn is None else _thresholded(drawn.getchannel("A"))

    def sketched(self, values: Sequence[Any], transparency: float) -> Pair:
        """The mask is wider than the strokes by 1.5 % of the picture's short side."""
        drawn, picture = values
        if drawn is None or picture is None:
            return picture, None
        reach = int(0.015 * min(drawn.size))
        mask = drawn.getchannel("A").filter(ImageFilter.MaxFilter(2 * reach + 1))
        return Image.alpha_composite(picture, drawn), _thresholded(mask)

    def layers(self, given: Mapping[str, Any]) -> Layers:
        picture, drawn = (given[f"inpaint_color_sketch{name}"] for name in ("", "_fg"))
        return picture, Image.alpha_composite(picture, drawn)


CANVAS: Canvas = ForgeCanvas() if LogicalImage else DrawnImage()
COMPONENTS = {
    INPAINT: CANVAS.inpaint,
    SKETCH: CANVAS.sketch,
    UPLOAD: ("img_inpaint_base", "img_inpaint_mask"),
    BATCH: ("img2img_batch_input_dir", "img2img_batch_inpaint_mask_dir"),
}
"""The components' names by mode; a batch has folders."""


def sketch() -> Layers | None:
    """The layers of the sketch that is being edited; None in other modes and in requests.

    The host hands its scripts one picture, which it makes of both: so the layers are looked up
    among the arguments of the function that does, which is running.
    """
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_name in _IMG2IMG and frame.f_locals.get("mode") == SKETCH:
            try:
                return CANVAS.layers(frame.f_locals)
            except (KeyError, TypeError, ValueError):
                logger.warning("the picture below the sketch is not to be had", exc_info=True)
                return None
        frame = frame.f_back
    return None


def js(function: str) -> dict[str, str]:
    """The argument for an event's function on the page.

    Forge knows gradio 3's name of it too, but not yet while the component is being made.
    """
    return {"js" if LogicalImage else "_js": function}


def lists_checkpoints(component: Any) -> bool:
    """Whether it is Forge's list, whose choice does not reach the options that the page knows.

    Components without a parent are updates of others, and have no events.
    """
    classes = getattr(component, "elem_classes", None) or ()
    return "model_selection" in classes and component.parent is not None


def picture_and_mask(mode: int, values: Sequence[Any], transparency: float) -> Pair:
    """What the host makes of a mode without folders.

    values: of its `COMPONENTS`. transparency: of a sketch's mask, in per cent.
    """
    if mode == INPAINT:
        return CANVAS.inpainted(values)
    if mode == SKETCH:
        return CANVAS.sketched(values, transparency)
    picture, mask = values
    return _upright(picture), _upright(mask)


def _upright(picture: Image.Image | None) -> Image.Image | None:
    return upright(picture) if picture else None


def _thresholded(mask: Image.Image) -> Image.Image:
    """As the host cuts it, at half."""
    return mask.point(lambda level: 255 if level > 128 else 0)
