"""Training of the denoiser and its text encoder on the latent bank."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn

from .bank import Bank, load_bank
from .models import alphas_cumprod, build_text_encoder, build_unet
from .training import Plan, Team, fit, generators, save
from .vocabulary import encode_rows, expand_rows, row_count

PLAN = Plan(steps=3800, peak=1.2e-3, seed=31, hold=0.35)
REFINEMENT = Plan(steps=300, peak=4e-4, seed=32, hold=0.0, warmup=20, average=0.99)
LATE = 450
"""Times below which the refinement gives windows their captions.

A caption on a noisy window would teach the model to paint cut objects; on a window that is nearly
finished it teaches it to leave the scale of what is there alone, which the later stages want.
"""
BATCH = 24
UNCAPTIONED = 0.1
GAMMA = 5.0
EMBEDDING = "embeddings.token_embedding.weight"


class Denoiser(nn.Module):
    """The UNet and the text encoder with the small embedding, trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text = build_text_encoder(row_count())
        # Fused attention's backward pass is slow in bfloat16 on CPUs: half of a step.
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The noise [B,4,h,w] in latents at times [B], given rows [B,77] of the embedding."""
        context = self.text(rows).last_hidden_state
        with torch.autocast(noisy.device.type, torch.bfloat16):
            return self.unet(noisy, times, context).sample.float()


def snr_weights(alphas: torch.Tensor) -> torch.Tensor:
    """Loss weights [1000], min(SNR, gamma) / SNR (Hang et al. 2023), scaled to a mean of one."""
    snr = alphas / (1 - alphas)
    weights = snr.clamp(max=GAMMA) / snr
    return weights / weights.mean()


def _loss(
    model: Denoiser, bank: Bank, seed: int, late: int, team: Team, step: int, slot: int
) -> torch.Tensor:
    """Weighted squared error of the noise at stratified times (Ho et al. 2020, eq. 14).

    late: windows are captioned at times below it.
    """
    alphas = alphas_cumprod()
    rng, noise = generators(seed, step, slot)
    which = rng.integers(len(bank.captions), size=BATCH)
    latents = bank.sample(which, noise)
    moments = (torch.arange(BATCH) + torch.rand(BATCH, generator=noise)) / BATCH
    times = (1000 * moments).long().clamp(max=999)
    silent = [
        rng.uniform() < UNCAPTIONED or (bank.is_window(int(i)) and int(t) >= late)
        for i, t in zip(which, times, strict=True)
    ]
    captions = ["" if s else bank.captions[i] for i, s in zip(which, silent, strict=True)]
    rows = encode_rows(captions, rng).to(team.device)
    epsilon = torch.randn(latents.shape, generator=noise)
    alpha = alphas[times].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * epsilon
    output = model(noisy.to(team.device), times.to(team.device), rows)
    error = (output - epsilon.to(team.device)).square().mean((1, 2, 3))
    return (error * snr_weights(alphas)[times].to(team.device)).mean()


def publish(averaged: dict[str, torch.Tensor], out: Path) -> None:
    """Write ``diffusion.pt``: unet, text (full vocabulary) and vae under diffusers' names."""
    states: dict[str, dict[str, torch.Tensor]] = {"unet": {}, "text": {}}
    for name, value in averaged.items():
        part, key = name.split(".", 1)
        whole = expand_rows(value) if key.endswith(EMBEDDING) else value
        states[part][key] = whole.detach().cpu().clone()
    final = out / "autoencoder_final.pt"
    states["vae"] = torch.load(final if final.exists() else out / "autoencoder.pt")
    save(states, out / "diffusion.pt")


def _train(team: Team, out: Path, plan: Plan, late: int, before: Path | None, after: Path) -> None:
    bank, model = load_bank(out), Denoiser().to(team.device)
    if before is not None:
        with torch.no_grad():
            held = [p.detach() for p in model.parameters()]
            torch._foreach_copy_(held, torch.load(before, map_location=team.device)["averaged"])

    def loss_of(step: int, slot: int) -> torch.Tensor:
        return _loss(model, bank, plan.seed, late, team, step, slot)

    fit(model, loss_of, plan, after, team, lambda averaged: publish(averaged, out))
    if team.rank == 0:
        publish(dict(model.named_parameters()), out)


def train_diffusion(team: Team, out: Path) -> None:
    """Train denoiser and text encoder; writes ``diffusion.pt``, now and then and at the end."""
    _train(team, out, PLAN, 0, None, out / "denoiser.pt")


def refine_diffusion(team: Team, out: Path) -> None:
    """Go on with captions on nearly finished windows; rewrites ``diffusion.pt``."""
    _train(team, out, REFINEMENT, LATE, out / "denoiser.pt", out / "refined.pt")
