"""Decoder optimisation in one linear system: solve for the decoder's last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..backend import Decoder
from ..compositing import feathered
from ..memory import may_stay, size_of
from .fine_tune import Segment
from .regression import ConvolutionRegression

REACH = 4
"""How far inside the mask, in latent cells, its edge counts as near."""
KERNEL = 5
"""Side of the layer's kernel once it is solved for; with the 3 it usually has it matches less."""
RIDGE = 1e-4
"""How strongly the layer is held to what it was, in units of its inputs' mean squares."""
KEPT = 2**29
"""Bytes of the layer's inputs that are kept on a CPU at the most; the rest is made again."""


def nearness(painted: Tensor, cell: int) -> Tensor:
    """1 outside the mask, falling to 0 within `REACH` cells inside it.

    painted: [1,1,H,W] of 0 and 1, sides multiples of `cell` pixels.
    """
    outside = 1 - painted
    cells = F.max_pool2d(outside, cell)
    near = F.interpolate(feathered(cells, REACH - 1), scale_factor=cell, mode="bilinear")
    return torch.maximum(outside, near)


class LastLayer:
    """A change of a decoder's last layer, and the tiles that it was found for.

    The loss of section 3.3,

        |M (D(z) - D*(z))|^2 + lambda |(1 - M) (D(z) - x)|^2

    is quadratic in the last layer's weights, so its minimum is one linear system away: no
    gradients, no learning rate, one pass through the decoder for each tile. The layer's kernel
    becomes `KERNEL` wide at least, which gives it more to match with. Away from the mask's edge,
    where the decoder as it was makes the first term 0, it is left as it was: the change fades out
    with `Segment.edge`.

    change: kernel [3,C,k,k] and bias [3] of a convolution of the last layer's inputs, which is
    added to the picture; None if there is nothing to match. loss: before and after, where the
    change has any effect.
    """

    def __init__(
        self,
        decoder: Decoder,
        segments: Sequence[Segment],
        background_weight: float,
        advance: Callable[[], None],
    ) -> None:
        """Solve.

        decoder: it stays as it is. background_weight: lambda. `advance()` is called after each
        segment and may raise to interrupt.
        """
        self._decoder, self._segments = decoder, segments
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.change: tuple[Tensor, Tensor] | None = None
        self.loss = (0.0, 0.0)
        self._solve(background_weight, advance)

    def reaches(self, index: int) -> bool:
        """Whether the change has any effect on a segment."""
        return self.change is not None and bool(self._segments[index].edge.any())

    @torch.no_grad()
    def decoded(self, index: int) -> Tensor:
        """A segment's picture [1,3,8h,8w], unclamped."""
        assert self.change is not None
        image, features = self._kept.get(index) or self._passed(index)
        weight, bias = self.change
        changed = F.conv2d(features, weight, bias, padding=weight.shape[-1] // 2)
        return image + self._segments[index].edge.to(changed) * changed

    @torch.no_grad()
    def _solve(self, background_weight: float, advance: Callable[[], None]) -> None:
        layer = self._decoder.last
        equations = ConvolutionRegression(
            layer.in_channels,
            layer.out_channels,
            max(KERNEL, layer.kernel_size[0]),
            layer.weight.device,
        )
        for index, segment in enumerate(self._segments):
            if segment.edge.any():
                image, features = self._passed(index)
                outside = (1 - segment.painted)[0]
                weights = (segment.edge[0] > 0) * (1 + (background_weight - 1) * outside)
                wanted = outside * (segment.background - image)[0]
                equations.add(features[0], wanted, weights)
                self._keep(index, image, features)
            advance()
        if not equations.square:
            return
        change = equations.solution(RIDGE)
        count = sum(segment.background.numel() for segment in self._segments)
        before, after = equations.square / count, equations.error(change) / count
        if after < before:
            weight, bias = equations.kernel(change)
            self.change = weight.to(layer.weight), bias.to(layer.weight)
        self.loss = before, min(after, before)

    def _passed(self, index: int) -> tuple[Tensor, Tensor]:
        """A segment's picture by the decoder as it was, and the last layer's inputs."""
        seen: list[Tensor] = []
        with self._decoder.last.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs)):
            image = self._decoder(self._segments[index].z)
        return image, seen[0].float()

    def _keep(self, index: int, image: Tensor, features: Tensor) -> None:
        """For the picture after the change, where there is room."""
        place = features.device
        kept = size_of(image, features, *(one for pair in self._kept.values() for one in pair))
        if kept <= KEPT if place.type == "cpu" else may_stay(kept, place):
            self._kept[index] = image, features
