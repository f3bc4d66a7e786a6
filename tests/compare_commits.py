"""Whether two checkouts give the same bytes: ten edits with the miniature, on one CPU thread.

    python tests/compare_commits.py BEFORE AFTER [--only NAME ...]

BEFORE and AFTER: folders of this repository at two commits. Each edit is made by both in turn, in
a process of its own. Compared are the result, in float32 and in 8 bits, and the pictures shown on
the way; the report's notes are printed where they differ. Bytes depend on the machine, so they are
only ever compared with those that the other checkout gives on it.

Exit codes: 0 if all bytes are the same, 1 if some are not, 2 if an edit failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch

Arrays = dict[str, Any]
"""The result and the pictures shown, [1,3,H,W] in [0,1], by name."""
SAME, DIFFERENT, FAILED = 0, 1, 2
SEED = 7
PART = np.s_[300:700, 460:860]
"""The part of the demo's picture that most edits are made in."""


@dataclass(frozen=True)
class Sample:
    """One edit. changes: to the preset. stop_at: the stage, from 1, at whose beginning the user
    interrupts; 0 for none. method: of the evaluation, which paints a case of its own instead."""

    preset: str
    changes: dict[str, Any]
    part: Any = PART
    soft: bool = False
    stop_at: int = 0
    method: str = ""


DEMO = {"guidance": 4.0, "tile_guidance": 0.25}
FEW = {**DEMO, "steps": 6, "candidates": 2}
CHEAP = {"guidance": 6.0, "steps": 6, "candidates": 2, "repaint_repeats": 1}
GUIDED = {"later_guidance": 1.0, "tile_guidance": 1.0, "choose": "first", "upscaler": "lanczos"}
EDITS = {
    "demo": Sample("fast", {**DEMO, "steps": 4}, part=np.s_[:]),
    "evaluation": Sample("paper", CHEAP, method="multi_stage"),
    "recommended": Sample("recommended", FEW),
    "fast": Sample("fast", FEW),
    "draft": Sample("draft", FEW),
    "paper": Sample("paper", {**FEW, "decoder_iterations": 3, "repaint_repeats": 1}),
    "interrupted": Sample("recommended", {**FEW, "tile_size": 1.5, "growth": 1.2}, stop_at=3),
    "tiles": Sample("recommended", {**FEW, "tile_size": 1.0}),
    "soft_mask": Sample("recommended", FEW, soft=True),
    "guided": Sample("recommended", {**FEW, **GUIDED}),
}

# What the inner process asks of a checkout is here: PLACES, and the calls in the four functions
# after it. Where commits have other names for the same, give all of them: the first found is taken.
PLACES = {
    "scene": ("msbd.miniature.scene", "msbd.standalone.demo"),
    "models": ("msbd.standalone.models",),
    "preset": ("msbd.presets:preset", "msbd.settings:preset"),
    "with_stored": ("msbd.legacy:with_stored", "msbd.settings:EditSettings.with_values"),
    "Size": ("msbd.geometry:Size",),
    "Noise": ("msbd.noise:Noise",),
    "Callbacks": ("msbd.progress:Callbacks", "msbd.report:Watch"),
    "Interrupted": ("msbd.errors:Interrupted",),
    "plan_edit": ("msbd.planning:plan_edit", "msbd.plan:plan_edit"),
    "edit": ("msbd.pipeline:edit",),
    "cases": ("msbd.evaluation.cases",),
    "METHODS": ("msbd.evaluation.methods:METHODS",),
    "Task": ("msbd.evaluation.ways:Task", "msbd.evaluation.painting:Task"),
}


def its(name: str) -> Any:
    """What the checkout in this folder has for a name of PLACES."""
    for place in PLACES[name]:
        # An editable installation of another checkout lends the modules that this one lacks.
        module = place.partition(":")[0].replace(".", "/")
        if Path(f"{module}.py").is_file() or Path(module, "__init__.py").is_file():
            with suppress(AttributeError):
                return resolve_name(place)
    raise ImportError(f"this checkout has none of {', '.join(PLACES[name])}")


def bound(sample: Sample, settings: Any, prompt: str) -> Any:
    """The miniature as a backend."""
    model = its("models").load(its("models").choose(settings, device="cpu"))
    return model.bind(prompt, "", sample.changes["guidance"], "euler_ancestral")


def edited(sample: Sample) -> tuple[Arrays, Any]:
    """The arrays and the report of an edit of the demo's picture, or of a part of it."""
    shown: Arrays = {}
    begun: list[Any] = []

    def keep(name: str, image: torch.Tensor, *_: Any) -> None:
        shown[f"{name} ({len(shown)})"] = image.numpy().copy()

    def begin(stage: Any) -> None:
        begun.append(stage)
        if len(begun) == sample.stop_at:
            raise its("Interrupted")

    scene, drawn = its("scene"), its("scene").Scene()
    image = tensor(scene.draw_picture(drawn)[sample.part])
    mask = scene.draw_mask(drawn)[sample.part].astype(np.float32) / 255
    mask = mask if sample.soft else (mask > 0.5).astype(np.float32)
    settings = its("with_stored")(its("preset")(sample.preset), sample.changes)
    backend = bound(sample, settings, drawn.prompt)
    spec = getattr(backend, "spec", None) or backend.facts
    plan = its("plan_edit")(its("Size")(*mask.shape), mask, settings, spec)
    callbacks = its("Callbacks")(stage=begin, picture=keep)
    done = its("edit")(image, mask, plan, settings, backend, its("Noise")(SEED), callbacks)
    assert len(begun) >= sample.stop_at, f"there is no stage {sample.stop_at} to interrupt"
    return {"result": done.image.numpy(), **shown}, done.report


def evaluated(sample: Sample) -> tuple[Arrays, Any]:
    """The same of the evaluation's first case, painted by one of its methods."""
    case, method = its("cases").all_cases()[0], its("METHODS")[sample.method]
    without_decoder = its("with_stored")(its("preset")(sample.preset), {"decoder_iterations": 0})
    settings = its("with_stored")(without_decoder, sample.changes)
    pixels, mask = its("cases").draw(case)
    backend, noise = bound(sample, settings, case.prompt), its("Noise")(case.seed)
    done = method.paint(its("Task")(tensor(pixels), mask, settings, backend, noise))
    candidates = {f"candidate ({i})": picture for i, picture in enumerate(done.candidates)}
    found = {"result": done.result, **candidates, "shown": done.shown, "patch": done.patch}
    return {name: picture.numpy() for name, picture in found.items()}, done.report


def tensor(pixels: Any) -> torch.Tensor:
    """uint8 [H,W,3] as float32 [1,3,H,W] in [0,1]."""
    return torch.tensor(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def inside(name: str, output: str) -> None:
    """Make an edit by the checkout in this folder; write its arrays to a file, print the rest."""
    import msbd

    found, wanted = Path(msbd.__file__).resolve().parent.parent, Path.cwd().resolve()
    assert found == wanted, f"msbd is that of {found}, not of {wanted}"
    torch.set_num_threads(1)
    arrays, report = (evaluated if EDITS[name].method else edited)(EDITS[name])
    np.savez(output, **arrays)
    print("\n" + json.dumps({"seconds": report.seconds, "notes": report.notes}))


def outcome(checkout: Path, name: str) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of an edit made by a checkout; its seconds and notes."""
    surroundings = {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "arrays.npz")
        made = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--inside", name, str(path)],
            env=os.environ | surroundings,
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"failed in {checkout}:\n{made.stderr[-800:]}")
        with np.load(path) as arrays:
            return dict(arrays), json.loads(made.stdout.splitlines()[-1])


def same(one: Any, other: Any) -> bool:
    alike = one.dtype == other.dtype and one.shape == other.shape
    return bool(alike and one.tobytes() == other.tobytes())


def results_in_words(one: Any, other: Any) -> str:
    """How two results compare; levels are those of 8 bits."""
    if same(one, other):
        return "same"
    if one.shape != other.shape:
        return f"different: shapes {one.shape} and {other.shape}"
    levels = [np.rint(result * 255).astype(int) for result in (one, other)]
    distance = np.abs(levels[0] - levels[1])
    if not distance.any():
        return "8-bit same"
    share = distance.any(axis=1).mean()
    return f"different: up to {distance.max()} levels, {share:.2%} of pixels"


def pictures_in_words(one: Arrays, other: Arrays) -> str:
    """How the pictures shown on the way compare."""
    if list(one) != list(other):
        return f"{len(one)} and {len(other)}, of other names"
    changed = [name for name in one if not same(one[name], other[name])]
    if not changed:
        return f"{len(one)} same"
    return f"{len(changed)} of {len(one)} different, first {changed[0]}"


def compare(name: str, before: Path, after: Path) -> int:
    """Make an edit by both checkouts, print its row of the table, return its exit code."""
    try:
        (one, facts), (other, others) = outcome(before, name), outcome(after, name)
    except (RuntimeError, OSError) as error:
        print(f"{name:12} {error}", flush=True)
        return FAILED
    results = results_in_words(one.pop("result"), other.pop("result"))
    pictures = pictures_in_words(one, other)
    seconds = f"{facts['seconds']:7.1f} {others['seconds']:7.1f}"
    print(f"{name:12} {seconds}  {results:46} {pictures}", flush=True)
    if facts["notes"] != others["notes"]:
        print(f"  notes before: {facts['notes']}\n  notes after:  {others['notes']}", flush=True)
    return SAME if results == "same" and pictures.endswith(" same") else DIFFERENT


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:])
        return SAME
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkouts", nargs=2, type=Path, metavar="CHECKOUT")
    parser.add_argument("--only", nargs="+", choices=EDITS, default=list(EDITS), metavar="NAME")
    given = parser.parse_args()
    before, after = (checkout.resolve() for checkout in given.checkouts)
    print(f"{'edit':12}  before   after  {'result':46} pictures", flush=True)
    worst = max(compare(name, before, after) for name in given.only)
    print(("all the same", "not the same", "an edit failed")[worst])
    return worst


if __name__ == "__main__":
    sys.exit(main())
