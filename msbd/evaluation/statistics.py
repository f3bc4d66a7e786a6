"""Means with 95 % bootstrap intervals over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000
SEED = 910
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over n cases and its interval."""

    mean: float
    low: float
    high: float
    n: int


def estimate(values: Sequence[float], span: tuple[float, float] | None = None) -> Estimate:
    """The mean of at least one value; cases are resampled with replacement, with a fixed seed.

    The interval is the percentile bootstrap's (Efron 1979), its percentiles widened for few cases
    so that it is as wide as Student's (Hesterberg 2015, "expanded percentile"). span: where values
    must lie, for shares and their differences. If all of them are alike, resampling says nothing;
    then up to 1 - 0.025^(1/n) of all cases, Clopper and Pearson's bound, might be at an end of it.
    """
    sample = np.asarray(values, np.float64)
    count, mean = len(sample), float(sample.mean())
    if count == 1:
        low, high = span or (-math.inf, math.inf)
    elif (sample == mean).all():
        margin = 1 - ((1 - LEVEL) / 2) ** (1 / count)
        bottom, top = span or (mean, mean)
        low, high = mean + margin * (bottom - mean), mean + margin * (top - mean)
    else:
        means = sample[_resampled(count)].mean(1)
        low, high = (float(q) for q in np.quantile(means, _tails(count)))
    return Estimate(mean, low, high, count)


def estimate_ratio(above: Sequence[float], below: Sequence[float]) -> Estimate:
    """The ratio of the means of paired values; infinite where only the second mean is 0."""
    pairs = np.asarray([above, below], np.float64)
    rows = _resampled(pairs.shape[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = pairs[0][rows].mean(1) / pairs[1][rows].mean(1)
        whole = float(pairs[0].mean() / pairs[1].mean())
    tails = _tails(pairs.shape[1])
    low, high = (float(q) for q in np.quantile(ratios, tails, method="nearest"))
    return Estimate(whole, low, high, pairs.shape[1])


def _resampled(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, count, (RESAMPLES, count))


def _tails(count: int) -> tuple[float, float]:
    """The percentiles to take."""
    if count < 2:
        return 0.0, 1.0
    reach = stats.t.ppf((1 + LEVEL) / 2, count - 1) * math.sqrt(count / (count - 1))
    tail = float(stats.norm.cdf(-reach))
    return tail, 1 - tail
