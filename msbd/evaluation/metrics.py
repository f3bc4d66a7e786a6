"""What is averaged over cases, and how it is read off a record."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .cases import Case

Record = dict[str, Any]
Value = float | None


@dataclass(frozen=True)
class Quantity:
    """A figure of one edit.

    about: one sentence for the documents. of: None where it says nothing of that edit. shown: a
    format for people; a share is shown in per cent.
    """

    name: str
    label: str
    about: str
    of: Callable[[Case, Record], Value]
    shown: str = ".2f"
    share: bool = False

    @property
    def span(self) -> tuple[float, float] | None:
        """Where values lie, for `estimate`."""
        return (0.0, 1.0) if self.share else None

    def text(self, value: float | None) -> str:
        """As people read it; None stands for what no number can tell."""
        if value is None:
            return "∞"
        if self.share:
            return f"{100 * value:.0f} %"
        return format(value, self.shown)


def _asked(key: str) -> Callable[[Case, Record], Value]:
    return lambda case, record: float(record[key]) if case.asks_for_object else None


def _plain(key: str) -> Callable[[Case, Record], Value]:
    return lambda case, record: record[key]


def _candidates(case: Case, record: Record) -> Value:
    right = record["candidates_right"]
    return sum(right) / len(right) if right and case.asks_for_object else None


def _doublings(key: str) -> Callable[[Case, Record], Value]:
    def of(case: Case, record: Record) -> Value:
        ratio = record[key]
        return math.log2(max(ratio, 2**-8)) if ratio is not None else None

    return of


def _megabytes(case: Case, record: Record) -> Value:
    return None if record["memory"] is None else record["memory"] / 2**20


_ALL = (
    Quantity(
        "one_right_object",
        "one right object",
        "share of the edits asking for an object in which the oracle finds exactly one at the "
        "mask, of the right shape and colour, inside mask and feather",
        _asked("one_right"),
        share=True,
    ),
    Quantity(
        "as_asked",
        "as asked",
        "the same over all edits, where retouching a scratch must leave no object",
        lambda case, record: float(record["one_right"]),
        share=True,
    ),
    Quantity(
        "one_object",
        "one object",
        "share with exactly one object at the mask",
        lambda case, record: float(record["objects"] == 1) if case.asks_for_object else None,
        share=True,
    ),
    Quantity("right_colour", "right colour", "of the largest", _asked("right_colour"), share=True),
    Quantity("right_shape", "right shape", "of the largest", _asked("right_shape"), share=True),
    Quantity(
        "inside",
        "inside the mask",
        "share of edits whose largest object is not cut off by the mask's edge",
        _asked("inside"),
        share=True,
    ),
    Quantity(
        "candidates_right",
        "right candidates",
        "share of the first stage's candidates that show one right object, two of their pixels "
        "away from the mask's edge",
        _candidates,
        share=True,
    ),
    Quantity(
        "edge",
        "outline, px",
        "width in pixels of the painted object's outline, its contrast over its steepest slope: "
        "less is sharper, and a drawn object has 1 to 2",
        _plain("edge"),
    ),
    Quantity(
        "sharpness",
        "texture",
        "Laplacian energy of the painted ground against the ground round the mask, at 160 pixels "
        "to a unit of the world, in doublings: 0 is alike, -1 half of it; nothing is said of "
        "grounds as smooth as the rounding to 8 bits",
        _doublings("laplacian"),
    ),
    Quantity(
        "seam",
        "seam",
        "how well the edge of the edit can be seen: steps of tone, texture and sharpness between "
        "just inside and just outside, see `msbd/seam.py`, less what was there before the edit; 0 "
        "cannot be seen, a difference of 0.1 can",
        _plain("seam"),
    ),
    Quantity("seam_tone", "step of tone", "of it, in 8-bit levels", _plain("seam_tone")),
    Quantity(
        "seam_texture",
        "step of texture",
        "of it, in doublings, the mean of three octaves, less what was there before; either way",
        _plain("seam_texture"),
    ),
    Quantity(
        "seam_sharpness",
        "step of sharpness",
        "of it, in doublings that the finest octave has more than the coarsest, inside over "
        "outside, less what was there before: less than 0 is softer",
        _plain("seam_sharpness"),
    ),
    Quantity(
        "tile_seam",
        "seam of tiles",
        "jump of the gradient across tile borders in the mask against that beside them, in "
        "doublings",
        _doublings("tile_seam"),
    ),
    Quantity(
        "ring_psnr",
        "ring, dB",
        "PSNR of the picture before the paste in a ring of 16 pixels round mask and feather; where "
        "only a first stage is made, much of the ring is repainted",
        _plain("ring_psnr"),
        ".1f",
    ),
    Quantity(
        "tone_shift",
        "tone shift",
        "low-frequency difference in that ring, in 8-bit levels",
        _plain("tone_shift"),
    ),
    Quantity(
        "evaluations",
        "evaluations",
        "of the network, in units of one at the training resolution; a guided pair is one",
        _plain("evaluations"),
        ".0f",
    ),
    Quantity("seconds", "core seconds", "processor time on one core", _plain("seconds"), ".0f"),
    Quantity(
        "memory",
        "memory, MiB",
        "growth of the process at its peak, where nothing was recalled from another edit",
        _megabytes,
        ".0f",
    ),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
