"""Decoder optimisation at a stroke: solve for the decoder's last layer instead of training it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decoder import Segment

RIDGE = 1e-2
"""How strongly the layer is held to what it was, in units of its inputs' mean square."""
SAMPLES = 2**16
"""Pixels of a segment that are looked at: more of them say nothing new of some thousand weights."""
BAND = 2**12
"""Pixels whose inputs are laid out at a time, which bounds memory."""


def equations_bytes(unknowns: int) -> int:
    """Memory that the equations take at the most, the passes through the decoder aside."""
    inputs = 4 * 8 * BAND * unknowns  # laid out, in double precision, with ones, weighted
    return inputs + 3 * 8 * unknowns**2


class _Equations:
    """Normal equations of weighted least squares in the layer's weights and biases.

    matrix: [K,K]. right: [K,3]. square: the weighted square of what is wanted.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device) -> None:
        unknowns = layer.weight[0].numel() + 1
        # In double precision, which not every device has.
        place = device if device.type == "cuda" else torch.device("cpu")
        self.matrix = torch.zeros(unknowns, unknowns, device=place, dtype=torch.float64)
        self.right = torch.zeros(unknowns, layer.out_channels, device=place, dtype=torch.float64)
        self.square = 0.0
        self.numbers = 0

    def add(self, inputs: Tensor, wanted: Tensor, weights: Tensor) -> None:
        """inputs: [n,K]. wanted: [n,3]. weights: [n,1]."""
        weighted = inputs * weights
        self.matrix += inputs.T @ weighted
        self.right += weighted.T @ wanted
        self.square += float((weights * wanted.square()).sum())
        self.numbers += wanted.numel()

    def solution(self) -> Tensor:
        """[K,3], by ridge regression towards 0."""
        ridge = RIDGE * self.matrix.diagonal().mean()
        held = self.matrix + ridge * torch.eye(len(self.matrix)).to(self.matrix)
        return torch.linalg.solve(held, self.right)

    def loss(self, change: Tensor) -> float:
        """Mean weighted square error after a change [K,3] of the weights."""
        explained = (change * (2 * self.right - self.matrix @ change)).sum()
        return (self.square - float(explained)) / self.numbers


@torch.no_grad()
def refit(
    decoder: nn.Module,
    segments: Sequence[Segment],
    background_weight: float,
    advance: Callable[[], None],
) -> tuple[float, float]:
    """Fit the decoder's last layer, in place, to all segments; the loss before and after.

    The loss of section 3.3, |M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2, is quadratic in
    the last layer's weights, so its minimum is one linear system away: no gradients, no learning
    rate, one pass through the decoder for each segment. It never ends above where it began.
    Segments that are painted all over have nothing to match and are left out. decoder: see
    `Backend.decoder`, for `last` and `gain` too. background_weight: lambda. `advance()` is called
    after each segment and may raise to interrupt.
    """
    layer, gain = decoder.last, decoder.gain
    assert isinstance(layer, nn.Conv2d) and isinstance(gain, float), type(decoder)
    assert layer.bias is not None
    equations: _Equations | None = None
    for segment in segments:
        if bool((segment.painted < 1).any()):
            with _watching(layer) as seen:
                image = decoder(segment.z)
            equations = equations or _Equations(layer, seen[0].device)
            _collect(equations, layer, segment, image, seen[0], background_weight)
        advance()
    if equations is None or not equations.square:
        return 0.0, 0.0
    change = equations.solution()
    before, after = equations.loss(torch.zeros_like(change)), equations.loss(change)
    if not after < before:
        return before, before
    layer.weight += (change[:-1].T / gain).reshape(layer.weight.shape).to(layer.weight)
    layer.bias += (change[-1] / gain).to(layer.bias)
    return before, after


def _collect(
    equations: _Equations,
    layer: nn.Conv2d,
    segment: Segment,
    image: Tensor,
    features: Tensor,
    background_weight: float,
) -> None:
    """Add a segment's pixels; if there are many, those on a grid.

    features: the layer's inputs [1,C,H,W]. What is wanted is a change of the picture: to what it
    should be outside the mask, and none inside.
    """
    stride = 1
    while image.shape[-2] * image.shape[-1] > SAMPLES * stride**2:
        stride += 2  # odd, so that every phase of the latent grid is seen
    outside = 1 - segment.painted[..., ::stride, ::stride]
    wanted = outside * (segment.background - image)[..., ::stride, ::stride]
    weights = 1 - outside + background_weight * outside
    reach, margin = layer.kernel_size[0], int(layer.padding[0])
    framed = F.pad(features, (margin,) * 4)
    band = max(1, BAND // wanted.shape[-1])
    for top in range(0, wanted.shape[-2], band):
        rows = slice(top, top + band)
        part = framed[..., top * stride : (top + band - 1) * stride + reach, :]
        columns = F.unfold(part, layer.kernel_size, stride=stride)[0].T.to(equations.matrix)
        inputs = torch.cat([columns, columns.new_ones(len(columns), 1)], 1)
        equations.add(
            inputs, _listed(wanted[..., rows, :], inputs), _listed(weights[..., rows, :], inputs)
        )


def _listed(image: Tensor, like: Tensor) -> Tensor:
    """[1,C,h,w] -> [h * w, C]."""
    return image[0].flatten(1).T.to(like)


@contextmanager
def _watching(layer: nn.Module) -> Iterator[list[Tensor]]:
    """The inputs of a layer, as they come."""
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    try:
        yield seen
    finally:
        hook.remove()
