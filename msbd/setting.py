"""What a setting is: a field of a dataclass with its range and the words about it.

With those that only the evaluation varies, `Ablation`.
"""

from __future__ import annotations

import dataclasses
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args, get_type_hints

from .errors import EditError

_WORDS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
BEST = "best"
"""The candidate that is chosen by its score."""
NUMBERS = (
    rf"{BEST}|[1-9]\d{{0,2}}|[1-9]\d*:[1-9]\d{{0,2}}(,[1-9]\d*:[1-9]\d{{0,2}})*",
    f"{BEST}, a number, or numbers for parts as in 1:3,2:5",
)


def number_for(part: int, numbers: str) -> int | None:
    """What such a text says of the part `part`, counted from 0; None for the best."""
    named = dict(each.split(":") for each in numbers.split(",") if ":" in each)
    number = named.get(str(part + 1), BEST) if named else numbers
    return None if number == BEST else int(number)


def numbers_with(earlier: str, later: str) -> str:
    """Both such texts in one; where they differ, what was said later."""
    if ":" not in later or ":" not in earlier:
        return earlier if later == BEST else later
    both = dict(each.split(":") for text in (earlier, later) for each in text.split(","))
    return ",".join(f"{part}:{number}" for part, number in sorted(both.items()))


def setting(
    default: Any,
    label: str = "",
    help: str = "",
    *,
    span: tuple[float, ...] = (),
    choices: tuple[str, ...] | None = None,
    pattern: tuple[str, str] | None = None,
    paper: str = "",
) -> Any:
    """A dataclass field with what a user interface must know of it.

    span: inclusive bounds, and the step between values that are offered. choices: the only values
    allowed. pattern: what a text must match, and that in words. paper: section or figure.
    """
    low, high, step = (*span, *3 * (None,))[:3]
    return field(
        default=default,
        metadata=dict(
            label=label,
            help=help,
            low=low,
            high=high,
            step=step,
            choices=choices,
            pattern=pattern,
            paper=paper,
        ),
    )


@dataclass(frozen=True)
class Setting:
    """One setting as a user interface sees it. optional: whether None is allowed."""

    name: str
    type: type
    optional: bool
    default: Any
    label: str
    help: str
    low: float | None
    high: float | None
    step: float | None
    choices: tuple[str, ...] | None
    pattern: tuple[str, str] | None
    paper: str

    def converted(self, value: Any) -> Any:
        """`value` as this setting's type, if nothing is lost by it; checked."""
        with suppress(TypeError, ValueError, KeyError, OverflowError):  # the check tells of it
            if self.type is bool and isinstance(value, str):
                value = _WORDS[value.lower()]
            elif self.type is float and not isinstance(value, bool):
                value = float(value)
            elif self.type is int and not isinstance(value, bool):
                value = int(value) if float(value).is_integer() else value
            elif self.pattern and type(value) is int:
                value = str(value)
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raise `EditError` unless `value` is of the right type and in range."""
        if self.optional and value is None:
            return
        allowed = value in self.choices if self.choices else type(value) is self.type
        if allowed and self.low is not None and self.high is not None:
            allowed = bool(self.low <= value <= self.high)
        if allowed and self.pattern is not None:
            allowed = re.fullmatch(self.pattern[0], value) is not None
        if not allowed:
            raise EditError(f"{self.name} must be {self.kind}, not {value!r}")

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
        return self.pattern[1] if self.pattern else "a text"


def collected(group: type) -> dict[str, Setting]:
    """The settings of a dataclass by name, in their order of definition."""
    types = get_type_hints(group)
    found = {}
    for item in dataclasses.fields(group):
        if item.metadata:
            kinds = get_args(types[item.name]) or (types[item.name],)
            found[item.name] = Setting(
                item.name, kinds[0], type(None) in kinds, item.default, **item.metadata
            )
    return found


@dataclass(frozen=True)
class Ablation:
    """Numbers of the method that the evaluation varies; users gain nothing by them (findings.md).

    minimum_crop: the crop's shortest side, in units of the training resolution. square_crop:
    whether later stages see all of it, and not what follows the mask's shape. repaint_from,
    repaint_until: between which shares of the first stage's steps RePaint repeats them. choose: by
    CLIP, by how they fit in, or the first candidate. growth: from one intermediate stage to the
    next (3.2). intermediate_strength: their share of the noise schedule (3.2: 0.4). tile_guidance:
    in place of `guidance_later` squared. tile_overlap: in units of the training resolution (3.2:
    128 of 512).
    lowpass_background: whether it is as soft as the draft (3.2, Figure 5 f). hold_tone: whether
    later stages keep their drafts' tone, see `tone.py`.
    decoder_iterations, decoder_rate, decoder_background_weight: steps, Adam's rate and lambda of
    fine-tuning (3.3).
    decoder_checkpointing: fine-tune with gradient checkpointing from the start, and not only when
    memory runs out. sampler: the command line's; euler_ancestral is DDIM with eta 1.
    """

    minimum_crop: float = setting(0.5, span=(0.1, 2.0))
    square_crop: bool = setting(False)
    repaint_from: float = setting(0.0, span=(0.0, 0.95))
    repaint_until: float = setting(1.0, span=(0.05, 1.0))
    choose: str = setting("clip", choices=("clip", "fit", "first"))
    growth: float = setting(1.414, span=(1.1, 4.0))
    intermediate_strength: float = setting(0.4, span=(0.0, 1.0))
    tile_guidance: float | None = setting(None, span=(0.0, 2.0))
    tile_overlap: float = setting(0.25, span=(0.0, 0.5))
    lowpass_background: bool = setting(True)
    hold_tone: bool = setting(False)
    decoder_iterations: int = setting(100, span=(1, 1000))
    decoder_rate: float = setting(1e-4, span=(1e-6, 1e-2))
    decoder_background_weight: float = setting(100.0, span=(0.0, 10000.0))
    decoder_checkpointing: bool = setting(False)
    sampler: str = setting(
        "euler_ancestral", choices=("euler_ancestral", "euler", "heun", "dpmpp_2m")
    )

    def __post_init__(self) -> None:
        for name, known in ABLATIONS.items():
            known.check(getattr(self, name))


ABLATIONS: dict[str, Setting] = collected(Ablation)
