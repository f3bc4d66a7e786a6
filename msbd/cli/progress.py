"""What the person at the terminal sees meanwhile, and how they stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ..errors import Interrupted
from . import stopping

if TYPE_CHECKING:
    from torch import Tensor

    from ..plan import EditPlan, PartPlan, StagePlan
    from ..progress import Callbacks

    Picture = Callable[[str, Tensor, StagePlan, str], None]

_FORMAT = "{desc}{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
_STOPPING = b"\nstopping after this step; press Ctrl-C again to stop at once\n"


class Progress:
    """A progress bar for one edit, and Ctrl-C, or what is like it, as a request to stop after the
    present step.

    After the first one the next call from the edit raises `Interrupted`; a second one raises
    `KeyboardInterrupt` at once. `stopped` says whether there was one.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._stop = stopping.Gently(_STOPPING)
        self._quiet = quiet
        self._parts: Sequence[PartPlan] = ()
        self.bar: tqdm[Any] | None = None

    @property
    def stopped(self) -> bool:
        return self._stop.asked

    def callbacks(
        self, picture: Callable[[str, Tensor, StagePlan, str], None] | None = None
    ) -> Callbacks:
        """The callables to hand to the edit."""
        from ..progress import Callbacks

        if picture is None:
            return Callbacks(self.begin, self.stage, self.advance)
        return Callbacks(self.begin, self.stage, self.advance, picture)

    def begin(self, plan: EditPlan, total: float) -> None:
        self._parts = plan.parts
        self.bar = tqdm(
            total=total,
            desc="starting",
            bar_format=_FORMAT,
            disable=self._quiet,
            dynamic_ncols=True,
        )

    def stage(self, stage: StagePlan) -> None:
        if self.bar is not None:
            number = f"stage {stage.index + 1} of {len(self._parts[stage.part].stages)}"
            if len(self._parts) > 1:
                number = f"part {stage.part + 1} of {len(self._parts)}, {number}"
            self.bar.set_description_str(f"{number} ({stage.name}, {stage.size}) ")

    def advance(self, work: float, text: str) -> None:
        if self.stopped:
            raise Interrupted
        if self.bar is not None:
            self.bar.set_postfix_str(text.partition(": ")[2] or text, refresh=False)
            self.bar.update(work)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Take over the requests to stop for the time of an edit."""
        with stopping.on_request(self._stop):
            try:
                yield
            finally:
                if self.bar is not None:
                    self.bar.close()
