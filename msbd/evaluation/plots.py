"""Plots where people would rather look than read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .results import Results

INK, RED, BLUE = "#333333", "#c8352b", "#2b62c8"
SWEEPS = (
    ("repaint", "RePaint repeats", ("candidates_right", "continuity")),
    ("strengths", "final strength", ("one_right_object", "sharpness")),
    ("decoder", "decoder iterations", ("ring_psnr", "tone_shift")),
)
"""Experiments whose methods end in a number: `NAME_VALUE`."""
LEADING = {"repaint": "repaint_", "strengths": "final_", "decoder": "decoder_"}
AT = {"strengths": {"multi_stage": 0.25}}
"""Methods of other experiments that belong in a sweep, and where."""


def plot(results: Results, folder: Path) -> list[Path]:
    """Draw what the results hold into PNG files; their paths."""
    drawn = [_baselines(results, folder)] if "multi_stage" in results["methods"] else []
    for name, label, quantities in SWEEPS:
        points = _points(results, name)
        if len(points) > 1:
            drawn.append(_sweep(results, points, label, quantities, folder / f"{name}.png"))
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


def _baselines(results: Results, folder: Path) -> Path:
    """Shares of right edits and sharpness of every method of the baselines, with intervals."""
    experiment = next(e for e in results["experiments"] if "multi_stage" in e["methods"])
    names = list(reversed(experiment["methods"]))
    figure, axes = _figure(2, 5.0, 0.45 * len(names) + 1.2)
    for one, quantity, label in (
        (axes[0], "one_right_object", "one right object, %"),
        (axes[1], "sharpness", "sharpness, doublings (0: as the surroundings)"),
    ):
        scale = 100 if quantity == "one_right_object" else 1
        for row, name in enumerate(names):
            figures = results["methods"][name]
            if quantity in figures:
                low, high = (scale * v for v in figures["intervals"][quantity])
                one.plot([low, high], [row, row], color=INK, lw=1.5)
                one.plot(scale * figures[quantity], row, "o", color=RED)
        one.set_yticks(range(len(names)), names if one is axes[0] else [""] * len(names))
        one.set_xlabel(label)
    axes[0].set_xlim(0, 102)
    path = folder / "baselines.png"
    figure.savefig(path)
    return path


def _points(results: Results, experiment: str) -> list[tuple[float, str]]:
    """(value, method) of a sweep, by value."""
    leading = LEADING[experiment]
    names = [name for name in results["methods"] if name.startswith(leading)]
    points = [(float(name.removeprefix(leading)), name) for name in names]
    if points:
        others = AT.get(experiment, {}).items()
        points += [(value, name) for name, value in others if name in results["methods"]]
    return sorted(points)


def _sweep(
    results: Results,
    points: Sequence[tuple[float, str]],
    label: str,
    quantities: Sequence[str],
    path: Path,
) -> Path:
    from .quantities import QUANTITIES

    figure, axes = _figure(len(quantities))
    places = list(range(len(points)))
    for one, name in zip(axes, quantities, strict=True):
        quantity = QUANTITIES[name]
        scale = 100 if quantity.share else 1
        found = [results["methods"][method] for _, method in points]
        lows = [scale * f["intervals"][name][0] for f in found]
        highs = [scale * f["intervals"][name][1] for f in found]
        one.fill_between(places, lows, highs, color=BLUE, alpha=0.15, lw=0)
        one.plot(places, [scale * f[name] for f in found], "o-", color=BLUE)
        one.set_xticks(places, [f"{value:g}" for value, _ in points])
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
