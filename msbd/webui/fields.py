"""The names under which the WebUI's controls and API know the settings, and how to read them.

Pure: neither the WebUI nor torch is needed to check a request or to describe what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EditError
from ..legacy import LABELS, with_stored
from ..presets import DEFAULT_PRESET, PRESETS, preset
from ..setting import ABLATIONS, Setting
from ..settings import (
    LATENT_NOISE,
    LATENT_NOTHING,
    PAINT,
    PICTURE,
    SETTINGS,
    SURROUNDINGS,
    EditSettings,
)

TITLE = "Multi-Stage Blended Diffusion"
"""The script's name in the WebUI's dropdown, in requests (in any case) and in infotexts."""

SHOW_CANDIDATES = "show_candidates"
"""Whether the candidates come with the result; no setting, since the picture stays the same."""
CANDIDATES_ONLY, EDIT_ID, CONTINUE_FROM = "candidates_only", "edit_id", "continue_from"
"""Whether the edit stops when its candidates are there; which kept edit it goes on with; and from
which stage on, if that is done again."""

CONTROLS = (
    "preset",
    "candidates",
    "resampling_steps",
    "margin",
    "final_strength",
    "upscaler",
    "decoder",
    "whole_cells",
    "early_selection",
    "guidance_later",
    "context",
    SHOW_CANDIDATES,
    "start",
    "mask_shape",
    "grow",
    "parts",
    "texture",
    "candidate",
    CANDIDATES_ONLY,
    EDIT_ID,
    CONTINUE_FROM,
    "details",
)
"""The script's controls in the order of positional arguments, which never changes."""

FIRST_SIGHT = ("preset", "start", "candidates", "margin", "final_strength", "decoder", "upscaler")
"""Controls that are seen at once, in this order."""

FOLDED = {
    "Mask: its shape and parts": ("mask_shape", "grow", "parts"),
    "First stage: painted small": (
        *("resampling_steps", "whole_cells", "early_selection", SHOW_CANDIDATES, "candidate"),
    ),
    "Later stages: enlarged and refined": ("guidance_later", "context", "texture", "details"),
    "Choose a candidate, go on, redo": (CANDIDATES_ONLY, CONTINUE_FROM, EDIT_ID),
}
"""Controls that are folded away, by what they change."""

THIS_RUN = (SHOW_CANDIDATES, CANDIDATES_ONLY, EDIT_ID, CONTINUE_FROM)
"""Controls that are no settings: what they say is no part of how the picture is described."""

PANEL = ("tile_size",)
"""Settings that depend on the machine more than on the edit: in the WebUI's settings panel."""

FIELDS = (*(name for name in CONTROLS if name not in THIS_RUN), *PANEL)
"""All names that decide what the picture will be."""

OLD_CONTROLS = ("preset", *list(LABELS)[:25])
"""The controls before version 0.2, whose order that of today begins with."""

UNSEEN = tuple(name for name in ABLATIONS if name in LABELS)
"""Names that requests may use, too: what the evaluation varies, and users once set."""

HOST_OWNED = {
    "steps": "steps",
    "guidance": "cfg_scale",
    "sampler": "sampler_name",
    "feather": "mask_blur",
    "strength": "denoising_strength",
}
"""Settings the WebUI has its own controls for: our name -> the request's own field."""

CONTENTS = {
    0: ("fill", SURROUNDINGS),
    2: ("latent noise", LATENT_NOISE),
    3: ("latent nothing", LATENT_NOTHING),
}
"""The WebUI's Masked content by number, but for 1, the original: its name in infotexts, and what an
edit starts from then that would start from picture or paint."""
RIM = 2
"""Pixels beyond the feather that a brush may have touched outside the mask."""

PRESET_LABEL = "Quality preset"
PRESET_HELP = (
    "Paints the mask small first, then enlarges and refines it in stages; a preset says how "
    "thoroughly. It sets every control of this script but the mask's shape, and not sampler and "
    "steps. paper is the published method and by far the slowest, recommended does better by our "
    "measurements, fast is quicker, draft is for trying out prompts and masks; remove paints over "
    "what is there and needs no prompt."
)

SHOW_CANDIDATES_LABEL = "Show candidates"
SHOW_CANDIDATES_HELP = (
    "Add all candidates to the gallery, each in its place in the picture. The result stays the "
    "same. Settings → Multi-Stage Blended Diffusion can save them, too."
)

CANDIDATES_ONLY_LABEL = "Stop for my choice"
CANDIDATES_ONLY_HELP = (
    "Paint the first stage's candidates only, to choose one of them and go on with that. They come "
    "with numbers and scores."
)
EDIT_ID_LABEL = "Edit to go on with"
EDIT_ID_HELP = (
    "The edit_id of an edit that is kept, or last; empty for a new one. Picture and mask must be "
    "its own."
)
CONTINUE_FROM_LABEL = "Redo from stage"
CONTINUE_FROM_HELP = (
    "The stage from which on that edit is done again, with the present prompt and settings: 1 is "
    "that of the candidates. 0 goes on where it stopped."
)

ABOUT_THIS_RUN = {
    SHOW_CANDIDATES: (SHOW_CANDIDATES_LABEL, SHOW_CANDIDATES_HELP),
    CANDIDATES_ONLY: (CANDIDATES_ONLY_LABEL, CANDIDATES_ONLY_HELP),
    EDIT_ID: (EDIT_ID_LABEL, EDIT_ID_HELP),
    CONTINUE_FROM: (CONTINUE_FROM_LABEL, CONTINUE_FROM_HELP),
}
"""Labels and help of `THIS_RUN`."""

_ID = "([0-9a-f]{32}|last)?"
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True)
class Choice:
    """What a request chose: a preset, all settings, and what `THIS_RUN` names.

    Those of `HOST_OWNED` are the preset's here; the WebUI's own controls replace them.
    """

    preset: str
    settings: EditSettings
    show_candidates: bool = False
    candidates_only: bool = False
    edit_id: str = ""
    continue_from: int = 0

    def values(self) -> dict[str, Any]:
        """Every value by name: those of `FIELDS` in their order, and of `THIS_RUN`."""
        flat = self.settings.flat()
        values = {"preset": self.preset} | {name: flat[name] for name in FIELDS[1:]}
        return values | {name: getattr(self, name) for name in THIS_RUN}


def chosen(args: Sequence[Any], defaults: Mapping[str, Any]) -> Choice:
    """The choice that a script's arguments stand for.

    args: a dictionary of named fields as the first one (what follows it is not looked at: the
    WebUI lets other scripts' values slide in there), or values in the order of `CONTROLS` or of
    `OLD_CONTROLS`, of which the last may be missing. None is the default, as is what is missing.
    Old names are understood, see `legacy`. defaults: what is taken for a missing preset, for
    `SHOW_CANDIDATES` and for what the settings panel has; all other defaults are the preset's.
    Raises `EditError` for
    unknown names and values that are not allowed.
    """
    given = {name: value for name, value in _named(args).items() if value is not None}
    for name in given:
        _check_name(name)
    base = {name: value for name, value in defaults.items() if value is not None}
    name = given.pop("preset", base.pop("preset", DEFAULT_PRESET))
    if not isinstance(name, str) or name not in PRESETS:
        raise EditError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    this_run = {n: given.pop(n) for n in THIS_RUN if n in given}
    if SHOW_CANDIDATES in base:
        this_run.setdefault(SHOW_CANDIDATES, base.pop(SHOW_CANDIDATES))
    for of_run, value in this_run.items():
        _check_of_run(of_run, value)
    start = preset(name)
    # What an option says of the steps of fine-tuning does not turn it on.
    stored = with_stored(start, {"decoder": start.decoder} | base)
    return Choice(name, with_stored(stored, given), **this_run)


def with_the_hosts(
    settings: EditSettings,
    paints: bool,
    prompt: str,
    *,
    steps: int,
    feather: int,
    strength: float,
    masked_content: int,
) -> EditSettings:
    """The settings with the values of the WebUI's own controls, and what is left open decided; see
    `EditSettings.decided`."""
    values = {"steps": steps, "feather": feather, "strength": strength}
    decided = settings.with_values(values).decided(paints, prompt)
    if decided.start in (PICTURE, PAINT) and masked_content in CONTENTS:
        return decided.with_values({"start": CONTENTS[masked_content][1]})
    return decided


def rim_of(settings: EditSettings, feather: int) -> int:
    """How much wider a mask is made over paint on a picture that is not known without it."""
    return feather + RIM if settings.start == PAINT else 0


def schema(defaults: Mapping[str, Any], upscalers: Sequence[str]) -> dict[str, Any]:
    """JSON schema (draft 7) of the dictionary of named fields.

    defaults: as for `chosen`. upscalers: the names that can be had, if that is known.
    """
    values = chosen((), defaults).values()
    properties: dict[str, Any] = {
        "preset": {
            "title": PRESET_LABEL,
            "description": PRESET_HELP,
            "type": "string",
            "enum": list(PRESETS),
            "default": values["preset"],
        }
    }
    for name in FIELDS[1:]:
        properties[name] = _property(SETTINGS[name]) | {"default": values[name]}
    for name, (title, help) in ABOUT_THIS_RUN.items():
        kind = _JSON_TYPES[type(values[name])]
        properties[name] = {"title": title, "description": help, "type": kind}
        properties[name]["default"] = values[name]
    properties[EDIT_ID]["pattern"] = f"^({_ID})$"
    properties[CONTINUE_FROM]["minimum"] = 0
    if upscalers:
        properties["upscaler"]["enum"] = list(upscalers)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "description": "The only element of script_args. Fields that are missing have the "
        "preset's value; the defaults here are those of the default preset.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }


def _check_of_run(name: str, value: Any) -> None:
    """Raise `EditError` for what `THIS_RUN` cannot be."""
    if name in (SHOW_CANDIDATES, CANDIDATES_ONLY) and not isinstance(value, bool):
        raise EditError(f"{name} must be true or false, not {value!r}")
    if name == EDIT_ID and not (isinstance(value, str) and re.fullmatch(_ID, value)):
        raise EditError(f"{name} must be 32 digits from 0 to 9 and a to f, or last, or empty")
    if name == CONTINUE_FROM and not (type(value) is int and value >= 0):
        raise EditError(f"{name} must be a whole number from 0, not {value!r}")


def label(name: str) -> str:
    """What a field is called, an older version's too."""
    if name == "preset":
        return PRESET_LABEL
    return SETTINGS[name].label if name in SETTINGS else LABELS[name]


def help_text(setting: Setting) -> str:
    """What a setting does, and where the paper speaks of it."""
    return f"{setting.help} (Paper: {setting.paper}.)" if setting.paper else setting.help


def _named(args: Sequence[Any]) -> Mapping[str, Any]:
    if args and isinstance(args[0], Mapping):
        return args[0]
    names = OLD_CONTROLS if _is_old(args) else CONTROLS
    if len(args) > len(names):
        raise EditError(
            f"at most {len(CONTROLS)} values are expected, not {len(args)}: {', '.join(CONTROLS)}; "
            "or one dictionary of named fields"
        )
    return dict(zip(names, args, strict=False))


def _is_old(args: Sequence[Any]) -> bool:
    """Whether a list of values is in the order of `OLD_CONTROLS`: where those of today have a word,
    a switch and a number, there are two numbers and a word in it."""
    word, switch, number = (*args[6:9], *3 * (None,))[:3]
    if len(args) > len(CONTROLS) or word is not None:
        return len(args) > len(CONTROLS) or word not in (SETTINGS["decoder"].choices or ())
    return type(switch) in (int, float) or isinstance(number, str)


def _check_name(name: Any) -> None:
    if name in HOST_OWNED:
        raise EditError(f"{name} is set by the request's own field {HOST_OWNED[name]!r}")
    known = (*FIELDS, *THIS_RUN)
    if name not in (*known, *UNSEEN, *LABELS):
        raise EditError(f"unknown field {name!r}; known are {', '.join(known)}")


def _property(setting: Setting) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "title": setting.label,
        "description": help_text(setting),
        "type": _JSON_TYPES[setting.type],
    }
    if setting.choices:
        facts["enum"] = list(setting.choices)
    if setting.pattern:
        facts["pattern"] = f"^({setting.pattern[0]})$"
    if setting.low is not None and setting.high is not None:
        facts |= {"minimum": setting.low, "maximum": setting.high}
    return facts
