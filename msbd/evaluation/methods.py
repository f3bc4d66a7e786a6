"""What is compared: the engine's presets, the paper's baselines (A.3) and ablations (A.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from ..geometry import Size
from ..presets import PRESETS, preset
from ..settings import FINE_TUNE, LAST_LAYER, OFF, WHOLE_CROP, EditSettings
from ..standalone.upscaler import lanczos
from . import ways
from .ways import Paint, Task, only_first, staged

GUIDANCE = 6.0
"""What 7.5 is for Stable Diffusion: the scale at which the miniature paints best (measured on
other prompts and seeds, docs/miniature.md)."""
WITHOUT_DECODER = {"guidance": GUIDANCE, "decoder": OFF}
"""Decoder optimisation changes the tone of an edit, not what it shows, and takes most of the time
on a CPU: it has an experiment of its own, and the other methods leave it out."""
CHEAP_FIRST: dict[str, Any] = {"steps": 25, "candidates": 1, "choose": "first"}
"""For sweeps with a first stage of their own: half the steps, and no choice that hides faults."""


@dataclass(frozen=True)
class Method:
    """A way to edit.

    changes: to the preset `paper`. seed: added to the case's own. recall: whether predictions that
    another method has made already may be used; not where memory is to be measured.
    """

    name: str
    about: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    paint: Paint = staged
    seed: int = 0
    recall: bool = True

    @cached_property
    def settings(self) -> EditSettings:
        return preset("paper").with_values({**WITHOUT_DECODER, **self.changes})


def _one(name: str, about: str, paint: Paint = staged, **changes: Any) -> Method:
    return Method(name, about, changes, paint)


def _by_lanczos(image: Tensor, size: Size, task: Task) -> Tensor:
    return lanczos(image, size).clamp(0, 1)


MULTI_STAGE = _one("multi_stage", "the paper's procedure, without decoder optimisation")
_FIRST = partial(staged, replan=only_first)
FIRST_BILINEAR = _one("first_bilinear", "first stage, bilinear enlargement", _FIRST)
FIRST_ESRGAN = _one(
    "first_esrgan",
    "first stage, Real-ESRGAN",
    partial(staged, replan=only_first, enlarge=ways.by_network),
)
_PLAIN: dict[str, Any] = {"candidates": 1, "choose": "first", "resampling_steps": 0}
ONE_CANDIDATE = _one(
    "one_candidate", "multi_stage with a single candidate", candidates=1, choose="first"
)
SEGMENTS = _one(
    "segments",
    "blended diffusion in separate overlapping segments of the training resolution; one "
    "candidate, 25 steps, no RePaint",
    partial(staged, replan=ways.in_segments),
    **{**_PLAIN, "steps": 25},
)
BASELINES = (
    _one(
        "one_pass",
        "blended diffusion in one pass at the highest resolution (at most 3 times the training's), "
        "bilinear enlargement; one candidate, no RePaint",
        partial(staged, replan=ways.in_one_pass),
        **_PLAIN,
    ),
    FIRST_BILINEAR,
    FIRST_ESRGAN,
    _one(
        "only_masked",
        "the WebUI's inpainting of only the masked area at the training resolution, Lanczos "
        "enlargement; one candidate, no RePaint",
        partial(staged, replan=only_first, enlarge=_by_lanczos),
        margin=1.15,
        **_PLAIN,
    ),
)
UPSCALING = (
    _one(
        "unconditional",
        "Real-ESRGAN, then diffusion without prompt or blending (Figure 5 c)",
        ways.unblended,
        guidance_later=0.0,
    ),
    _one("text", "Real-ESRGAN, then diffusion with the prompt (Figure 5 d)", ways.unblended),
    _one(
        "sharp_background",
        "multi_stage with an unfiltered background (Figure 5 e)",
        lowpass_background=False,
    ),
)
REPAINT = tuple(
    Method(
        f"repaint_{repeats}",
        f"first stage with {repeats} RePaint repeats, every candidate counted",
        {**CHEAP_FIRST, "candidates": 2, "resampling_steps": repeats},
        _FIRST,
    )
    for repeats in (0, 2, 5, 20)
)
SEEDS = tuple(
    Method(
        f"seed_{seed}", f"one candidate, seed {seed + 1} of 8", CHEAP_FIRST, seed=10**6 * (seed + 1)
    )
    for seed in range(8)
)
_ONE_PASS = {**CHEAP_FIRST, "growth": 2.0, "tile_size": 2.0}
DECODER = (
    Method("decoder_0", "no decoder optimisation", _ONE_PASS, recall=False),
    *(
        Method(
            f"decoder_{iterations}",
            f"the decoder fine-tuned in {iterations} iterations in either stage",
            {**_ONE_PASS, "decoder": FINE_TUNE, "decoder_iterations": iterations},
            recall=False,
        )
        for iterations in (10, 30, 100)
    ),
    Method(
        "last_layer",
        "the decoder's last layer solved for at a stroke",
        {**_ONE_PASS, "decoder": LAST_LAYER},
        recall=False,
    ),
)
CANDIDATES = (_one("candidates_10", "first stage with ten candidates", _FIRST, candidates=10),)
OVERLAP = tuple(
    _one(
        f"overlap_{pixels}",
        f"tiles of the training resolution that overlap by {pixels} pixels, the last ones by more",
        partial(staged, replan=partial(ways.overlapping, pixels=pixels)),
        tile_size=1.0,
    )
    for pixels in (0, 16, 32, 64)
)
STRENGTHS = (
    *(
        _one(f"final_{s:g}", f"final strength {s:g}", final_strength=s)
        for s in (0.0, 0.1, 0.4, 0.6)
    ),
    *(
        _one(f"intermediate_{s:g}", f"intermediate strength {s:g}", intermediate_strength=s)
        for s in (0.0, 0.2, 0.6)
    ),
)
RECOMMENDED = Method(
    "recommended",
    "the preset `recommended`, with the decoder's last layer solved for",
    PRESETS["recommended"],
    recall=False,
)
TWO_PASSES = Method(
    "two_passes",
    "the first stage of `recommended`, one enlargement, and one pass at the crop's own size with "
    "strength 0.4, in the draft's colours",
    {**PRESETS["recommended"], "decoder": OFF, "texture": 0.0},
    partial(staged, replan=ways.in_two_passes),
    recall=False,
)
INSIDE = (_one("inside", "multi_stage that stays inside the mask", whole_cells=True),)


def _recommended_but(name: str, about: str, **changes: Any) -> Method:
    return Method(name, f"recommended, but {about}", {**PRESETS["recommended"], **changes})


SAVINGS = (
    Method(
        "fitted_once",
        "recommended, but with the decoder fitted in the first stage alone",
        PRESETS["recommended"],
        partial(staged, replan=ways.fitted_once),
    ),
    _recommended_but("tone_free", "with tone that is not held", hold_tone=False),
    _recommended_but("untextured", "without texture of the surroundings", texture=0.0),
    _recommended_but("chosen_late", "with candidates that are all finished", early_selection=1.0),
    _recommended_but("more_repaint", "with 5 RePaint repeats", resampling_steps=5),
    _recommended_but("early_repaint", "with RePaint in the first half", repaint_until=0.5),
    _recommended_but("late_repaint", "with RePaint in the second half", repaint_from=0.5),
    _recommended_but("no_repaint", "without RePaint", resampling_steps=0),
    _recommended_but("whole_crop", "with all of the crop in later stages", context=WHOLE_CROP),
    _recommended_but("touching", "painting every cell the mask touches", whole_cells=False),
    _recommended_but(
        "dpmpp",
        "with 20 steps of DPM++ 2M and no RePaint",
        sampler="dpmpp_2m",
        steps=20,
        resampling_steps=0,
    ),
    _recommended_but("guided", "with full guidance throughout", guidance_later=1),
)
OTHER_PRESETS = tuple(
    Method(name, f"the preset `{name}`", PRESETS[name]) for name in ("fast", "draft")
)
GUIDANCES = (
    *(_one(f"tile_guidance_{g:g}", f"tile guidance {g:g}", tile_guidance=g) for g in (0.0, 0.5)),
    *(
        _one(
            f"later_guidance_{g:g}",
            f"later and tile guidance {g:g}",
            guidance_later=g,
            tile_guidance=g,
        )
        for g in (0.0, 0.25, 0.5)
    ),
)


@dataclass(frozen=True)
class Experiment:
    """Methods that are compared on the same cases.

    name: one of `names.EXPERIMENTS`. cases: how many, counted from the first that fit. objects:
    only those that ask for an object. crops: the smallest and the largest, in pixels.
    """

    name: str
    title: str
    methods: tuple[Method, ...]
    cases: int
    objects: bool = False
    crops: tuple[int, int] = (0, 9999)


EXPERIMENTS = (
    Experiment("baselines", "Baselines (A.3)", (MULTI_STAGE, *BASELINES), 30),
    Experiment("segments", "Separate segments (A.3)", (SEGMENTS,), 12),
    Experiment("recommended", "The preset recommended", (TWO_PASSES, RECOMMENDED), 30),
    Experiment("inside", "Staying inside the mask", INSIDE, 8, objects=True),
    Experiment("presets", "The presets fast and draft", OTHER_PRESETS, 12, objects=True),
    Experiment("savings", "What recommended saves and changes", SAVINGS, 8, objects=True),
    Experiment("guidances", "Guidance of the later stages", GUIDANCES, 8, objects=True),
    Experiment("upscaling", "Upscaling (Figure 5)", UPSCALING, 10),
    Experiment("candidates", "Candidates and CLIP", (ONE_CANDIDATE, *CANDIDATES), 10, objects=True),
    Experiment("repaint", "RePaint repeats (Figure 6)", REPAINT, 8, objects=True),
    Experiment("strengths", "Strengths", STRENGTHS, 6, objects=True),
    Experiment("seeds", "Eight seeds (Figure 7)", SEEDS, 4, objects=True),
    Experiment("overlap", "Overlap of the tiles", OVERLAP, 5, crops=(384, 512)),
    Experiment("decoder", "Decoder optimisation", DECODER, 3, objects=True, crops=(0, 256)),
)
COMPARED = {
    "segments": ("multi_stage", "one_pass"),
    "recommended": ("multi_stage",),
    "inside": ("multi_stage",),
    "presets": ("recommended",),
    "savings": ("recommended",),
    "guidances": ("multi_stage",),
    "upscaling": ("first_bilinear", "first_esrgan", "multi_stage"),
    "strengths": ("multi_stage",),
}
"""Methods of other experiments that an experiment is to be seen with."""
METHODS = {method.name: method for experiment in EXPERIMENTS for method in experiment.methods}
