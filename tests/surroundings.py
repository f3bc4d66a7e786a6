"""`edit` as hosts call it: in autocast, and in inference mode, which the forks sample in.

`conftest.py` installs this before any test imports `edit`. A test with the marker `edits` runs
twice, plainly and hosted, and all of its edits must be the same and give the same bytes both
times. `edits(alike=False)` is for those whose inputs are left to chance.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import msbd.pipeline
from msbd.noise import Noise
from msbd.pipeline import Edit

PLAINLY, HOSTED = "plainly", "hosted"


@contextmanager
def hosted() -> Iterator[None]:
    """What a host may have put round us."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        yield


@dataclass
class Surroundings:
    """What edits run in.

    test: that runs, by its name without `how`; None between tests, when anything goes. how: see
    `HOSTED`. alike: whether its inputs are the same both times. calls: of `edit` in this test so
    far. seen: of each call (test and number) its inputs and its result.
    """

    test: str | None = None
    how: str | None = None
    alike: bool = True
    calls: int = 0
    seen: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)

    @contextmanager
    def of(self, test: str, how: str | None, alike: bool) -> Iterator[None]:
        self.test, self.how, self.alike, self.calls = test, how, alike, 0
        try:
            yield
        finally:
            self.test = None

    def around(self, edit: Callable[..., Edit]) -> Callable[..., Edit]:
        """`edit` in these surroundings, its result compared with that of the same call before."""

        @functools.wraps(edit)
        def called(image: Tensor, *others: Any, **named: Any) -> Edit:
            if self.test is None:
                return edit(image, *others, **named)
            assert self.how, f"{self.test} edits: mark it with pytest.mark.edits"
            given = _digest(image, *others[:3], _as_used(others[4]))
            place: AbstractContextManager[None] = nullcontext()
            if self.how == HOSTED:
                place = hosted()
            with place:
                done = edit(image.clone(), *others, **named)
            self._compare(given, _digest(done.image))
            return done

        return called

    def _compare(self, given: str, result: str) -> None:
        assert self.test is not None
        before = self.seen.setdefault((self.test, self.calls), (given, result))
        self.calls += 1
        if before[0] != given:
            assert not self.alike, "another edit than before: seed it, or see `edits(alike=False)`"
            return
        assert before[1] == result, "an edit depends on its surroundings"


def _as_used(noise: Noise) -> Noise:
    """Without a second seed that has no effect, which a host draws by chance."""
    return noise if noise.strength else replace(noise, variation=0)


def _digest(*values: Any) -> str:
    """Of an edit's picture, mask, plan, settings and noise; or of its result."""
    digest = hashlib.sha256()
    for value in values:
        array = value.numpy() if isinstance(value, Tensor) else value
        known = isinstance(array, np.ndarray)
        digest.update(np.ascontiguousarray(array).tobytes() if known else repr(array).encode())
    return digest.hexdigest()


SURROUNDINGS = Surroundings()


def install() -> None:
    """Let everybody who imports `edit` from now on have it in `SURROUNDINGS`."""
    msbd.pipeline.edit = SURROUNDINGS.around(msbd.pipeline.edit)
