"""Measure the shipped miniature: ``python -m msbd.miniature.evaluate [--quick] -o FILE.json``."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch

from . import measures
from .autoencoder_measures import measure_autoencoder
from .clip_measures import measure_clip
from .measures import Figures
from .sampling import Miniature, Sampler
from .shipped import read_shipped
from .train_upscaler import measure_upscaler

QUICK = {
    "base": 40,
    "sdedit": 12,
    "inpainting": 24,
    "autoencoder": 16,
    "blind": 8,
    "upscaler": 4,
    "clip": 24,
}
TARGETS = {
    ("base", "right"): 0.95,
    ("sdedit", "kept"): 0.90,
    ("inpainting", "right_5_passes"): 0.85,
    ("autoencoder", "psnr_frames"): 26.0,
    ("autoencoder", "psnr_photos"): 22.0,
    ("blind", "more_than_one"): 0.5,
}


def bind(states: Path | None, steps: int) -> dict[str, Callable[[int | None], Figures]]:
    """The named measurements, each taking its number of pictures (None: its default)."""
    weights = read_shipped() if states is None else torch.load(states)
    sampler = Sampler(Miniature.from_states(weights), steps=steps)

    def of(measure: Callable[..., Figures]) -> Callable[[int | None], Figures]:
        return lambda count: measure(sampler) if count is None else measure(sampler, count)

    return {
        "base": of(measures.measure_base),
        "sdedit": of(measures.measure_sdedit),
        "inpainting": of(measures.measure_inpainting),
        "autoencoder": of(measure_autoencoder),
        "blind": of(measures.measure_blind),
        "upscaler": lambda count: measure_upscaler(count=count or 12),
        "clip": of(measure_clip),
    }


def main() -> None:
    """Print every figure, with its target where it has one, and write them all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures")
    parser.add_argument(
        "--only", action="append", choices=tuple(QUICK), help="one measurement; repeatable"
    )
    parser.add_argument(
        "--states", type=Path, help="a training run's diffusion.pt instead of the shipped files"
    )
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    results: dict[str, Figures] = {}
    for name, measure in bind(options.states, options.steps).items():
        if options.only and name not in options.only:
            continue
        began = time.monotonic()
        results[name] = measure(QUICK[name] if options.quick else None)
        results[name]["seconds"] = round(time.monotonic() - began, 1)
        for key, value in results[name].items():
            target = TARGETS.get((name, key))
            print(
                f"{name:12} {key:28} {value}" + (f"   (target {target})" if target else ""),
                flush=True,
            )
        options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
