"""A claim: one figure with an interval, how it is measured, and what follows of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from .metrics import QUANTITIES
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


def difference(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    """By how much `one` has more of a quantity than `other`, case by case."""
    ours, theirs = table.paired(one, other, quantity)
    span = (-1.0, 1.0) if QUANTITIES[quantity].share else None
    return estimate(np.subtract(ours, theirs).tolist(), span) if ours else None


def more(one: str, other: str, quantity: str) -> Measure:
    return partial(difference, one=one, other=other, quantity=quantity)


def less(one: str, other: str, quantity: str) -> Measure:
    return partial(difference, one=other, other=one, quantity=quantity)


def ratio(table: Table, one: str, other: str, quantity: str) -> Estimate | None:
    ours, theirs = table.paired(one, other, quantity)
    return estimate_ratio(ours, theirs) if ours else None


def ratio_of(one: str, other: str, quantity: str) -> Measure:
    return partial(ratio, one=one, other=other, quantity=quantity)


def level(table: Table, method: str, quantity: str) -> Estimate | None:
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


def clip_gain(table: Table) -> Estimate | None:
    picks = by_clip(table, 5)
    gains = [chosen - blind for chosen, blind, _ in picks]
    return estimate(gains, (-1.0, 1.0)) if picks else None


def worst_outside(table: Table) -> Estimate | None:
    values = [r["outside"] for rows in table.rows.values() for r in rows.values()]
    return Estimate(max(values), max(values), max(values), len(values)) if values else None
