"""The host's own controls that an edit does not use: their names, reasons and notes.

The page greys them out as long as the script is chosen (`javascript/msbd_greyed.js`); a request
that sets one of them gets a note. What would change the picture outside the mask is turned off.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modules import shared

from ..settings import AUTOMATIC, NEW, PAINT, PICTURE, SETTINGS, SURROUNDINGS
from .fields import label

_STARTS = SETTINGS["start"].choices or ()

SOFT_INPAINTING = "soft inpainting"
"""Title of the host's always-on script, whose first argument turns it on."""


@dataclass(frozen=True)
class Unused:
    """Controls without effect that share a reason.

    name: what the host calls them. selectors: CSS, for their elements on the page. reason: a
    sentence. asked: whether a request sets them. option: the setting that does the same. alive:
    the starts of the first stage with which they have their usual effect.
    """

    name: str
    selectors: tuple[str, ...]
    reason: str
    asked: Callable[[Any], bool]
    option: str | None = None
    alive: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What the user is told who has set one."""
        return f"Not used: {self.name}. {self.reason}"


def always_on_arguments(p: Any, title: str) -> list[Any]:
    """A request's arguments for the always-on script of this title (in lower case); or none."""
    script = _always_on(p, title)
    return [] if script is None else list(p.script_args[script.args_from : script.args_to])


def asked(p: Any) -> list[Unused]:
    """What an API request sets; on the page, greyed controls say themselves that they are unused.

    To be asked before `p` is prepared for an edit.
    """
    return [one for one in UNUSED if one.asked(p)] if getattr(p, "is_api", False) else []


def notes(given: Sequence[Unused], start: str, in_the_end: str) -> list[str]:
    """What a request is told that set these.

    start: what the first stage starts from by the script's own setting. in_the_end: the same after
    Masked content, which a request does not say by default and then is "fill".
    """
    told = [one.note for one in given if start not in one.alive]
    content = next(one for one in UNUSED if one.name == "Masked content")
    if in_the_end == SURROUNDINGS != start and content not in given:
        told.append(
            "Masked content is fill, as inpainting_fill is 0: the edit starts from the colours "
            "around; set it to 1 for the original"
        )
    return told


def notes_on_options() -> list[str]:
    """What the user is told of the host's settings in force."""
    return [one.note for one in UNUSED if one.option and getattr(shared.opts, one.option, False)]


def turn_off(p: Any) -> None:
    """Keep `p`'s next `process_images` from changing the finished picture outside the mask."""
    p.restore_faces = False
    script = _always_on(p, SOFT_INPAINTING)
    if script is not None and script.args_from < len(p.script_args):
        # It would lay the surroundings of an earlier picture, which it remembers, over the edit.
        arguments = list(p.script_args)
        arguments[script.args_from] = False
        p.script_args = arguments


def for_the_page() -> str:
    """HTML that carries selectors and tooltips for `javascript/msbd_greyed.js`."""
    told = [
        {
            "selector": ", ".join(one.selectors),
            "tooltip": f"Not used by this script. {one.reason}",
            "alive": one.alive,
        }
        for one in UNUSED
    ]
    return f"<div class='msbd-without-effect'>{html.escape(json.dumps(told))}</div>"


def _always_on(p: Any, title: str) -> Any:
    for script in getattr(p.scripts, "alwayson_scripts", None) or ():
        if _title(script) == title:
            return script
    return None


def _title(script: Any) -> str:
    try:
        return str(script.title()).lower()
    except Exception:  # another extension's fault, which the host overlooks too
        return ""


def _changed(*names: str) -> Callable[[Any], bool]:
    """Whether a request has other values than the host's defaults, which its class holds."""

    def changed(p: Any) -> bool:
        values = {name: getattr(p, name, None) for name in names}
        return any(v not in (None, getattr(type(p), n, None)) for n, v in values.items())

    return changed


def _resizes(p: Any) -> bool:
    own = [picture.size for picture in p.init_images or () if picture is not None]
    return _changed("resize_mode")(p) or (
        _changed("width", "height")(p) and (p.width, p.height) not in own
    )


def _resizes_seed(p: Any) -> bool:
    return p.seed_resize_from_w > 0 and p.seed_resize_from_h > 0


def _refines(p: Any) -> bool:
    return getattr(p, "refiner_checkpoint", None) not in (None, "", "None", "none")


def _inpaints_softly(p: Any) -> bool:
    return any(always_on_arguments(p, SOFT_INPAINTING)[:1])


_OUTSIDE = "It would change the picture outside the mask."

UNUSED = (
    Unused(
        "Resize mode, width and height",
        ("#resize_mode", "#img2img_tabs_resize"),
        "The result has the picture's own size.",
        _resizes,
    ),
    Unused(
        "Masked content",
        ("#img2img_inpainting_fill",),
        f"The masked part is painted anew, whatever was there, unless {label('start')} says "
        "picture or paint.",
        _changed("inpainting_fill"),
        alive=(PICTURE, PAINT),
    ),
    Unused(
        "Inpaint area and padding",
        ("#img2img_inpaint_full_res", "#img2img_inpaint_full_res_padding"),
        f"The script chooses the area around the mask itself; {label('margin')} makes it larger.",
        _changed("inpaint_full_res", "inpaint_full_res_padding"),
    ),
    Unused(
        "Denoising strength",
        ("#img2img_denoising_strength",),
        f"The masked part is painted anew, unless {label('start')} says otherwise; "
        f"{label('final_strength')} says how much the last step may still change.",
        _changed("denoising_strength"),
        alive=tuple(start for start in _STARTS if start not in (AUTOMATIC, NEW)),
    ),
    Unused(
        "Soft inpainting",
        ("#soft_inpainting_enabled",),
        "The script blends at the mask's edge itself; Mask blur says how widely.",
        _inpaints_softly,
    ),
    Unused(
        "Refiner",
        ("#img2img_enable",),
        "The script adds the detail itself, step by step at larger sizes.",
        _refines,
    ),
    Unused(
        "Resize seed",
        ("#img2img_seed_resize_from_row",),
        "The script draws its noise for sizes of its own.",
        _resizes_seed,
    ),
    Unused(
        "Restore faces",
        ("#img2img_restore_faces", "#extra_options_img2img #setting_face_restoration"),
        _OUTSIDE,
        lambda p: bool(p.restore_faces),
        "face_restoration",
    ),
    Unused(
        "Color correction",
        ("#extra_options_img2img #setting_img2img_color_correction",),
        _OUTSIDE,
        lambda p: False,  # no field of a request
        "img2img_color_correction",
    ),
)
