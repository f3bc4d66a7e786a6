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

    def text(self, value: float) -> str:
        """As people read it."""
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


def _doublings(case: Case, record: Record) -> Value:
    ratio = record["laplacian"]
    return math.log2(max(ratio, 1e-6)) if ratio is not None else None


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
        "share of edits whose largest object lies in mask and feather",
        _asked("inside"),
        share=True,
    ),
    Quantity(
        "candidates_right",
        "right candidates",
        "share of the first stage's candidates that show one right object",
        _candidates,
        share=True,
    ),
    Quantity(
        "sharpness",
        "sharpness",
        "Laplacian energy of the painted ground against the ground round the mask, in doublings: "
        "0 is alike, -1 half of it",
        _doublings,
    ),
    Quantity(
        "slope",
        "spectral slope",
        "difference of the same grounds' spectral slopes, in doublings per octave: 0 is alike, "
        "less is softer",
        _plain("slope"),
    ),
    Quantity(
        "seam",
        "seam",
        "jump of the gradient across the mask's edge, times that in the untouched picture",
        _plain("seam"),
    ),
    Quantity(
        "seam_coarse",
        "seam, coarse",
        "the same on pixels of 4 x 4, which sees a step of tone that the feather spreads",
        _plain("seam_coarse"),
    ),
    Quantity(
        "continuity",
        "seam before the paste",
        "the same in the model's own picture: whether what it painted goes on across the edge",
        _plain("continuity"),
    ),
    Quantity(
        "tile_seam",
        "seam of tiles",
        "jump of the gradient across tile borders, times that elsewhere in the mask",
        _plain("tile_seam"),
    ),
    Quantity(
        "ring_psnr",
        "ring, dB",
        "PSNR of the picture before the paste in a ring of 16 pixels round mask and feather",
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
    Quantity("memory", "memory, MiB", "growth of the process at its peak", _megabytes, ".0f"),
)
QUANTITIES = {quantity.name: quantity for quantity in _ALL}
