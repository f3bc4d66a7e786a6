"""Settings as versions before 0.2 named them: in pictures, infotexts, requests and stored options.

Whoever reads settings that a user or a file names reads them with `with_stored`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from .errors import EditError
from .setting import ABLATIONS
from .settings import FINE_TUNE, LAST_LAYER, OFF, SETTINGS, EditSettings

logger = logging.getLogger(__name__)

LABELS = {
    "candidates": "Candidates",
    "repaint_repeats": "RePaint repeats",
    "margin": "Margin",
    "final_strength": "Detail strength",
    "upscaler": "Upscaler",
    "decoder_iterations": "Decoder iterations",
    "minimum_crop": "Smallest crop",
    "choose": "Choose by",
    "growth": "Growth per stage",
    "intermediate_strength": "Intermediate strength",
    "later_guidance": "Later guidance",
    "tile_guidance": "Tile guidance",
    "lowpass_background": "Low-pass the background",
    "decoder_refit": "Refit the decoder",
    "decoder_rate": "Decoder learning rate",
    "decoder_background_weight": "Decoder background weight",
    "decoder_patience": "Decoder patience",
    "keep_inside": "Stay inside the mask",
    "choose_after": "Choose after",
    "tile_context": "Tile context",
    "soft_edge": "Soft edge",
    "joint_tiles": "Denoise tiles together",
    "repaint_from": "RePaint from",
    "repaint_until": "RePaint until",
    "decoder_patch": "Decoder patch",
    "tile_size": "Tile size",
    "tile_overlap": "Tile overlap",
    "decoder_checkpointing": "Decoder gradient checkpointing",
    "decoder_mixed_precision": "Decoder mixed precision",
}
"""Fields of requests before 0.2 and their labels, in the order of a list of values; the last four
were in the settings panel. Infotexts keep these words, whatever the controls are called."""
LABELS_0_2 = {
    "preset": "Preset",
    "guidance_later": "Guidance in later stages",
    "whole_cells": "Whole latent cells only",
    "decoder": "Decoder optimisation",
}
"""Likewise what was new in 0.2, or called so still."""
RENAMED = {
    "repaint_repeats": "resampling_steps",
    "choose_after": "early_selection",
    "tile_context": "context",
}
GONE = {
    "joint_tiles": "tiles are denoised one after the other",
    "decoder_patch": "the decoder is fine-tuned on whole tiles",
    "decoder_mixed_precision": "the decoder is fine-tuned in single precision",
    "decoder_patience": "all steps of fine-tuning are made",
    "soft_edge": "cells at the mask's edge have levels, unless whole_cells is off",
}
"""What measured as useless, and what is done instead."""
_NOW = {
    **RENAMED,
    "later_guidance": "guidance_later",
    "keep_inside": "whole_cells",
    "decoder_refit": "decoder",
}
OLD = {*LABELS} - {*SETTINGS} - {*ABLATIONS}
"""Names that mean something here only."""
_told: set[str] = set()


def with_stored(base: EditSettings, values: Mapping[str, Any]) -> EditSettings:
    """`base.with_values(values)`, where values may have old names, whose meaning is kept.

    What base says for an old name is what the preset of the same name said for it then. Where the
    name of today is there as well, that counts. An old name is told of in the log, once. Raises
    `EditError` as `with_values` does.
    """
    try:
        return base.with_values(renewed(base, values))
    except EditError as error:
        now = [f"{name} is now {_NOW[name]}" for name in values if name in _NOW]
        raise EditError("; ".join([str(error), *now])) from None


def renewed(base: EditSettings, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the names of today; see `with_stored`."""
    known = {name: value for name, value in values.items() if _NOW.get(name) not in values}
    given = {RENAMED.get(name, name): known[name] for name in known if name not in GONE}
    if "later_guidance" in given:
        later = _read("guidance_later", given.pop("later_guidance"))
        tiles = _read("tile_guidance", given.get("tile_guidance", base.tile_guidance))
        given |= {"guidance_later": later, "tile_guidance": None if tiles == later**2 else tiles}
    if "keep_inside" in given:
        given["whole_cells"] = _read("whole_cells", given.pop("keep_inside"))
    if "decoder" not in given and {"decoder_iterations", "decoder_refit"} & given.keys():
        given |= _decoder(base, given)
    given.pop("decoder_refit", None)
    if _is_nothing(given.get("decoder_iterations")):
        del given["decoder_iterations"]
    for name in sorted({*values} & OLD - _told):
        _told.add(name)
        if name in GONE:
            logger.warning("the setting %s has no effect any more: %s", name, GONE[name])
        else:
            logger.warning("the setting %s is now %s; the old name is understood", name, _NOW[name])
    return given


def _decoder(base: EditSettings, given: Mapping[str, Any]) -> dict[str, Any]:
    """Steps of fine-tuning came first, 0 for none, and then the last layer was solved for; now it
    is one or the other."""
    steps = base.ablation.decoder_iterations if base.decoder == FINE_TUNE else 0
    steps = given.get("decoder_iterations", steps)
    solved = _read("whole_cells", given.get("decoder_refit", base.decoder == LAST_LAYER))
    if _is_nothing(steps):
        return {"decoder": LAST_LAYER if solved else OFF}
    return {"decoder": FINE_TUNE, "decoder_iterations": steps}


def _is_nothing(steps: Any) -> bool:
    return str(steps) in ("0", "0.0")


def _read(like: str, value: Any) -> Any:
    """A value as the setting of today takes it that is nearest to an old one."""
    return (SETTINGS | ABLATIONS)[like].converted(value)
