"""Which kind of control every setting gets, and with what bounds; decided without gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...presets import PRESETS
from ...settings import SETTINGS, Setting
from ..fields import (
    ABOUT_THIS_RUN,
    CONTROLS,
    PRESET_HELP,
    PRESET_LABEL,
    chosen,
    help_text,
)

_OF_TYPE: dict[type, tuple[str, dict[str, Any]]] = {
    bool: ("Checkbox", {}),
    str: ("Textbox", {}),
    int: ("Number", {"precision": 0}),
}
MOST_NOTCHES = 250
"""A slider with more can no longer be set with the mouse."""


@dataclass(frozen=True)
class Control:
    """One control: `kind` names the gradio component, `arguments` are its own.

    help: what it does, the first sentence of which is seen beside it.
    """

    name: str
    kind: str
    label: str
    value: Any
    help: str
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def info(self) -> str:
        """The first sentence of `help`."""
        return self.help.partition(". ")[0].rstrip(".") + "."


def specification(defaults: Mapping[str, Any], upscalers: Sequence[str]) -> list[Control]:
    """The controls in the order of `CONTROLS`.

    defaults: as for `fields.chosen`. upscalers: the names to choose from.
    """
    values = chosen((), defaults).values()
    preset = Control(
        "preset",
        "Dropdown",
        PRESET_LABEL,
        values["preset"],
        PRESET_HELP,
        {"choices": list(PRESETS)},
    )
    of_run = []
    for name, (label, help) in ABOUT_THIS_RUN.items():
        kind, arguments = _OF_TYPE[type(values[name])]
        of_run.append(Control(name, kind, label, values[name], help, arguments))
    settings = [_control(SETTINGS[n], values[n], upscalers) for n in CONTROLS if n in SETTINGS]
    made = {control.name: control for control in (preset, *settings, *of_run)}
    return [made[name] for name in CONTROLS]


def _control(setting: Setting, value: Any, upscalers: Sequence[str]) -> Control:
    kind, arguments = _kind(setting)
    if setting.name == "upscaler":
        # A missing default stays a choice: the edit says where to get it.
        kind, arguments = "Dropdown", {"choices": list(dict.fromkeys([*upscalers, value]))}
    return Control(setting.name, kind, setting.label, value, help_text(setting), arguments)


def _kind(setting: Setting) -> tuple[str, dict[str, Any]]:
    if setting.choices:
        return "Radio", {"choices": list(setting.choices)}
    if setting.type is bool:
        return "Checkbox", {}
    if setting.low is None or setting.high is None or setting.step is None:
        return "Textbox", {}
    if _fits_a_slider(setting, setting.low, setting.high, setting.step):
        bounds = {"minimum": setting.low, "maximum": setting.high, "step": setting.step}
        return "Slider", bounds
    # Without bounds: gradio answers a value beyond them with an error that names no field.
    return "Number", {"step": setting.step, "precision": 0 if setting.type is int else None}


def _fits_a_slider(setting: Setting, low: float, high: float, step: float) -> bool:
    """Whether a slider from low has few notches, and one for every value that we set ourselves."""
    ours = [setting.default, *(p[setting.name] for p in PRESETS.values() if setting.name in p)]
    notches = [(value - low) / step for value in ours]
    on_notch = all(abs(n - round(n)) < 1e-6 for n in notches)
    return on_notch and (high - low) / step <= MOST_NOTCHES
