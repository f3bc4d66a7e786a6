"""A plain sampler for measuring the miniature: DDIM, SDEdit and blended inpainting in one loop.

The extension's own engine is not used here on purpose: these figures are to tell
the model's faults from the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from .models import (
    FACTOR,
    LATENT_SCALE,
    Network,
    alphas_cumprod,
    build_autoencoder,
    build_text_encoder,
    build_unet,
)
from .train_autoencoder import to_tensor
from .vocabulary import encode

States = dict[str, dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Miniature:
    """The three networks, ready to use."""

    unet: Network
    text: Network
    vae: Network

    @classmethod
    def from_states(cls, states: States) -> Miniature:
        """From states under diffusers' names, rounded to half precision as the shipped file is."""
        networks = {"unet": build_unet(), "text": build_text_encoder(), "vae": build_autoencoder()}
        for name, network in networks.items():
            rounded = {
                k: v.half().float() if v.is_floating_point() else v for k, v in states[name].items()
            }
            network.load_state_dict(rounded)
            network.eval().requires_grad_(False)
        return cls(**networks)


@dataclass(frozen=True)
class Edit:
    """Blended Latent Diffusion: repaint where mask [B,1,h,w] is 1, else keep source [B,4,h,w].

    passes: RePaint's number of passes through every step (Lugmayr et al. 2022).
    """

    source: torch.Tensor
    mask: torch.Tensor
    passes: int = 1


@dataclass(frozen=True)
class Sampler:
    """DDIM with guidance; images are uint8 [B, H, W, 3], latents scaled [B, 4, H/8, W/8]."""

    model: Miniature
    guidance: float = 4.0
    steps: int = 25
    chunk: int = 40
    alphas: torch.Tensor = field(default_factory=alphas_cumprod)

    @torch.no_grad()
    def encode(self, images: np.ndarray) -> torch.Tensor:
        """Images to the means of their scaled latents."""
        with torch.autocast("cpu", torch.bfloat16):
            parts = [
                self.model.vae.encode(p).latent_dist.mean.float()
                for p in to_tensor(images).split(8)
            ]
        return LATENT_SCALE * torch.cat(parts)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Scaled latents to images."""
        with torch.autocast("cpu", torch.bfloat16):
            parts = [
                self.model.vae.decode(p).sample.float() for p in (latents / LATENT_SCALE).split(8)
            ]
        pixels = (torch.cat(parts).permute(0, 2, 3, 1).numpy() + 1) * 127.5
        return (pixels + 0.5).clip(0, 255).astype(np.uint8)

    @torch.no_grad()
    def _predict(
        self, x: torch.Tensor, t: int, context: torch.Tensor, nothing: torch.Tensor
    ) -> torch.Tensor:
        """The guided noise prediction."""
        with torch.autocast("cpu", torch.bfloat16):
            if self.guidance == 1:
                return self.model.unet(x, t, context).sample.float()
            both = torch.cat([nothing.expand(len(x), -1, -1), context])
            free, given = self.model.unet(torch.cat([x, x]), t, both).sample.float().chunk(2)
        return free + self.guidance * (given - free)

    def sample(
        self,
        captions: list[str],
        height: int,
        width: int,
        seed: int,
        start: torch.Tensor | None = None,
        strength: float = 1.0,
        edit: Edit | None = None,
    ) -> torch.Tensor:
        """Latents of height x width px, from noise or by SDEdit from ``start`` at a strength."""
        noise = torch.Generator().manual_seed(seed)
        shape = (len(captions), 4, height // FACTOR, width // FACTOR)
        parts = []
        for first in range(0, len(captions), self.chunk):
            rows = slice(first, first + self.chunk)
            part = None if edit is None else Edit(edit.source[rows], edit.mask[rows], edit.passes)
            size = (len(captions[rows]), *shape[1:])
            begin = None if start is None else start[rows]
            parts.append(self._sample_chunk(captions[rows], size, noise, begin, strength, part))
        return torch.cat(parts)

    def _sample_chunk(
        self,
        captions: list[str],
        shape: tuple[int, ...],
        noise: torch.Generator,
        start: torch.Tensor | None,
        strength: float,
        edit: Edit | None,
    ) -> torch.Tensor:
        with torch.no_grad():
            context, nothing = (
                self.model.text(encode(c)).last_hidden_state for c in (captions, [""])
            )
        times = [
            1 + k * (1000 // self.steps) for k in reversed(range(round(self.steps * strength)))
        ]
        levels = [self.alphas[t] for t in times] + [torch.tensor(1.0)]

        def renoise(clean: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return level.sqrt() * clean + (1 - level).sqrt() * torch.randn(shape, generator=noise)

        def blend(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return (
                x if edit is None else edit.mask * x + (1 - edit.mask) * renoise(edit.source, level)
            )

        x = (
            renoise(torch.zeros(shape), torch.tensor(0.0))
            if start is None
            else renoise(start, levels[0])
        )
        x = blend(x, levels[0])
        for t, level, following in zip(times, levels, levels[1:], strict=False):
            passes = edit.passes if edit is not None and following < 1 else 1
            for again in reversed(range(passes)):
                epsilon = self._predict(x, t, context, nothing)
                clean = (x - (1 - level).sqrt() * epsilon) / level.sqrt()
                x = blend(following.sqrt() * clean + (1 - following).sqrt() * epsilon, following)
                if again:
                    x = renoise(x, level / following)
        return x
