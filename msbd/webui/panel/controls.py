"""The script's controls in the img2img tab."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from modules import shared
from modules.ui_components import FormRow

from ...standalone.upscaler import INTERPOLATIONS
from ..fields import ADVANCED, CONTROLS, FIRST_SIGHT, SHOW_CANDIDATES, chosen
from ..options import defaults
from . import dry_run as dry_run_panel
from .specification import Control, specification
from .tab import Tab

ElemId = Callable[[str], str]
_PER_ROW = 2
_BY_PRESET = (*FIRST_SIGHT, *ADVANCED)


def build(elem_id: ElemId, tab: Tab) -> list[Any]:
    """Make all controls, and wire what belongs to them; the components in the order of CONTROLS.

    elem_id: item -> the component's elem_id. tab: the host's own components, as far as they are
    made already.
    """
    wanted = {control.name: control for control in specification(defaults(), upscaler_names())}
    made = {"preset": _component(wanted["preset"], elem_id)}
    made |= _rows([wanted[name] for name in FIRST_SIGHT], elem_id)
    with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
        made |= _rows([wanted[name] for name in (*ADVANCED, SHOW_CANDIDATES)], elem_id)
    controls = [made[name] for name in CONTROLS]
    panel = dry_run_panel.build(elem_id)
    # Not `change`: that also follows a pasted infotext, whose other values must stay.
    filled = [made[name] for name in _BY_PRESET]
    made["preset"].input(_filled, [made["preset"]], filled, show_progress=False)
    tab.when_complete(lambda: panel.connect(tab.components, controls))
    return controls


def upscaler_names() -> list[str]:
    """The host's upscalers, and interpolation that it does not have."""
    hosts = [one.name for one in shared.sd_upscalers if one.name != "None"]
    known = {"none", *(name.lower() for name in hosts)}
    return hosts + [name.capitalize() for name in INTERPOLATIONS if name not in known]


def _rows(controls: list[Control], elem_id: ElemId) -> dict[str, Any]:
    made = {}
    for start in range(0, len(controls), _PER_ROW):
        with FormRow():
            for control in controls[start : start + _PER_ROW]:
                made[control.name] = _component(control, elem_id)
    return made


def _component(control: Control, elem_id: ElemId) -> Any:
    component = getattr(gr, control.kind)(
        label=control.label,
        value=control.value,
        elem_id=elem_id(control.name),
        tooltip=control.tooltip,
        **control.arguments,
    )
    # What the host saved of an older version's defaults must not come back.
    component.do_not_save_to_config = True
    return component


def _filled(preset: str) -> list[Any]:
    """The values that a preset gives the other controls."""
    values: Mapping[str, Any] = chosen(({"preset": preset},), defaults()).values()
    return [values[name] for name in _BY_PRESET]
