"""Captioned pictures for the judge: renderings at several scales, and what the model paints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .degradation import KERNELS
from .oracle import is_right
from .sampling import Miniature, Sampler
from .training import Team, save
from .world import BACKGROUNDS, BASE, TRAINING_PAIRS, caption, draw_scene

SIDE = 64
"""Pixels a side of what the judge sees."""
EMPTY = 0.08
WHOLE_VIEWS = (0.8, 2.5)
"""Sides of whole scenes, in units; an object then spans 15 to 80 % of the picture."""
CLOSE_SPANS = (0.35, 0.95)
"""Share of a close view that its object spans."""
OVERSAMPLING = 2
PAINTED, PAINTED_STEPS, PAINTED_CHUNK = 640, 15, 40
SEED = 41


@dataclass(frozen=True)
class Facts:
    """What a picture shows or a caption says; None where there is no object, or no word of it."""

    background: str | None
    colour: str | None = None
    shape: str | None = None


@dataclass(frozen=True)
class Pictures:
    """uint8 [N,SIDE,SIDE,3] and what each shows; None: nothing that a caption may be told of."""

    images: np.ndarray
    facts: list[Facts | None]


def shrink(image: np.ndarray, kernel: Image.Resampling) -> np.ndarray:
    """A picture (uint8 [H,W,3]) as the judge sees it: squashed to SIDE x SIDE."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), kernel))


def draw_view(
    rng: np.random.Generator,
    colour: str | None = None,
    shape: str | None = None,
    empty: float = EMPTY,
) -> tuple[np.ndarray, Facts]:
    """A rendering for the judge: half the time a whole scene, else a close view of the object."""
    extent, size = np.exp(rng.uniform(*np.log(WHOLE_VIEWS))), None
    if rng.uniform() < 0.5:
        extent = rng.uniform(0.4, 1.2)
        size = extent * rng.uniform(*CLOSE_SPANS)
    side = SIDE * int(rng.integers(1, OVERSAMPLING + 1))
    image, scene = draw_scene(
        rng, side, side, side / extent, colour=colour, shape=shape, size=size, empty=empty
    )
    return shrink(image, KERNELS[rng.integers(len(KERNELS))]), Facts(
        scene.background, scene.colour, scene.shape
    )


def draw_views(seed: int, count: int) -> Pictures:
    """``count`` renderings, none of a held-out pair."""
    rng = np.random.default_rng(seed)
    views = [draw_view(rng) for _ in range(count)]
    return Pictures(np.stack([image for image, _ in views]), [facts for _, facts in views])


def say(rng: np.random.Generator, facts: Facts) -> tuple[str, Facts]:
    """A caption that is true of a picture, and what it says."""
    if facts.background is None:
        return f"a {facts.colour} {facts.shape}", facts
    words = caption(rng, facts.background, facts.colour, facts.shape)
    told = facts.background if facts.background in words else None
    return words, Facts(told, facts.colour, facts.shape)


def is_true(said: Facts, shown: Facts | None) -> bool:
    """Whether a caption holds of a picture; one of a bare background, only of an empty one."""
    if shown is None or (said.colour, said.shape) != (shown.colour, shown.shape):
        return False
    return said.background in (None, shown.background)


def paint(
    sampler: Sampler,
    rng: np.random.Generator,
    count: int,
    pairs: Sequence[tuple[str, str]] = TRAINING_PAIRS,
) -> Pictures:
    """Paint ``count`` random prompts of the given (colour, shape) pairs, to judge or to learn from.

    A picture counts as what its prompt says only where the oracle finds just that; the others
    are kept as pictures that no caption is true of. The background is known where the prompt
    names one.
    """
    chosen = [pairs[i] for i in rng.integers(len(pairs), size=count)]
    wanted = [Facts(BACKGROUNDS[rng.integers(len(BACKGROUNDS))], *pair) for pair in chosen]
    prompts, told = zip(*(say(rng, facts) for facts in wanted), strict=True)
    latents = sampler.sample(list(prompts), BASE, BASE, seed=int(rng.integers(2**31)))
    images = sampler.decode(latents)
    seen = [
        facts if is_right(image, *pair) else None
        for image, facts, pair in zip(images, told, chosen, strict=True)
    ]
    small = [shrink(image, KERNELS[rng.integers(len(KERNELS))]) for image in images]
    return Pictures(np.stack(small), seen)


def paint_pictures(team: Team, out: Path) -> None:
    """Paint training prompts with ``diffusion.pt``; writes ``painted.pt``."""
    if team.rank:
        return
    sampler = Sampler(Miniature.from_states(torch.load(out / "diffusion.pt")), steps=PAINTED_STEPS)
    chunks = [
        paint(sampler, np.random.default_rng([SEED, i]), PAINTED_CHUNK)
        for i in range(PAINTED // PAINTED_CHUNK)
    ]
    images = torch.from_numpy(np.concatenate([chunk.images for chunk in chunks]))
    facts = [f and vars(f) for chunk in chunks for f in chunk.facts]
    save({"images": images, "facts": facts}, out / "painted.pt")


def load_painted(out: Path) -> Pictures:
    """What `paint_pictures` wrote."""
    state = torch.load(out / "painted.pt")
    return Pictures(state["images"].numpy(), [Facts(**f) if f else None for f in state["facts"]])


def truth(said: list[Facts], shown: list[Facts | None]) -> Tensor:
    """Which caption holds of which picture: bool [pictures, captions]."""
    return torch.tensor([[is_true(words, picture) for words in said] for picture in shown])
