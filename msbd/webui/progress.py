"""An edit's progress, shown as the host shows its own: bar, text, previews, interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modules import shared
from PIL import Image
from torch import Tensor

from ..errors import Interrupted
from ..plan import EditPlan, StagePlan
from ..progress import Callbacks, work
from .results import picture_of

Picture = Callable[[str, Tensor, StagePlan, str], None]
_PREVIEWED = ("start", "before", "result")
_PREVIEW_SIDE = 768


class Progress:
    """Progress of all pictures of one `p.sample` call, which the host counts as one job.

    The host's bar is its job count and, within a job, `sampling_step / sampling_steps`; the
    latter is the share of the plans' work that is done, so it never falls.
    """

    def __init__(self, pictures: int, plan: EditPlan) -> None:
        self._pictures = pictures
        self._plan = plan
        self._total = max(1, math.ceil(work(plan)))
        self._index = 0
        self._done = 0.0
        self._stage = plan.stages[0]

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The host's text is ours meanwhile."""
        state, text = shared.state, shared.state.textinfo
        state.sampling_steps, state.sampling_step = self._pictures * self._total, 0
        shared.total_tqdm.updateTotal(max(state.job_count, 1) * state.sampling_steps)
        try:
            yield
        finally:
            state.textinfo = text
            state.current_latent = None

    def begin(self, index: int) -> None:
        """Picture `index` of the batch starts; those before it count as done."""
        self._index, self._done = index, 0.0
        self._show("")

    def finish(self) -> None:
        """The picture is done, whatever was skipped."""
        self._done = self._total
        self._show("")

    def callbacks(self, keep: Picture | None) -> Callbacks:
        """What the engine is given; `keep` gets every intermediate picture."""
        previews = shared.opts.live_previews_enable

        def picture(name: str, image: Tensor, stage: StagePlan, caption: str) -> None:
            if keep is not None:
                keep(name, image, stage, caption)
            if name in _PREVIEWED and previews:
                shared.state.assign_current_image(_small(image))
                shared.state.current_latent = None

        wanted = None if keep is not None else frozenset(_PREVIEWED if previews else ())
        return Callbacks(stage=self._enter, advance=self._advance, picture=picture, wanted=wanted)

    def _enter(self, stage: StagePlan) -> None:
        self._stage = stage
        self._show(stage.name)

    def _advance(self, work: float, text: str) -> None:
        self._done = min(self._done + work, self._total)
        self._show(text)
        if shared.state.interrupted or shared.state.skipped:
            raise Interrupted(text)

    def _show(self, text: str) -> None:
        state = shared.state
        step = self._index * self._total + int(self._done)
        for _ in range(step - state.sampling_step):
            shared.total_tqdm.update()
        state.sampling_step = max(step, state.sampling_step)
        parts = [f"stage {self._stage.index + 1} of {len(self._plan.stages)}"]
        if self._pictures > 1:
            parts.insert(0, f"picture {self._index + 1} of {self._pictures}")
        doing = text.partition(": ")[2] or text
        parts.append(f"{self._stage.name}, {self._stage.size}")
        state.textinfo = ", ".join(parts) + (f": {doing}" if doing else "")


def _small(image: Tensor) -> Image.Image:
    """[1,3,H,W] in [0,1] as a picture of at most the previews' size."""
    picture = picture_of(image)
    picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
    return picture
