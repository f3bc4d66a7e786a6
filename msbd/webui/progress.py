"""An edit's progress, shown as the host shows its own: bar, words, previews, interruption."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

from modules import shared
from torch import Tensor

from ..backend import Backend, Condition, Decoder
from ..check.timed import ForwardingBackend
from ..errors import Interrupted
from ..geometry import Size
from ..plan import EditPlan, StagePlan
from ..progress import Callbacks, work
from .hosts import which
from .previews import Previews
from .results import ExtraImages

_PERIOD = "show_progress_every_n_steps"
"""The host's setting of how often it draws a preview; below 0 for never while it samples."""


@contextmanager
def said(words: str) -> Iterator[None]:
    """The host's words are these meanwhile."""
    before, shared.state.textinfo = shared.state.textinfo, words
    try:
        yield
    finally:
        shared.state.textinfo = before


class Progress:
    """Progress of all pictures of one `p.sample` call, which the host counts as one job.

    The host's bar is its job count and, within a job, `sampling_step / sampling_steps`; the
    latter is the share of the plans' work that is done, so it never falls. The words under it say
    what is being done; see `ToldBackend`. jobs: until the host begins its console's bar anew, this
    one with them. every: steps of the bar from one preview to the next.
    """

    def __init__(self, pictures: int, plan: EditPlan, jobs: int) -> None:
        self._pictures = pictures
        self._plan = plan
        self._jobs = max(jobs, 1)
        self._total = max(1, math.ceil(work(plan)))
        self.every = int(getattr(shared.opts, _PERIOD, -1))
        self._index = 0
        self._done = 0.0
        self._enter(plan.stages[0])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Bar, words and previews are ours meanwhile; the host saves what comes of it."""
        state, after = shared.state, "Saving" if shared.state.textinfo else None
        state.sampling_steps, state.sampling_step = self._pictures * self._total, 0
        # A plot's cells before this one may have had other steps.
        done = getattr(getattr(shared.total_tqdm, "_tqdm", None), "n", 0)
        shared.total_tqdm.updateTotal(done + self._jobs * state.sampling_steps)
        try:
            with _without_the_hosts_previews():
                yield
        finally:
            state.textinfo = after
            state.current_latent = None

    def begin(self, index: int) -> None:
        """Picture `index` of the batch starts; those before it count as done."""
        self._index, self._done = index, 0.0
        self._enter(self._plan.stages[0])
        self.say("Getting ready")
        self._move()

    def finish(self) -> None:
        """The picture is done, whatever was skipped."""
        self._done = self._total
        self._move()

    def callbacks(self, extras: ExtraImages, previews: Previews | None) -> Callbacks:
        """What the engine is given for one picture."""

        def picture(name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
            extras.picture(name, image, stage, caption)
            if previews and name == "result":
                previews.finished(image, stage)

        def predicted(stage: StagePlan, first: int, z: Tensor) -> None:
            self._counts["samples"] += len(z)
            if previews:
                previews.predicted(stage, first, z)

        wanted = extras.names
        if previews and wanted is not None:
            wanted |= {"result"}
        return Callbacks(
            stage=self._enter,
            advance=self._advance,
            picture=picture,
            wanted=wanted,
            predicted=predicted,
            decoding=self._decoding,
        )

    def say(self, words: str) -> None:
        """Tell what is being done, and for which picture and step."""
        parts, part = self._plan.parts, self._stage.part
        where = f"Stage {self._number} of {len(parts[part].stages)}"
        if len(parts) > 1:
            where = f"Part {part + 1} of {len(parts)}, {where.lower()}"
        if self._pictures > 1:
            where = f"Picture {self._index + 1} of {self._pictures}, {where.lower()}"
        shared.state.textinfo = f"{where}: {words}"

    def encoding(self) -> None:
        """Another of the stage's tiles is encoded."""
        self._counts["encoded"] += 1
        self.say(f"Reading the picture{self._tile(self._counts['encoded'])}")

    def denoising(self, tile_by_tile: bool) -> None:
        """The network is called for the stage's next samples."""
        stage, run, samples = self._stage, self._stage.schedule, self._counts["samples"]
        if tile_by_tile:
            tile, done = divmod(samples, run.model_calls)
        else:
            done, tile = divmod(samples, len(stage.tiles))
        ends = list(accumulate(run.calls))
        step = min(bisect_right(ends, done), run.run_steps - 1)
        words = "Painting" if stage.first else "Adding detail"
        if run.candidates > 1 and not 0 < run.choose_at <= step:
            words += f" {run.candidates} candidates"
        words += f", step {step + 1} of {run.run_steps}"
        if run.candidates == 1:
            words += self._tile(tile + 1)
        self.say(words)

    def decoding(self) -> None:
        """The host's decoder is called; of the stage's result the engine tells itself."""
        self._counts["decoded"] += 1
        number, candidates = self._counts["decoded"], self._stage.schedule.candidates
        if number <= candidates != 1 and not self._counts["result"]:
            self.say(f"Looking at candidate {number} of {candidates}")

    def choosing(self) -> None:
        """CLIP is called, and loaded before if need be."""
        self.say(f"Choosing among {self._stage.schedule.candidates} candidates")

    def enlarging(self) -> None:
        """The next stage's draft is made."""
        self._number = self._stage.index + 2
        self.say("Enlarging")

    def matching(self) -> None:
        """A copy of the decoder is called, to be fitted or once it is."""
        if self._counts["result"]:
            return
        self._counts["fitted"] += 1
        calls = (self._stage.decoder_iterations + 1) * len(self._stage.tiles)
        self.say(f"Matching tones, {self._counts['fitted']} of {calls}")

    def _decoding(self, stage: StagePlan, index: int) -> None:
        self._counts["result"] += 1
        self.say(f"Putting it back{self._tile(index + 1)}")

    def _tile(self, number: int) -> str:
        tiles = len(self._stage.tiles)
        return f", tile {number} of {tiles}" if tiles > 1 else ""

    def _enter(self, stage: StagePlan) -> None:
        self._stage, self._number = stage, stage.index + 1
        self._counts = Counter[str]()

    def _advance(self, work: float, _: str) -> None:
        self._done = min(self._done + work, self._total)
        self._move()
        if shared.state.interrupted or shared.state.skipped:
            raise Interrupted(which.stopped_how())

    def _move(self) -> None:
        state = shared.state
        step = self._index * self._total + int(self._done)
        for _ in range(step - state.sampling_step):
            shared.total_tqdm.update()
        state.sampling_step = max(step, state.sampling_step)


class ToldBackend(ForwardingBackend):
    """`Backend` round another one: tells what it does before each call of a network."""

    def __init__(self, backend: Backend, progress: Progress) -> None:
        super().__init__(backend)
        self._progress = progress

    def encode(self, image: Tensor) -> Tensor:
        self._progress.encoding()
        return super().encode(image)

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        self._progress.denoising(self.tile_by_tile)
        return super().denoise(z, sigma, guidance, condition)

    def decode(self, z: Tensor) -> Tensor:
        self._progress.decoding()
        return super().decode(z)

    def decoder(self) -> Decoder:
        self._progress.say("Matching tones")
        made = super().decoder()

        def told(*_: Any) -> None:
            self._progress.matching()

        made.register_forward_pre_hook(told)
        return made

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        self._progress.enlarging()
        return super().upscale(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        self._progress.choosing()
        return super().score(images)


@contextmanager
def _without_the_hosts_previews() -> Iterator[None]:
    """The host draws none of its own meanwhile: they would be tiles without their places.

    Its setting is overlaid for those who read it; what is stored, and saved, stays the user's.
    """
    overlay = vars(shared.opts)
    overlay[_PERIOD] = -1
    try:
        yield
    finally:
        del overlay[_PERIOD]
