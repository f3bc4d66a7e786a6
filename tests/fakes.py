"""A diffusion model that is arithmetic: instant, exact, and small enough to reason about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msbd.backend import Condition, Denoise, ModelSpec
from msbd.geometry import Box, Size

SIGMA_MAX, SIGMA_MIN = 14.6, 0.03
"""Noise levels of the first and the last step, about Stable Diffusion's own."""


def small_spec(resolution: int = 32, **changes: Any) -> ModelSpec:
    """Facts of a model small enough that a test picture of 100 pixels is a large one."""
    spec = {"resolution": resolution, "multiple": 16, "upscale_factor": 4.0, **changes}
    return ModelSpec(**spec)


def default_noise(x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """What k-diffusion draws when no noise sampler is given: fresh global noise."""
    return lambda sigma, sigma_next: torch.randn_like(x)


def euler(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Euler's method, deterministic; `noise_sampler` is accepted and not used."""
    return _steps(model, x, sigmas, extra_args, callback, None)


def euler_ancestral(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    noise_sampler: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Euler steps to a lower noise level each, and fresh noise back up (eta 1)."""
    return _steps(model, x, sigmas, extra_args, callback, noise_sampler or default_noise(x))


def _steps(
    model: Denoise,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None,
    callback: Callable[[dict[str, Any]], None] | None,
    noise: Callable[[Tensor, Tensor], Tensor] | None,
) -> Tensor:
    for index in range(len(sigmas) - 1):
        high, low = sigmas[index], sigmas[index + 1]
        denoised = model(x, high.expand(len(x)), **(extra_args or {}))
        if callback is not None:
            callback({"x": x, "i": index, "sigma": high, "denoised": denoised})
        up = low * (1 - low**2 / high**2).sqrt() if noise is not None else torch.zeros(())
        down = (low**2 - up**2).sqrt()
        x = denoised + (x - denoised) * (down / high)
        if noise is not None and low > 0:
            x = x + up * noise(high, low)
    return x


class PointwiseDecoder(nn.Module):
    """Latents to pixels: one linear map per cell, enlarged; 15 trainable parameters."""

    def __init__(self, tint: float, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.last = nn.utils.skip_init(nn.Conv2d, 4, 3, 1)
        with torch.no_grad():
            self.last.weight.copy_(torch.eye(3, 4)[:, :, None, None] / 2)
            self.last.bias.fill_(0.5 + tint)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(F.interpolate(z, scale_factor=8, mode=self.mode))


@dataclass
class PointwiseBackend:
    """A `Backend` whose every answer can be computed by hand.

    encode: 8x8 average pooling; the latents are red, green and blue in [-1,1] and a zero.
    decode: the cell's colour, enlarged by `mode` ("nearest" keeps cells independent, so tiles
    agree exactly with the whole; "bilinear" does not), plus `tint`, an error of tone that the
    decoder optimisation can learn away. denoise: the exact posterior mean when latents are
    Gaussian around `colour` (each in [0,1]) with standard deviation `spread`, so that samples
    come out in that colour, or in grey without guidance. upscale: bilinear, antialiased. score:
    mean brightness, or None if `blind`. condition: a number for each tile, [1,1,1,1].

    before: called with the number of samples denoised so far, before each evaluation; let it
    raise `Interrupted` or `torch.OutOfMemoryError` to see what happens then. Counters: `samples`
    (single samples denoised), `batches` (calls of denoise), `shapes` (of their inputs),
    `encoded`, `decoded` and `conditions` (shapes), `upscaled` (from which size to which).
    """

    spec: ModelSpec = field(default_factory=small_spec)
    colour: tuple[float, float, float] = (0.9, 0.1, 0.1)
    spread: float = 0.1
    tint: float = 0.0
    mode: str = "nearest"
    blind: bool = False
    sampler: Callable[..., Tensor] = euler_ancestral
    before: Callable[[int], None] = lambda samples: None
    device: torch.device = torch.device("cpu")
    tile_by_tile: bool = False
    details: PointwiseBackend | None = None
    samples: int = 0
    batches: int = 0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    encoded: list[tuple[int, ...]] = field(default_factory=list)
    conditions: list[tuple[int, ...]] = field(default_factory=list)
    decoded: list[tuple[int, ...]] = field(default_factory=list)
    upscaled: list[tuple[Size, Size]] = field(default_factory=list)

    def sigmas(self, steps: int) -> Tensor:
        ramp = torch.linspace(0, 1, steps) if steps > 1 else torch.zeros(1)
        levels = SIGMA_MAX * (SIGMA_MIN / SIGMA_MAX) ** ramp
        return torch.cat([levels, torch.zeros(1)])

    @property
    def mean(self) -> Tensor:
        """The latents [1,4,1,1] of a plain area of `colour`."""
        return torch.tensor([*(2 * c - 1 for c in self.colour), 0.0])[None, :, None, None]

    @contextmanager
    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> Iterator[Tensor]:
        assert noise.shape == source.shape
        assert image.shape[-2:] == painted.shape[-2:] and painted.shape[1] == 1
        self.conditions.append(tuple(image.shape))
        yield torch.full((1, 1, 1, 1), float(len(self.conditions)))

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        assert condition is None or len(condition) in (1, len(z)), "whose condition is it?"
        assert z.shape[1] == 4 and sigma.shape == (len(z),), (z.shape, sigma.shape)
        self.before(self.samples)
        self.samples += len(z)
        self.batches += 1
        self.shapes.append(tuple(z.shape))
        noise, signal = sigma[:, None, None, None] ** 2, self.spread**2
        return (signal * z + noise * (guidance > 0) * self.mean) / (signal + noise)

    def encode(self, image: Tensor) -> Tensor:
        assert image.shape[-1] % self.spec.multiple == 0, image.shape
        assert image.shape[-2] % self.spec.multiple == 0, image.shape
        self.encoded.append(tuple(image.shape))
        colours = F.avg_pool2d(image, 8) * 2 - 1
        return torch.cat([colours, torch.zeros_like(colours[:, :1])], 1)

    def decode(self, z: Tensor) -> Tensor:
        self.decoded.append(tuple(z.shape))
        with torch.no_grad():
            return self.decoder()(z).clamp(0, 1)

    def decoder(self) -> PointwiseDecoder:
        return PointwiseDecoder(self.tint, self.mode)

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        self.upscaled.append((Size(*image.shape[-2:]), size))
        shape = (size.height, size.width)
        return F.interpolate(image, shape, mode="bilinear", antialias=True).clamp(0, 1)

    def score(self, images: Tensor) -> Tensor | None:
        return None if self.blind else images.mean((1, 2, 3))


class WithABlock(PointwiseBackend):
    """Its decoder ends with a block, which changes nothing to begin with."""

    def decoder(self) -> Any:
        made = super().decoder()
        made.add_module("block", _Block())
        made.last.register_forward_hook(lambda layer, given, image: made.block(image))
        return made


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(1, 3), nn.Conv2d(3, 3, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.conv(self.norm(image))
