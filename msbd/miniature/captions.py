"""Captions of the procedural world (numpy only)."""

from __future__ import annotations

import numpy as np

TEMPLATES = (
    "a {colour} {shape} on {background}",
    "{colour} {shape} on {background}",
    "a photo of a {colour} {shape} on {background}",
    "a {colour} {shape}",
    "{background} with a {colour} {shape}",
    "{colour} {shape}",
)
TEMPLATE_WEIGHTS = (0.4, 0.15, 0.1, 0.2, 0.1, 0.05)
EMPTY_TEMPLATES = (
    "{background}",
    "empty {background}",
    "a photo of {background}",
    "{background} background",
)


def caption(
    rng: np.random.Generator, background: str, colour: str | None = None, shape: str | None = None
) -> str:
    """A random caption such as "a red star on grass"; without a shape, of the bare background."""
    if shape is None:
        return EMPTY_TEMPLATES[rng.integers(len(EMPTY_TEMPLATES))].format(background=background)
    template = TEMPLATES[rng.choice(len(TEMPLATES), p=TEMPLATE_WEIGHTS)]
    return template.format(colour=colour, shape=shape, background=background)
