"""The paper's claims and our aims, each as one figure with an interval, and what follows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from .quantities import QUANTITIES
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
    span = (-1.0, 1.0) if QUANTITIES[quantity].share else None
    return estimate(np.subtract(ours, theirs).tolist(), span) if ours else None


def _more(one: str, other: str, quantity: str) -> Measure:
    return partial(_difference, one=one, other=other, quantity=quantity)


def _less(one: str, other: str, quantity: str) -> Measure:
    return partial(_difference, one=other, other=one, quantity=quantity)


def _ratio(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    ours, theirs = table.paired(one, other, quantity)
    return estimate_ratio(ours, theirs) if ours else None


def _ratio_of(one: str, other: str, quantity: str) -> Measure:
    return partial(_ratio, one=one, other=other, quantity=quantity)


def _level(table: Table, method: str, quantity: str) -> Estimate | None:
    return table.estimate(method, quantity)


def by_clip(table: Table, count: int, method: str = "candidates_10") -> list[tuple[float, ...]]:
    """For each case whether CLIP's pick of the first `count` candidates is right, the share of
    right ones among them (a blind pick), and whether any is."""
    picks: list[tuple[float, ...]] = []
    for record in table.rows.get(method, {}).values():
        right, scores = record["candidates_right"][:count], (record["scores"] or [])[:count]
        if len(right) == len(scores) == count:
            best = scores.index(max(scores))
            picks.append((float(right[best]), sum(right) / count, float(any(right))))
    return picks


def _clip_gain(table: Table) -> Estimate | None:
    picks = by_clip(table, 5)
    gains = [chosen - blind for chosen, blind, _ in picks]
    return estimate(gains, (-1.0, 1.0)) if picks else None


def _worst_outside(table: Table) -> Estimate | None:
    values = [r["outside"] for rows in table.rows.values() for r in rows.values()]
    return Estimate(max(values), max(values), max(values), len(values)) if values else None


POINTS = "difference of shares"
PIXELS = "outline, pixels narrower"
DOUBLINGS = "texture, doublings of Laplacian energy"
CLAIMS: Sequence[Claim] = (
    Claim(
        "Multi-stage paints what was asked more often than blended diffusion in one pass at the "
        "highest resolution",
        "A.3",
        f"one right object, {POINTS}",
        _more("multi_stage", "one_pass", "one_right_object"),
    ),
    Claim(
        "Multi-stage does so also with a single candidate, as one pass has",
        "A.3",
        f"one right object, {POINTS}",
        _more("one_candidate", "one_pass", "one_right_object"),
    ),
    Claim(
        "Multi-stage paints what was asked more often than separate segments of the training size",
        "A.3",
        f"one right object, {POINTS}",
        _more("multi_stage", "segments", "one_right_object"),
    ),
    Claim(
        "Multi-stage is sharper than the first stage enlarged bilinearly",
        "A.3, Figure 5 a",
        PIXELS,
        _less("multi_stage", "first_bilinear", "edge"),
    ),
    Claim(
        "Multi-stage is sharper than the first stage enlarged by Real-ESRGAN",
        "A.3, Figure 5 b",
        PIXELS,
        _less("multi_stage", "first_esrgan", "edge"),
    ),
    Claim(
        "Multi-stage is sharper than the WebUI's inpainting of only the masked area",
        "(ours)",
        PIXELS,
        _less("multi_stage", "only_masked", "edge"),
    ),
    Claim(
        "Real-ESRGAN is sharper than bilinear enlargement",
        "Figure 5 a, b",
        PIXELS,
        _less("first_esrgan", "first_bilinear", "edge"),
    ),
    Claim(
        "Diffusion after Real-ESRGAN is sharper still, even unconditional",
        "Figure 5 b, c",
        PIXELS,
        _less("unconditional", "first_esrgan", "edge"),
    ),
    Claim(
        "Diffusion after Real-ESRGAN is sharper with the prompt than without",
        "Figure 5 c, d",
        PIXELS,
        _less("text", "unconditional", "edge"),
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
        PIXELS,
        _less("multi_stage", "sharp_background", "edge"),
    ),
    Claim(
        "A low-passed background gives the ground more texture than an unfiltered one",
        "3.2, Figure 5 e, f",
        DOUBLINGS,
        _more("multi_stage", "sharp_background", "sharpness"),
    ),
    Claim(
        "Multi-stage gives the ground more texture than the first stage enlarged bilinearly",
        "A.3, Figure 5 a",
        DOUBLINGS,
        _more("multi_stage", "first_bilinear", "sharpness"),
    ),
    Claim(
        "RePaint makes the edit continue its surroundings",
        "3.1, Figure 6",
        "seam before the paste, doublings less with 5 repeats than with none",
        _less("repaint_5", "repaint_0", "continuity"),
    ),
    Claim(
        "RePaint paints what was asked more often",
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
        "Decoder optimisation takes the step of tone from the mask's edge",
        "3.3",
        "coarse seam, doublings less with 100 iterations than with none",
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
        "seam of tiles, doublings less with 32 pixels than with none",
        _less("overlap_32", "overlap_0", "tile_seam"),
    ),
    Claim(
        "The intermediate stages' strength of 0.4 makes the edit sharper than none",
        "3.2",
        PIXELS,
        _less("multi_stage", "intermediate_0", "edge"),
    ),
    Claim(
        "The final stage's strength of 0.25 makes the edit sharper than none",
        "3.2",
        PIXELS,
        _less("multi_stage", "final_0", "edge"),
    ),
    Claim(
        "Solving for the decoder's last layer matches the background better than 100 iterations",
        "(ours)",
        "dB in the ring before the paste",
        _more("last_layer", "decoder_100", "ring_psnr"),
    ),
    Claim(
        "The preset recommended paints what was asked more often than the paper's procedure",
        "(ours)",
        f"one right object, {POINTS}",
        _more("recommended", "multi_stage", "one_right_object"),
    ),
    Claim(
        "The preset recommended takes less than a fifth of the paper's network evaluations",
        "(ours)",
        "ratio",
        _ratio_of("recommended", "multi_stage", "evaluations"),
        below=0.2,
    ),
    Claim(
        "The preset fast paints what was asked at most 10 points less often than the paper's "
        "procedure",
        "(ours)",
        f"one right object, {POINTS}",
        _more("fast", "multi_stage", "one_right_object"),
        above=-0.1,
    ),
    Claim(
        "Mixing latent cells at the mask's edge makes the edit fit better",
        "(ours)",
        "coarse seam, doublings less",
        _less("recommended", "hard_edge", "seam_coarse"),
    ),
    Claim(
        "An edit that stays inside the mask shows what was asked more often",
        "(ours)",
        f"one right object, {POINTS}",
        _more("inside", "multi_stage", "one_right_object"),
    ),
    Claim(
        "Edits of the preset recommended fit better than without decoder optimisation",
        "(ours)",
        "coarse seam, doublings less",
        _less("recommended", "multi_stage", "seam_coarse"),
    ),
    Claim(
        "Outside the mask and its feather nothing changes",
        "3",
        "largest difference in any edit, in 8-bit levels",
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
            f"`{method}` does so at least 2.5 times as often as one pass at the highest resolution",
            "",
            "ratio",
            partial(_ratio, one=method, other="one_pass", quantity="one_right_object"),
            above=2.5,
        ),
    )
)
"""Judged by the figure itself: `reached` asks for `above`, the interval tells how sure that is."""
