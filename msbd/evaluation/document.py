"""The results as Markdown: every figure comes from the JSON, none is written by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .markdown import table
from .metrics import QUANTITIES, Quantity
from .results import Results

COLUMNS: dict[str, Sequence[str]] = {
    "baselines": (
        *("one_right_object", "as_asked", "one_object", "right_shape", "inside", "edge"),
        *("sharpness", "seam", "seam_tone", "seam_texture", "ring_psnr", "tone_shift"),
        *("evaluations", "seconds", "memory"),
    ),
    "segments": (
        *("one_right_object", "as_asked", "one_object", "edge", "seam", "ring_psnr"),
        *("evaluations", "seconds", "memory"),
    ),
    "recommended": (
        *("one_right_object", "as_asked", "one_object", "right_shape", "edge", "sharpness"),
        *("seam", "seam_tone", "seam_texture", "seam_sharpness", "ring_psnr", "tone_shift"),
        *("evaluations", "seconds", "memory"),
    ),
    "inside": (
        *("one_right_object", "candidates_right", "inside", "right_shape", "seam"),
        "evaluations",
    ),
    "savings": (
        *("one_right_object", "right_shape", "inside", "sharpness", "seam", "seam_tone"),
        *("ring_psnr", "evaluations", "seconds"),
    ),
    "presets": (
        *("one_right_object", "right_shape", "inside", "edge", "seam", "seam_tone", "ring_psnr"),
        *("evaluations", "seconds"),
    ),
    "guidances": (
        *("one_right_object", "one_object", "right_shape", "edge", "sharpness", "seam"),
        "evaluations",
    ),
    "upscaling": (
        *("one_right_object", "edge", "sharpness", "seam", "seam_texture", "ring_psnr"),
        *("tone_shift", "evaluations"),
    ),
    "candidates": ("one_right_object", "candidates_right", "evaluations", "seconds"),
    "repaint": ("candidates_right", "seam", "evaluations", "seconds"),
    "strengths": (
        *("one_right_object", "edge", "sharpness", "seam", "ring_psnr"),
        "evaluations",
    ),
    "seeds": ("one_right_object", "edge", "seam"),
    "overlap": ("one_right_object", "tile_seam", "seam", "ring_psnr", "evaluations"),
    "decoder": (
        *("ring_psnr", "tone_shift", "seam", "seam_tone", "edge", "sharpness"),
        *("seconds", "memory"),
    ),
}
"""What is worth telling of each experiment."""
PLOTS = {"baselines": "baselines", "candidates": "clip", "repaint": "repaint",
         "strengths": "strengths", "decoder": "decoder"}  # fmt: skip
OPENING = """\
# The paper, reproduced and measured

Every claim of Ackermann & Li (2022), put to the test with [the miniature](../miniature.md): a
Stable Diffusion 1 architecture trained at 128 pixels on a world that can be drawn at any size, and
an oracle that reads its pictures. What is said here holds for that model; where it contradicts the
paper, that is a finding about the miniature too.

What it means for the settings is told in [Findings](findings.md).
"""
CAVEATS = """\
All methods but the presets, their variations and those of the decoder experiment leave decoder
optimisation out, which changes the tone of an edit and not what it shows, and takes most of an
edit's time on a CPU.
Guidance is 6 throughout, the miniature's own best. Intervals are 95 % bootstrap intervals over
cases, widened for few cases; n is the number of cases. Sweeps have few cases, and say accordingly
little. A fifth of the cases ask for pairs of colour and shape that no training showed.
"""


def markdown(results: Results, pictures: Iterable[str] = ()) -> str:
    """The whole document. pictures: names of the files beside it that it may show."""
    shown = set(pictures)
    parts = [OPENING, _made(results), CAVEATS]
    parts += ["## Aims\n", _aims(results)] if results["aims"] else []
    parts += ["## Claims and verdicts\n", _claims(results)] if results["claims"] else []
    for experiment in results["experiments"]:
        parts += _experiment(results, experiment, shown)
    parts += ["## What is measured\n", _glossary(results), "## Cases\n", _cases(results)]
    return "\n".join(parts)


def summary(results: Results) -> str:
    """A few lines for the README."""
    methods = results["methods"]
    names = ("multi_stage", "recommended", "one_pass", "segments", "first_esrgan", "only_masked")
    quantities = [QUANTITIES[name] for name in ("one_right_object", "edge", "evaluations")]
    rows = [_row(name, methods[name], quantities) for name in names if name in methods]
    return table(["method", "n", *(q.label for q in quantities)], rows)


def _made(results: Results) -> str:
    made, count = results["made"], len(results["cases"])
    days = made["from"] if made["from"] == made["to"] else f"{made['from']} to {made['to']}"
    return (
        f"`{made['command']} -o DIR`, {count} cases, {days}, {'; '.join(made['machines'])}, "
        f"msbd {made['version']}; seeds {made['seeds']}. Every edit is a line of "
        "[records.csv](records.csv); [results.json](results.json) holds all figures.\n"
    )


def _aims(results: Results) -> str:
    rows = [
        [a["aim"], _effect(a), str(a["n"]), "reached" if a["reached"] else "not reached"]
        for a in results["aims"]
    ]
    return table(["aim", "measured", "n", ""], rows)


def _claims(results: Results) -> str:
    rows = [
        [c["claim"], c["source"], c["what"], _effect(c), str(c["n"]), f"**{c['verdict']}**"]
        for c in results["claims"]
    ]
    return table(["claim", "paper", "effect", "measured", "n", "verdict"], rows)


def _experiment(results: Results, experiment: dict[str, Any], shown: set[str]) -> list[str]:
    name, methods = experiment["name"], experiment["methods"]
    if not methods:
        return []
    wanted = [QUANTITIES[quantity] for quantity in COLUMNS[name]]
    rows = [_row(method, figures, wanted) for method, figures in methods.items()]
    parts = [f"## {experiment['title']}\n", table(["method", "n", *_labels(wanted)], rows)]
    if name == "candidates" and results["clip"]:
        parts.append(_clip(results))
    if name == "seeds" and results["seeds"]:
        parts.append(_seeds(results["seeds"]))
    about = results["methods"]
    parts.append("\n".join(f"- `{m}`: {about[m]['about']}" for m in methods if m in about) + "\n")
    files = [(f"{PLOTS[name]}.png", "plot")] if name in PLOTS else []
    for file, title in (*files, (f"{name}.jpg", "contact sheet")):
        if file in shown:
            parts.append(f"![{experiment['title']}, {title}]({file})\n")
    return parts


def _seeds(found: dict[str, Any]) -> str:
    return (
        f"Over {found['seeds']} seeds of {found['n']} cases {_effect(found['right'], _percent)} "
        f"of the edits are right; the pictures of two seeds differ inside the mask by "
        f"{_effect(found['difference'])} levels of 255.\n"
    )


def _clip(results: Results) -> str:
    keys = ("by_clip", "blind", "any")
    rows = [
        [str(row["candidates"]), str(row["n"]), *(_effect(row[key], _percent) for key in keys)]
        for row in results["clip"]
    ]
    header = ["candidates", "n", "CLIP's pick is right", "a blind pick is", "any of them is"]
    return table(header, rows)


def _glossary(results: Results) -> str:
    described = results["quantities"].items()
    return "\n".join(f"- **{QUANTITIES[k].label}** (`{k}`): {about}" for k, about in described) + (
        "\n- In brackets: the 95 % interval.\n"
    )


def _cases(results: Results) -> str:
    rows = [
        [c["name"], c["picture"], c["prompt"], str(c["seed"]), str(c["pixels_per_unit"])]
        for c in results["cases"]
    ]
    return table(["case", "picture", "prompt", "seed", "pixels per unit"], rows)


def _row(name: str, figures: dict[str, Any], wanted: Sequence[Quantity]) -> list[str]:
    return [f"`{name}`", str(figures["n"]), *(_figure(figures, q) for q in wanted)]


def _figure(figures: dict[str, Any], quantity: Quantity) -> str:
    if quantity.name not in figures:
        return "–"
    low, high = figures["intervals"][quantity.name]
    text = quantity.text
    return f"{text(figures[quantity.name])} ({text(low)} … {text(high)})"


def _labels(quantities: Sequence[Quantity]) -> list[str]:
    return [quantity.label for quantity in quantities]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    return "∞" if value is None else f"{value:.2f}"


def _effect(found: dict[str, Any], text: Callable[[Any], str] = _number) -> str:
    return f"{text(found['effect'])} ({text(found['low'])} … {text(found['high'])})"
