"""Which first-stage candidate goes on."""

from __future__ import annotations

from torch import Tensor


def best_of(scores: Tensor | None) -> tuple[int, list[float] | None]:
    """Index of the highest score and all scores as numbers; the first candidate without scores."""
    if scores is None:
        return 0, None
    return int(scores.argmax()), [round(float(score), 4) for score in scores]
