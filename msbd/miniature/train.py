"""Retrain the miniature from nothing: ``python -m msbd.miniature.train [STAGE] --out DIR``.

Every stage has a fixed seed and a fixed number of steps and resumes from its own checkpoint in
DIR; "export" writes the shipped files.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch

from . import train_clip, train_upscaler
from .bank import build_bank
from .checkpoint import write_checkpoint
from .clip_model import export_clip
from .clip_pictures import paint_pictures
from .train_autoencoder import train_decoder, train_joint
from .train_diffusion import refine_diffusion, train_diffusion
from .training import run_team

STAGES: dict[str, tuple[Callable[..., None], ...]] = {
    "autoencoder": (train_joint,),
    "decoder": (train_decoder,),
    "bank": (build_bank,),
    "diffusion": (train_diffusion,),
    "refinement": (refine_diffusion,),
    "upscaler": (train_upscaler.train_first, train_upscaler.train_second),
    "clip": (train_clip.train_first, paint_pictures, train_clip.train_second),
}


def export(out: Path) -> None:
    """Write what was trained in half precision to where it is shipped."""
    write_checkpoint(torch.load(out / "diffusion.pt"))
    train_upscaler.export_upscaler(torch.load(out / "upscaler.pt"))
    export_clip(torch.load(out / "clip.pt"))


def main() -> None:
    """Run one stage, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", nargs="?", default="all", choices=("all", *STAGES, "export"))
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name, works in STAGES.items():
        for work in works if options.stage in ("all", name) else ():
            run_team(work, options.device, options.out)
    if options.stage in ("all", "export"):
        export(options.out)


if __name__ == "__main__":
    main()
