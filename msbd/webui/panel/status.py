"""What the panel says below the quality preset, as soon as it applies.

How the controls differ from the preset, a button for the sampler and steps that it was measured
with, and what is in the way of a good edit. What depends on the page alone is told there, by
javascript/msbd_preset.js: an answer from here would come late or, while another is awaited, never.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from modules import sd_samplers

from ...presets import PRESETS, preset
from ..conflicts import conflicts, of_other_scripts, of_repaint
from ..fields import CONTROLS, FIELDS, chosen, label
from ..hosts import page
from ..hosts.sampling import name_of
from ..options import defaults
from . import tab as tabs

SAMPLING = ("img2img_sampling", "img2img_steps", tabs.SCHEDULER)
"""The host's controls that a preset was measured with, by elem_id; the last since 1.9."""

OF_THE_EDIT = ("mask_shape", "grow", "candidate", "details")
BY_PRESET = [name for name in CONTROLS[1:] if name in FIELDS and name not in OF_THE_EDIT]
"""The controls that a preset sets; the others belong to what is painted."""


@dataclass(frozen=True)
class Status:
    """The components. facts: what the page needs to know; see `facts`."""

    facts: Any
    changes: Any
    button: Any
    note: Any

    def connect(self, tab: Mapping[str, Any], controls: Mapping[str, Any]) -> None:
        """Follow the tab's components and our controls, by name."""
        chosen_preset = controls["preset"]
        others = [controls[name] for name in BY_PRESET]
        host = [tab[name] for name in SAMPLING if name in tab]
        given = [self.facts, chosen_preset]
        # Not `change`: that also follows a pasted infotext, whose other values must stay.
        chosen_preset.input(None, given, others, **page.js("msbd_preset_values"))
        self.button.click(None, [*given, *host], host, **page.js("msbd_preset_sampling"))
        for component in (tab[tabs.SCRIPTS], *controls.values(), *host):
            component.change(
                None,
                [*given, *others, *host],
                [self.changes, self.button],
                **page.js("msbd_preset_status"),
            )
        for event in (tab[tabs.SCRIPTS].change, host[0].change, chosen_preset.input):
            event(show_note, host[:1], [self.note], show_progress=False)


def build(elem_id: Callable[[str], str]) -> Status:
    """Make the components."""
    known = gr.JSON(facts(), visible=False, elem_id=elem_id("facts"))
    changes = gr.HTML(elem_id=elem_id("changes"), elem_classes=["msbd-note"])
    button = gr.Button(
        visible=False,
        size="sm",
        elem_id=elem_id("sampling"),
        elem_classes=["msbd-sampling"],
        tooltip="The sampler and steps that this preset was measured with.",
    )
    button.do_not_save_to_config = True
    note = gr.HTML(elem_id=elem_id("note"), elem_classes=["msbd-note"])
    return Status(known, changes, button, note)


def facts() -> dict[str, Any]:
    """What the page compares the controls with.

    labels: of the controls that a preset sets, by name. presets: their values. sampling: the values
    for `SAMPLING`. repaint: what RePaint takes from a sampler, by the host's name of it.
    """
    names = BY_PRESET
    values = {name: chosen(({"preset": name},), defaults()).values() for name in PRESETS}
    return {
        "labels": {name: label(name) for name in names},
        "presets": {name: {n: of[n] for n in names} for name, of in values.items()},
        "sampling": {name: measured_with(name) for name in PRESETS},
        "repaint": {n: note for n in sd_samplers.all_samplers_map if (note := of_repaint(n))},
    }


def measured_with(name: str) -> tuple[str, int, str]:
    """Sampler, steps and schedule, as the host's controls have them."""
    settings = preset(name)
    return name_of(settings.ablation.sampler), settings.steps, "Automatic"


def show_note(sampler_name: str) -> str:
    """What is in the way of an edit, as HTML; empty if nothing is."""
    return paragraphs([*conflicts(sampler_name, None), *of_other_scripts()])


def paragraphs(sentences: Sequence[str]) -> str:
    """As HTML."""
    return "".join(f"<p>{html.escape(one)}</p>" for one in sentences)
