"""What there is to do: which methods on which cases, in full or quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .cases import Case, all_cases, draw
from .methods import COMPARED, EXPERIMENTS, METHODS, Experiment, Method

if TYPE_CHECKING:
    from ..plan import EditPlan

QUICK = {"steps": 6, "resampling_steps": 1}
"""What a quick run changes in every method; its figures show only that everything works."""
QUICK_CASES, QUICK_CANDIDATES, QUICK_ITERATIONS, QUICK_CROP = 1, 2, 2, 256


@dataclass(frozen=True)
class Errand:
    """All methods to be run on one case, together, since they share much."""

    case: Case
    methods: tuple[Method, ...]


def chosen(only: Sequence[str] = ()) -> tuple[Experiment, ...]:
    """The experiments of these names, or all of them."""
    return tuple(e for e in EXPERIMENTS if not only or e.name in only)


def quickened(method: Method) -> Method:
    """The same with hardly any steps."""
    settings = method.settings.flat()
    changes = {
        **method.changes,
        **QUICK,
        "resampling_steps": min(settings["resampling_steps"], QUICK["resampling_steps"]),
        "candidates": min(settings["candidates"], QUICK_CANDIDATES),
        "decoder_iterations": min(settings["decoder_iterations"], QUICK_ITERATIONS),
    }
    return replace(method, changes=changes)


def cases_of(experiment: Experiment, quick: bool = False) -> list[Case]:
    """The first cases that suit the experiment, as many as it wants."""
    low, high = experiment.crops
    if quick:
        high = min(high, max(low, QUICK_CROP))
    fitting = [
        case
        for case in all_cases()
        if (case.asks_for_object or not experiment.objects) and low <= case.unit <= high
    ]
    return fitting[: QUICK_CASES if quick else experiment.cases]


def errands(experiments: Sequence[Experiment], quick: bool = False) -> list[Errand]:
    """What there is to do, the most work first, so that the processes end together.

    A full run does everything of a case in one go, for the sake of what the methods share; a quick
    one, in which they share little, goes by experiments.
    """
    wanted: dict[tuple[int, str], dict[str, Method]] = {}
    for experiment in experiments:
        compared = [METHODS[name] for name in COMPARED.get(experiment.name, ())]
        methods = [*compared, *experiment.methods]
        for case in cases_of(experiment, quick):
            key = case.number, experiment.name if quick else ""
            wanted.setdefault(key, {}).update({m.name: m for m in methods})
    cases = all_cases()
    made = [Errand(cases[key[0]], tuple(methods.values())) for key, methods in wanted.items()]
    if quick:
        made = [replace(e, methods=tuple(map(quickened, e.methods))) for e in made]
    return sorted(made, key=lambda errand: (-len(errand.methods), errand.case.number))


def plan_of(case: Case, method: Method) -> EditPlan:
    """The plan of an edit, made without loading the model."""
    from ..planning import plan_edit
    from ..standalone import models

    facts = models.spec(models.choose(method.settings), method.settings)
    return plan_edit(case.size, draw(case)[1], method.settings, facts)
