"""Decoder optimisation as published (section 3.3): fine-tune all of the decoder by Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..precision import single_precision
from ..setting import Ablation


@dataclass(frozen=True)
class Segment:
    """One tile to be decoded. z: [1,4,h,w]; background: [1,3,8h,8w] in [0,1], what the decoded
    picture should be outside the mask; painted: [1,1,8h,8w] of 0 and 1; edge: [1,1,8h,8w] in
    [0,1], how near the mask's edge is, see `nearness`."""

    z: Tensor
    background: Tensor
    painted: Tensor
    edge: Tensor


def fine_tune(
    decoder: nn.Module,
    segments: Sequence[Segment],
    ablation: Ablation,
    sparing: bool,
    advance: Callable[[], None],
) -> list[float]:
    """Train `decoder` in place on all segments together; return the loss before each step.

    Minimises by Adam, the mean being over all pixels of all segments and D* the decoder as given,

        |M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2

    so that it keeps what it painted and matches the picture around it. Gradients are accumulated
    segment by segment, so memory is that of one. sparing: with gradient checkpointing; see
    `checkpointed`. `advance()` is called after each segment of each step and may raise to
    interrupt.
    """
    weight, losses = ablation.decoder_background_weight, []
    pixels = sum(segment.background.numel() for segment in segments)
    with single_precision(), (checkpointed if sparing else nullcontext)(decoder):
        painted_as_is = [decoder(segment.z) for segment in segments]
        optimiser = torch.optim.Adam(decoder.parameters(), lr=ablation.decoder_rate)
        for _ in range(ablation.decoder_iterations):
            optimiser.zero_grad(set_to_none=True)
            loss = 0.0
            for segment, keep in zip(segments, painted_as_is, strict=True):
                with torch.enable_grad():
                    part = squared_error(decoder(segment.z), keep, segment, weight) / pixels
                    part.backward()
                loss += float(part.detach())
                advance()
            optimiser.step()
            losses.append(loss)
        optimiser.zero_grad(set_to_none=True)
    return losses


def squared_error(image: Tensor, keep: Tensor, segment: Segment, weight: float) -> Tensor:
    """The loss of `fine_tune`, summed over a segment's pixels.

    image, keep: [1,3,H,W], D(z) and D*(z). weight: lambda.
    """
    painted, background = segment.painted, segment.background
    inside = painted * (image - keep).square()
    return (inside + weight * (1 - painted) * (image - background).square()).sum()


@contextmanager
def checkpointed(network: nn.Module) -> Iterator[None]:
    """What a block computes on the way is not kept for the gradient, but computed again for it.

    Blocks are an autoencoder's residual blocks. Results and gradients stay the same, bit by bit
    where the device computes alike twice (Chen et al. 2016, section 3). The blocks must be free of
    randomness, as they are in evaluation mode. Attention is left as it is: hosts may cut it into
    portions by the memory that is free just then.
    """
    blocks = [module for module in network.modules() if is_block(module)]
    for block in blocks:
        block.forward = partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def is_block(module: nn.Module) -> bool:
    """Whether a module is a residual block: has layers of its own that normalise and that look at
    neighbours, and no module in it has."""
    return [part for part in module.modules() if _is_residual(part)] == [module]


def _is_residual(module: nn.Module) -> bool:
    layers = list(module.children())
    return any(isinstance(one, nn.GroupNorm) for one in layers) and any(
        isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1 for one in layers
    )
