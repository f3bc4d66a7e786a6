"""The names under which the WebUI's controls and API know the settings, and how to read them.

Pure: neither the WebUI nor torch is needed to check a request or to describe what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EditError
from ..settings import DEFAULT_PRESET, PRESETS, SETTINGS, EditSettings, Setting, preset

TITLE = "Multi-Stage Blended Diffusion"
"""The script's name in the WebUI's dropdown, in requests (in any case) and in infotexts."""

FIRST_SIGHT = (
    "candidates",
    "repaint_repeats",
    "margin",
    "final_strength",
    "upscaler",
    "decoder_iterations",
)
"""Settings whose controls are seen at once."""

ADVANCED = (
    "minimum_crop",
    "choose",
    "growth",
    "intermediate_strength",
    "later_guidance",
    "tile_guidance",
    "lowpass_background",
    "decoder_refit",
    "decoder_rate",
    "decoder_background_weight",
    "decoder_patience",
    "keep_inside",
    "choose_after",
    "tile_context",
    "soft_edge",
    "joint_tiles",
    "repaint_from",
    "repaint_until",
    "decoder_patch",
)
"""Settings whose controls are folded away."""

PANEL = ("tile_size", "tile_overlap", "decoder_checkpointing", "decoder_mixed_precision")
"""Settings that depend on the machine more than on the edit: in the WebUI's settings panel."""

CONTROLS = ("preset", *FIRST_SIGHT, *ADVANCED)
"""The script's controls in their order, which is that of positional arguments."""

FIELDS = (*CONTROLS, *PANEL)
"""All names a request may use."""

HOST_OWNED = {
    "steps": "steps",
    "guidance": "cfg_scale",
    "sampler": "sampler_name",
    "feather": "mask_blur",
}
"""Settings the WebUI has its own controls for: our name -> the request's own field."""

PRESET_LABEL = "Preset"
PRESET_HELP = (
    "Sets all controls below at once: paper is the published method, recommended does better by "
    "our measurements, fast is quicker, draft is for trying out prompts and masks. Sampling steps "
    "are not touched."
)

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


@dataclass(frozen=True)
class Choice:
    """What a request chose: a preset, and all settings.

    Those of `HOST_OWNED` are the preset's here; the WebUI's own controls replace them.
    """

    preset: str
    settings: EditSettings

    def values(self) -> dict[str, Any]:
        """Every field's value by name, in the order of `FIELDS`."""
        flat = self.settings.flat()
        return {"preset": self.preset} | {name: flat[name] for name in FIELDS[1:]}


def chosen(args: Sequence[Any], defaults: Mapping[str, Any]) -> Choice:
    """The choice that a script's arguments stand for.

    args: a dictionary of named fields as the first one (what follows it is not looked at: the
    WebUI lets other scripts' values slide in there), or values in the order of `CONTROLS`,
    of which the last may be missing. None is the default, as is what is missing.
    defaults: what is taken for a missing preset and for what `PANEL` has; all other defaults
    are the preset's. Raises `EditError` for unknown names and values that are not allowed.
    """
    given = {name: value for name, value in _named(args).items() if value is not None}
    for name in given:
        _check_name(name)
    base = {name: value for name, value in defaults.items() if value is not None}
    name = given.pop("preset", base.pop("preset", DEFAULT_PRESET))
    if not isinstance(name, str) or name not in PRESETS:
        raise EditError(f"preset must be one of {', '.join(PRESETS)}, not {name!r}")
    return Choice(name, preset(name).with_values(base | given))


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


def help_text(setting: Setting) -> str:
    """What a setting does, and where the paper speaks of it."""
    return f"{setting.help} (Paper: {setting.paper}.)" if setting.paper else setting.help


def _named(args: Sequence[Any]) -> Mapping[str, Any]:
    if args and isinstance(args[0], Mapping):
        return args[0]
    if len(args) > len(CONTROLS):
        raise EditError(
            f"at most {len(CONTROLS)} values are expected, not {len(args)}: {', '.join(CONTROLS)}; "
            "or one dictionary of named fields"
        )
    return dict(zip(CONTROLS, args, strict=False))


def _check_name(name: Any) -> None:
    if name in HOST_OWNED:
        raise EditError(f"{name} is set by the request's own field {HOST_OWNED[name]!r}")
    if name not in FIELDS:
        raise EditError(f"unknown field {name!r}; known are {', '.join(FIELDS)}")


def _property(setting: Setting) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "title": setting.label,
        "description": help_text(setting),
        "type": _JSON_TYPES[setting.type],
    }
    if setting.choices:
        facts["enum"] = list(setting.choices)
    if setting.low is not None and setting.high is not None:
        facts |= {"minimum": setting.low, "maximum": setting.high}
    return facts
