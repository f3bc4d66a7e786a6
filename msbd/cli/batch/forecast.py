"""How long the rest of a batch will take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from threading import Event, Lock, Thread

from ... import cost
from ...standalone.models import MINIATURE
from .places import is_address
from .rows import FILES, Row
from .work import Options, Outcome, requested


class Line:
    """a + b x, with a and b not less than 0, that is nearest to the points (x, y) seen so far, of
    which no coordinate is less than 0 (least squares)."""

    def __init__(self) -> None:
        self.count = 0
        self._x = self._y = self._spread = self._common = self._squares = 0.0

    def add(self, x: float, y: float) -> None:
        """One more point."""
        self.count += 1
        from_x = x - self._x
        self._x += from_x / self.count
        self._y += (y - self._y) / self.count
        self._spread += from_x * (x - self._x)
        self._common += from_x * (y - self._y)
        self._squares += x * x

    def fitted(self) -> tuple[float, float]:
        """a and b."""
        slope = self._common / self._spread if self._spread else 0.0
        if slope <= 0:
            return self._y, 0.0
        if slope * self._x > self._y:
            return 0.0, (self._common + self.count * self._x * self._y) / self._squares
        return self._y - slope * self._x, slope


class Forecast:
    """Plans each row in a thread of its own, and learns from those that are made.

    An edit is taken to last a + b p, where p is what `cost.seconds` says of its plan, and a and b
    are the `Line`'s of those made so far. Rows not planned yet, or that cannot be, count as the
    mean of the others; so do those whose files are afar, as reading them all here would be as
    much work for the network as making them.
    """

    def __init__(self, rows: Sequence[Row], options: Options) -> None:
        self.planned = 0
        self._sum = self._left_sum = 0.0
        self._weights: dict[int, float] = {}
        self._left = {row.number for row in rows}
        self._line = Line()
        self._lock, self._ended = Lock(), Event()
        Thread(target=self._plan, args=(rows, options), daemon=True).start()

    def made(self, outcome: Outcome) -> None:
        """A row is done."""
        with self._lock:
            self._left.discard(outcome.row)
            weight = self._weights.pop(outcome.row, None)
            if not outcome.error:
                self._line.add(self._usual if weight is None else weight, outcome.seconds)
            self._left_sum -= weight or 0.0

    def seconds(self, workers: int) -> float | None:
        """What is left takes so long; None as long as nothing is known."""
        with self._lock:
            if not self._line.count:
                return None
            fixed, rate = self._line.fitted()
            unplanned = len(self._left) - len(self._weights)
            left = self._left_sum + unplanned * self._usual
            return (fixed * len(self._left) + rate * left) / workers

    @property
    def _usual(self) -> float:
        return self._sum / self.planned if self.planned else 0.0

    def close(self) -> None:
        self._ended.set()

    def _plan(self, rows: Iterable[Row], options: Options) -> None:
        for row in rows:
            if self._ended.is_set():
                return
            afar = any(is_address(row.values.get(name, "")) for name in FILES)
            weight = None if afar else _weight(row, options)
            if weight is not None:
                with self._lock:
                    self.planned += 1
                    self._sum += weight
                    if row.number in self._left:
                        self._weights[row.number] = weight
                        self._left_sum += weight


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
