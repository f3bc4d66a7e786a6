"""The host's own components of its img2img tab, collected while it builds the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..hosts import page

PICTURES = tuple(name for names in page.COMPONENTS.values() for name in names)
"""Where the modes keep picture and mask."""

CONTROLS = (
    "img2img_mask_blur",
    "img2img_mask_alpha",
    "img2img_mask_mode",
    "img2img_steps",
    "img2img_sampling",
    "img2img_batch_count",
    "img2img_batch_size",
    "img2img_override_settings",
    "img2img_denoising_strength",
    "img2img_inpainting_fill",
)
"""What else of the tab an edit depends on, by elem_id."""

SCRIPTS, PROMPT, GENERATE = "script_list", "img2img_prompt", "img2img_generate"
SCHEDULER = "img2img_scheduler"
"""Since 1.9; made before the last of the CONTROLS."""
GALLERY = "img2img_gallery_container"
"""Where the results are, in the right column."""
NEEDED = (*PICTURES, *CONTROLS, SCRIPTS, PROMPT, GENERATE)


class Tab:
    """Components by name, mostly elem_id; tells once when those that are waited for are there.

    The order of the tab's parts is the user's choice, so some come after the scripts' controls.
    """

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}
        self._waiting: list[tuple[Sequence[str], Callable[[], None]]] = []

    def saw(self, component: Any) -> None:
        """Take note of a component; for `Script.after_component`."""
        name = page.CANVAS.name_of(component, self.components)
        if name:
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
