"""The host's own components of its img2img tab, collected while it builds the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

PICTURES = (
    "img2maskimg",
    "inpaint_sketch",
    "inpaint_sketch_original",
    "img_inpaint_base",
    "img_inpaint_mask",
    "img2img_batch_input_dir",
    "img2img_batch_inpaint_mask_dir",
)
"""Where the modes keep picture and mask: by elem_id, but for the sketch's original."""

CONTROLS = (
    "img2img_mask_blur",
    "img2img_mask_alpha",
    "img2img_mask_mode",
    "img2img_steps",
    "img2img_sampling",
    "img2img_batch_count",
    "img2img_batch_size",
    "img2img_override_settings",
)
"""What else of the tab an edit depends on, by elem_id."""

SCRIPTS, PROMPT, GENERATE = "script_list", "img2img_prompt", "img2img_generate"
SCHEDULER = "img2img_scheduler"
"""Since 1.9; made before the last of the CONTROLS."""
GALLERY = "img2img_gallery_container"
"""Where the results are, in the right column."""
NEEDED = (*PICTURES, *CONTROLS, SCRIPTS, PROMPT, GENERATE)


class Tab:
    """Components by their elem_id; tells once when those that are waited for are there.

    The order of the tab's parts is the user's choice, so some come after the scripts' controls.
    """

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self._waiting: list[tuple[Sequence[str], Callable[[], None]]] = []

    def saw(self, component: Any) -> None:
        """Take note of a component; for `Script.after_component`."""
        name = getattr(component, "elem_id", None)
        if isinstance(component, gr.State) and "inpaint_sketch" in self.components:
            # It has no elem_id; the sketch's original is the first state after the sketch.
            name = "inpaint_sketch_original"
        if name in (*NEEDED, GALLERY, SCHEDULER):
            self.components.setdefault(name, component)
        self._tell()

    def when_complete(self, action: Callable[[], None]) -> None:
        """Do this as soon as nothing is missing; only ever once."""
        self.when_seen(NEEDED, action)

    def when_seen(self, names: Sequence[str], action: Callable[[], None]) -> None:
        """Do this as soon as these components are there; only ever once."""
        self._waiting.append((names, action))
        self._tell()

    def _tell(self) -> None:
        for one in list(self._waiting):
            names, action = one
            if all(name in self.components for name in names):
                self._waiting.remove(one)
                action()
