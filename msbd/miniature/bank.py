"""The latents the diffusion model is trained on, encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .models import LATENT_SCALE, build_autoencoder
from .train_autoencoder import to_tensor
from .training import Team, save
from .world import draw_scene, draw_window

CHUNKS, FRAMES, WINDOWS = 280, 33, 17
EMPTY = 0.1
SEED = 21


@dataclass(frozen=True)
class Bank:
    """Scaled latents, means and deviations [N,4,16,16] in half precision, and their captions."""

    mean: torch.Tensor
    deviation: torch.Tensor
    captions: list[str]

    def is_window(self, index: int) -> bool:
        """Whether an entry is a window rather than a whole frame."""
        return index % (FRAMES + WINDOWS) >= FRAMES

    def sample(self, which: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """Draws from the posteriors of the given entries, float32 [B, 4, 16, 16]."""
        mean = self.mean[which].float()
        return mean + self.deviation[which].float() * torch.randn(mean.shape, generator=generator)


@torch.no_grad()
def build_bank(team: Team, out: Path) -> None:
    """Encode this process's chunks of whole frames and windows; writes ``bank*.pt``."""
    path = out / f"bank{team.rank}.pt"
    if path.exists():
        return
    network = build_autoencoder()
    network.load_state_dict(torch.load(out / "autoencoder.pt"))
    network.to(team.device).eval()
    chunks = {}
    for chunk in range(team.rank, CHUNKS, team.size):
        rng = np.random.default_rng([SEED, chunk])
        scenes = [draw_scene(rng, empty=EMPTY) for _ in range(FRAMES)]
        scenes += [draw_window(rng) for _ in range(WINDOWS)]
        images = np.stack([image for image, _ in scenes])
        with torch.autocast(team.device, torch.bfloat16):
            parts = [
                network.encode(p).latent_dist for p in to_tensor(images).to(team.device).split(10)
            ]
        mean = LATENT_SCALE * torch.cat([p.mean.float().cpu() for p in parts])
        deviation = LATENT_SCALE * torch.cat([p.std.float().cpu() for p in parts])
        chunks[chunk] = (mean.half(), deviation.half(), [s.caption for _, s in scenes])
    save(chunks, path)


def load_bank(out: Path) -> Bank:
    """The whole bank in one order, however many processes wrote it."""
    chunks = {}
    for path in sorted(out.glob("bank*.pt")):
        chunks.update(torch.load(path))
    parts = [chunks[k] for k in range(CHUNKS)]
    return Bank(
        torch.cat([p[0] for p in parts]),
        torch.cat([p[1] for p in parts]),
        [c for p in parts for c in p[2]],
    )
