"""How long the rest of a batch will take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Event, Lock, Thread

from ... import cost
from ...standalone.models import MINIATURE
from .rows import Row
from .work import Options, Outcome, requested


class Forecast:
    """Plans each row in a thread of its own, and learns from those that are made.

    An edit is taken to last a + b p, where p is what `cost.seconds` says of its plan; a and b, not
    less than 0, fit those made so far best (least squares). Rows not planned yet, or that cannot
    be, count as the mean of the others.
    """

    def __init__(self, rows: Sequence[Row], options: Options) -> None:
        self._weights: dict[int, float] = {}
        self._left = {row.number for row in rows}
        self._made: list[tuple[float, float]] = []
        self._lock, self._ended = Lock(), Event()
        Thread(target=self._plan, args=(rows, options), daemon=True).start()

    def made(self, outcome: Outcome) -> None:
        """A row is done."""
        with self._lock:
            self._left.discard(outcome.row)
            weight = self._weights.get(outcome.row)
            if not outcome.error and weight is not None:
                self._made.append((weight, outcome.seconds))

    def seconds(self, workers: int) -> float | None:
        """What is left takes so long; None as long as nothing is known."""
        with self._lock:
            if not self._made or not self._weights:
                return None
            fixed, rate = fitted(self._made)
            usual = sum(self._weights.values()) / len(self._weights)
            weights = (self._weights.get(number, usual) for number in self._left)
            return sum(fixed + rate * weight for weight in weights) / workers

    def close(self) -> None:
        self._ended.set()

    def _plan(self, rows: Iterable[Row], options: Options) -> None:
        for row in rows:
            if self._ended.is_set():
                return
            weight = _weight(row, options)
            if weight is not None:
                with self._lock:
                    self._weights[row.number] = weight


def fitted(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """a and b, not less than 0, for which a + b x is nearest to y; x and y are not less than 0."""
    count = len(pairs)
    mean_x, mean_y = (sum(values) / count for values in zip(*pairs, strict=True))
    spread = sum((x - mean_x) ** 2 for x, _ in pairs)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / spread if spread else 0.0
    if slope <= 0:
        return mean_y, 0.0
    if slope * mean_x > mean_y:
        squares = sum(x * x for x, _ in pairs)
        return 0.0, sum(x * y for x, y in pairs) / squares
    return mean_y - slope * mean_x, slope


def _weight(row: Row, options: Options) -> float | None:
    """Seconds by the constants of `cost`; None for a row that cannot be made."""
    try:
        with requested(row, options, "cpu") as request:
            kind = request.models.checkpoint == MINIATURE
            chooses = "cpu" if request.settings.ranks_by_clip else ""
            loaded = cost.Loaded(
                *("", cost.MINIATURE if kind else cost.STABLE_DIFFUSION, "cpu", "cpu", chooses)
            )
            return cost.seconds(request.plan(), loaded)
    except Exception:  # whatever it is, the row's own outcome tells it
        return None
