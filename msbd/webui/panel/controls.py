"""The script's controls in the img2img tab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr
from modules import shared
from modules.ui_components import FormRow

from ...standalone.upscaler import INTERPOLATIONS
from .. import without_effect
from ..fields import CONTROLS, EDIT_ID, FIRST_SIGHT, FOLDED
from ..options import defaults
from . import dry_run as dry_run_panel
from . import kept as kept_panel
from . import status as status_panel
from . import tab as tabs
from .specification import Control, specification
from .tab import Tab

ElemId = Callable[[str], str]
_PER_ROW = 2


def build(elem_id: ElemId, tab: Tab) -> list[Any]:
    """Make all controls, and wire what belongs to them; the components in the order of CONTROLS.

    elem_id: item -> the component's elem_id. tab: the host's own components, as far as they are
    made already.
    """
    wanted = {control.name: control for control in specification(defaults(), upscaler_names())}
    made = _rows([wanted[name] for name in FIRST_SIGHT[:1]], elem_id)
    status = status_panel.build(elem_id)
    made |= _rows([wanted[name] for name in FIRST_SIGHT[1:]], elem_id)
    for place, (title, names) in enumerate(FOLDED.items(), 1):
        with gr.Accordion(title, open=False, elem_id=elem_id(f"fold_{place}")):
            made |= _rows([wanted[name] for name in names], elem_id)
            if EDIT_ID in names:
                kept = kept_panel.build(elem_id)
    made = {name: made[name] for name in CONTROLS}
    gr.HTML(without_effect.for_the_page(), elem_classes=["msbd-unseen"])
    panel = dry_run_panel.build(elem_id, tab)
    controls = list(made.values())

    def connect() -> None:
        status.connect(tab.components, made)
        panel.connect(tab.components, controls)

    tab.when_complete(connect)
    seen = tab.components
    tab.when_seen([kept_panel.INFO], lambda: kept.connect(seen[kept_panel.INFO], made))
    tab.when_seen([tabs.GALLERY], lambda: kept.stand_below(seen[tabs.GALLERY]))
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
        info=control.info,
        tooltip=control.help,
        **control.arguments,
    )
    # What the host saved of an older version's defaults must not come back.
    component.do_not_save_to_config = True
    return component
