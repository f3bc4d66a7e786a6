"""All records side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .cases import Case
from .errands import cases_of, quickened
from .methods import Experiment, Method
from .metrics import QUANTITIES, Record
from .records import MEASURED, Records
from .statistics import Estimate, estimate


@dataclass(frozen=True)
class Table:
    """rows: by method's name, then by case."""

    rows: dict[str, dict[Case, Record]]

    @classmethod
    def read(cls, records: Records, experiments: Iterable[Experiment], quick: bool) -> Table:
        """Whatever has been recorded of these experiments."""
        rows: dict[str, dict[Case, Record]] = {}
        for experiment in experiments:
            for method in experiment.methods:
                for case in cases_of(experiment, quick):
                    used: Method = quickened(method) if quick else method
                    record = records.read(case, used)
                    if record is not None and record.get("measured") == MEASURED:
                        rows.setdefault(method.name, {})[case] = record
        return cls(rows)

    def values(self, method: str, quantity: str) -> dict[Case, float]:
        """A quantity by case, where it says something."""
        of = QUANTITIES[quantity].of
        found = {case: of(case, record) for case, record in self.rows.get(method, {}).items()}
        return {case: value for case, value in found.items() if value is not None}

    def paired(self, one: str, other: str, quantity: str) -> tuple[list[float], list[float]]:
        """A quantity of two methods on the cases they share."""
        ours, theirs = self.values(one, quantity), self.values(other, quantity)
        shared = [case for case in ours if case in theirs]
        return [ours[case] for case in shared], [theirs[case] for case in shared]

    def on(self, cases: Iterable[Case]) -> Table:
        """These cases only."""
        kept = set(cases)
        return Table(
            {
                method: {case: record for case, record in rows.items() if case in kept}
                for method, rows in self.rows.items()
            }
        )

    def estimate(self, method: str, quantity: str) -> Estimate | None:
        values = list(self.values(method, quantity).values())
        return estimate(values, QUANTITIES[quantity].span) if values else None
