"""Means with 95 % bootstrap intervals over cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 910
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n cases and its percentile bootstrap interval (Efron 1979)."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of at least one value; cases are resampled with replacement, with a fixed seed.

    Where all values are alike, percentiles say nothing of rates: for such a rate of 0 or 1 the
    far end is that of the exact binomial interval (Clopper & Pearson 1934).
    """
    sample = np.asarray(values, np.float64)
    count = len(sample)
    mean = float(sample.mean())
    rows = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    means = sample[rows].mean(1)
    tail = (1 - LEVEL) / 2
    low, high = (float(q) for q in np.quantile(means, (tail, 1 - tail)))
    if mean in (0.0, 1.0) and bool((sample == mean).all()):
        margin = 1 - tail ** (1 / count)
        low, high = (1 - margin, 1.0) if mean else (0.0, margin)
    return Estimate(mean, low, high, count)


def estimate_ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """The ratio of the means of paired values; infinite where the second mean is 0."""
    pairs = np.asarray([above, below], np.float64)
    count = pairs.shape[1]
    rows = np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))
    tops, bottoms = pairs[0][rows].mean(1), pairs[1][rows].mean(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(bottoms > 0, tops / bottoms, np.inf)
        whole = float(pairs[0].mean() / pairs[1].mean()) if pairs[1].mean() > 0 else np.inf
    tail = (1 - LEVEL) / 2
    low, high = (float(q) for q in np.quantile(ratios, (tail, 1 - tail), method="nearest"))
    return Estimate(whole, low, high, count)
