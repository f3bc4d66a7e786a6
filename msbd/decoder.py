"""Decoder optimisation: fine-tune a copy of the autoencoder's decoder for this very picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .checkpointing import checkpointed
from .composite import feathered
from .precision import mixed_precision, single_precision
from .settings import DecoderOptimisation

REACH = 4
"""How far inside the mask, in latent cells, its edge counts as near."""


@dataclass(frozen=True)
class Segment:
    """One tile to be decoded. z: [1,4,h,w]; background: [1,3,8h,8w] in [0,1], what the decoded
    picture should be outside the mask; painted: [1,1,8h,8w] of 0 and 1; edge: [1,1,8h,8w] in
    [0,1], how near the mask's edge is, see `nearness`."""

    z: Tensor
    background: Tensor
    painted: Tensor
    edge: Tensor


def nearness(painted: Tensor, cell: int) -> Tensor:
    """1 outside the mask, falling to 0 within `REACH` cells inside it.

    painted: [1,1,H,W] of 0 and 1, sides multiples of `cell` pixels.
    """
    outside = 1 - painted
    cells = F.max_pool2d(outside, cell)
    near = F.interpolate(feathered(cells, REACH - 1), scale_factor=cell, mode="bilinear")
    return torch.maximum(outside, near)


def optimise(
    decoder: nn.Module,
    segments: Sequence[Segment],
    settings: DecoderOptimisation,
    advance: Callable[[], None],
) -> list[float]:
    """Train `decoder` in place on all segments together; return the loss before each step.

    Minimises |M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2 by Adam (section 3.3), where D*
    is the decoder as given: keep what it painted, match the picture around it. The mean is over
    all pixels of all segments; gradients are accumulated segment by segment, so memory is that
    of one. `advance()` is called after each segment of each step and may raise to interrupt.
    """
    if not settings.decoder_iterations:
        return []
    sparing = checkpointed if settings.decoder_checkpointing else nullcontext
    with training(decoder, settings), sparing(decoder):
        return _optimise(decoder, segments, settings, advance)


@contextmanager
def training(decoder: nn.Module, settings: DecoderOptimisation) -> Iterator[None]:
    """Gradients, in single or mixed precision."""
    mixed = mixed_precision if settings.decoder_mixed_precision else nullcontext
    with single_precision(), torch.enable_grad(), mixed(decoder):
        yield


def _optimise(
    decoder: nn.Module,
    segments: Sequence[Segment],
    settings: DecoderOptimisation,
    advance: Callable[[], None],
) -> list[float]:
    with torch.no_grad():
        painted_as_is = [decoder(segment.z) for segment in segments]
    pixels = sum(segment.background.numel() for segment in segments)
    optimiser = torch.optim.Adam(decoder.parameters(), lr=settings.decoder_rate)
    losses: list[float] = []
    for _ in range(settings.decoder_iterations):
        optimiser.zero_grad(set_to_none=True)
        loss = 0.0
        for segment, keep in zip(segments, painted_as_is, strict=True):
            decoded, weight = decoder(segment.z), settings.decoder_background_weight
            error = squared_error(decoded, keep, segment.background, segment.painted, weight)
            part = error / pixels
            part.backward()
            loss += float(part.detach())
            advance()
        optimiser.step()
        losses.append(loss)
        if _has_settled(losses, settings.decoder_patience):
            break
    optimiser.zero_grad(set_to_none=True)
    return losses


def squared_error(
    image: Tensor, keep: Tensor, background: Tensor, painted: Tensor, weight: float
) -> Tensor:
    """The sum over all pixels of |M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2.

    image, keep: [B,3,H,W], decoded now and to begin with. background: x. painted: M, [B,1,H,W].
    weight: lambda.
    """
    inside = painted * (image - keep).square()
    return (inside + weight * (1 - painted) * (image - background).square()).sum()


def _has_settled(losses: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` losses are all within 1 % of the best before them."""
    if not 0 < patience < len(losses):
        return False
    return min(losses[-patience:]) > 0.99 * min(losses[:-patience])
