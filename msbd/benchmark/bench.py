"""`msbd bench`: measure both ways in one run, write the figures as JSON and as Markdown."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..errors import EditError
from ..evaluation.workers import machine
from ..geometry import Size
from ..settings import EditSettings
from . import call_counts, components, document, end_to_end, fitting, overhead
from .runs import Run, alone, bound, load, measured
from .setups import MASKS, MODELS, SIZES, WAYS, Setup, setup

SIDE_BY_SIDE = (Size(1024, 1024), "small")
"""The edit made whole both ways on a CPU, where the paper's takes minutes for this one."""
SIDE_BY_SIDE_GPU = (Size(2000, 3000), "medium")
LARGEST = (Size(4000, 6000), "large")
FITTED = (
    ("grass", 150, False),
    ("bricks", 400, False),
    ("sand", 400, False),
    ("bricks", 400, True),
)
"""Grounds of pictures of 1024x1024, and sides of their masks, for which the decoder is fitted in
all ways; to the second stage's tiles, or to those of the last. On a GPU only for the last, as
random weights have no losses worth a comparison."""
GROWING = 160
"""Side of the mask in the pictures of 2 to 24 megapixels that are edited to see what they cost."""
SIDES = (160, 320)
REPEATS = 3
"""How often an edit is made whose time is compared with others'; the quickest counts."""
QUICK_ITERATIONS = 2
QUICK = {
    **{"steps": 2, "candidates": 2, "resampling_steps": 0},
    "decoder_iterations": QUICK_ITERATIONS,
}


@dataclass(frozen=True)
class Bench:
    """What to do.

    file: for the JSON; the Markdown goes beside it. recount: only what plans alone tell; what was
    measured in the file stays. gpu: with Stable Diffusion 1's size on CUDA,
    else with the miniature on the CPU. quick: hardly any steps, to see that everything works.
    """

    file: Path
    gpu: bool = False
    quick: bool = False
    recount: bool = False
    threads: int = os.cpu_count() or 1

    @property
    def ways(self) -> dict[str, EditSettings]:
        """The settings of both ways."""
        if not self.quick:
            return dict(WAYS)
        return {name: way.with_values(QUICK) for name, way in WAYS.items()}

    @property
    def fitted(self) -> tuple[tuple[str, int, bool], ...]:
        """Of `FITTED`."""
        if self.gpu:
            return FITTED[-1:]
        return FITTED[::3] if self.quick else FITTED

    @property
    def pictures(self) -> tuple[Size, ...]:
        """Sizes of the pictures in which one mask is edited; on a GPU only the first and last."""
        if self.quick:
            return call_counts.MEGAPIXELS[:2]
        return call_counts.MEGAPIXELS[:: len(call_counts.MEGAPIXELS) - 1 if self.gpu else 1]

    @property
    def without_networks(self) -> tuple[Setup, ...]:
        """The edits made without networks, to see what they take besides."""
        if self.quick:
            return (Setup(Size(600, 800), 200),)
        return setup(*SIDE_BY_SIDE_GPU), setup(*LARGEST)

    @property
    def setups(self) -> tuple[Setup, ...]:
        """All pictures and masks."""
        if self.quick:
            return (Setup(Size(300, 400), 60),)
        return tuple(setup(size, mask) for size in SIZES for mask in MASKS)

    def edit(self, what: Setup, settings: EditSettings, repeats: int = 1) -> dict[str, Any]:
        run = Run(what, settings, self.gpu, 1 if self.quick else repeats)
        return measured(run, self.threads)


def perform(bench: Bench, say: Callable[[str], None]) -> None:
    """Measure, write, and say what is being done. Raises `EditError` without a GPU asked for."""
    if bench.gpu and not torch.cuda.is_available():
        raise EditError("there is no CUDA device: leave out --gpu to measure on the CPU")
    if bench.file.suffix != ".json":
        raise EditError(f"the results are JSON: give a name that ends so, not {bench.file}")
    try:
        bench.file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EditError(f"cannot make the folder {bench.file.parent}: {error.strerror}") from None
    found = _recounted(bench.file) if bench.recount else results(bench, say)
    _write(bench.file, json.dumps(found, indent=1) + "\n", say)
    _write(bench.file.with_suffix(".md"), document.markdown(found), say)


def _recounted(file: Path) -> dict[str, Any]:
    """The figures of a file with what is counted of today."""
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EditError(f"there are no figures in {file}: measure them first ({error})") from None
    found |= {"counted": call_counts.comparison(), "growth": call_counts.growth()}
    found["ratios"]["network_evaluations"] = _evaluations(found)
    found["made"]["counted"] = date.today().isoformat()
    return found


def _write(path: Path, text: str, say: Callable[[str], None]) -> None:
    path.write_text(text, encoding="utf-8")
    say(f"wrote {path}")


def results(bench: Bench, say: Callable[[str], None]) -> dict[str, Any]:
    """All figures, as JSON values."""
    say("counting evaluations")
    comparison = call_counts.comparison()
    size, mask = SIDE_BY_SIDE_GPU if bench.gpu else SIDE_BY_SIDE
    edits = {}
    for way, settings in bench.ways.items():
        say(f"editing {size} with a {mask} mask the {way} way")
        edits[way] = bench.edit(setup(size, mask), settings)
    found: dict[str, Any] = {
        "made": {
            "command": "python -m msbd bench" + " --gpu" * bench.gpu,
            "version": __version__,
            "date": date.today().isoformat(),
            "counted": date.today().isoformat(),
            "machine": machine(),
            "device": torch.cuda.get_device_name() if bench.gpu else "CPU",
            "threads": bench.threads,
            "model": "Stable Diffusion 1, random weights" if bench.gpu else "miniature",
            "repeats": 1 if bench.quick else REPEATS,
            "quick": bench.quick,
        },
        "counted": comparison,
        "growth": call_counts.growth(),
        "edits": edits,
        "every": _every(bench, say),
        "fitting": _fitting(bench, say),
        "pictures": _pictures(bench, say),
        "masks": [_edited(bench, Setup(Size(1600, 1200), side), say) for side in SIDES],
    }
    say("editing without networks")
    repeats = 1 if bench.quick else REPEATS
    found["without_networks"] = [
        alone(overhead.edited, bench.threads, what, repeats) for what in bench.without_networks
    ]
    if not bench.gpu:
        say("measuring the memory of networks of Stable Diffusion 1's size")
        small = {"tile": 64, "cells": 8, "largest_tile": 64} if bench.quick else {}
        found["memory"] = components.peaks(bench.threads, **small)
    found["ratios"] = _ratios(found)
    found["shares"] = _shares(found)
    return found


def _edited(bench: Bench, what: Setup, say: Callable[[str], None]) -> dict[str, Any]:
    say(f"editing {what.image} with a mask of {what.side} pixels our way")
    return bench.edit(what, bench.ways["ours"], REPEATS)


def _every(bench: Bench, say: Callable[[str], None]) -> list[dict[str, dict[str, Any]]]:
    """Both ways; on a GPU ours only, as the paper's takes many times as long."""
    ways = bench.ways
    if bench.gpu:
        del ways["paper"]
    rows = []
    for what in bench.setups:
        say(f"editing {what.image} with a mask of {what.side} pixels {' and '.join(ways)}")
        rows.append(end_to_end.both(what, ways, bench.edit))
    return rows


def _pictures(bench: Bench, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """One mask in ever larger pictures."""
    return [_edited(bench, Setup(size, GROWING), say) for size in bench.pictures]


def _fitting(bench: Bench, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """In a process of its own, which gives back what it took."""
    rows = []
    iterations = QUICK_ITERATIONS if bench.quick else fitting.ADAM.decoder_iterations
    for ground, side, last in bench.fitted:
        stage = "the last" if last else "the second"
        say(f"fitting the decoder to a mask of {side} pixels on {ground}, in {stage} stage")
        what = Setup(Size(1024, 1024), side, ground)
        rows.append(alone(_fitted, bench.threads, what, bench.gpu, iterations, last))
    return rows


def _fitted(what: Setup, gpu: bool, iterations: int, last: bool) -> dict[str, Any]:
    settings = WAYS["paper"]
    backend = bound(load(gpu), settings)
    fitting.compared(what, settings, backend, 1)  # libraries are loaded when first used
    return fitting.compared(what, settings, backend, iterations, last)


def _evaluations(found: dict[str, Any]) -> float:
    """The ratio of evaluations for Stable Diffusion 1 at 3000x2000 with a medium mask."""
    (ratio,) = (
        row["ratio"]
        for row in found["counted"]
        if (row["model"], row["image"], row["mask"]) == (next(iter(MODELS)), "3000x2000", "medium")
    )
    return float(ratio)


def _ratios(found: dict[str, Any]) -> dict[str, float | None]:
    """Ours over the paper's: evaluations over the published code's, of Stable Diffusion 1 at
    3000x2000 with a medium mask; the decoder's seconds and losses are measured, the memory too: of
    the edit on a GPU, of its parts on a CPU. Losses of random weights, on a GPU, are none."""
    trained = "memory" in found
    largest = found["memory"]["largest"] if trained else None
    memory = [
        largest[way] if largest else found["edits"][way]["memory"] for way in ("ours", "paper")
    ]
    return {
        "network_evaluations": _evaluations(found),
        "decoder_optimisation": _summed(found["fitting"], "seconds"),
        "decoder_loss": _summed(found["fitting"], "loss") if trained else None,
        "peak_memory": round(memory[0] / memory[1], 4) if all(memory) else None,
    }


def _shares(found: dict[str, Any]) -> dict[str, float]:
    """outside: the part of an edit's time that no network takes. largest_picture: what an edit
    costs in the largest picture, over the same one in the smallest: networks do the same in both,
    so that only the rest is compared, and a machine that is now slower, now faster, is not."""
    first, last = (row["seconds"] for row in (found["pictures"][0], found["pictures"][-1]))
    more = last["other"] - first["other"]
    return {
        "outside": found["edits"]["ours"]["outside"],
        "largest_picture": round(1 + more / first["all"], 4),
    }


def _summed(rows: list[dict[str, Any]], quantity: str) -> float:
    ours, published = (sum(row[quantity][way] for row in rows) for way in ("ours", "published"))
    return round(ours / published, 4)
