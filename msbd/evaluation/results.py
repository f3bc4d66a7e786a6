"""Everything that was found, as one JSON document; and every record, as a table of text."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import combinations
from typing import Any

import numpy as np

from .. import __version__
from ..geometry import Box
from .cases import SEED, all_cases, draw
from .claims import AIMS, CLAIMS
from .effects import by_clip
from .errands import cases_of, quickened
from .methods import COMPARED, SEEDS, Experiment
from .metrics import QUANTITIES
from .records import Records
from .statistics import Estimate, estimate
from .table import Table

Results = dict[str, Any]


def assembled(
    table: Table, records: Records, experiments: Sequence[Experiment], quick: bool
) -> Results:
    """Plain JSON values; see the document for what they mean."""
    return {
        "made": _made(table, records, quick),
        "quantities": {q.name: q.about for q in QUANTITIES.values()},
        "cases": [
            {
                "name": case.name,
                "picture": str(case.size),
                "prompt": case.prompt,
                "seed": case.seed,
                "pixels_per_unit": case.unit,
            }
            for case in all_cases()
            if any(case in rows for rows in table.rows.values())
        ],
        "experiments": [
            {
                "name": experiment.name,
                "title": experiment.title,
                "cases": [case.name for case in cases_of(experiment, quick)],
                "methods": _compared(table.on(cases_of(experiment, quick)), experiment),
            }
            for experiment in experiments
        ],
        "methods": {
            method.name: {"about": method.about, **_figures(table, method.name)}
            for experiment in experiments
            for method in experiment.methods
            if method.name in table.rows
        },
        "clip": _clip(table),
        "seeds": _seeds(table, records, quick),
        "claims": _claims(table),
        "aims": _aims(table),
    }


def _compared(table: Table, experiment: Experiment) -> dict[str, Any]:
    """Figures of an experiment's methods, and of others it is to be seen with, on its cases."""
    names = [*COMPARED.get(experiment.name, ()), *(m.name for m in experiment.methods)]
    return {name: _figures(table, name) for name in names if table.rows.get(name)}


def _figures(table: Table, method: str) -> dict[str, Any]:
    """Means and intervals of one method's quantities; the largest of what must not be."""
    rows = table.rows[method]
    figures: dict[str, Any] = {"n": len(rows)}
    intervals, counts = {}, {}
    for name in QUANTITIES:
        found = table.estimate(method, name)
        if found is not None:
            figures[name] = _rounded(found.mean)
            intervals[name] = [_rounded(found.low), _rounded(found.high)]
            counts[name] = found.n
    figures["outside"] = max(record["outside"] for record in rows.values())
    figures["intervals"], figures["counts"] = intervals, counts
    return figures


def _clip(table: Table) -> list[dict[str, Any]]:
    """What becomes of 1, 3, 5, 10 candidates: CLIP's pick, a blind pick, the best there is."""
    found = []
    for count in (1, 3, 5, 10):
        picks = by_clip(table, count)
        if picks:
            columns = zip(("by_clip", "blind", "any"), zip(*picks, strict=True), strict=True)
            shares = {name: _interval(estimate(values, (0.0, 1.0))) for name, values in columns}
            found.append({"candidates": count, "n": len(picks), **shares})
    return found


def _seeds(table: Table, records: Records, quick: bool) -> dict[str, Any]:
    """How often one edit is right whatever its seed, and how much its pictures differ.

    difference: root mean square inside the mask between the pictures of two seeds, in 8-bit
    levels; the mean over all pairs of seeds, then over cases.
    """
    right, differences = [], []
    for case in all_cases():
        methods = [m for m in SEEDS if case in table.rows.get(m.name, {})]
        if len(methods) < 2:
            continue
        rows = [table.rows[method.name][case] for method in methods]
        right.append(sum(row["one_right"] for row in rows) / len(rows))
        made = [quickened(method) for method in methods] if quick else methods
        crop = Box(*rows[0]["crop"])
        mask = draw(case)[1][crop.rows, crop.columns] > 0
        inside = [records.picture(case, method)[mask].astype(float) for method in made]
        squares = [np.mean(np.square(one - other)) for one, other in combinations(inside, 2)]
        differences.append(float(np.mean(np.sqrt(squares))))
    if not right:
        return {}
    return {
        "seeds": len(SEEDS),
        "n": len(right),
        "right": _interval(estimate(right, (0.0, 1.0))),
        "difference": _interval(estimate(differences)),
    }


def _claims(table: Table) -> list[dict[str, Any]]:
    found = []
    for claim in CLAIMS:
        effect = claim.measure(table)
        if effect is not None:
            verdict = claim.verdict(effect)
            found.append(
                {
                    "claim": claim.claim,
                    "source": claim.source,
                    "what": claim.effect,
                    **_interval(effect),
                    "n": effect.n,
                    "holds": verdict == "holds",
                    "verdict": verdict,
                }
            )
    return found


def _aims(table: Table) -> list[dict[str, Any]]:
    found = []
    for aim in AIMS:
        effect = aim.measure(table)
        if effect is not None:
            reached = effect.mean >= aim.above
            found.append(
                {"aim": aim.claim, "what": aim.effect, **_interval(effect), "n": effect.n,
                 "at_least": aim.above, "reached": bool(reached)}
            )  # fmt: skip
    return found


def _interval(found: Estimate) -> dict[str, float | None]:
    return {
        "effect": _rounded(found.mean),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
    }


def _rounded(value: float) -> float | None:
    """Four digits; None for what JSON has no number for."""
    return round(float(value), 4) if math.isfinite(value) else None


def _made(table: Table, records: Records, quick: bool) -> dict[str, Any]:
    """When, where and with what the records were made."""
    paths = [records.folder / case.name / f"{name}.json"
             for name, rows in table.rows.items() for case in rows]  # fmt: skip
    times = [path.stat().st_mtime for path in paths if path.is_file()]
    days = [datetime.fromtimestamp(t, timezone.utc).date().isoformat() for t in times]
    machines = {row.get("machine", "") for rows in table.rows.values() for row in rows.values()}
    return {
        "command": "python -m msbd evaluate" + (" --quick" if quick else ""),
        "version": __version__,
        "from": min(days, default=""),
        "to": max(days, default=""),
        "machines": sorted(machines),
        "model": "the embedded miniature",
        "seeds": f"{SEED}000 and the case's number",
    }


def as_csv(table: Table) -> str:
    """One line for every edit, with every quantity."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["method", "case", *QUANTITIES])
    for method, rows in table.rows.items():
        for case, record in rows.items():
            values = (quantity.of(case, record) for quantity in QUANTITIES.values())
            cells = ("" if value is None else f"{value:.5g}" for value in values)
            writer.writerow([method, case.name, *cells])
    return text.getvalue()
