"""The presets: where users and programs start from."""

from __future__ import annotations

from typing import Any

from .errors import EditError
from .settings import APART, LAST_LAYER, OFF, SURROUNDINGS, EditSettings

_OURS = {
    "whole_cells": True,
    "guidance_later": 0.5,
    "parts": APART,
    "hold_tone": True,
    "texture": 1.0,
}
_QUICK = {**_OURS, "steps": 20, "resampling_steps": 0, "context": 0.125}
_RECOMMENDED = {
    **_OURS,
    "steps": 25,
    "resampling_steps": 1,
    "early_selection": 0.5,
    "context": 0.25,
    "decoder": LAST_LAYER,
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "recommended": _RECOMMENDED,
    "fast": {**_QUICK, "candidates": 3, "early_selection": 0.5, "decoder": LAST_LAYER},
    "draft": {**_QUICK, "candidates": 1, "decoder": OFF},
    "remove": {**_RECOMMENDED, "start": SURROUNDINGS, "choose": "fit"},
}
"""What each preset changes from the defaults; `paper` is the defaults. Why `recommended` differs
from it is measured in docs/evaluation. `remove` paints over what is there, without a prompt."""
DEFAULT_PRESET = "recommended"
"""Where users choose none."""


def preset(name: str) -> EditSettings:
    """The settings of a preset. Raises `EditError` for an unknown name."""
    if name not in PRESETS:
        raise EditError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return EditSettings().with_values(PRESETS[name])
