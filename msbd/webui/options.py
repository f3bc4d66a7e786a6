"""The extension's section of the WebUI's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import gradio as gr
import torch
from modules import shared

from ..presets import DEFAULT_PRESET, PRESETS
from ..setting import ABLATIONS, Setting
from ..settings import SETTINGS
from ..standalone.clip import OPENAI
from . import infotext
from .fields import PANEL, SHOW_CANDIDATES, TITLE, UNSEEN, label

SECTION = ("msbd", TITLE)
STORED = {name: ABLATIONS[name] for name in UNSEEN}
"""Options without a control."""
NO, SHOW, SAVE = "no", "show", "show and save"
"""What can be done with the pictures made on the way."""
AUTOMATIC, YES = "automatic", "yes"
"""Whether edits are kept, if it is not `NO`."""


@dataclass(frozen=True)
class Option:
    """One option: the host knows it as `msbd_<name>`."""

    default: Any
    label: str
    help: str
    component: Any = None
    arguments: dict[str, Any] = field(default_factory=dict)
    infotext: str | None = None


def register() -> None:
    """Add the section to the WebUI's settings; for `on_ui_settings`."""
    for name, one in known().items():
        info = shared.OptionInfo(
            one.default,
            one.label,
            one.component,
            one.arguments or None,
            section=SECTION,
            infotext=one.infotext,
        )
        shared.opts.add_option(f"msbd_{name}", info.info(one.help) if one.help else info)


def option(name: str) -> Any:
    """An option's value as the user set it, or its default."""
    return getattr(shared.opts, f"msbd_{name}", known()[name].default)


def decoder_device() -> torch.device:
    """Where the copy of the decoder is fitted."""
    return torch.device("cpu" if option("decoder_device") == "CPU" else shared.device)


def defaults() -> dict[str, Any]:
    """What requests and controls take for the preset, the panel's settings and the box that shows
    candidates, unless given."""
    chosen = option("preset")
    values = {name: option(name) for name in PANEL}
    shown = {SHOW_CANDIDATES: option("candidates") != NO}
    return {"preset": chosen if chosen in PRESETS else DEFAULT_PRESET} | shown | values | stored()


def stored() -> dict[str, Any]:
    """Values that options without a control have from an older version, or from an override."""
    unseen = {name: option(name) for name in STORED}
    return {k: v for k, v in unseen.items() if v not in (STORED[k].default, "")}


def stored_in_words() -> list[str]:
    """The same for people, who see no control of it."""
    return [f"{label(k)} is {v} by the stored option msbd_{k}" for k, v in stored().items()]


@cache
def known() -> dict[str, Option]:
    """All options by name, in the order of the settings panel."""
    return {
        "preset": Option(
            DEFAULT_PRESET,
            "Default preset",
            "what the controls show at first, and what API requests without a preset get; "
            "the controls follow after Reload UI",
            gr.Dropdown,
            {"choices": list(PRESETS)},
        ),
        **{name: _mirrored(SETTINGS[name]) for name in PANEL},
        **{name: _unseen(known) for name, known in STORED.items()},
        "decoder_mixed_precision": Option(False, "", "", _hidden(gr.Checkbox)),
        "clip_model": Option(
            OPENAI,
            "CLIP model that chooses among the candidates",
            "open_clip's names of architecture and weights; where open_clip is not installed, one "
            "of OpenAI's ViT models. Downloaded at its first use. If it cannot be had, the first "
            "candidate goes on",
        ),
        "clip_weights": Option(
            "",
            "CLIP weights file",
            "path of a file in OpenAI's layout; used instead of the model above unless empty",
        ),
        "clip_device": _device("CLIP runs on", "it stays there as long as there is room"),
        "decoder_device": _device(
            f"{label('decoder')} is matched on",
            "on the CPU it needs no video memory, and much more time",
        ),
        "candidates": _extra(
            "Candidates",
            "each in its place in the picture, of at most 2048 pixels a side, with its score. "
            "What the box “Show candidates” is at first, after Reload UI, and whether they are "
            "saved when it is ticked",
        ),
        "stages": _extra(
            "Stage pictures",
            "the result of every stage in its place, of at most 2048 pixels a side",
        ),
        "sheet": _extra("Contact sheet", "all steps of all stages on one picture"),
        "keep": Option(
            AUTOMATIC,
            "Keep edits",
            "what each stage made stays in the folder msbd-edits beside the WebUI's models for a "
            "while, with prompt and settings, so that you can choose a candidate, go on after a "
            "crash, and redo an edit from a stage on. automatic: unless the WebUI is shared or "
            "asks for a login",
            gr.Radio,
            {"choices": [AUTOMATIC, YES, NO]},
        ),
        "keep_gib": Option(
            10.0,
            "Kept edits take at most, GiB",
            "the oldest are deleted first",
            gr.Slider,
            {"minimum": 0.5, "maximum": 500.0, "step": 0.5},
        ),
        "keep_days": Option(
            14,
            "Kept edits are deleted after, days",
            "",
            gr.Slider,
            {"minimum": 1, "maximum": 365, "step": 1},
        ),
        "memory_limit": Option(
            0.0,
            "Memory limit, GiB",
            "0 = none. An edit that is estimated to need more gets gradient checkpointing, or "
            "smaller tiles",
            gr.Slider,
            {"minimum": 0.0, "maximum": 96.0, "step": 0.5},
        ),
        "resolution": Option(
            0,
            "Training resolution of the checkpoint",
            "0 = found out from the checkpoint. Set it for models that were trained at another "
            "size than their kind",
            gr.Slider,
            {"minimum": 0, "maximum": 2048, "step": 64},
        ),
    }


def _mirrored(setting: Setting) -> Option:
    help = setting.help.rstrip(".") + (f"; paper {setting.paper}" if setting.paper else "")
    bounds = {"minimum": setting.low, "maximum": setting.high, "step": setting.step}
    key = infotext.key(setting.name)
    return Option(setting.default, setting.label, help, gr.Slider, bounds, key)


def _unseen(setting: Setting) -> Option:
    """The host keeps what was stored of it before, and what a pasted infotext says of it; hidden by
    style.css, as the host lets nobody set what gradio hides. Texts where None is allowed, of which
    the host would make None."""
    kind: Any = gr.Number if setting.type in (int, float) else gr.Textbox
    if setting.type is bool:
        kind = gr.Checkbox
    default, kind = ("", gr.Textbox) if setting.optional else (setting.default, kind)
    key = infotext.key(setting.name)
    return Option(default, key, "", _hidden(kind), {}, key)


def _hidden(kind: Any) -> Any:
    """Not by the host's arguments of a component, which it hands to `update` too."""
    return partial(kind, elem_classes=["msbd-unseen"])


def _device(label: str, help: str) -> Option:
    return Option("GPU", label, help, gr.Radio, {"choices": ["GPU", "CPU"]})


def _extra(label: str, help: str) -> Option:
    return Option(NO, f"{label} in the result", help, gr.Radio, {"choices": [NO, SHOW, SAVE]})
