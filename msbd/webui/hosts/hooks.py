"""Other extensions' part in sampling: the hook that the host's own sampling would call.

The host has `process_before_every_sampling` since 1.10. The forks' ControlNet takes part by it, but
makes its hint earlier, in `process`, once, of the whole picture; so here that waits for the tiles.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from modules import scripts
from PIL import Image
from torch import Tensor

from ...compositing import latent_mask
from ...errors import EditError
from ...geometry import Box
from ...memory import is_out_of_memory
from ...standalone.pictures import to_pixels
from .guides import cropped_unit, not_served
from .networks import LATENT_FACTOR

HOOK = "process_before_every_sampling"
logger = logging.getLogger(__name__)


class Hooks:
    """The always-on scripts that have registered for the hook, in one request.

    ControlNet's units are taken out of the request, since the host would have their hints made of
    the whole picture in vain; every tile has them made of its own. notes: what cannot be served
    of them, known before the run. failed: scripts that could not take part, found in it.

    Raises `EditError` for units that cannot be read.
    """

    def __init__(self, p: Any) -> None:
        self._p = p
        self._scripts = _registered(p)
        self._units = {script: _units(p, script) for script in self._scripts if _has_units(script)}
        self._maps_shown = False
        self.failed: list[str] = []
        units = [unit for several in self._units.values() for unit in several]
        self.notes = [note for unit in units for note in not_served(unit)]
        for script, enabled in self._units.items():
            if enabled:
                _switch_off(p, script)

    @property
    def wanted(self) -> bool:
        """Whether there are any such scripts."""
        return bool(self._scripts)

    def call(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> None:
        """Call the hook of each with `p` as if the tile were the whole picture.

        The arguments are those of `Backend.sampling`. What fails is told in `failed`, as the host
        would go on without it; but ControlNet's failure is an `EditError`, since an edit without
        what was asked for is a long wait for nothing.
        """
        p = self._p
        whole = p.height, p.width
        given = {"x": source, "noise": noise, "c": p.c, "uc": p.uc}
        with _as_tile(p, image, painted, source):
            for script in self._scripts:
                try:
                    if self._units.get(script):
                        self._guide(script, whole, place, given)
                    else:
                        arguments = p.script_args[script.args_from : script.args_to]
                        getattr(script, HOOK)(p, *arguments, **given)
                except Exception as error:  # whatever goes wrong in other people's scripts
                    self._tell(script, error)
            maps = p.extra_result_images
        if maps and not self._maps_shown and hasattr(p, "extra_result_images"):
            self._maps_shown = True  # those of the first tile, which show what a unit sees
            p.extra_result_images.extend(maps)

    def _guide(self, script: Any, whole: tuple[int, int], place: Box, given: Any) -> None:
        """Make the hints of a tile, and let them be attached."""
        p, kept = self._p, dict(vars(script))
        size = p.height, p.width
        units = [cropped_unit(unit, whole, place, size) for unit in self._units[script]]
        try:
            script.process(p, *units)
            getattr(script, HOOK)(p, *units, **given)
        finally:
            vars(script).update(kept)

    def _tell(self, script: Any, error: Exception) -> None:
        if is_out_of_memory(error):
            raise error
        title, reason = script.title(), str(error) or type(error).__name__
        if script in self._units:
            raise EditError(
                f"{title} cannot take part ({reason}): mend its units, or turn them off"
            ) from error
        note = f"{title} took no part in the edit: {reason}"
        if note not in self.failed:
            logger.warning(note, exc_info=error)
            self.failed.append(note)


def takes_part(script: Any) -> bool:
    """Whether a script has a hook of its own; before 1.10 there was none."""
    plain = getattr(scripts.Script, HOOK, None)
    return plain is not None and getattr(type(script), HOOK, plain) is not plain


def _registered(p: Any) -> list[Any]:
    """In the host's order."""
    always_on = getattr(p.scripts, "alwayson_scripts", None) or ()
    return [one for one in always_on if takes_part(one)]


def _has_units(script: Any) -> bool:
    """Whether it is ControlNet, or works as it does."""
    return hasattr(script, "get_enabled_units") and hasattr(script, "process")


def _units(p: Any, script: Any) -> list[Any]:
    arguments = p.script_args[script.args_from : script.args_to]
    try:
        return list(script.get_enabled_units(arguments))
    except Exception as error:  # a request's fields that it does not know
        raise EditError(
            f"{script.title()} cannot read its units ({str(error) or type(error).__name__}): "
            "mend them, or turn them off"
        ) from error


def _switch_off(p: Any, script: Any) -> None:
    arguments = list(p.script_args)
    share = slice(script.args_from, script.args_to)
    arguments[share] = [_off(unit) for unit in arguments[share]]
    p.script_args = arguments


def _off(unit: Any) -> Any:
    if isinstance(unit, dict):
        return {**unit, "enabled": False}
    unit = copy.copy(unit)
    if hasattr(unit, "enabled"):
        unit.enabled = False
    return unit


@contextmanager
def _as_tile(p: Any, image: Tensor, painted: Tensor, source: Tensor) -> Iterator[None]:
    """The request's size, picture and mask are the tile's meanwhile."""
    picture = Image.fromarray(to_pixels(image))
    mask = Image.fromarray((painted[0, 0].cpu().numpy() * 255).astype(np.uint8))
    cells = latent_mask(painted, LATENT_FACTOR)[0]
    own = {
        "width": picture.width,
        "height": picture.height,
        "init_images": [picture],
        "image_mask": mask,
        "init_latent": source,
        "mask": 1 - cells,
        "nmask": cells,
        # One picture, which is used as it is.
        "batch_size": 1,
        "n_iter": 1,
        "iteration": 0,
        "resize_mode": 0,
        "inpaint_full_res": False,
        "inpainting_mask_invert": 0,
        "mask_blur_x": 0,
        "mask_blur_y": 0,
        "extra_result_images": [],
    }
    kept = {name: getattr(p, name) for name in own if hasattr(p, name)}
    for name, value in own.items():
        setattr(p, name, value)
    try:
        yield
    finally:
        for name in own:
            if name in kept:
                setattr(p, name, kept[name])
            else:
                delattr(p, name)
