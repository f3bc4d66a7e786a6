"""What users stored with versions before 0.2, and what it means today; see README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msbd.legacy import GONE, RENAMED
from msbd.settings import FINE_TUNE, LAST_LAYER, OFF, EditSettings

NEW = (
    *("start", "strength", "mask_shape", "grow", "parts", "texture", "candidate"),
    "details",
    *("hold_tone", "square_crop"),
)
"""Settings that no version before 0.2 had."""
RECORDED = Path(__file__).parent


def recorded(name: str) -> Any:
    return json.loads((RECORDED / name).read_text(encoding="utf-8"))


def as_then(settings: EditSettings) -> dict[str, Any]:
    """The settings by their 33 names of then; what is gone or new, and the order of both ways to
    optimise the decoder, left out."""
    flat = {name: value for name, value in settings.flat().items() if name not in NEW}
    for then, now in RENAMED.items():
        flat[then] = flat.pop(now)
    flat["keep_inside"] = flat.pop("whole_cells")
    flat["later_guidance"] = flat.pop("guidance_later")
    flat["tile_guidance"] = settings.tile_guidance
    return flat


def assert_means(settings: EditSettings, then: dict[str, Any]) -> None:
    now = as_then(settings)
    decoder, steps = now.pop("decoder"), now.pop("decoder_iterations")
    expected = {name: value for name, value in then.items() if name not in GONE}
    trained, solved = expected.pop("decoder_iterations"), expected.pop("decoder_refit")
    assert now == expected, set(now.items()) ^ set(expected.items())
    assert decoder == (FINE_TUNE if trained else LAST_LAYER if solved else OFF)
    assert steps == trained or not trained


def then_of(settings: EditSettings) -> dict[str, Any]:
    """All names of then, for settings that could be chosen then."""
    flat = as_then(settings)
    decoder = flat.pop("decoder")
    flat["decoder_refit"] = decoder == LAST_LAYER
    flat["decoder_iterations"] *= decoder == FINE_TUNE
    return flat | dict.fromkeys(GONE, False)
