"""Every setting of an edit: its default, range, label and place in the paper, written once.

Controls, infotext keys, API fields, command-line options and documentation are generated from
`SETTINGS`; nothing else in the project states a default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from .errors import EditError

_WORDS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
WHOLE_CROP = 4.0
"""The tile context from which on later stages denoise all of the crop."""


def setting(
    default: Any,
    label: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: tuple[str, ...] | None = None,
    paper: str = "",
) -> Any:
    """A dataclass field with what a user interface must know of it.

    low, high: inclusive bounds. choices: the only values allowed. paper: section or figure.
    """
    facts = dict(
        label=label, help=help, low=low, high=high, step=step, choices=choices, paper=paper
    )
    return field(default=default, metadata=facts)


@dataclass(frozen=True)
class Crop:
    """What part of the picture the model sees."""

    margin: float = setting(
        1.3,
        "Margin",
        "Side of the square crop, in units of the mask's longer side. More shows the model more "
        "of the surroundings but leaves fewer pixels for the edit.",
        low=1.0,
        high=4.0,
        step=0.05,
        paper="3.1: between 1.1 and 1.4",
    )
    minimum_crop: float = setting(
        0.5,
        "Smallest crop",
        "Shortest allowed side of the crop, in units of the model's training resolution. Small "
        "masks are enlarged up to the inverse of this.",
        low=0.1,
        high=2.0,
        step=0.05,
    )
    feather: int = setting(
        4,
        "Feather",
        "Width in pixels of the soft edge outside the mask. Beyond it the picture is untouched.",
        low=0,
        high=128,
        step=1,
    )


@dataclass(frozen=True)
class FirstStage:
    """Blended Latent Diffusion from pure noise at the training resolution, with RePaint."""

    candidates: int = setting(
        5,
        "Candidates",
        "How many first-stage pictures are made; the one nearest the prompt goes on.",
        low=1,
        high=16,
        step=1,
        paper="3.1",
    )
    steps: int = setting(
        50,
        "Steps",
        "Sampling steps of a whole schedule; later stages run their share of it.",
        low=1,
        high=150,
        step=1,
        paper="4: 50",
    )
    repaint_repeats: int = setting(
        5,
        "RePaint repeats",
        "How often every first-stage step is taken back and repeated, so that the edit and its "
        "surroundings grow together.",
        low=0,
        high=20,
        step=1,
        paper="3.1, Figure 6: little gain beyond 5",
    )
    repaint_from: float = setting(
        0.0,
        "RePaint from",
        "At which share of the first stage's steps RePaint begins: 0 for the first step, in pure "
        "noise, where the edit's shape is decided.",
        low=0.0,
        high=0.95,
        step=0.05,
        paper="3.1: all steps",
    )
    repaint_until: float = setting(
        1.0,
        "RePaint until",
        "At which share of the first stage's steps RePaint ends: 1 for the last step, where the "
        "details are decided.",
        low=0.05,
        high=1.0,
        step=0.05,
        paper="3.1: all steps",
    )
    keep_inside: bool = setting(
        False,
        "Stay inside the mask",
        "Let the first stage paint only latent cells that lie in the mask altogether, so that "
        "what it paints is not cut off by the mask's edge; later stages paint up to the edge.",
    )
    choose: str = setting(
        "clip",
        "Choose by",
        "How the candidate that goes on is chosen: by CLIP's similarity to the prompt, or simply "
        "the first one.",
        choices=("clip", "first"),
        paper="3.1: CLIP ViT-L/14",
    )
    choose_after: float = setting(
        1.0,
        "Choose after",
        "After which share of the steps the candidate is chosen, by a preview if it is less than "
        "1; only that one is finished.",
        low=0.1,
        high=1.0,
        step=0.05,
        paper="3.1: finished candidates",
    )


@dataclass(frozen=True)
class LaterStages:
    """Enlargement by super-resolution and SDEdit, up to the picture's own resolution."""

    growth: float = setting(
        1.414,
        "Growth per stage",
        "Enlargement from one intermediate stage to the next.",
        low=1.1,
        high=4.0,
        step=0.05,
        paper="3.2: about the square root of 2",
    )
    intermediate_strength: float = setting(
        0.4,
        "Intermediate strength",
        "How much of the noise schedule the intermediate stages run. Higher invents more detail, "
        "and strays further from the first stage.",
        low=0.0,
        high=1.0,
        step=0.05,
        paper="3.2: 0.4",
    )
    final_strength: float = setting(
        0.25,
        "Detail strength",
        "How much of the noise schedule the final, full-resolution stage runs.",
        low=0.0,
        high=1.0,
        step=0.05,
        paper="3.2: 0.25",
    )
    later_guidance: float = setting(
        1.0,
        "Later guidance",
        "Guidance of the later stages that are done in one pass, in units of the first stage's; 0 "
        "ignores the prompt there.",
        low=0.0,
        high=2.0,
        step=0.05,
        paper="3.2: the prompt throughout; Figure 5 c without",
    )
    tile_guidance: float = setting(
        1.0,
        "Tile guidance",
        "The same for stages that are split into tiles. A tile sees only a part of a large edit; "
        "less guidance keeps it from painting a whole one.",
        low=0.0,
        high=2.0,
        step=0.05,
        paper="3.2: the prompt throughout",
    )
    tile_size: float = setting(
        1.5,
        "Tile size",
        "Largest side denoised in one pass, in units of the training resolution; larger stages "
        "are split into tiles of this side.",
        low=1.0,
        high=4.0,
        step=0.25,
        paper="3.2: 768 for a model trained at 512",
    )
    tile_overlap: float = setting(
        0.25,
        "Tile overlap",
        "Overlap of neighbouring tiles, in units of the training resolution.",
        low=0.0,
        high=0.5,
        step=0.0625,
        paper="3.2: 128 for a model trained at 512",
    )
    tile_context: float = setting(
        WHOLE_CROP,
        "Tile context",
        "How much of the surroundings later stages denoise with the edit, in units of the "
        "training resolution; 4 for all of the crop. Less is faster, and the tiles are then no "
        "larger than it takes.",
        low=0.0625,
        high=WHOLE_CROP,
        step=0.0625,
        paper="3.2: the crop",
    )
    soft_edge: bool = setting(
        False,
        "Soft edge",
        "Let later stages mix latent cells that the mask's edge crosses by the share of them that "
        "is painted, instead of repainting them whole.",
    )
    joint_tiles: bool = setting(
        False,
        "Denoise tiles together",
        "Average the predictions of overlapping tiles at every step, instead of denoising them one "
        "after the other and laying one over the other.",
    )
    upscaler: str = setting(
        "R-ESRGAN 4x+",
        "Upscaler",
        "Enlarges the edit between stages: a super-resolution model by name, or Bilinear, "
        "Bicubic, Lanczos.",
        paper="3.2, Figure 5: Real-ESRGAN x4plus",
    )
    lowpass_background: bool = setting(
        True,
        "Low-pass the background",
        "Blend with a background as soft as the enlarged edit, instead of the sharp original.",
        paper="3.2, Figure 5 f",
    )


@dataclass(frozen=True)
class DecoderOptimisation:
    """Fine-tune a copy of the autoencoder's decoder for this picture, after each stage."""

    decoder_iterations: int = setting(
        100,
        "Decoder iterations",
        "Optimisation steps of the decoder after each stage; 0 turns it off and leaves the "
        "autoencoder's tone shift at the mask's edge.",
        low=0,
        high=1000,
        step=5,
        paper="3.3: 100",
    )
    decoder_refit: bool = setting(
        False,
        "Refit the decoder",
        "After any iterations, solve for the last layer of the decoder at a stroke, which takes "
        "about as long as one of them.",
    )
    decoder_rate: float = setting(
        1e-4,
        "Decoder learning rate",
        "Learning rate of Adam.",
        low=1e-6,
        high=1e-2,
        step=1e-5,
        paper="3.3: 1e-4",
    )
    decoder_patch: int = setting(
        0,
        "Decoder patch",
        "Side in pixels of the patches that an iteration looks at instead of all tiles; 0 for the "
        "tiles. Patches take little memory, and no more steps for more tiles.",
        low=0,
        high=256,
        step=8,
        paper="3.3: overlapping segments",
    )
    decoder_checkpointing: bool = setting(
        False,
        "Decoder gradient checkpointing",
        "Decoder iterations on whole tiles keep less for the gradient and compute it twice: less "
        "memory, more time, the same picture. Turned on by itself when memory runs out. No effect "
        "on patches and on refitting alone.",
    )
    decoder_mixed_precision: bool = setting(
        False,
        "Decoder mixed precision",
        "Decoder iterations compute in bfloat16 where the device does so itself, as NVIDIA's cards "
        "do since the 30 series: less time and memory. Weights, sums and the result stay in single "
        "precision. No effect on refitting alone.",
    )
    decoder_background_weight: float = setting(
        100.0,
        "Decoder background weight",
        "Weight of the surroundings against the edit itself (lambda).",
        low=0.0,
        high=10000.0,
        step=10.0,
        paper="3.3: 100",
    )
    decoder_patience: int = setting(
        0,
        "Decoder patience",
        "Stop early after this many iterations without a 1 % lower loss; 0 runs all of them, and "
        "so do patches, whose losses scatter.",
        low=0,
        high=1000,
        step=5,
    )


@dataclass(frozen=True)
class Guidance:
    """The sampler and how strictly it follows the prompt (the WebUI has its own controls)."""

    guidance: float = setting(
        7.5,
        "Guidance",
        "Classifier-free guidance scale.",
        low=1.0,
        high=30.0,
        step=0.5,
        paper="4: 7.5",
    )
    sampler: str = setting(
        "euler_ancestral",
        "Sampler",
        "Sampling method; euler_ancestral is the paper's DDIM with eta 1.",
        choices=("euler_ancestral", "euler", "heun", "dpmpp_2m"),
        paper="4: DDIM, eta 1",
    )


@dataclass(frozen=True)
class EditSettings:
    """All settings of one edit, in groups; field names are unique across the groups."""

    crop: Crop = Crop()
    first: FirstStage = FirstStage()
    later: LaterStages = LaterStages()
    decoder: DecoderOptimisation = DecoderOptimisation()
    guidance: Guidance = Guidance()

    def __post_init__(self) -> None:
        for name, known in SETTINGS.items():
            known.check(getattr(getattr(self, known.group), name))

    def flat(self) -> dict[str, Any]:
        """All settings as one dictionary, in their order of definition."""
        return {name: getattr(getattr(self, s.group), name) for name, s in SETTINGS.items()}

    def changed(self) -> dict[str, Any]:
        """Only what differs from the defaults."""
        return {k: v for k, v in self.flat().items() if v != SETTINGS[k].default}

    def with_values(self, values: Mapping[str, Any]) -> EditSettings:
        """A copy with some settings replaced.

        values: by setting name; strings, and floats that are whole numbers, are converted to
        the setting's type. Raises `EditError` for an unknown name or a value that is not allowed.
        """
        groups: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in SETTINGS:
                raise EditError(f"unknown setting {name!r}; known are {', '.join(SETTINGS)}")
            known = SETTINGS[name]
            groups.setdefault(known.group, {})[name] = known.converted(value)
        replaced = {
            group: dataclasses.replace(getattr(self, group), **changes)
            for group, changes in groups.items()
        }
        return dataclasses.replace(self, **replaced)


@dataclass(frozen=True)
class Setting:
    """One setting as a user interface sees it."""

    name: str
    group: str
    type: type
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...] | None
    paper: str

    def converted(self, value: Any) -> Any:
        """`value` as this setting's type, if nothing is lost by it; checked."""
        original = value
        try:
            if self.type is bool and isinstance(value, str):
                value = _WORDS[value.lower()]
            elif self.type is float and not isinstance(value, bool):
                value = float(value)
            elif self.type is int and not isinstance(value, bool):
                value = int(value) if float(value).is_integer() else value
        except (TypeError, ValueError, KeyError, OverflowError):
            value = original
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise `EditError` unless `value` is of the right type and in range."""
        if not self.allows(value):
            raise EditError(f"{self.name} must be {self.kind}, not {value!r}")

    def allows(self, value: Any) -> bool:
        """Whether `value` is of the right type and in range."""
        if self.choices:
            return value in self.choices
        right_type = type(value) is self.type
        if self.low is None or self.high is None:
            return right_type
        return right_type and bool(self.low <= value <= self.high)

    @property
    def kind(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.type is bool:
            return "true or false"
        if self.low is not None and self.high is not None:
            what = "a whole number" if self.type is int else "a number"
            return f"{what} from {self.low:g} to {self.high:g}"
        return "a text"


def _collect() -> dict[str, Setting]:
    collected: dict[str, Setting] = {}
    for group in dataclasses.fields(EditSettings):
        group_type = get_type_hints(EditSettings)[group.name]
        types = get_type_hints(group_type)
        for item in dataclasses.fields(group_type):
            assert item.name not in collected, item.name
            collected[item.name] = Setting(
                item.name, group.name, types[item.name], item.default, **item.metadata
            )
    return collected


SETTINGS: dict[str, Setting] = _collect()
"""All settings by name, in their order of definition."""

_INSIDE = {
    "keep_inside": True,
    "later_guidance": 0.5,
    "tile_guidance": 0.25,
    "soft_edge": True,
}
_REFIT = {"decoder_iterations": 0, "decoder_refit": True}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "recommended": {
        "steps": 25,
        "repaint_repeats": 1,
        "choose_after": 0.5,
        **_INSIDE,
        "tile_context": 0.25,
        **_REFIT,
    },
    "fast": {
        "candidates": 3,
        "steps": 20,
        "repaint_repeats": 0,
        "choose_after": 0.5,
        **_INSIDE,
        "tile_context": 0.125,
        **_REFIT,
    },
    "draft": {
        "candidates": 1,
        "steps": 20,
        "repaint_repeats": 0,
        **_INSIDE,
        "tile_context": 0.125,
        "decoder_iterations": 0,
    },
}
"""What each preset changes from the defaults; `paper` is the defaults. Why `recommended` differs
from it is measured in docs/evaluation."""
DEFAULT_PRESET = "recommended"
"""Where users choose none."""


def preset(name: str) -> EditSettings:
    """The settings of a preset. Raises `EditError` for an unknown name."""
    if name not in PRESETS:
        raise EditError(f"unknown preset {name!r}; known are {', '.join(PRESETS)}")
    return EditSettings().with_values(PRESETS[name])
