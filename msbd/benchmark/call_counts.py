"""What plans alone tell: network evaluations and decoder steps are known before anything runs."""

from __future__ import annotations

from typing import Any

from ..backend import ModelSpec
from ..geometry import Size
from ..plan import EditPlan
from ..planning import plan_edit
from ..settings import EditSettings
from .published import published
from .setups import MASKS, MODELS, SIZES, WAYS, Setup, setup

AREAS = (200, 400, 600, 800, 1000, 1200)
"""Sides of masks in pixels, for the growth of cost with their area."""
MEGAPIXELS = (Size(1200, 1600), Size(2000, 3000), Size(3000, 4000), Size(4000, 6000))
FIXED = 400
"""Side of the mask in pixels whose picture grows."""


def planned(what: Setup, settings: EditSettings, facts: ModelSpec) -> EditPlan:
    return plan_edit(what.image, what.mask(), settings, facts)


def comparison() -> list[dict[str, Any]]:
    """For every model, picture and mask: evaluations of the published code and of both ways, in
    units of one at the training resolution, and passes of fitting the decoder, likewise weighted
    by area."""
    rows = []
    for model, facts in MODELS.items():
        for image in SIZES:
            for mask in MASKS:
                what = setup(image, mask)
                plans = {way: planned(what, settings, facts) for way, settings in WAYS.items()}
                code = published(image, what.box, WAYS["paper"], facts)
                evaluations = {"published": code.network_evaluations} | {
                    way: plan.network_evaluations for way, plan in plans.items()
                }
                passes = {"published": round(code.decoder_passes, 1)} | {
                    way: decoder_passes(plan) for way, plan in plans.items()
                }
                rows.append(
                    {
                        "model": model,
                        "image": str(image),
                        "mask": mask,
                        "side": what.side,
                        "evaluations": {way: round(n, 1) for way, n in evaluations.items()},
                        "decoder_steps": passes,
                        "ratio": round(evaluations["ours"] / evaluations["published"], 4),
                    }
                )
    return rows


def decoder_passes(plan: EditPlan) -> float:
    """Passes of fitting the decoder, in units of one over a tile of the training resolution."""
    return round(sum(stage.decoder_steps * plan.share(stage) for stage in plan.stages), 1)


def growth() -> dict[str, list[dict[str, Any]]]:
    """Our evaluations, for Stable Diffusion, by the picture's size and by the mask's area."""
    facts, settings = MODELS["Stable Diffusion 1"], WAYS["ours"]
    return {
        "with_picture": [
            {
                "image": str(image),
                "side": FIXED,
                "evaluations": _rounded(planned(Setup(image, FIXED), settings, facts)),
            }
            for image in MEGAPIXELS
        ],
        "with_mask": [
            {
                "image": str(MEGAPIXELS[-1]),
                "side": side,
                "evaluations": _rounded(planned(Setup(MEGAPIXELS[-1], side), settings, facts)),
            }
            for side in AREAS
        ],
    }


def _rounded(plan: EditPlan) -> float:
    return round(plan.network_evaluations, 1)
