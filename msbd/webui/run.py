"""One press of Generate: the host's `process_images`, with our stages in place of its sampling."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import numpy as np
from fastapi import HTTPException
from modules import devices, images, processing, sd_samplers, shared
from PIL import Image
from torch import Tensor

from .. import cost
from ..backend import Backend
from ..errors import EditError, Interrupted
from ..keeping.folder import EditFolder
from ..memory import evict, sparing
from ..noise import Noise
from ..pictures.summary import few_pixels
from ..pipeline import edit
from ..plan import EditPlan
from ..planning import plan_edit
from ..progress import Callbacks
from ..report import Report, peak_memory
from ..settings import NEW, PAINT, PICTURE, EditSettings
from ..standalone.prompt_syntax import without_prompt
from . import batch, downloads, infotext, keeping, without_effect
from .conflicts import conflicts
from .estimate import loaded
from .fields import CONTENTS, CONTROLS, TITLE, Choice, chosen, rim_of, with_the_hosts
from .hosts import page, which
from .hosts.backend import HostBackend, without_casts
from .hosts.checkpoint import model_spec
from .hosts.clip import plain_text, ranker
from .hosts.hooks import Hooks
from .hosts.sampling import HostSampler, replaced_sampler, try_sampler
from .hosts.upscaling import ensure_it_works, load_upscaler
from .inputs import Inputs, prepared
from .limit import limited
from .options import decoder_device, defaults, option, stored_in_words
from .previews import Previews, picture_of
from .progress import Progress, ToldBackend, said
from .results import EditResult, ExtraImages, completed, described, lossy, wanted_extras

logger = logging.getLogger(__name__)
PROFILE = "msbd_colour_profile"
"""The attribute of a request with the colour profile that its results have."""


def run(p: Any, title: str, args: Sequence[Any]) -> Any:
    """Edit `p`'s pictures; the host's `Processed`.

    args: the script's arguments, see `fields.chosen`. Raises `EditError` for what a user can
    mend, which the API answers with 422; in the Batch tab the picture is left out, with a note,
    and the rest goes on.
    """
    where, jobs = batch.place(), shared.state.job_no
    try:
        processed = _processed(p, title, args)
    except EditError as error:
        if where:
            processed = batch.skipped(p, jobs, str(error))
        elif getattr(p, "is_api", False):
            raise HTTPException(status_code=422, detail=str(error)) from error
        else:
            raise
    except Exception as error:
        if not where:
            raise
        logger.warning("%s failed", where, exc_info=True)
        processed = batch.skipped(p, jobs, f"{error or type(error).__name__} (see the console)")
    if where:
        batch.gathered(p, where, processed)
    return processed


def _processed(p: Any, title: str, args: Sequence[Any]) -> Any:
    given = given_arguments(p, title, args)
    first = chosen(given, defaults())
    edit_run = EditRun(p, lambda: chosen(given, defaults()))
    with said("Getting ready"):
        with edit_run.patched():
            keeping.take_seed(p, first)
            processed = processing.process_images(p)
        completed(processed, p, edit_run.results)
    return processed


def patch(p: Any, choice: Choice) -> None:
    """Let the next `process_images(p)` be an edit; for a `p` that is thrown away afterwards."""
    EditRun(p, lambda: choice).patch(of_plot=True)


def given_arguments(p: Any, title: str, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments that belong to the script of this title.

    The API puts a request's list in place of the script's whole share of the arguments: if it
    is shorter, what follows are other scripts' values, and if it is longer, as lists of older
    versions are, its end is cut off. How many values there are in all tells how long it was.
    """
    scripts = getattr(p.scripts, "scripts", [])
    expected = max((script.args_to for script in scripts), default=0)
    if not getattr(p, "is_api", False) or not expected:
        return args
    surplus = len(p.script_args) - expected
    own = next((script.args_from for script in scripts if script.title() == title), None)
    if own is None:
        return args[: len(CONTROLS) + surplus]
    given: Sequence[Any] = p.script_args[own : own + len(CONTROLS) + surplus]
    return given


class EditRun:
    """Everything that one `process_images(p)` does our way: its `p.init` and its `p.sample`.

    All decisions are made inside, since the host's override settings are in force only there;
    `choose` is called there too. wrap: what it makes of a backend works in the backend's place.
    """

    def __init__(
        self,
        p: Any,
        choose: Callable[[], Choice],
        wrap: Callable[[Backend], Backend] = lambda backend: backend,
    ) -> None:
        self.p = p
        self.choose = choose
        self.wrap = wrap
        self.results: list[EditResult] = []
        self.kept: list[str] = []
        self.place = batch.place()

    @contextmanager
    def patched(self) -> Iterator[None]:
        """`p` works our way meanwhile, and is as it was afterwards."""
        p = self.p
        names = ("width", "height", "restore_faces", "script_args", *keeping.SEED)
        borrowed = {name: getattr(p, name) for name in names}
        try:
            self.patch()
            yield
        finally:
            for name in ("init", "sample", PROFILE):
                vars(p).pop(name, None)
            for name, value in borrowed.items():
                setattr(p, name, value)

    def patch(self, of_plot: bool = False) -> None:
        self.surroundings = keeping.surroundings(self.p) if of_plot else None
        self.mask: Image.Image | None = getattr(self.p, "image_mask", None)
        self.asked = without_effect.asked(self.p)
        without_effect.turn_off(self.p)
        self.hooks = Hooks(self.p)
        self.p.init = self.init
        self.p.sample = self.sample

    def init(self, all_prompts: Any, all_seeds: Any, all_subseeds: Any) -> None:
        """In place of the host's, which would encode the whole picture at the sliders' size."""
        p = self.p
        self.choice = self.choose()
        candidate = {"candidate": keeping.numbers(self.choice)}
        self.choice = replace(self.choice, settings=self.choice.settings.with_values(candidate))
        try_sampler(p.sampler_name)
        inputs, wanted = self._read(all_prompts)
        if len(inputs.pictures) > p.batch_size:
            raise EditError(
                f"{len(inputs.pictures)} pictures for a batch of {p.batch_size}: raise batch_size"
            )
        if len(inputs.pictures) > 1:
            p.batch_size = len(inputs.pictures)
        p.sampler = sd_samplers.create_sampler(replaced_sampler(p.sampler_name)[0], p.sd_model)
        edits = getattr(p.sd_model, "cond_stage_key", None) == "edit"
        p.image_cfg_scale = p.image_cfg_scale if edits else None
        p.refiner_checkpoint_info = None
        p.width, p.height = inputs.size.width, inputs.size.height
        self.inputs = inputs
        setattr(p, PROFILE, inputs.icc)
        self.upscale = load_upscaler(self.choice.settings.upscaler)
        self.settings, self.plan, notes = self._planned(wanted)
        if len(self.plan.stages) > 1:
            with downloads.told(downloads.of_upscaler(self.upscale)), without_casts():
                ensure_it_works(self.upscale)
        self.ranker = ranker()
        downloads.fetch_clip(self.ranker, self.settings)
        found = conflicts(p.sampler_name, inputs, p)
        started = self.choice.settings.decided(inputs.paint is not None, "").start
        not_used = without_effect.notes(self.asked, started, wanted.start)
        not_used = [note for note in not_used if note not in found]
        few = few_pixels(self.plan, inputs.mask)
        self.notes = [*few, *inputs.notes, *lossy(), *stored_in_words(), *found, *not_used, *notes]
        self.notes += [*without_prompt("".join(all_prompts)), *self.hooks.notes]
        self._tell_infotext(started)
        p.mask_for_overlay = Image.fromarray((inputs.mask * 255).round().astype(np.uint8))
        if shared.opts.save_init_img:
            self._save_init_image()

    def _read(self, prompts: Sequence[str]) -> tuple[Inputs, EditSettings]:
        """Pictures and mask, and the settings with the host's own filled in."""
        p, chosen_settings = self.p, self.choice.settings
        sketch = None if getattr(p, "is_api", False) else page.sketch()
        settings = with_the_hosts(
            chosen_settings,
            sketch is not None,
            "".join(prompts),
            steps=p.steps,
            feather=max(p.mask_blur_x, p.mask_blur_y),
            strength=p.denoising_strength,
            masked_content=p.inpainting_fill,
        )
        inputs = prepared(
            [sketch[0]] if sketch else p.init_images,
            p.image_mask,
            invert=bool(p.inpainting_mask_invert),
            round_mask=which.rounds_masks(p),
            settings=settings,
            rim=0 if sketch else rim_of(chosen_settings, settings.feather),
        )
        return (inputs.with_paint(sketch[1]) if sketch else inputs), settings

    def _tell_infotext(self, started: str) -> None:
        """started: see `without_effect.notes`."""
        p = self.p
        p.extra_generation_params["Script"] = TITLE  # a plot's cells are none of its own
        told = self.choice
        if self.inputs.paint is not None:  # else another mode would start it anew
            told = replace(told, settings=told.settings.with_values({"start": started}))
        p.extra_generation_params.update(infotext.parameters(told))
        if p.mask_blur:
            p.extra_generation_params["Mask blur"] = p.mask_blur
        if p.inpainting_mask_invert:
            p.extra_generation_params["Mask mode"] = "Inpaint not masked"
        if started != NEW:
            p.extra_generation_params["Denoising strength"] = p.denoising_strength
        if started in (PICTURE, PAINT) and p.inpainting_fill in CONTENTS:
            p.extra_generation_params["Masked content"] = CONTENTS[p.inpainting_fill][0]

    def _planned(self, settings: EditSettings) -> tuple[EditSettings, EditPlan, list[str]]:
        """The settings within the memory limit, and the plan for them."""
        p = self.p
        self.spec = model_spec(p.sampler_name, self.upscale.factor)
        return limited(
            settings, lambda s: plan_edit(self.inputs.size, self.inputs.mask, s, self.spec)
        )

    def _save_init_image(self) -> None:
        picture = self.p.init_images[0]
        self.p.init_img_hash = hashlib.md5(picture.tobytes()).hexdigest()
        images.save_image(
            picture,
            path=shared.opts.outdir_init_images,
            basename=None,
            forced_filename=self.p.init_img_hash,
            save_to_dirs=False,
            existing_info=picture.info,
        )

    def sample(self, **_: Any) -> Any:
        """In place of the host's: one edit for each picture of the batch, already decoded."""
        p = self.p
        sampler = HostSampler(p)
        p.sampler = sampler.host
        left = shared.state.job_count - shared.state.job_no
        jobs = p.n_iter - p.iteration if self.place else left
        progress = Progress(len(p.seeds), self.plan, jobs)
        finished = processing.DecodedSamples()
        limited_memory = bool(option("memory_limit")) or which.one_at_a_time(shared.sd_model)
        try:
            with progress.shown(), sparing(limited_memory):
                for place in range(len(p.seeds)):
                    if place and which.stop_requested():
                        break
                    shared.state.skipped = False
                    progress.begin(place)
                    finished.append(self._edited(place, sampler, progress))
                    progress.finish()
        finally:
            evict()  # what others generate next may need the room
            if self.kept:
                with suppress(OSError):
                    keeping.tidy(self.kept)
        return finished

    def _edited(self, place: int, sampler: HostSampler, progress: Progress) -> Tensor:
        """Picture `place` of the batch after its edit, as `exact_bytes`."""
        p, inputs = self.p, self.inputs
        source = inputs.pictures[place % len(inputs.pictures)]
        image = inputs.tensor(place % len(inputs.pictures))
        shown = wanted_extras(self.choice.show_candidates or self.choice.candidates_only)
        several = len(self.plan.parts) > 1
        extras = ExtraImages(source, inputs.mask, shown, several_parts=several)
        previews = None
        if shared.opts.live_previews_enable:
            previews = Previews(source, inputs.mask, progress.every)
        notes = list(self.notes)
        folder = self._folder(place, notes)
        backend = self._backend(place, sampler)
        callbacks = progress.callbacks(extras, previews)
        if folder is not None:
            callbacks = replace(callbacks, keeper=folder)
        before = peak_memory(backend.device)
        used = ToldBackend(self.wrap(backend), progress)
        image, report = self._painted(place, image, used, callbacks, folder or nullcontext(), notes)
        notes += backend.notes + self.hooks.failed
        if folder is not None:
            notes += keeping.told(folder, report)
        if self.ranker.reason and self.settings.ranks_by_clip:
            notes.append(self.ranker.reason)
        extras.file_format = shared.opts.samples_format if p.save_samples() else None
        extras.finish(p.prompts[place], picture_of(image))
        index = p.iteration * p.batch_size + place
        told = described(report, p, notes)
        if folder is not None and folder.problem is None:
            self._keep(folder, told, source, picture_of(image))
        self.results.append(EditResult(index, told, extras, inputs.icc))
        whole = report.as_planned and not report.interrupted
        if whole and not (folder and (folder.pauses or folder.goes_on)):
            try:
                self.learn(report, before)
            except Exception:  # the picture is finished, and counts for more
                logger.warning("no costs could be learnt of this edit", exc_info=True)
        return exact_bytes(
            inputs.given_back(place % len(inputs.pictures), image, self.settings.feather)
        )

    def _keep(
        self,
        folder: EditFolder,
        report: dict[str, Any],
        before: Image.Image,
        after: Image.Image,
    ) -> None:
        """What is known when an edit has ended."""
        report["edit_id"] = folder.path.name
        if self.surroundings is not None:
            keeping.remember_cell(folder, self.choice.settings)
        if report["stages"]:
            keeping.keep_views(folder, before, after, self.plan)
        folder.finish(report)

    def _painted(
        self,
        place: int,
        image: Tensor,
        backend: Backend,
        callbacks: Callbacks,
        kept: AbstractContextManager[Any],
        notes: list[str],
    ) -> tuple[Tensor, Report]:
        """The engine's result and report; of a picture after the first also if it came to none."""
        p = self.p
        noise = Noise(p.seeds[place], p.subseeds[place], p.subseed_strength)
        try:
            with without_casts(), kept:
                done = edit(
                    *(image, self.inputs.mask, self.plan, self.settings, backend, noise, callbacks),
                    self.inputs.paint_tensor,
                )
        except (Interrupted, EditError) as stopped:
            if isinstance(stopped, EditError) and not place:
                raise  # no picture before this one is finished
            notes.append(f"{stopped}: the picture is unchanged")
            return image, Report(self.plan, self.settings, noise.seed, interrupted=True)
        finally:
            devices.torch_gc()
        return done.image, done.report

    def _folder(self, place: int, notes: list[str]) -> EditFolder | None:
        """Where the work on a picture of the batch is kept; None if it is not.

        Raises `EditError` if what was kept cannot be gone on with.
        """
        choice = self.choice
        in_batch_tab = self.place and self.surroundings is None  # a plot's cells are counted, too
        if in_batch_tab and not choice.edit_id:
            return None  # its pictures are many, and nobody chooses among candidates
        needed = choice.edit_id or choice.candidates_only
        try:
            made_of = keeping.about(self.p, place, self.inputs, self.settings)
            if self.surroundings is not None:
                made_of["surroundings"] = self.surroundings
            folder = keeping.folder_for(choice, made_of, self.mask)
            if folder is not None:
                others = folder.begin(self.plan, self.settings.feather)
                notes += others if self.surroundings is None else []
                self.kept.append(folder.path.name)
        except (EditError, OSError) as error:
            if needed:
                raise EditError(str(error)) from error
            notes.append(f"the edit is not kept: {error}")
            return None
        return folder

    def learn(self, report: Report, before: int) -> None:
        """From a finished edit that went as planned. before: the memory's peak until it began; a
        lower one is unseen, and on a CPU it is the process's, not the edit's."""
        peak = report.peak_memory_bytes
        model = loaded(self.plan, self.settings)
        cost.learn(self.plan, model, report, peak if model.device != "cpu" and peak > before else 0)

    def _backend(self, place: int, sampler: HostSampler) -> HostBackend:
        p = self.p
        words = plain_text(p.prompts[place], p.steps)
        backend = HostBackend(
            p,
            place,
            self.spec,
            sampler,
            self.upscale,
            lambda images: self.ranker.score(images, words),
            decoder_device(),
            self.hooks,
        )
        if self.settings.details.strip():
            backend.bind_details(self.settings.details)
        return backend


def keep_profile(params: Any) -> None:
    """Of a result that the host is about to save: a png file keeps its picture's profile."""
    if icc := getattr(params.p, PROFILE, None):
        params.image.info["icc_profile"] = icc


def exact_bytes(image: Tensor) -> Tensor:
    """[1,3,H,W] in [0,1] -> [3,H,W] for the host, whose bytes will be exactly the picture's.

    The host maps [-1,1] to [0,255] and cuts the fraction off; so every value is put into the
    middle of its byte.
    """
    levels = (image[0].clamp(0, 1) * 255).round()
    return (levels + 0.5) / 255 * 2 - 1
