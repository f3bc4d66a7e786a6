"""Plots where people would rather look than read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .metrics import QUANTITIES
from .results import Results

INK, RED, BLUE = "#333333", "#c8352b", "#2b62c8"
SWEEPS = {
    "repaint": ("RePaint repeats", ("candidates_right", "seam")),
    "strengths": ("final strength", ("one_right_object", "edge")),
    "decoder": ("decoder iterations", ("ring_psnr", "tone_shift")),
}
"""Experiments whose methods end in a number: the number's meaning, and what is drawn of them."""
LEADING = {"repaint": "repaint_", "strengths": "final_", "decoder": "decoder_"}
AT = {"strengths": {"multi_stage": 0.25}}
"""Methods of other names that belong in a sweep, and where."""


def plot(results: Results, folder: Path) -> list[Path]:
    """Draw what the results hold into PNG files; their paths."""
    drawn = []
    for experiment in results["experiments"]:
        name, methods = experiment["name"], experiment["methods"]
        if name == "baselines" and methods:
            drawn.append(_baselines(experiment, folder))
        if name in SWEEPS:
            points, (label, quantities) = _points(name, methods), SWEEPS[name]
            if len(points) > 1:
                drawn.append(_sweep(methods, points, label, quantities, folder / f"{name}.png"))
    if results["clip"]:
        drawn.append(_candidates(results, folder / "clip.png"))
    return drawn


def _figure(columns: int, width: float = 4.2, height: float = 3.0) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width * columns, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
    return figure, axes


def _baselines(experiment: dict[str, Any], folder: Path) -> Path:
    """Shares of right edits and width of outlines of every method, with intervals."""
    found = experiment["methods"]
    names = list(reversed(found))
    quantities = [QUANTITIES[name] for name in ("one_right_object", "edge")]
    figure, axes = _figure(2, 5.0, 0.45 * len(names) + 1.2)
    for one, quantity in zip(axes, quantities, strict=True):
        scale = 100 if quantity.share else 1
        for row, name in enumerate(names):
            if quantity.name in found[name]:
                low, high = (scale * v for v in _ends(found[name], quantity.name))
                one.plot([low, high], [row, row], color=INK, lw=1.5)
                one.plot(scale * found[name][quantity.name], row, "o", color=RED)
        one.set_yticks(range(len(names)), names if one is axes[0] else [""] * len(names))
        one.set_xlabel(quantity.label + (", %" if quantity.share else ""))
        one.set_xlim(left=0)
    path = folder / "baselines.png"
    figure.savefig(path)
    return path


def _ends(figures: dict[str, Any], name: str) -> tuple[float, float]:
    """Of an interval; the figure itself where nothing is known of it."""
    low, high = figures["intervals"][name]
    return (figures[name], figures[name]) if low is None else (low, high)


def _points(name: str, methods: dict[str, Any]) -> list[tuple[float, str]]:
    """(value, method) of a sweep, by value."""
    leading = LEADING[name]
    points = [(float(m.removeprefix(leading)), m) for m in methods if m.startswith(leading)]
    if points:
        points += [(value, m) for m, value in AT.get(name, {}).items() if m in methods]
    return sorted(points)


def _sweep(
    methods: dict[str, Any],
    points: Sequence[tuple[float, str]],
    label: str,
    quantities: Sequence[str],
    path: Path,
) -> Path:
    figure, axes = _figure(len(quantities))
    for one, name in zip(axes, quantities, strict=True):
        quantity = QUANTITIES[name]
        scale = 100 if quantity.share else 1
        told = [(value, methods[m]) for value, m in points if name in methods[m]]
        places = list(range(len(told)))
        lows, highs = ([scale * _ends(f, name)[end] for _, f in told] for end in (0, 1))
        one.fill_between(places, lows, highs, color=BLUE, alpha=0.15, lw=0)
        one.plot(places, [scale * f[name] for _, f in told], "o-", color=BLUE)
        one.set_xticks(places, [f"{value:g}" for value, _ in told])
        one.set_xlabel(label)
        one.set_ylabel(quantity.label + (", %" if quantity.share else ""))
    figure.savefig(path)
    return path


def _candidates(results: Results, path: Path) -> Path:
    figure, (one,) = _figure(1, 4.6)
    counts = [row["candidates"] for row in results["clip"]]
    for key, label, colour in (
        ("any", "any of them", INK),
        ("by_clip", "CLIP's pick", RED),
        ("blind", "a blind pick", BLUE),
    ):
        one.plot(counts, [100 * row[key]["effect"] for row in results["clip"]], "o-",
                 color=colour, label=label)  # fmt: skip
    one.set_xticks(counts)
    one.set_xlabel("candidates")
    one.set_ylabel("one right object, %")
    one.legend(frameon=False)
    figure.savefig(path)
    return path
