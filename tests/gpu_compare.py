"""Seconds by part, bytes moved and peak memory of edits on a GPU, by two checkouts in one run.

    python tests/gpu_compare.py BEFORE AFTER > figures.json

BEFORE and AFTER: folders of this repository at two commits. Each edit is made by both in turn,
with networks of Stable Diffusion 1's, Real-ESRGAN's and CLIP ViT-L/14's sizes and random weights;
once for the seconds and once for the bytes, which cost time to count. `--rehearse`: on the CPU,
with the miniature and small pictures, to see that everything works.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

EDITS = {
    "6 MP": ((2000, 3000), 800),
    "24 MP": ((4000, 6000), 1600),
    "24 MP, large": ((4000, 6000), 3200),
}
REHEARSAL = {"small": ((300, 400), 150)}
PARTS = ("denoise", "encode", "decode", "decoder", "upscale", "score")


class Timed:
    """A backend whose parts are timed; what an edit takes besides them is its rest."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.seconds: dict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        if name not in PARTS:
            return found

        def timed(*given: Any, **named: Any) -> Any:
            start = now(self._backend.device)
            result = found(*given, **named)
            self.seconds[name] += now(self._backend.device) - start
            return result

        return timed


class Moved(TorchDispatchMode):
    """Counts the bytes that go to main memory and come from it."""

    def __init__(self) -> None:
        super().__init__()
        self.down = self.up = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            given = [one for one in tree_flatten(args)[0] if isinstance(one, torch.Tensor)]
            source = given[-1]
            if source.device.type != result.device.type:
                size = result.numel() * min(result.element_size(), source.element_size())
                if result.device.type == "cpu":
                    self.down += size
                else:
                    self.up += size
        return result


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def full_sized(folder: Path, device: torch.device = torch.device("cuda")) -> Any:
    """A model of the real sizes."""
    from msbd.benchmark.random_model import random_stable_diffusion
    from msbd.miniature.rrdb import RRDBNet
    from msbd.standalone import clip
    from msbd.standalone.upscaler import load_upscaler

    model = random_stable_diffusion(device, torch.float16)  # makes torchvision fit for open_clip
    import open_clip

    path = folder / "RealESRGAN_x4plus.pth"
    torch.save({"params": RRDBNet(64, 23).state_dict()}, path)
    model.upscaler = load_upscaler(path, device)
    network = open_clip.create_model("ViT-L-14", pretrained=None)
    model.ranker = clip.ClipRanker("random", device)
    model.ranker._model = clip._ready(network, open_clip.get_tokenizer("ViT-L-14"))
    return model


def measure(rehearse: bool, preset_name: str, edit_name: str) -> dict[str, Any]:
    """In this process, by the checkout that Python finds first."""
    import tempfile

    from msbd.geometry import Size
    from msbd.noise import Noise
    from msbd.pipeline import edit
    from msbd.presets import preset
    from msbd.settings import SETTINGS
    from msbd.standalone import models

    try:
        from msbd.planning import plan_edit
    except ImportError:  # before 0.2
        from msbd.plan import plan_edit  # type: ignore[attr-defined, no-redef]

    settings = preset(preset_name)
    repeats = "resampling_steps" if "resampling_steps" in SETTINGS else "repaint_repeats"
    with tempfile.TemporaryDirectory() as folder:
        if rehearse:
            settings = settings.with_values({"steps": 2, repeats: 0})
            model = models.load(models.choose(settings, device="cpu"))
        else:
            model = full_sized(Path(folder))
    (height, width), side = (REHEARSAL if rehearse else EDITS)[edit_name]
    image = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (1, 3, height, width)).astype(np.float32) / 255
    )
    mask = np.zeros((height, width), np.float32)
    mask[50 : 50 + side, 100 : 100 + side] = 1
    backend = model.bind("a red star on grass", "", 7.5, settings.flat()["sampler"])
    plan = plan_edit(Size(height, width), mask, settings, backend.spec)
    edit(image, mask, plan, settings, backend, Noise(0))  # the first is slower
    if backend.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    timed, start = Timed(backend), now(backend.device)
    done = edit(image, mask, plan, settings, timed, Noise(0))
    seconds = {"all": now(backend.device) - start, **timed.seconds}
    with Moved() as moved:
        edit(image, mask, plan, settings, backend, Noise(0))
    fitting = sum(stage.fitting_seconds for stage in done.report.stages)
    return {
        "preset": preset_name,
        "edit": edit_name,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "fitting": round(fitting, 3),
        "MiB down": round(moved.down / 2**20, 1),
        "MiB up": round(moved.up / 2**20, 1),
        "peak GiB": round(done.report.peak_memory_bytes / 2**30, 2),
        "notes": done.report.notes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--presets", nargs="+", default=["recommended", "fast", "draft"])
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.rehearse, *given.measure)))
        return
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(json.dumps({"device": card, "torch": torch.__version__}), flush=True)
    rehearse = ["--rehearse"] if given.rehearse else []
    for edit_name in REHEARSAL if given.rehearse else EDITS:
        for preset_name in given.presets:
            for checkout in given.checkouts:
                command = [sys.executable, __file__, *rehearse, "--measure", preset_name, edit_name]
                environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
                found = subprocess.run(
                    command,
                    env=environment,
                    cwd=checkout,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                lines = found.stdout.strip().splitlines()
                row = json.loads(lines[-1]) if lines else {"failed": found.stderr[-800:]}
                print(json.dumps({"checkout": checkout.name, **row}), flush=True)


if __name__ == "__main__":
    main()
