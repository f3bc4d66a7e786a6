"""Buttons that go on with the edit whose pictures are shown: choose, more, redo, look, forget."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from ...errors import EditError
from ...geometry import Box, Size
from ...pictures.comparison import comparison
from .. import keeping
from ..fields import CANDIDATES_ONLY, CONTINUE_FROM, EDIT_ID
from ..hosts import page

INFO = "generation_info_img2img"
"""The host's component with what it says of the pictures shown."""
VIEWS = ("before", "after")
SET = ("candidate", "candidates", CANDIDATES_ONLY, EDIT_ID, CONTINUE_FROM)
"""Controls that the buttons set, in the order of the page's functions."""


@dataclass(frozen=True)
class Panel:
    """buttons: those that press Generate, with the page's functions that say how. put_back: unseen;
    the page presses it afterwards."""

    buttons: Sequence[tuple[Any, str]]
    put_back: Any
    compare: Any
    forget: Any
    said: Any

    def stand_below(self, gallery: Any) -> None:
        """Move what is said and shown to below the pictures."""
        self.said.parent.children.remove(self.said)
        column = gallery.parent
        column.children.insert(column.children.index(gallery) + 1, self.said)
        self.said.parent = column

    def connect(self, info: Any, controls: Mapping[str, Any]) -> None:
        """info: the component `INFO`. controls: ours, by name."""
        ours = [controls[name] for name in SET]
        for button, function in self.buttons:
            button.click(None, [info, *ours], ours, **page.js(function))
        self.put_back.click(None, [], ours, **page.js("msbd_puts_back"))
        for button, act in ((self.compare, compared), (self.forget, forgotten)):
            button.click(act, [info], [self.said], **page.js("msbd_edit_id"))


def build(elem_id: Callable[[str], str]) -> Panel:
    """Make the buttons, and the place where they say something."""
    with gr.Row():
        buttons = [
            (gr.Button(words, elem_id=elem_id(name), tooltip=help), f"msbd_{name}")
            for name, words, help in (
                ("continue", "Continue", "With the candidate that is shown, or where it ended"),
                ("more", "More candidates", "Paint three more, to choose from all"),
                ("redo", "Redo", "From the stage on that is said above, or the last, with the "
                 "present prompt and settings"),
            )
        ]  # fmt: skip
    with gr.Row():
        compare = gr.Button("Before / after", elem_id=elem_id("compare"))
        forget = gr.Button("Forget this edit", elem_id=elem_id("forget"))
    put_back = gr.Button(visible=False, elem_id=elem_id("put_back"))
    said = gr.HTML(elem_id=elem_id("kept_said"), elem_classes=["msbd-kept"])
    for button in (put_back, compare, forget, *(one for one, _ in buttons)):
        button.do_not_save_to_config = True
    return Panel(buttons, put_back, compare, forget, said)


def compared(edit_id: str) -> str:
    """The edited place before and after, one over the other, with a slider between them."""
    try:
        before, after = keeping.views(edit_id)
    except EditError as error:
        return _note(str(error))
    one, other = (_address(picture) for picture in (before, after))
    whole = Box.of(Size(before.height, before.width))
    page = comparison([np.asarray(one) for one in (before, after)], VIEWS, whole)
    return (
        f"<div class='msbd-views' style='--msbd-at: 50%; width: {before.width}px'>"
        f"<img src='{other}' alt='after'><img class='msbd-before' src='{one}' alt='before'>"
        "<input type='range' min='0' max='100' value='50' aria-label='before or after' "
        "oninput=\"this.parentNode.style.setProperty('--msbd-at', this.value + '%')\"></div>"
        f"<p><a download='before-after.jpg' href='{_address(page)}'>"
        "Save both as one picture</a></p>"
    )


def forgotten(edit_id: str) -> str:
    """Delete what is kept of an edit; what became of it."""
    try:
        if not edit_id:
            raise EditError("nothing is kept of what is shown")
        keeping.store().forget(edit_id)
    except EditError as error:
        return _note(str(error))
    return _note("What was kept of this edit is deleted.")


def _note(text: str) -> str:
    return f"<div class='msbd-note'><p>{html.escape(text)}</p></div>"


def _address(picture: Any) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
