"""The dry-run button below the controls, and what it shows above the results."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image, ImageOps

from ...errors import EditError
from ..batch import First, first_of
from ..dry_run import DryRun, dry_run
from ..fields import PANEL, UNSEEN, chosen
from ..hosts.checkpoint import is_loaded, same_model
from ..infotext import key
from ..inputs import prepared
from ..options import defaults
from . import tab as tabs
from .status import paragraphs

_INPAINT, _SKETCH, _UPLOAD, _BATCH = 2, 3, 4, 5
"""Places of the tab's modes."""
_OLD = (
    "Something was changed since this was planned: picture, mask, checkpoint or a setting. "
    "It may no longer be what would be done."
)


@dataclass(frozen=True)
class Panel:
    """The panel's components. result: the column of all that a dry run shows."""

    mode: Any
    button: Any
    result: Any
    again: Any
    close: Any
    picture: Any
    text: Any

    def connect(self, tab: Mapping[str, Any], controls: Sequence[Any]) -> None:
        """Let the buttons read the tab and the controls."""
        inputs = [self.mode, *(tab[name] for name in (*tabs.PICTURES, *tabs.CONTROLS)), *controls]
        shown = [self.picture, self.text]
        for button in (self.button, self.again):
            # Not queued, so that it is said whatever else is going on.
            begun = button.click(
                begin, [], shown, _js="msbd_dry_run_begins", queue=False, show_progress=False
            )
            done = begun.then(show_dry_run, inputs, shown, _js="msbd_dry_run_arguments")
            done.then(None, [], [], _js="msbd_dry_run_ends")
        for event in (
            self.close.click,
            tab[tabs.GENERATE].click,
            tab[tabs.PROMPT].submit,
            tab[tabs.SCRIPTS].change,
        ):
            event(None, [], [], _js="msbd_dry_run_closes")
        for component in inputs[1:]:
            for name in _changes(component):
                getattr(component, name)(None, [], [], _js="msbd_dry_run_is_old")

    def stand_before(self, gallery: Any) -> None:
        """Move the result from below the controls to where the pictures will be."""
        self.result.parent.children.remove(self.result)
        column = gallery.parent
        column.children.insert(column.children.index(gallery), self.result)
        self.result.parent = column


def build(elem_id: Callable[[str], str], tab: tabs.Tab) -> Panel:
    """Make the panel's components; the result moves to the gallery if the host has one."""
    mode = gr.Number(value=0, visible=False, elem_id=elem_id("mode"))
    button = gr.Button(
        "Dry run",
        elem_id=elem_id("dry_run"),
        tooltip="Shows what the model will see and paint, in which steps, and about how long it "
        "takes. Nothing is painted.",
    )
    with gr.Column(
        elem_id=elem_id("dry_run_result"), elem_classes=["msbd-dry-run-result"]
    ) as result:
        with gr.Row(elem_classes=["msbd-dry-run-buttons"]):
            again = gr.Button("Dry run again", size="sm", elem_id=elem_id("dry_run_again"))
            close = gr.Button("Close", size="sm", elem_id=elem_id("dry_run_close"))
        gr.HTML("<p>Planning …</p>", elem_classes=["msbd-planning"])
        text = gr.HTML(elem_id=elem_id("dry_run_text"), elem_classes=["msbd-dry-run"])
        picture = gr.Image(
            type="pil",
            interactive=False,
            visible=False,
            show_label=False,
            elem_id=elem_id("dry_run_picture"),
            elem_classes=["msbd-dry-run-picture"],
        )
    for one in (button, again, close):
        one.do_not_save_to_config = True
    panel = Panel(mode, button, result, again, close, picture, text)
    tab.when_seen([tabs.GALLERY], lambda: panel.stand_before(tab.components[tabs.GALLERY]))
    return panel


def _changes(component: Any) -> list[str]:
    """The events that tell of another value; none for the sketch's original, which is a state."""
    by_hand = [name for name in ("upload", "edit", "clear") if hasattr(component, name)]
    # A picture that is drawn on never stops telling of `change`.
    return by_hand if "edit" in by_hand else [n for n in ("change",) if hasattr(component, n)]


def begin() -> tuple[dict[str, Any], str]:
    """What comes first, if that takes long; updates for picture and text."""
    wait = "" if is_loaded() else "<p>The checkpoint is loaded first: it may take a minute.</p>"
    return gr.update(value=None, visible=False), wait


def show_dry_run(mode: float, *values: Any) -> tuple[dict[str, Any], str]:
    """The drawn plan and its text, or what to change first; updates for picture and text.

    mode: the place of the tab's mode. values: of the tab's PICTURES, of its CONTROLS, and of
    our own controls.
    """
    pictures, rest = values[: len(tabs.PICTURES)], values[len(tabs.PICTURES) :]
    host, ours = rest[: len(tabs.CONTROLS)], rest[len(tabs.CONTROLS) :]
    blur, transparency, mask_mode, steps, sampler_name, count, size, overrides = host
    try:
        first = first_of(*pictures[-2:]) if mode == _BATCH else None
        picture, mask = _picture_and_mask(int(mode), pictures, transparency, first)
        with same_model():
            done = dry_run(
                prepared([picture], mask, invert=bool(mask_mode)),
                chosen(ours, defaults() | _overridden(overrides)),
                steps=int(steps),
                mask_blur=int(blur),
                sampler_name=sampler_name,
                count=int(count) * int(size) * (first.count if first else 1),
            )
    except EditError as error:
        message = f"<div class='msbd-error'>{html.escape(str(error))}</div>"
        return gr.update(value=None, visible=False), message
    return gr.update(value=done.picture, visible=True), _told(done, first)


def _told(done: DryRun, first: First | None) -> str:
    """Everything that is to be said, as HTML."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in done.lines)
    return (
        f"<p class='msbd-old'>{_OLD}</p>"
        + (f"<p>{html.escape(str(first))}</p>" if first else "")
        + f"<p><b>{html.escape(done.headline)}</b></p><ul>{lines}</ul>"
        + f"<div class='msbd-note'>{paragraphs(done.notes)}</div>"
    )


def _picture_and_mask(
    mode: int, values: Sequence[Any], transparency: float, first: First | None
) -> tuple[Image.Image | None, Image.Image | None]:
    """Picture and mask of the tab's mode, as the host makes them for an edit. first: of a batch."""
    if first:
        return first.picture, first.mask
    painted, sketch, original, base, mask = values[:5]
    if mode == _INPAINT:
        both = painted or {}
        return _upright(both.get("image")), _upright(both.get("mask"))
    if mode == _SKETCH:
        return sketch, _sketched(sketch, original, transparency) if sketch else None
    if mode == _UPLOAD:
        return _upright(base), _upright(mask)
    raise EditError("this mode has no mask: use Inpaint, Inpaint sketch, Inpaint upload or Batch")


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
