"""Decoder optimisation at a stroke: solve for the decoder's last layer instead of training it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .decoder import Segment
from .noise import Noise

KERNEL = 5
"""Side of the layer's kernel once it is solved for. The 3 it usually has are too few to reach the
loss of a hundred steps of training."""
RIDGE = 1e-5
"""How strongly the layer is held to what it was, in units of its inputs' mean square."""
SAMPLES = 40
"""Pixels that are looked at for each unknown, if there are so many; with less the solution fits
them and not the others."""
BAND = 2**11
"""Pixels whose inputs are laid out at a time, which bounds memory."""


def equations_bytes(unknowns: int) -> int:
    """Memory that the equations take at the most, the passes through the decoder aside."""
    inputs = 4 * 4 * BAND * unknowns  # laid out, as rows, with ones, weighted
    return inputs + (4 + 3 * 8) * unknowns**2  # a product, and the system in double precision


def unknowns(layer: nn.Conv2d) -> int:
    """How many weights of a last layer [3,C,k,k], widened, are solved for, for each channel."""
    return layer.in_channels * max(KERNEL, layer.kernel_size[0]) ** 2 + 1


class _Equations:
    """Normal equations of weighted least squares in the layer's weights and biases.

    matrix: [K,K]. right: [K,3]. square: the weighted square of what is wanted.
    """

    def __init__(self, layer: nn.Conv2d, device: torch.device) -> None:
        count = unknowns(layer)
        # Sums are in double precision, which not every device has, products are not: many devices
        # have it, but slowly.
        place = device if device.type == "cuda" else torch.device("cpu")
        self.matrix = torch.zeros(count, count, device=place, dtype=torch.float64)
        self.right = torch.zeros(count, layer.out_channels, device=place, dtype=torch.float64)
        self.square = 0.0
        self.numbers = 0

    def add(self, inputs: Tensor, wanted: Tensor, weights: Tensor) -> None:
        """inputs: [n,K]. wanted: [n,3]. weights: [n,1]. float32."""
        weighted = inputs * weights
        with _in_full(inputs.device):
            self.matrix += (inputs.T @ weighted).to(self.matrix)
            self.right += (weighted.T @ wanted).to(self.right)
        self.square += float((weights * wanted.square()).sum())
        self.numbers += wanted.numel()

    def solution(self) -> Tensor:
        """[K,3], by ridge regression towards 0."""
        ridge = RIDGE * self.matrix.diagonal().mean()
        held = self.matrix.clone()
        held.diagonal().add_(ridge)
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
    rate, one pass through the decoder for each segment. The layer's kernel becomes `KERNEL` wide
    at least, which gives it more to match with. On the pixels looked at, the loss never ends above
    where it began.
    Of very many pixels a random part is looked at, always the same. decoder: see
    `Backend.decoder`, for `last` and `gain` too. background_weight: lambda. `advance()` is called
    after each segment and may raise to interrupt.
    """
    layer, gain = decoder.last, decoder.gain
    assert isinstance(layer, nn.Conv2d) and isinstance(gain, float), type(decoder)
    assert layer.bias is not None
    equations: _Equations | None = None
    share = SAMPLES * unknowns(layer) / sum(segment.painted.numel() for segment in segments)
    matching = any(bool((segment.painted < 1).any()) for segment in segments)
    for segment in segments:
        if matching:
            with _watching(layer) as seen:
                image = decoder(segment.z)
            equations = equations or _Equations(layer, seen[0].device)
            _collect(equations, layer, segment, image, seen[0], background_weight, share)
        advance()
    if equations is None or not equations.square:
        return 0.0, 0.0
    change = equations.solution()
    before, after = equations.loss(torch.zeros_like(change)), equations.loss(change)
    if not after < before:
        return before, before
    _widen(layer)
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
    share: float,
) -> None:
    """Add a share of a segment's pixels.

    features: the layer's inputs [1,C,H,W]. What is wanted is a change of the picture: to what it
    should be outside the mask, and none inside.
    """
    outside = 1 - segment.painted
    wanted = outside * (segment.background - image)
    weights = 1 - outside + background_weight * outside
    reach = max(KERNEL, layer.kernel_size[0])
    margin = int(layer.padding[0]) + (reach - layer.kernel_size[0]) // 2
    framed = F.pad(features, (margin,) * 4)
    band = max(1, BAND // wanted.shape[-1])
    for top in range(0, wanted.shape[-2], band):
        rows = slice(top, top + band)
        columns = F.unfold(framed[..., top : top + band + reach - 1, :], reach)[0].float()
        if share < 1:
            count = max(1, round(share * columns.shape[1]))
            order = Noise(top)(columns.shape[1:], "pixels").argsort()
            chosen: Tensor | slice = order[:count].to(columns.device)
        else:
            chosen = slice(None)
        picked = columns[:, chosen].T
        inputs = torch.cat([picked, picked.new_ones(len(picked), 1)], 1)
        equations.add(
            inputs,
            _listed(wanted[..., rows, :], inputs)[chosen],
            _listed(weights[..., rows, :], inputs)[chosen],
        )


def _widen(layer: nn.Conv2d) -> None:
    """Frame the kernel with zeros; the layer does just what it did."""
    more = (KERNEL - layer.kernel_size[0]) // 2
    if more > 0:
        weight = F.pad(layer.weight, (more,) * 4)
        layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
        layer.kernel_size = (KERNEL, KERNEL)
        layer.padding = (int(layer.padding[0]) + more,) * 2
        layer.padding_mode = "zeros"  # as the solution was found; a host may have had it circular


@contextmanager
def _in_full(device: torch.device) -> Iterator[None]:
    """Single precision, and not the shorter numbers that a host may have allowed for products."""
    if device.type != "cuda":
        with torch.autocast("cpu", enabled=False):
            yield
        return
    with torch.autocast("cuda", enabled=False):
        products = torch.backends.cuda.matmul
        # Since PyTorch 2.9 the older name fails where the newer one has been used.
        newer = hasattr(products, "fp32_precision")
        name, exact = ("fp32_precision", "ieee") if newer else ("allow_tf32", False)
        allowed = getattr(products, name)
        setattr(products, name, exact)
        try:
            yield
        finally:
            setattr(products, name, allowed)


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
