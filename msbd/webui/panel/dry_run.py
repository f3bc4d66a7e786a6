"""The dry-run button below the controls, and its drawing."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from ...errors import EditError
from ..dry_run import dry_run
from ..fields import PANEL, UNSEEN, chosen
from ..hosts.checkpoint import same_model
from ..infotext import key
from ..inputs import prepared
from ..options import defaults
from . import tab as tabs

_INPAINT, _SKETCH, _UPLOAD = 2, 3, 4
"""Places of the tab's modes."""


@dataclass(frozen=True)
class Panel:
    """The panel's components."""

    mode: Any
    button: Any
    picture: Any
    text: Any

    def connect(self, tab: Mapping[str, Any], controls: Sequence[Any]) -> None:
        """Let the button read the tab and the controls."""
        inputs = [self.mode, *(tab[name] for name in (*tabs.PICTURES, *tabs.CONTROLS)), *controls]
        self.button.click(
            show_dry_run, inputs, [self.picture, self.text], _js="msbd_dry_run_arguments"
        )


def build(elem_id: Callable[[str], str]) -> Panel:
    """Make the panel's components."""
    mode = gr.Number(value=0, visible=False, elem_id=elem_id("mode"))
    button = gr.Button(
        "Dry run",
        elem_id=elem_id("dry_run"),
        tooltip="Draws crop, stages and tiles, and estimates model calls, time and memory, "
        "without running anything.",
    )
    button.do_not_save_to_config = True
    text = gr.HTML(elem_id=elem_id("dry_run_text"), elem_classes=["msbd-dry-run"])
    picture = gr.Image(
        type="pil",
        interactive=False,
        visible=False,
        show_label=False,
        elem_id=elem_id("dry_run_picture"),
        elem_classes=["msbd-dry-run-picture"],
    )
    return Panel(mode, button, picture, text)


def show_dry_run(mode: float, *values: Any) -> tuple[dict[str, Any], str]:
    """The drawn plan and its text, or what to change first; updates for picture and text.

    mode: the place of the tab's mode. values: of the tab's PICTURES, of its CONTROLS, and of
    our own controls.
    """
    pictures, rest = values[: len(tabs.PICTURES)], values[len(tabs.PICTURES) :]
    host, ours = rest[: len(tabs.CONTROLS)], rest[len(tabs.CONTROLS) :]
    blur, transparency, mask_mode, steps, sampler_name, count, size, overrides = host
    try:
        picture, mask = _picture_and_mask(int(mode), pictures, transparency)
        with same_model():
            done = dry_run(
                prepared([picture], mask, invert=bool(mask_mode)),
                chosen(ours, defaults() | _overridden(overrides)),
                steps=int(steps),
                mask_blur=int(blur),
                sampler_name=sampler_name,
                count=int(count) * int(size),
            )
    except EditError as error:
        message = f"<div class='msbd-error'>{html.escape(str(error))}</div>"
        return gr.update(value=None, visible=False), message
    text = f"<pre>{html.escape(done.text())}</pre>"
    return gr.update(value=done.picture, visible=True), text


def _picture_and_mask(
    mode: int, values: Sequence[Any], transparency: float
) -> tuple[Image.Image | None, Image.Image | None]:
    """Picture and mask of the tab's mode, as the host makes them for an edit."""
    painted, sketch, original, base, mask = values
    if mode == _INPAINT:
        both = painted or {}
        return _upright(both.get("image")), _upright(both.get("mask"))
    if mode == _SKETCH:
        return sketch, _sketched(sketch, original, transparency) if sketch else None
    if mode == _UPLOAD:
        return _upright(base), _upright(mask)
    raise EditError("this mode has no mask: use Inpaint, Inpaint sketch or Inpaint upload")


def _sketched(sketch: Image.Image, original: Image.Image | None, transparency: float) -> Any:
    """White where the sketch differs from the original; the more transparent, the darker."""
    changed = np.asarray(sketch) != np.asarray(original or sketch)
    level = round(255 * (1 - transparency / 100))
    return Image.fromarray(changed.any(axis=-1).astype(np.uint8) * np.uint8(level))


def _upright(picture: Image.Image | None) -> Image.Image | None:
    return ImageOps.exif_transpose(picture) if picture else None


def _overridden(texts: Sequence[str] | None) -> dict[str, str]:
    """What a pasted infotext says in place of the settings panel."""
    said = dict(text.split(": ", 1) for text in texts or ())
    return {name: said[key(name)] for name in (*PANEL, *UNSEEN) if key(name) in said}
