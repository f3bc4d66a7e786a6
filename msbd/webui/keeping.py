"""The edits that the WebUI keeps: where and for how long, and which of them one goes on with."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from modules import paths_internal, sd_vae, shared
from PIL import Image

from .. import __version__
from ..errors import EditError
from ..keeping.folder import EditFolder
from ..keeping.store import EditStore
from ..plan import EditPlan
from ..report import Report
from ..setting import number_for, numbers_with
from ..settings import EditSettings
from .fields import CANDIDATES_ONLY_LABEL, CONTINUE_FROM_LABEL, Choice
from .inputs import Inputs
from .options import AUTOMATIC, NO, option

VIEWS, MASK = ("before.png", "after.png"), "mask.png"
AROUND, MOST = 0.15, 1600
"""What is shown round the edit, in units of its longer side; and pixels a side."""
FOLDER = "msbd-edits"
"""In the WebUI's data folder."""
LAST = "last"
"""In place of an id: the edit that was written to last."""
_OPTIONS = ("upcast_attn", "sd_vae", "CLIP_stop_at_last_layers")
_OF_THE_REQUEST = ("Seed", "Sampler", "Refiner")
"""The WebUI's own scripts, whose arguments it has among the request's."""
SEED = ("seed", "subseed", "subseed_strength")
"""What of a request names its noise."""
_OF_THE_CHOICE = ("candidate", "candidates")
_LATER = {
    *("final_strength", "guidance_later", "context", "texture", "upscaler", "tile_size"),
    *("intermediate_strength", "tile_guidance", "tile_overlap", "growth"),
    *("lowpass_background", "hold_tone", "details"),
}
"""Settings of which the first stage knows nothing."""
_UNPLANNED = {"upscaler", "details", "lowpass_background", "hold_tone"}
"""Of them those that no plan shows."""
Chosen = tuple[str, int]
"""Which candidate goes on, of how many."""
_last_cell: list[tuple[str, dict[str, Any], Chosen]] = []
"""A plot's: its edit's name, what it was made of, and which candidate went on."""
_ITS_OWN = ("picture", "mask", "paint")


def store() -> EditStore:
    return EditStore(Path(paths_internal.data_path) / FOLDER)


def wanted() -> bool:
    """Whether edits are kept; not by itself where strangers may use the WebUI."""
    asked, options = option("keep"), shared.cmd_opts
    shared_names = ("share", "ngrok", "gradio_auth", "gradio_auth_path")
    others = any(getattr(options, name, None) for name in shared_names)
    return not others if asked == AUTOMATIC else asked != NO


def tidy(keep: Collection[str]) -> None:
    """Delete what is beyond the limits of the settings panel, but for some."""
    store().tidy(float(option("keep_gib")) * 2**30, float(option("keep_days")), keep)


def about(p: Any, place: int, inputs: Inputs, settings: EditSettings) -> dict[str, Any]:
    """What an edit is made of: picture `place` of a batch, and all that decides on it."""
    flat = {k: v for k, v in settings.flat().items() if k not in _OF_THE_CHOICE}
    return {
        "version": __version__,
        "seed": [p.seeds[place], p.subseeds[place], p.subseed_strength],
        "picture": _digest(inputs.pictures[place % len(inputs.pictures)].tobytes()),
        "mask": _digest(np.ascontiguousarray(inputs.mask).data),
        "paint": inputs.paint and _digest(inputs.paint.tobytes()),
        "prompt": p.all_prompts[p.iteration * p.batch_size + place],
        "negative prompt": p.all_negative_prompts[p.iteration * p.batch_size + place],
        "checkpoint": _checkpoint(p.sd_model),
        "sampler": [p.sampler_name, getattr(p, "scheduler", None), p.cfg_scale],
        "settings": flat,
        "options or other scripts": _others(p),
    }


def _others(p: Any) -> str:
    """A digest of the WebUI's options that infotexts tell of, as they decide on pictures, and of
    what other scripts that take part were told."""
    labels = getattr(shared.opts, "data_labels", {})
    told = [name for name, label in labels.items() if getattr(label, "infotext", None)]
    options = [(name, shared.opts.data.get(name)) for name in sorted({*told, *_OPTIONS})]
    known = getattr(p.scripts, "alwayson_scripts", [])
    taking_part = [script for script in known if script.title() not in _OF_THE_REQUEST]
    arguments = [
        (script.title(), list(p.script_args[script.args_from : script.args_to]))
        for script in taking_part
    ]
    return _digest(repr(_plain([options, arguments])).encode())


def _plain(value: Any, depth: int = 8) -> Any:
    """Whatever it is, in a form whose text is the same for the same contents."""
    if isinstance(value, (str, int, float, bool, type(None), Enum)):
        return value
    if hasattr(value, "tobytes"):  # arrays and pictures
        return _digest(value.tobytes())
    # A ControlNet's unit; what is not turned on has values of the moment that decide nothing.
    if getattr(value, "enabled", False) is True:
        value = {k: v for k, v in getattr(value, "__dict__", {}).items() if k[0] != "_"}
    if not depth or not isinstance(value, (Mapping, list, tuple)):
        return type(value).__name__
    if isinstance(value, Mapping):
        return sorted((str(key), repr(_plain(one, depth - 1))) for key, one in value.items())
    return [_plain(one, depth - 1) for one in value]


def _checkpoint(model: Any) -> list[Any]:
    """What tells the model from others: its file and when that was written, and its autoencoder's.

    Hashes would, too, but the WebUI does not always have them.
    """
    path = Path(model.sd_checkpoint_info.filename)
    changed = path.stat().st_mtime if path.exists() else None
    return [str(path), changed, getattr(sd_vae, "loaded_vae_file", None)]


def _digest(data: bytes | memoryview) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _kept(edit_id: str) -> EditFolder:
    """edit_id: or `LAST`, which is enough for those alone who have its picture and mask."""
    return store().last() if edit_id == LAST else store().open(edit_id)


def numbers(choice: Choice) -> str:
    """The candidates that a request goes on with: its own, or those of the kept edit."""
    if not choice.edit_id or choice.continue_from == 1 or choice.candidates_only:
        return choice.settings.candidate
    kept = _kept(choice.edit_id).numbers
    return kept if choice.continue_from else numbers_with(kept, choice.settings.candidate)


def take_seed(p: Any, choice: Choice) -> None:
    """Let a request have the seed of the kept edit that it goes on with."""
    if not choice.edit_id:
        return
    if p.batch_size * p.n_iter != 1:
        raise EditError(
            "an edit that is gone on with is one picture: set batch count and batch size to 1"
        )
    for name, value in zip(SEED, _kept(choice.edit_id).about["seed"], strict=True):
        setattr(p, name, value)


def folder_for(
    choice: Choice, made_of: dict[str, Any], mask: Image.Image | None = None
) -> EditFolder | None:
    """Where an edit's work is kept, and found if there was some; None if nothing is kept.

    A plot's cell has the "surroundings" among what it is made of. mask: as it was given, which is
    kept for those who cannot paint it again.
    Raises `EditError` if it cannot be gone on with as the request says, or if candidates that are
    to be chosen from cannot be kept.
    """
    if choice.edit_id:
        folder = _earlier(choice, made_of)
    elif choice.candidates_only and not wanted():
        raise EditError(
            f"{CANDIDATES_ONLY_LABEL} needs that edits are kept: turn it on in Settings, "
            "Multi-Stage Blended Diffusion, Keep edits"
        )
    elif wanted():
        of_plot = "surroundings" in made_of
        found = _of_a_plot(made_of, _choice(choice.settings)) if of_plot else None
        folder = found or store().new(made_of)
    else:
        return None
    if mask is not None:
        folder.add_picture(MASK, mask)
    folder.pauses = choice.candidates_only
    return folder


def _of_a_plot(made_of: dict[str, Any], choice: Chosen) -> EditFolder | None:
    """A copy of what the plot's last cell has made, as far as this one would make the same."""
    if not _last_cell or _last_cell[0][2] != choice:
        return None
    name, before, _ = _last_cell[0]
    if any(before.get(key) != made_of[key] for key in made_of if key != "settings"):
        return None
    then, now = before["settings"], made_of["settings"]
    other = {key for key in now if then[key] != now[key]}
    if not other <= _LATER:
        return None
    try:
        folder = store().copied(store().open(name))
    except EditError:  # it was deleted meanwhile
        return None
    folder.facts["about"] = made_of
    folder.facts.pop("report", None)
    for part in range(folder.parts if other & _UNPLANNED else 0):
        folder.drop(part, 1)
    return folder


def remember_cell(folder: EditFolder, settings: EditSettings) -> None:
    """This was a cell of a plot; the next one may go on from its stages."""
    _last_cell[:] = [(folder.path.name, folder.about, _choice(settings))]


def _choice(settings: EditSettings) -> Chosen:
    return settings.candidate, settings.candidates


def surroundings(p: Any) -> str:
    """All of a request that is plain, to tell whether two cells of a plot differ in anything else
    than what our axes set."""
    plain = (str, int, float, bool, type(None))
    own = {k: v for k, v in vars(p).items() if isinstance(v, plain) or k == "override_settings"}
    return _digest(repr(sorted(own.items())).encode())


def _earlier(choice: Choice, made_of: dict[str, Any]) -> EditFolder:
    folder = _kept(choice.edit_id)
    other = [name for name in made_of if folder.about.get(name) != made_of[name]]
    given = [name for name in _ITS_OWN if name in other]
    if given:
        raise EditError(
            f"the kept edit was of another {given[0]}: load its own, or press Generate for a new "
            "edit"
        )
    if choice.continue_from:
        folder = store().copied(folder)
        folder.redo_from = choice.continue_from
        folder.facts["about"] = made_of
        return folder
    if "settings" in other:
        before, now = folder.about["settings"], made_of["settings"]
        other[other.index("settings")] = next(k for k in now if before.get(k) != now[k])
    changed = [name for name in other if name != "version"]
    if changed:
        was = {**folder.about, **folder.about["settings"]}.get(changed[0])
        raise EditError(
            f"since the kept edit {changed[0]} was changed, which was {was!r}: put it back to go "
            f"on, or redo the edit from a stage on ({CONTINUE_FROM_LABEL})"
        )
    folder.wants_more = choice.candidates_only
    for part in range(folder.parts):
        number = number_for(part, choice.settings.candidate)
        if number is not None:
            folder.choose(part, number)
    return folder


def keep_views(folder: EditFolder, before: Image.Image, after: Image.Image, plan: EditPlan) -> None:
    """Keep the edited place of both pictures, at 100 % and at most of `MOST` pixels a side."""
    box = plan.mask.grown(round(AROUND * plan.mask.size.longest), plan.image)
    top, left = (max(0, (side - MOST) // 2) for side in (box.size.height, box.size.width))
    place = (
        box.left + left,
        box.top + top,
        min(box.right, box.left + left + MOST),
        min(box.bottom, box.top + top + MOST),
    )
    with suppress(OSError):
        for name, picture in zip(VIEWS, (before, after), strict=True):
            folder.write_picture(name, picture.crop(place))


def views(edit_id: str) -> tuple[Image.Image, Image.Image]:
    """The edited place before and after. Raises `EditError` if they are not kept."""
    if not edit_id:
        raise EditError("nothing is kept of what is shown")
    path = store().open(edit_id).path
    try:
        before, after = (Image.open(path / name).convert("RGB") for name in VIEWS)
    except OSError:
        raise EditError("the edit is not finished: press Continue") from None
    return before, after


def told(folder: EditFolder, report: Report) -> list[str]:
    """What became of what was kept, in sentences."""
    notes = list(folder.notes)
    if folder.problem:
        notes.append(f"the edit could not be kept, and not be gone on with: {folder.problem}")
    elif folder.pauses and not report.interrupted:
        notes.append("choose one of the candidates, and press Continue")
    if folder.redo_from is not None and folder.redo_from > 1:
        notes.append(
            f"what is before stage {folder.redo_from} is the kept edit's, made with its own prompt "
            "and settings: from the text below the picture alone it would be made anew"
        )
    return notes
