"""Training of the autoencoder: both halves together, then, on frozen latents, the decoder alone."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import torch

from .anchors import anchor_autoencoder
from .models import LATENT_SCALE, Network, build_autoencoder
from .pictures import draw_batch
from .training import Plan, Team, fit, generators, save

JOINT = Plan(steps=1300, peak=1e-3, seed=11, decay=1e-4, average=0.995)
DECODER = Plan(steps=250, peak=5e-4, seed=12, decay=1e-4, average=0.995)
JOINT_SIZES = ((8, 64), (8, 64), (8, 64), (4, 96), (2, 128))
DECODER_SIZES = ((8, 64), (2, 128), (2, 128), (1, 192))
PHOTOS = 0.2
PRIOR = 1e-4


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Absolute and squared error of the colours, absolute error of neighbours' differences."""
    error = output - target
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.4 * slopes


def _loss(
    network: Network,
    plan: Plan,
    sizes: tuple[tuple[int, int], ...],
    team: Team,
    step: int,
    slot: int,
) -> torch.Tensor:
    rng, noise = generators(plan.seed, step, slot)
    count, side = sizes[step % len(sizes)]
    images = to_tensor(draw_batch(rng, count, side, PHOTOS)).to(team.device)
    with torch.autocast(team.device, torch.bfloat16):
        latents = network.encode(images).latent_dist
    mean, logvar = latents.mean.float(), latents.logvar.float()
    sample = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=noise).to(
        team.device
    )
    with torch.autocast(team.device, torch.bfloat16):
        output = network.decode(sample).sample
    prior = (mean.square() + logvar.exp() - 1 - logvar).mean()
    return reconstruction_loss(output.float(), images) + PRIOR * prior


@torch.no_grad()
def fold_scale(network: Network, seed: int = 13) -> float:
    """Rescale the latents to unit deviation after LATENT_SCALE; returns the factor."""
    images = to_tensor(draw_batch(np.random.default_rng(seed), 96, 128, 0.0))
    means = torch.cat([network.encode(part).latent_dist.mean for part in images.split(16)])
    factor = float(1 / (LATENT_SCALE * means.std()))
    network.quant_conv.weight[:4] *= factor
    network.quant_conv.bias[:4] *= factor
    network.quant_conv.bias[4:] += 2 * log(factor)
    network.post_quant_conv.weight /= factor
    return factor


def train_joint(team: Team, out: Path) -> None:
    """Train encoder and decoder; writes ``autoencoder.pt``, whose latents are final."""
    network = build_autoencoder()
    anchor_autoencoder(network)
    network.to(team.device)
    fit(
        network,
        lambda step, slot: _loss(network, JOINT, JOINT_SIZES, team, step, slot),
        JOINT,
        out / "joint.pt",
        team,
    )
    if team.rank == 0:
        network.cpu().eval()
        fold_scale(network)
        save(network.state_dict(), out / "autoencoder.pt")


def train_decoder(team: Team, out: Path) -> None:
    """Train the decoder alone, the latents unchanged; writes ``autoencoder_final.pt``."""
    network = build_autoencoder()
    network.load_state_dict(torch.load(out / "autoencoder.pt"))
    network.to(team.device)
    for half in (network.encoder, network.quant_conv):
        half.requires_grad_(False)
    fit(
        network,
        lambda step, slot: _loss(network, DECODER, DECODER_SIZES, team, step, slot),
        DECODER,
        out / "decoder.pt",
        team,
    )
    if team.rank == 0:
        save(network.cpu().eval().state_dict(), out / "autoencoder_final.pt")
