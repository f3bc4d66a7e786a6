"""Edits that are kept in a folder: begun, shown, gone on with, and done again from a stage on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import __version__
from ..errors import EditError
from ..keeping.folder import EditFolder, best_of
from ..legacy import with_stored
from ..setting import number_for, numbers_with
from ..standalone import models
from . import saving
from .editing import Outputs, Request, Say, painted, read_inputs
from .recipe import Recipe

BOARD = "candidates.png"
_SAMPLES, _SAMPLE = 16, 2**20
"""How many pieces of a model's file tell it from others, and of how many bytes."""


@dataclass(frozen=True)
class Files:
    """What was named on the command line. soft: whether the mask's grey is kept."""

    picture: Path
    mask: Path
    paint: Path | None
    soft: bool
    checkpoint: Path | None
    clip: str | None


def begun(path: Path, request: Request, files: Files) -> Request:
    """The request, with a new folder that holds all that it takes to go on with it."""
    about = {
        "version": __version__,
        "recipe": json.loads(request.recipe.to_json()),
        "inputs": {"soft_mask": files.soft},
        "model": {
            "checkpoint": files.checkpoint and str(files.checkpoint.resolve()),
            "clip": files.clip,
            "fingerprint": fingerprint(request.models.checkpoint),
        },
    }
    folder = EditFolder.create(path, about)
    given = {"picture": files.picture, "mask": files.mask, "paint": files.paint}
    try:
        for name, file in given.items():
            about["inputs"][name] = file and folder.add(name, file)
        folder.save()
    except OSError as error:
        raise EditError(f"nothing can be kept in {path}: {error.strerror or error}") from None
    return replace(request, folder=folder)


def fingerprint(path: Path) -> str:
    """Of a model's file: a digest of its size and of pieces from all over it."""
    size = path.stat().st_size
    made = hashlib.blake2b(str(size).encode(), digest_size=16)
    with path.open("rb") as file:
        for index in range(_SAMPLES):
            file.seek(max(size - _SAMPLE, 0) * index // (_SAMPLES - 1))
            made.update(file.read(_SAMPLE))
    return made.hexdigest()


@dataclass(frozen=True)
class Changes:
    """What is to be otherwise than in the kept edit; None leaves it. settings: by name."""

    prompt: str | None = None
    negative: str | None = None
    settings: dict[str, Any] | None = None
    checkpoint: Path | None = None
    device: str | None = None
    offload: bool = False


def restored(folder: EditFolder, changes: Changes, outputs: Outputs, quiet: bool) -> Request:
    """The kept edit as a request. Raises `EditError` if something it needs is not there."""
    if "seed" in folder.about:
        raise EditError(f"the edit in {folder.path} is the WebUI's: go on with it there")
    try:
        recipe = Recipe.from_json(json.dumps(folder.about["recipe"]))
        inputs, model = folder.about["inputs"], folder.about["model"]
        names = inputs["picture"], inputs["mask"], inputs["paint"]
        picture, mask, paint = (name and folder.path / name for name in names)
        checkpoint = changes.checkpoint or (model["checkpoint"] and Path(model["checkpoint"]))
        clip, known = model["clip"], model["fingerprint"]
    except EditError as error:
        raise EditError(f"{folder.path} was kept by another version: {error}") from None
    except (KeyError, TypeError, ValueError):
        raise EditError(f"{folder.path} is damaged: begin the edit anew") from None
    changed = dict(changes.settings or {})
    if "candidate" in changed:
        checked = with_stored(recipe.settings, changed).candidate
        earlier = numbers_with(recipe.settings.candidate, folder.numbers)
        changed["candidate"] = numbers_with(earlier, checked)
    settings = with_stored(recipe.settings, changed)
    chosen = models.choose(settings, checkpoint, clip, changes.device)
    if fingerprint(chosen.checkpoint) != known:
        raise EditError(
            f"the edit in {folder.path} was made with another model than {chosen.checkpoint}: "
            f"give {recipe.model} with --checkpoint, or begin the edit anew"
        )
    recipe = replace(
        recipe,
        settings=settings,
        prompt=recipe.prompt if changes.prompt is None else changes.prompt,
        negative=recipe.negative if changes.negative is None else changes.negative,
    )
    given = read_inputs(picture, mask, paint, settings, inputs["soft_mask"])
    outputs.check(given.picture, tuple(folder.path / name for name in names if name))
    chosen = replace(chosen, offload=changes.offload)
    return Request(given, recipe, chosen, outputs, quiet, folder)


def choose(folder: EditFolder, request: Request, numbers: str) -> None:
    """Let the candidates of these numbers go on, see `setting.NUMBERS`, and remember it."""
    parts = request.plan().parts
    named = [int(each.partition(":")[0]) for each in numbers.split(",") if ":" in each]
    if named and max(named) > len(parts):
        raise EditError(f"there is no part {max(named)}: the mask has {len(parts)}")
    for part in parts:
        number = number_for(part.number, numbers)
        if number is not None:
            folder.choose(part.number, number)
    folder.about["recipe"] = json.loads(request.recipe.to_json())


def check_redo(request: Request) -> None:
    """Raise `EditError` now, and not when the model is loaded, if it cannot be done."""
    folder = request.folder
    assert folder is not None
    trial = EditFolder(folder.path, copy.deepcopy(folder.facts))
    trial.redo_from, trial.reads_only = folder.redo_from, True
    trial.begin(request.plan(), request.settings.feather)


def copied(request: Request, path: Path) -> Request:
    """The request, with a new folder that holds what is in the present one."""
    assert request.folder is not None
    folder = request.folder.copied(path)
    folder.redo_from = request.folder.redo_from
    folder.about["recipe"] = json.loads(request.recipe.to_json())
    return replace(request, folder=folder)


def make_candidates(request: Request, finish: bool, place: Path | None, say: Say) -> bool:
    """Stop when all candidates are there, and write a board; whether the user cut it short."""
    folder = request.folder
    assert folder is not None
    folder.pauses, folder.finishes = True, finish
    done, _, stopped = painted(request, say)
    for note in done.report.notes:
        say(note)
    if folder.problem:
        raise OSError(f"the candidates could not be kept ({folder.problem})")
    if stopped:
        return True
    if not any(map(folder.made, range(folder.parts))):
        raise EditError("there is nothing to choose from: a strength of 0 paints no candidates")
    board_at = place or folder.path / BOARD
    saving.save_drawing(board_at, board_of(folder))
    say(f"wrote {board_at}")
    say(f"go on with one of them: msbd continue {folder.path} --candidate NUMBER -o OUT.png")
    return False


def board_of(folder: EditFolder) -> Image.Image:
    """The numbered candidates of all parts of the mask."""
    from ..pictures.board import Candidate, board

    rows = []
    for part in range(folder.parts):
        made = folder.made(part)
        if made is None:
            continue
        scores = made["scores"] or [None] * made["count"]
        best = best_of(made) if made["scores"] else -1
        row = []
        for index, (file, score) in enumerate(zip(made["pictures"], scores, strict=True)):
            with Image.open(folder.path / file) as image:
                pixels = np.asarray(image.convert("RGB"))
            row.append(Candidate(made["first"] + index + 1, pixels, score, index == best))
        state = "finished first stage" if made["finished"] else "previews, before they are finished"
        named = f"part {part + 1} of {folder.parts}: " if folder.parts > 1 else ""
        rows.append((f"{named}{state}", row))
    return board(rows)


def described(folder: EditFolder) -> Iterator[str]:
    """What is in a folder, line by line."""
    recipe = folder.about.get("recipe")
    if recipe is None:
        raise EditError(f"the edit in {folder.path} is the WebUI's: go on with it there")
    yield f"prompt: {recipe['prompt']}"
    if recipe["negative"]:
        yield f"negative prompt: {recipe['negative']}"
    yield f"seed: {recipe['seed']}"
    yield f"model: {recipe['model']}"
    facts = folder.described()
    for number, part in enumerate(facts["parts"], 1):
        named = f"part {number}: " if folder.parts > 1 else ""
        if made := part["candidates"]:
            pairs = zip(made["numbers"], made["scores"], strict=True)
            told = (f"{n}" if score is None else f"{n} ({score:.3f})" for n, score in pairs)
            yield f"{named}candidates: {', '.join(told)}; number {made['chosen']} goes on"
        for index, stage in enumerate(part["stages"], 1):
            yield f"{named}stage {index}: {stage['name']}, {stage['size']} pixels"
        if not part["stages"]:
            yield f"{named}no stage is finished"
    state = "finished" if facts["finished"] else "not finished"
    yield f"{state}; {facts['bytes'] / 2**20:.1f} MiB in {folder.path}"
