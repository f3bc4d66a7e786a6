"""Whole edits of every picture and mask, both ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..settings import FINE_TUNE, EditSettings
from . import call_counts
from .setups import MODELS, Setup

PASSES = 200
"""So many tiles are gone through in the paper's fitting, in two steps at least, after which
the optimiser's memory is there. Its seconds are told as if all steps had been made."""


def both(
    what: Setup,
    ways: dict[str, EditSettings],
    edit: Callable[[Setup, EditSettings], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What `edit` tells of each way, as if all steps of fitting had been made."""
    rows = {}
    for way, settings in ways.items():
        steps = settings.ablation.decoder_iterations
        fewer = steps_made(what, settings)
        row = edit(what, settings.with_values({"decoder_iterations": fewer}))
        rows[way] = scaled(row, fewer, steps)
    return rows


def steps_made(what: Setup, settings: EditSettings) -> int:
    """How many of the steps of fine-tuning; all where there is none."""
    steps = settings.ablation.decoder_iterations
    if settings.decoder != FINE_TUNE:
        return steps
    passes = call_counts.decoder_passes(call_counts.planned(what, settings, MODELS["miniature"]))
    return min(steps, max(2, math.ceil(PASSES * steps / passes)))


def scaled(row: dict[str, Any], made: int, steps: int) -> dict[str, Any]:
    """An edit with `steps` steps of fitting, by one with fewer.

    Every step does the same: a pass through the decoder and back, which counts as three. One pass
    comes before them. What the fewer led to, its report's notes, is left out.
    """
    seconds = dict(row["seconds"])
    if made < steps:
        more = seconds["fitting"] * (3 * steps + 1) / (3 * made + 1) - seconds["fitting"]
        for part in ("fitting", "all"):
            seconds[part] = round(seconds[part] + more, 3)
    outside = round(seconds["other"] / seconds["all"], 4)
    kept = {name: value for name, value in row.items() if name != "notes"}
    return {**kept, "seconds": seconds, "outside": outside}
