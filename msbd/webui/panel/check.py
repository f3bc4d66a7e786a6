"""The check of the installation in the settings panel: a button, and the block of text below it."""

from __future__ import annotations

from typing import Any

import gradio as gr
from modules import call_queue, shared

from ...errors import EditError
from ...presets import PRESETS
from ...settings import SETTINGS
from ..checking import check
from ..hosts import page
from ..options import SECTION
from .controls import upscaler_names

OPTION = "msbd_check"


def register() -> None:
    """Add the button to our section of the WebUI's settings; for `on_ui_settings`.

    The host makes one component for each of its options: ours is the text, and is never saved.
    """
    info = shared.OptionInfo("", "Check this installation", build, section=SECTION)
    info.do_not_save = True
    shared.opts.add_option(OPTION, info)


def build(label: str, value: str, elem_id: str, **_: Any) -> Any:
    """Make the button and what belongs to it; the text."""
    gr.HTML(
        "Edits a drawn picture of one megapixel by each preset with the loaded checkpoint, and "
        "looks whether all works. The text belongs into bug reports: it holds no folders, prompts "
        "or pictures. The preset paper takes far the longest.",
        elem_classes=["settings-info"],
    )
    task = gr.Textbox(visible=False, elem_id=f"{OPTION}_task")
    presets = gr.CheckboxGroup(
        list(PRESETS), value=list(PRESETS), label="Presets", elem_id=f"{OPTION}_presets"
    )
    upscaler = gr.Dropdown(
        upscaler_names(),
        value=SETTINGS["upscaler"].default,
        label=SETTINGS["upscaler"].label,
        elem_id=f"{OPTION}_upscaler",
    )
    with gr.Row():
        button = gr.Button(label, variant="primary", elem_id=f"{OPTION}_button")
        stop = gr.Button("Interrupt", elem_id=f"{OPTION}_interrupt")
    text = gr.Textbox(
        value=value,
        label="Result",
        elem_id=elem_id,
        lines=4,
        max_lines=60,
        interactive=False,
        show_copy_button=True,
    )
    spent = gr.HTML(elem_id=f"{OPTION}_spent")
    button.click(
        call_queue.wrap_gradio_gpu_call(show, extra_outputs=[""]),
        [task, presets, upscaler],
        [text, spent],
        **page.js("msbd_check_arguments"),
        show_progress=False,
    )
    stop.click(shared.state.interrupt, [], [])
    return text


def show(_task: str, presets: list[str], upscaler: str) -> tuple[str, str]:
    """The block of text, or what to change first, and HTML."""
    try:
        return check(presets, upscaler)[1], ""
    except EditError as error:
        return str(error), ""
