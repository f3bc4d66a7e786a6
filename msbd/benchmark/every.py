"""Whole edits of every picture and mask, both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..settings import EditSettings
from .setups import Setup

STEPS = 2
"""So many of the published way's steps of fitting are made; its seconds are those of all."""


def both(
    what: Setup,
    ways: dict[str, EditSettings],
    edit: Callable[[Setup, EditSettings], dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What `edit` tells of each way, as if all steps of fitting had been made."""
    rows = {}
    for way, settings in ways.items():
        steps = settings.decoder.decoder_iterations
        fewer = min(steps, STEPS)
        row = edit(what, settings.with_values({"decoder_iterations": fewer}))
        rows[way] = scaled(row, fewer, steps)
    return rows


def scaled(row: dict[str, Any], made: int, steps: int) -> dict[str, Any]:
    """An edit with `steps` steps of fitting, by one with fewer.

    Every step does the same: a pass through the decoder and back, which counts as three. One pass
    comes before them.
    """
    seconds = dict(row["seconds"])
    if made < steps:
        more = seconds["fitting"] * (3 * steps + 1) / (3 * made + 1) - seconds["fitting"]
        for part in ("fitting", "all"):
            seconds[part] = round(seconds[part] + more, 3)
    outside = round(seconds["other"] / seconds["all"], 4)
    return {**row, "seconds": seconds, "outside": outside}
