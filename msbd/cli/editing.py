"""`edit` and `plan`: check every input, then load, then run, then write."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import masks
from ..errors import EditError
from ..legacy import with_stored
from ..presets import DEFAULT_PRESET, preset
from ..settings import AUTOMATIC, NEW, PAINT, SETTINGS, SURROUNDINGS, EditSettings
from ..standalone import downloads, models
from ..standalone.pictures import Picture, read_mask, read_picture, to_pixels
from ..standalone.prompt_syntax import unsupported, weighted_parts, without_prompt
from . import saving
from .encoding import format_of, storable
from .progress import Progress
from .recipe import Recipe, read_recipe

if TYPE_CHECKING:
    from ..keeping.folder import EditFolder
    from ..pictures.sheet import SheetRecorder
    from ..pipeline import Edit
    from ..plan import EditPlan
    from ..standalone.model import StandaloneModel

Say = Callable[[str], None]
Load = Callable[[models.Models], "StandaloneModel"]
SEEDS = 2**32


@dataclass(frozen=True)
class Outputs:
    """Where results go; None where nobody asked."""

    picture: Path | None = None
    sheet: Path | None = None
    report: Path | None = None
    drawing: Path | None = None

    def check(self, original: Picture, inputs: tuple[Path, ...] = ()) -> None:
        """Raise `EditError` if something could not be written, or would replace an input."""
        if self.picture:
            saving.check_output(self.picture, original.size, original.alpha is not None)
        for path in (self.sheet, self.drawing):
            if path:
                saving.check_output(path)
        if self.report:
            saving.check_writable(self.report)
        given = [p for p in (self.picture, self.sheet, self.report, self.drawing) if p]
        places = [path.resolve() for path in (*given, *inputs)]
        for path in given:
            if places.count(path.resolve()) > 1:
                raise EditError(f"{path} is named twice: give every file a name of its own")


@dataclass(frozen=True)
class Inputs:
    """The picture, its mask, the picture with the user's paint if there is one, and what was done
    to the mask, in sentences."""

    picture: Picture
    mask: masks.Mask
    paint: Picture | None = None
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Request:
    """An edit, all of its inputs read and checked. folder: where its work is kept."""

    inputs: Inputs
    recipe: Recipe
    models: models.Models
    outputs: Outputs
    quiet: bool = False
    folder: EditFolder | None = None

    @property
    def settings(self) -> EditSettings:
        """The recipe's, with what it leaves open decided."""
        return self.recipe.settings.decided(self.inputs.paint is not None, self.recipe.prompt)

    def plan(self) -> EditPlan:
        """The plan, made without loading the model."""
        from ..planning import plan_edit

        spec = models.spec(self.models, self.settings)
        return plan_edit(self.inputs.picture.size, self.inputs.mask, self.settings, spec)


def read_inputs(
    picture: Path, mask: Path, paint: Path | None, settings: EditSettings, soft: bool
) -> Inputs:
    """Raises `EditError` for files that cannot be used together."""
    original = read_picture(picture)
    painted, notes = masks.from_picture(*read_mask(mask), original.size, soft=soft)
    painted = masks.shaped(painted, settings.mask_shape, settings.grow)
    colours = read_picture(paint) if paint else None
    if colours and colours.size != original.size:
        raise EditError(
            f"the paint is {colours.size} but the picture is {original.size}: paint on the picture "
            "itself and save it at its own size"
        )
    if settings.start == PAINT and not colours:
        raise EditError("start=paint needs --paint FILE: the picture with your colours on it")
    if colours and settings.start not in (AUTOMATIC, PAINT):
        notes.append(f"the paint is not used, as the edit starts from {settings.start}")
    if (
        settings.strength != SETTINGS["strength"].default
        and settings.decided(colours is not None, "").start == NEW
    ):
        notes.append("the strength is not used, as the edit starts anew: give --start or --paint")
    return Inputs(original, painted, colours, notes)


def starting_recipe(preset_name: str | None, like: Path | None, assignments: list[str]) -> Recipe:
    """Another picture's recipe, or an empty one with a preset's settings; then the changes.

    assignments: `NAME=VALUE`. A seed of -1 means that none is chosen yet.
    """
    base = Recipe("", "", -1, preset(preset_name or DEFAULT_PRESET))
    if like:
        base = read_recipe(like)
    return replace(base, settings=with_stored(base.settings, assigned(assignments)))


def assigned(assignments: list[str]) -> dict[str, str]:
    """Values by name, of what is written as `NAME=VALUE`."""
    changes = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise EditError(f"--set {assignment}: write it as NAME=VALUE")
        changes[name.strip()] = value.strip()
    return changes


def completed(
    base: Recipe,
    prompt: str | None,
    negative: str | None,
    seed: int | None,
    model: str,
    like: bool = False,
) -> Recipe:
    """The recipe with what was said on the command line, and a seed for certain.

    like: whether it is another picture's, which needs no prompt if that had none.
    Raises `EditError` for prompts and seeds that cannot be.
    """
    if prompt is None and not (base.prompt or base.settings.start == SURROUNDINGS or like):
        raise EditError("there is no prompt: say what to paint, or give --like PICTURE")
    seed = base.seed if seed is None else seed
    if not -1 <= seed < SEEDS:
        raise EditError(f"--seed must be from 0 to {SEEDS - 1}, or -1 for a random one")
    prompt = base.prompt if prompt is None else prompt
    negative = base.negative if negative is None else negative
    for text in (prompt, negative):
        weighted_parts(text)
    return Recipe(
        prompt,
        negative,
        secrets.randbelow(SEEDS) if seed == -1 else seed,
        base.settings,
        model,
    )


def perform(request: Request, say: Say, load: Load | None = None) -> tuple[Edit, bool]:
    """Load the model, run the edit, write what was asked for; also the best so far if stopped.

    load: gives the model, if not `models.load`. Returns the edit and whether the user cut it
    short. Raises `EditError`, or `Interrupted` if no stage was finished; then nothing is written.
    """
    done, recorder, stopped = painted(request, say, load)
    written, wrong = _write(request, done, recorder)
    _tell(request, done, say)
    for path in written:
        say(f"wrote {path}")
    if wrong:
        raise OSError("; ".join(wrong))
    return done, stopped


def notes_before(request: Request) -> Iterator[str]:
    """What the user should know before anything is painted, in sentences."""
    recipe = request.recipe
    yield from _notes_on_files(request)
    yield from without_prompt(recipe.prompt)
    for prompt in (recipe.prompt, recipe.negative, request.settings.details):
        yield from unsupported(prompt)


def painted(
    request: Request, say: Say, load: Load | None = None
) -> tuple[Edit, SheetRecorder | None, bool]:
    """The edit, what was recorded for a sheet, and whether the user cut it short."""
    from ..noise import Noise
    from ..pictures.sheet import SheetRecorder
    from ..pipeline import edit
    from ..planning import plan_edit

    chosen, settings, inputs = request.recipe, request.settings, request.inputs
    for note in notes_before(request):
        say(note)
    say(f"loading {request.models.checkpoint.name}")
    model = (load or models.load)(request.models)
    for note in model.notes:
        say(note)
    if settings.ranks_by_clip:
        downloads.fetch_clip(request.models.clip, model.ranker.prepare, say)
    sampler = settings.ablation.sampler
    bound = chosen.prompt, chosen.negative, settings.guidance, sampler
    backend = model.bind(*bound, details=settings.details)
    plan = plan_edit(inputs.picture.size, inputs.mask, settings, backend.spec)
    recorder = SheetRecorder() if request.outputs.sheet else None
    progress = Progress(request.quiet)
    callbacks = progress.callbacks(recorder.picture if recorder else None)
    folder = request.folder
    if folder is not None:
        callbacks = replace(callbacks, keeper=folder)
        for note in folder.begin(plan, settings.feather):
            say(note)
    image = inputs.picture.tensor()
    paint = inputs.paint.tensor() if inputs.paint else None
    with progress.running(), folder or nullcontext():
        noise = Noise(chosen.seed)
        done = edit(image, inputs.mask, plan, settings, backend, noise, callbacks, paint)
    if folder is not None:
        done.report.notes += folder.notes
        folder.finish(done.report.to_dict())
    return done, recorder, progress.stopped and done.report.interrupted


def _notes_on_files(request: Request) -> Iterator[str]:
    """What becomes of the picture's file, apart from the edit."""
    picture, out = request.inputs.picture, request.outputs.picture
    yield from picture.notes
    yield from request.inputs.notes
    if picture.conversion:
        yield "painted in sRGB and given back in the picture's own colour profile"
    if out:
        yield from storable(format_of(out), picture, request.recipe)[1]
        if format_of(out) == "JPEG":
            yield (
                "outside the mask the picture is the same, but JPEG compresses all of it anew: "
                "let the name end in .png or .webp to keep every byte of it"
            )


def _write(
    request: Request, done: Edit, recorder: SheetRecorder | None
) -> tuple[list[Path], list[str]]:
    """The files asked for that are there now, and what went wrong with others, in sentences.

    The picture comes first, as it matters most.
    """
    outputs, picture = request.outputs, request.inputs.picture
    edited = to_pixels(done.image)
    pixels = in_its_colours(request, edited)

    def save_picture(path: Path) -> None:
        saving.save_picture(path, pixels, picture, request.recipe)

    def save_report(path: Path) -> None:
        facts = {"prompt": request.recipe.prompt, "negative": request.recipe.negative}
        report = done.report.to_dict()
        report["notes"] = [*request.inputs.notes, *report["notes"]]
        saving.save_report(path, facts | {"models": request.models.to_dict()} | report)

    def save_sheet(path: Path) -> None:
        assert recorder is not None
        before, after = (Image.fromarray(p) for p in (picture.srgb, edited))
        saving.save_drawing(path, recorder.render(request.recipe.prompt, before, after))

    written, wrong = list[Path](), list[str]()
    for path, save in (
        (outputs.picture, save_picture),
        (outputs.report, save_report),
        (outputs.sheet, save_sheet),
    ):
        if path is None:
            continue
        try:
            save(path)
            written.append(path)
        except Exception as error:  # whatever it is, the edit is worth more
            wrong.append(f"{path} could not be written ({error})")
            if path == outputs.picture:
                wrong[-1] += f": {saving.rescue(pixels, picture, path.parent)}"
    if request.folder and request.folder.problem:
        wrong.append(f"the edit could not be kept ({request.folder.problem})")
    return written, wrong


def in_its_colours(request: Request, edited: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An edit [H,W,3] in sRGB, in the colours of the picture's own profile."""
    picture = request.inputs.picture
    if picture.conversion is None:
        return edited
    feather = request.recipe.settings.feather
    return picture.conversion.restored(edited, picture.pixels, request.inputs.mask, feather)


def _tell(request: Request, done: Edit, say: Say) -> None:
    from ..pictures.summary import few_pixels

    report = done.report
    for note in (*few_pixels(report.plan, request.inputs.mask), *report.notes):
        say(note)
    if request.folder and not request.folder.reads_only and not request.folder.problem:
        say(f"the edit is kept in {request.folder.path}")
    alpha = request.inputs.picture.alpha
    if alpha is not None and (alpha[request.inputs.mask > 0] < 255).any():
        say("the picture is transparent inside the mask, and stays so")
    done_stages = f"{len(report.stages)} of {len(report.plan.stages)} stages"
    say(
        f"{done_stages}, {report.model_calls} model calls, {report.seconds:.1f} s, "
        f"{report.peak_memory_bytes / 2**30:.1f} GiB, seed {report.seed}"
    )


def plan_in_words(request: Request, plan: EditPlan) -> str:
    """The plan for people, and all its numbers below."""
    from ..pictures.summary import few_pixels, headline, numbers, steps

    mask = request.inputs.mask
    told = [headline(plan, mask), *steps(plan), *request.inputs.notes, *few_pixels(plan, mask)]
    return "\n".join([*told, "", numbers(plan)])


def draw(path: Path, request: Request, plan: EditPlan) -> None:
    """Save a drawing of the plan on the picture."""
    from ..pictures.drawing import draw_plan

    drawn = draw_plan(Image.fromarray(request.inputs.picture.pixels), plan, request.inputs.mask)
    saving.save_drawing(path, drawn)
