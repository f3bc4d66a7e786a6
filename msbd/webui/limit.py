"""The memory limit of the settings panel: what an edit does without to keep within it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..cost import FITTING, memory
from ..errors import EditError
from ..plan import EditPlan
from ..settings import SETTINGS, EditSettings
from .estimate import loaded
from .options import option

GIB = 2**30
_REMEDIES = {
    "denoising": "choose fewer candidates",
    "decoding": "start the WebUI with --medvram",
    "enlarging": "choose another upscaler, or smaller tiles in the settings for upscalers",
    FITTING: "let it run on the CPU (see the settings), or set it to off",
    "choosing": "let CLIP run on the CPU (see the settings), or set candidates to 1",
}


def limited(
    wanted: EditSettings, plan: Callable[[EditSettings], EditPlan]
) -> tuple[EditSettings, EditPlan, list[str]]:
    """Settings whose work fits the memory limit; their plan; and what was done.

    The decoder keeps less of a tile, by checkpointing, before tiles are made smaller. plan: makes
    the plan for settings. Raises `EditError` if even the smallest tiles are too large.
    """
    limit, changes = option("memory_limit"), dict[str, Any]()
    settings, planned = wanted, plan(wanted)
    while limit:
        needed = memory(planned, loaded(planned, settings))
        work = max(needed, key=lambda name: needed[name])
        if needed[work] <= limit * GIB:
            break
        less = _sparing(work, planned) or _smaller(settings)
        if not less:
            raise EditError(
                f"{work} needs about {needed[work] / GIB:.1f} GiB even with the smallest tiles, "
                f"but the memory limit is {limit:g} GiB: {_REMEDIES[work]}, or raise the limit in "
                "the settings"
            )
        changes |= less
        settings = wanted.with_values(changes)
        planned = plan(settings)
    done = {"decoder_checkpointing": f"{SETTINGS['decoder'].label} made slower"}
    if "tile_size" in changes:
        before, after = wanted.tile_size, changes["tile_size"]
        label = SETTINGS["tile_size"].label
        done["tile_size"] = f"{label} lowered from {before:g} to {after:g}"
    keep = f"to keep within the memory limit of {limit:g} GiB"
    return settings, planned, [f"{done[name]} {keep}" for name in changes]


def _sparing(work: str, plan: EditPlan) -> dict[str, Any]:
    """Checkpointing, if training the decoder takes the most and does without it."""
    stage = plan.stages[0]
    helps = work == FITTING and stage.decoder_iterations and not stage.decoder_checkpointing
    return {"decoder_checkpointing": True} if helps else {}


def _smaller(settings: EditSettings) -> dict[str, Any]:
    """Tiles one step smaller, on whole steps, if there are any."""
    known, now = SETTINGS["tile_size"], settings.tile_size
    assert known.low is not None and known.step is not None
    steps = math.ceil((now - known.low) / known.step) - 1
    return {"tile_size": known.low + steps * known.step} if steps >= 0 else {}
