"""The dry-run button below the controls, and what it shows above the results."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...errors import EditError
from ..batch import First, first_of
from ..dry_run import DryRun, dry_run
from ..fields import PANEL, UNSEEN, chosen, rim_of, with_the_hosts
from ..hosts import page
from ..hosts.checkpoint import is_loaded, same_model
from ..infotext import key
from ..inputs import prepared
from ..options import defaults
from . import tab as tabs
from .status import paragraphs

_OLD = (
    "Something was changed since this was planned: picture, mask, checkpoint or a setting. "
    "It may no longer be what would be done."
)


@dataclass(frozen=True)
class Panel:
    """The panel's components. result: the column of all that a dry run shows."""

    mode: Any
    button: Any
    result: Any
    again: Any
    close: Any
    picture: Any
    text: Any

    def connect(self, tab: Mapping[str, Any], controls: Sequence[Any]) -> None:
        """Let the buttons read the tab and the controls."""
        named = (*tabs.PICTURES, *tabs.CONTROLS, tabs.PROMPT)
        inputs = [self.mode, *(tab[name] for name in named), *controls]
        shown = [self.picture, self.text]
        for button in (self.button, self.again):
            # Not queued, so that it is said whatever else is going on.
            begun = button.click(
                begin, [], shown, **page.js("msbd_dry_run_begins"), queue=False, show_progress=False
            )
            done = begun.then(show_dry_run, inputs, shown, **page.js(_arguments()))
            done.then(None, [], [], **page.js("msbd_dry_run_ends"))
        for event in (
            self.close.click,
            tab[tabs.GENERATE].click,
            tab[tabs.PROMPT].submit,
            tab[tabs.SCRIPTS].change,
        ):
            event(None, [], [], **page.js("msbd_dry_run_closes"))
        for component in (one for one in inputs[1:] if one is not tab[tabs.PROMPT]):
            for name in _changes(component):
                getattr(component, name)(None, [], [], **page.js("msbd_dry_run_is_old"))

    def stand_before(self, gallery: Any) -> None:
        """Move the result from below the controls to where the pictures will be."""
        self.result.parent.children.remove(self.result)
        column = gallery.parent
        column.children.insert(column.children.index(gallery), self.result)
        self.result.parent = column


def build(elem_id: Callable[[str], str], tab: tabs.Tab) -> Panel:
    """Make the panel's components; the result moves to the gallery if the host has one."""
    mode = gr.Number(value=0, visible=False, elem_id=elem_id("mode"))
    button = gr.Button(
        "Dry run",
        elem_id=elem_id("dry_run"),
        tooltip="Shows what the model will see and paint, in which steps, and about how long it "
        "takes. Nothing is painted.",
    )
    with gr.Column(
        elem_id=elem_id("dry_run_result"), elem_classes=["msbd-dry-run-result"]
    ) as result:
        with gr.Row(elem_classes=["msbd-dry-run-buttons"]):
            again = gr.Button("Dry run again", size="sm", elem_id=elem_id("dry_run_again"))
            close = gr.Button("Close", size="sm", elem_id=elem_id("dry_run_close"))
        gr.HTML("<p>Planning …</p>", elem_classes=["msbd-planning"])
        text = gr.HTML(elem_id=elem_id("dry_run_text"), elem_classes=["msbd-dry-run"])
        picture = gr.Image(
            type="pil",
            interactive=False,
            visible=False,
            show_label=False,
            elem_id=elem_id("dry_run_picture"),
            elem_classes=["msbd-dry-run-picture"],
        )
    for one in (button, again, close):
        one.do_not_save_to_config = True
    panel = Panel(mode, button, result, again, close, picture, text)
    tab.when_seen([tabs.GALLERY], lambda: panel.stand_before(tab.components[tabs.GALLERY]))
    return panel


def _changes(component: Any) -> list[str]:
    """The events that tell of another value; none for the sketch's original, which is a state."""
    by_hand = [name for name in ("upload", "edit", "clear") if hasattr(component, name)]
    # A picture that is drawn on never stops telling of `change`.
    return by_hand if "edit" in by_hand else [n for n in ("change",) if hasattr(component, n)]


def follow_checkpoint(component: Any, **_: Any) -> None:
    """Let a change of the checkpoint make a dry run old; for `on_after_component`."""
    if page.lists_checkpoints(component):
        component.change(None, [], [], **page.js("msbd_dry_run_is_old"))


def begin() -> tuple[dict[str, Any], str]:
    """What comes first, if that takes long; updates for picture and text."""
    wait = "" if is_loaded() else "<p>The checkpoint is loaded first: it may take a minute.</p>"
    return gr.update(value=None, visible=False), wait


def show_dry_run(mode: float, *values: Any) -> tuple[dict[str, Any], str]:
    """The drawn plan and its text, or what to change first; updates for picture and text.

    mode: the place of the tab's mode. values: of the tab's PICTURES, of its CONTROLS and PROMPT,
    and of our own controls.
    """
    pictures = dict(zip(tabs.PICTURES, values, strict=False))
    rest = values[len(pictures) :]
    host, prompt = rest[: len(tabs.CONTROLS)], rest[len(tabs.CONTROLS)]
    ours = rest[len(tabs.CONTROLS) + 1 :]
    blur, transparency, mask_mode, steps, sampler_name, count, size, overrides, *more = host
    strength, content = more
    try:
        given = _of_mode(int(mode), pictures)
        first = first_of(*given) if mode == page.BATCH else None
        picture, mask = (
            (first.picture, first.mask)
            if first
            else page.picture_and_mask(int(mode), given, transparency)
        )
        with same_model():
            settings = chosen(ours, defaults() | _overridden(overrides)).settings
            paints = mode == page.SKETCH
            rim = 0 if paints else rim_of(settings, int(blur))
            inputs = prepared(
                *([picture], mask), invert=bool(mask_mode), settings=settings, rim=rim
            )
            wanted = with_the_hosts(
                settings,
                paints,
                prompt or "",
                steps=int(steps),
                feather=int(blur),
                strength=float(strength),
                masked_content=1 if content is None else int(content),
            )
            pictures_in_all = int(count) * int(size) * (first.count if first else 1)
            done = dry_run(inputs, wanted, sampler_name=sampler_name, count=pictures_in_all)
    except EditError as error:
        message = f"<div class='msbd-error'>{html.escape(str(error))}</div>"
        return gr.update(value=None, visible=False), message
    return gr.update(value=done.picture, visible=True), _told(done, first)


def _told(done: DryRun, first: First | None) -> str:
    """Everything that is to be said, as HTML."""
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in done.lines)
    return (
        f"<p class='msbd-old'>{_OLD}</p>"
        + (f"<p>{html.escape(str(first))}</p>" if first else "")
        + f"<p><b>{html.escape(done.headline)}</b></p><ul>{lines}</ul>"
        + f"<div class='msbd-note'>{paragraphs(done.notes)}</div>"
    )


def _of_mode(mode: int, pictures: Mapping[str, Any]) -> list[Any]:
    """The values of the tab's mode. pictures: of all modes, by name."""
    if mode not in page.COMPONENTS:
        raise EditError(
            "this mode has no mask: use Inpaint, Inpaint sketch, Inpaint upload or Batch"
        )
    return [pictures[name] for name in page.COMPONENTS[mode]]


def _arguments() -> str:
    """The page's function for the inputs, with the places that each mode has among them."""
    places = {
        mode: [1 + tabs.PICTURES.index(name) for name in names]
        for mode, names in page.COMPONENTS.items()
    }
    return f"(...values) => msbd_dry_run_arguments({json.dumps(places)}, ...values)"


def _overridden(texts: Sequence[str] | None) -> dict[str, str]:
    """What a pasted infotext says in place of the settings panel."""
    said = dict(text.split(": ", 1) for text in texts or ())
    return {name: said[key(name)] for name in (*PANEL, *UNSEEN) if key(name) in said}
