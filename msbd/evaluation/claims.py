"""The paper's claims and our aims, each as one figure with an interval, and what follows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .statistics import Estimate, estimate, estimate_ratio
from .table import Table

Measure = Callable[[Table], Estimate | None]


@dataclass(frozen=True)
class Claim:
    """It holds if the whole interval of its effect lies above `above` (and below `below`).

    source: in the paper. effect: what the figure is, with its unit.
    """

    claim: str
    source: str
    effect: str
    measure: Measure
    above: float = 0.0
    below: float | None = None

    def verdict(self, found: Estimate) -> str:
        """`holds`, `does not hold`, or `undecided` where the interval allows both."""
        if self.below is not None:
            if found.high < self.below and found.low > self.above:
                return "holds"
            outside = found.low > self.below or found.high < self.above
            return "does not hold" if outside else "undecided"
        if found.low > self.above:
            return "holds"
        return "does not hold" if found.high < self.above else "undecided"


def _difference(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    """By how much `one` has more of a quantity than `other`, case by case."""
    ours, theirs = table.paired(one, other, quantity)
    return estimate(np.subtract(ours, theirs).tolist()) if ours else None


def _more(one: str, other: str, quantity: str) -> Measure:
    return partial(_difference, one=one, other=other, quantity=quantity)


def _less(one: str, other: str, quantity: str) -> Measure:
    return partial(_difference, one=other, other=one, quantity=quantity)


def _nearer(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    """By how much `one` is nearer to 0 than `other`."""
    ours, theirs = table.paired(one, other, quantity)
    return estimate((np.abs(theirs) - np.abs(ours)).tolist()) if ours else None


def _ratio(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    ours, theirs = table.paired(one, other, quantity)
    return estimate_ratio(ours, theirs) if ours else None


def _level(table: Table, method: str, quantity: str) -> Estimate | None:
    return table.estimate(method, quantity)


def by_clip(table: Table, count: int, method: str = "candidates_10") -> list[tuple[float, ...]]:
    """For each case whether CLIP's pick of the first `count` candidates is right, the share of
    right ones among them (a blind pick), and whether any is."""
    picks: list[tuple[float, ...]] = []
    for record in table.rows.get(method, {}).values():
        right, scores = record["candidates_right"][:count], (record["scores"] or [])[:count]
        if len(right) == len(scores) == count:
            best = max(range(count), key=scores.__getitem__)
            picks.append((float(right[best]), sum(right) / count, float(any(right))))
    return picks


def _clip_gain(table: Table) -> Estimate | None:
    picks = by_clip(table, 5)
    return estimate([chosen - blind for chosen, blind, _ in picks]) if picks else None


def _worst_outside(table: Table) -> Estimate | None:
    values = [r["outside"] for rows in table.rows.values() for r in rows.values()]
    return Estimate(max(values), min(values), max(values), len(values)) if values else None


POINTS = "difference of shares"
DOUBLINGS = "doublings of Laplacian energy nearer to the surroundings"
CLAIMS: Sequence[Claim] = (
    Claim(
        "Multi-stage paints what was asked more often than blended diffusion in one pass at the "
        "highest resolution",
        "A.3",
        f"one right object, {POINTS}",
        _more("multi_stage", "one_pass", "one_right_object"),
    ),
    Claim(
        "... also with a single candidate",
        "A.3",
        f"one right object, {POINTS}",
        _more("one_candidate", "one_pass", "one_right_object"),
    ),
    Claim(
        "... and than separate segments of the training resolution",
        "A.3",
        f"one right object, {POINTS}",
        _more("multi_stage", "segments", "one_right_object"),
    ),
    Claim(
        "... and is sharper than the first stage enlarged bilinearly",
        "A.3, Figure 5 a",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="first_bilinear", quantity="sharpness"),
    ),
    Claim(
        "... and than the first stage enlarged by Real-ESRGAN",
        "A.3, Figure 5 b",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="first_esrgan", quantity="sharpness"),
    ),
    Claim(
        "... and than the WebUI's inpainting of only the masked area",
        "(ours)",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="only_masked", quantity="sharpness"),
    ),
    Claim(
        "Real-ESRGAN is sharper than bilinear enlargement",
        "Figure 5 a, b",
        DOUBLINGS,
        partial(_nearer, one="first_esrgan", other="first_bilinear", quantity="sharpness"),
    ),
    Claim(
        "Diffusion after Real-ESRGAN adds detail, even unconditional",
        "Figure 5 b, c",
        DOUBLINGS,
        partial(_nearer, one="unconditional", other="first_esrgan", quantity="sharpness"),
    ),
    Claim(
        "... with the prompt it adds more",
        "Figure 5 c, d",
        DOUBLINGS,
        partial(_nearer, one="text", other="unconditional", quantity="sharpness"),
    ),
    Claim(
        "Blending in the later stages keeps the background",
        "Figure 5 d, f",
        "dB in the ring before the paste",
        _more("multi_stage", "text", "ring_psnr"),
    ),
    Claim(
        "A low-passed background makes the edit sharper than an unfiltered one",
        "3.2, Figure 5 e, f",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="sharp_background", quantity="sharpness"),
    ),
    Claim(
        "RePaint makes the edit continue its surroundings",
        "3.1, Figure 6",
        "seam before the paste, less of it with 5 repeats than with none",
        _less("repaint_5", "repaint_0", "continuity"),
    ),
    Claim(
        "... and paints what was asked more often",
        "3.1, Figure 6",
        f"right candidates, {POINTS}",
        _more("repaint_5", "repaint_0", "candidates_right"),
    ),
    Claim(
        "More than 5 repeats gain little",
        "Figure 6",
        "right candidates, 20 repeats against 5, difference of shares within a tenth",
        _more("repaint_20", "repaint_5", "candidates_right"),
        above=-0.1,
        below=0.1,
    ),
    Claim(
        "CLIP picks a right candidate more often than chance",
        "3.1",
        f"CLIP's pick of 5 against a blind one, {POINTS}",
        _clip_gain,
    ),
    Claim(
        "Decoder optimisation brings the background back",
        "3.3",
        "dB in the ring before the paste, 100 iterations against none",
        _more("decoder_100", "decoder_0", "ring_psnr"),
    ),
    Claim(
        "... and takes the step of tone from the mask's edge",
        "3.3",
        "coarse seam, less of it with 100 iterations than with none",
        _less("decoder_100", "decoder_0", "seam_coarse"),
    ),
    Claim(
        "100 iterations of it are better than 30",
        "3.3",
        "dB in the ring before the paste",
        _more("decoder_100", "decoder_30", "ring_psnr"),
    ),
    Claim(
        "Overlap hides the borders of tiles",
        "3.2",
        "seam of tiles, less of it with 32 pixels than with none",
        _less("overlap_32", "overlap_0", "tile_seam"),
    ),
    Claim(
        "The intermediate stages' strength of 0.4 makes the edit sharper than none",
        "3.2",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="intermediate_0", quantity="sharpness"),
    ),
    Claim(
        "The final stage's strength of 0.25 makes the edit sharper than none",
        "3.2",
        DOUBLINGS,
        partial(_nearer, one="multi_stage", other="final_0", quantity="sharpness"),
    ),
    Claim(
        "Solving for the decoder's last layer matches the background better than 100 iterations",
        "(ours)",
        "dB in the ring before the paste",
        _more("refit", "decoder_100", "ring_psnr"),
    ),
    Claim(
        "The preset recommended paints what was asked more often than the paper's settings",
        "(ours)",
        f"one right object, {POINTS}",
        _more("recommended", "multi_stage", "one_right_object"),
    ),
    Claim(
        "... and its edits fit their surroundings better",
        "(ours)",
        "coarse seam, less of it",
        _less("recommended", "multi_stage", "seam_coarse"),
    ),
    Claim(
        "Outside the mask and its feather nothing changes",
        "3",
        "largest difference in all edits, in 8-bit levels (and least, largest)",
        _worst_outside,
        above=-1,
        below=1,
    ),
)
AIMS: Sequence[Claim] = tuple(
    aim
    for method in ("multi_stage", "recommended")
    for aim in (
        Claim(
            f"`{method}` yields exactly one right object in at least 90 % of the edits",
            "",
            "share",
            partial(_level, method=method, quantity="one_right_object"),
            above=0.9,
        ),
        Claim(
            "... at least 2.5 times as often as one pass at the highest resolution",
            "",
            "ratio",
            partial(_ratio, one=method, other="one_pass", quantity="one_right_object"),
            above=2.5,
        ),
    )
)
"""Judged by the figure itself: `reached` asks for `above`, the interval tells how sure that is."""
