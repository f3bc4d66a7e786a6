"""What the measurements ask the miniature for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .oracle import is_right
from .world import BACKGROUNDS, COLOURS, SHAPES

PAIRS = tuple((c, s) for c in COLOURS for s in SHAPES)


@dataclass(frozen=True)
class Prompt:
    """One thing to ask for."""

    colour: str
    shape: str
    background: str

    @property
    def caption(self) -> str:
        """The words of it."""
        return f"a {self.colour} {self.shape} on {self.background}"

    def judge(self, image: np.ndarray, pixels_per_unit: float) -> bool:
        """Whether a picture shows just this."""
        return is_right(image, self.colour, self.shape, pixels_per_unit)


def draw_prompts(count: int, seed: int) -> list[Prompt]:
    """Every pair equally often, in random order on random backgrounds."""
    rng = np.random.default_rng([900, seed])
    prompts: list[Prompt] = []
    while len(prompts) < count:
        for k in rng.permutation(len(PAIRS)):
            colour, shape = PAIRS[k]
            background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
            prompts.append(Prompt(colour, shape, background))
    return prompts[:count]
