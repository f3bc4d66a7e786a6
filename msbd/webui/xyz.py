"""Axes for the host's X/Y/Z plot, one for every field.

The plot is itself a script of the dropdown, so ours does not run with it. An axis leaves its
value on the cell's `p`; `patch_cell`, called by an unseen always-on script, makes an edit of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from modules import scripts

from ..errors import EditError
from ..legacy import LABELS, LABELS_0_2, RENAMED, with_stored
from ..presets import PRESETS
from ..setting import ABLATIONS
from ..settings import SETTINGS
from .fields import CONTROLS, FIELDS, TITLE, chosen, label
from .options import defaults
from .panel.controls import upscaler_names

AXES = {label(name): name for name in FIELDS} | {
    words: RENAMED.get(name, name) for name, words in (LABELS | LABELS_0_2).items()
}
"""Names of axes and the fields they set: those of today, then those of older versions."""
_OLD_NUMBERS = {"later_guidance": float, "decoder_patience": int, "decoder_patch": int}


def add_axes() -> None:
    """Offer our axes in the X/Y/Z plot, once; for `on_before_ui`."""
    for module in _plot_modules():
        present = {axis.label for axis in module.axis_options}
        axes = [_axis(module, *axis) for axis in AXES.items()]
        module.axis_options.extend(axis for axis in axes if axis.label not in present)


def patch_cell(p: Any) -> None:
    """Make an edit of a cell that one of our axes has left a value on; others are not touched.

    What the axes do not say is as the script's own controls have it, unless one of the axes is
    the preset: then it is the preset's.
    """
    values = getattr(p, "msbd_values", None)
    if values is None:
        return
    # The plot's cells share this dictionary; one cell's values must not show in another's text.
    texts = p.extra_generation_params.items()
    p.extra_generation_params = {k: v for k, v in texts if not k.startswith("MSBD ")}
    try:
        if "preset" in values:
            choice = chosen((values,), defaults())
        else:
            choice = chosen((_controls_of(p),), defaults())
            choice = replace(choice, settings=with_stored(choice.settings, values))
    except EditError as error:
        p.init = _refusing(error)
        return
    from .run import patch

    patch(p, choice)


def _plot_modules() -> Iterator[Any]:
    """The X/Y/Z plot's module as the host has loaded it last."""
    for data in scripts.scripts_data:
        if Path(data.path).name == "xyz_grid.py" and hasattr(data.module, "axis_options"):
            yield data.module


def _axis(module: Any, words: str, name: str) -> Any:
    kind = _type(name)
    return module.AxisOptionImg2Img(
        f"[MSBD] {words}",
        kind if kind in (int, float) else str,
        _store(name),
        confirm=_confirm(name),
        choices=_choices(name),
    )


def _store(name: str) -> Callable[..., None]:
    def store(p: Any, value: Any, values: Any) -> None:
        # A dictionary of the cell's own: the plot copies p, but not what hangs on it.
        p.msbd_values = {**getattr(p, "msbd_values", {}), name: value}

    return store


def _confirm(name: str) -> Callable[..., None]:
    def confirm(p: Any, values: Any) -> None:
        try:
            for value in values:
                chosen(({name: value},), defaults())
        except EditError as error:
            if getattr(p, "is_api", False):
                raise HTTPException(status_code=422, detail=str(error)) from error
            raise

    return confirm


def _type(name: str) -> type:
    known = SETTINGS.get(name) or ABLATIONS.get(name)
    return known.type if known else {"preset": str, **_OLD_NUMBERS}.get(name, bool)


def _choices(name: str) -> Callable[[], list[str]] | None:
    if name == "preset":
        return lambda: list(PRESETS)
    if name == "upscaler":
        return upscaler_names
    if _type(name) is bool:
        return lambda: ["True", "False"]
    known = SETTINGS.get(name) or ABLATIONS.get(name)
    choices = list(known.choices or ()) if known else []
    return (lambda: choices) if choices else None


def _controls_of(p: Any) -> dict[str, Any]:
    """What the script's own controls say; nothing if the request did not bring them all."""
    runner = p.scripts
    complete = max(script.args_to for script in runner.scripts)
    for script in runner.selectable_scripts:
        if script.title() == TITLE and len(p.script_args) == complete:
            return dict(
                zip(CONTROLS, p.script_args[script.args_from : script.args_to], strict=False)
            )
    return {}


def _refusing(error: EditError) -> Callable[..., None]:
    """The host passes over what goes wrong in its hooks; so the edit says it later."""

    def init(*_: Any) -> None:
        raise error

    return init
