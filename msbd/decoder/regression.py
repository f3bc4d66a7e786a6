"""Weighted least squares for a convolution, solved through its normal equations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..precision import exact_products, has_double

PORTION = 2**14
"""Pixels looked at together, which bounds memory."""


class ConvolutionRegression:
    """Which kernel and bias, added to a convolution's, would change its outputs as wanted?

    channels: of the inputs. outputs: how many. side: the kernel's, odd. Outside the picture
    inputs are 0.

    The equations' matrix holds, for any two places d, e of the kernel and any two channels, the
    sum over all pixels p of w(p) f(p + d) g(p + e). Where the weight w is the same round p this
    depends on e - d alone, so that each sum is made once for each difference instead of for each
    pair; the pixels round which w changes are then made up for, pair by pair. Exact for any w, but
    quick where w is constant over most of the picture.

    square: the weighted sum of squares of what is wanted, so far.
    """

    def __init__(self, channels: int, outputs: int, side: int, device: torch.device) -> None:
        # Sums are in double precision, which not every device has; products are not, since many
        # devices have it, but slowly.
        place = device if has_double(device) else torch.device("cpu")
        size = channels * side**2 + 1  # the kernel's numbers and its bias, for each output
        self._channels, self._outputs, self._side = channels, outputs, side
        self._places = list(itertools.product(range(side), repeat=2))
        self._matrix = torch.zeros(size, size, device=place, dtype=torch.float64)
        self._right = torch.zeros(size, outputs, device=place, dtype=torch.float64)
        self.square = 0.0

    @torch.no_grad()
    def add(self, inputs: Tensor, wanted: Tensor, weights: Tensor) -> None:
        """Take a picture's pixels into account.

        inputs: [C,H,W]. wanted: change of the outputs, [outputs,H,W]. weights: [1,H,W], 0 or more;
        the latter two may lie on other devices.
        """
        inputs = inputs.float()
        wanted, weights = wanted.to(inputs), weights.to(inputs)
        reach = self._side // 2
        framed = F.pad(inputs, (2 * reach, 2 * reach, 0, 2 * reach)).permute(1, 2, 0).contiguous()
        with exact_products():
            sums = self._shifted_products(weights * inputs, framed)
            for place in range(len(self._places)):
                self._add_blocks(place, sums, inputs, weights, framed)
            self._add_right(inputs, wanted, weights)
        self.square += float((weights * wanted.square()).to(self._matrix).sum())

    def solution(self, ridge: float) -> Tensor:
        """[K,outputs], held to 0 by `ridge`, in units of each unknown's own mean square."""
        system = self._symmetric()
        squares = system.diagonal()
        # Below that a sum of products in single precision may well be one of rounding errors.
        least = 1e-5 * float(squares.max()) + 1e-30
        scale = squares.clamp_min(least).rsqrt()[:, None]
        system *= scale * scale.T
        system.diagonal().add_(ridge)
        return scale * torch.linalg.solve(system, scale * self._right)

    def error(self, change: Tensor) -> float:
        """The weighted sum of squares that is left after a change [K,outputs]."""
        explained = (change * (2 * self._right - self._symmetric() @ change)).sum()
        return self.square - float(explained)

    def kernel(self, change: Tensor) -> tuple[Tensor, Tensor]:
        """A change [K,outputs] as weights [outputs,C,side,side] and a bias [outputs]."""
        shape = (self._side, self._side, self._channels, self._outputs)
        return change[:-1].reshape(shape).permute(3, 2, 0, 1), change[-1]

    def _symmetric(self) -> Tensor:
        """The matrix, of which only blocks on and above the diagonal are kept."""
        upper = self._matrix.triu()
        return upper + upper.triu(1).T

    def _shifted_products(self, weighted: Tensor, framed: Tensor) -> Tensor:
        """[side,2 side - 1,C,C]: for each difference downwards and across, what all pixels add."""
        channels, height, width = weighted.shape
        down, across = self._side, 2 * self._side - 1
        total = self._matrix.new_zeros(down, across, channels, channels)
        rows = max(1, PORTION // width)
        for top in range(0, height, rows):
            some = weighted[:, top : top + rows]
            for y, x in itertools.product(range(down), range(across)):
                shifted = framed[top + y : top + y + some.shape[1], x : x + width]
                total[y, x] += (some.flatten(1) @ shifted.reshape(-1, channels)).to(total)
        return total

    def _add_blocks(
        self, place: int, sums: Tensor, inputs: Tensor, weights: Tensor, framed: Tensor
    ) -> None:
        """The matrix's row of blocks that belongs to a place of the kernel, from the diagonal on.

        A pixel counts in it with the weight of the output that it goes into at this place; where
        that differs from its own, the difference is added.
        """
        height, width = weights.shape[-2:]
        top, left = (self._side - 1 - offset for offset in self._places[place])
        framing = (self._side // 2,) * 4
        theirs = F.pad(weights, framing)[0, top : top + height, left : left + width]
        difference = (theirs - weights[0]).flatten()
        stride = framed.shape[1]
        for block, y, x in self._row(place):
            block.add_(sums[y, x])
        for some in difference.nonzero()[:, 0].split(PORTION):
            different = inputs.flatten(1)[:, some] * difference[some]
            corner = some // width * stride + some % width
            for block, y, x in self._row(place):
                shifted = framed.flatten(0, 1)[corner + (y * stride + x)]
                block.add_((different @ shifted).to(block))

    def _row(self, place: int) -> Iterator[tuple[Tensor, int, int]]:
        """Blocks from the diagonal on, and how far apart their two places are: downwards, and
        across from the leftmost that may be."""
        down, across = self._places[place]
        mine = slice(place * self._channels, (place + 1) * self._channels)
        for other in range(place, len(self._places)):
            below, beside = self._places[other]
            theirs = slice(other * self._channels, (other + 1) * self._channels)
            yield self._matrix[mine, theirs], below - down, beside - across + self._side - 1

    def _add_right(self, inputs: Tensor, wanted: Tensor, weights: Tensor) -> None:
        """The right side; and the bias's column, as if another 1 were wanted everywhere."""
        reach = self._side // 2
        towards = torch.cat([weights * wanted, weights])
        framed = F.pad(towards, (reach,) * 4)
        height, width = weights.shape[-2:]
        total = self._matrix.new_zeros(len(inputs), len(towards) * self._side**2)
        rows = max(1, PORTION // width)
        for top in range(0, height, rows):
            part = framed[None, :, top : top + rows + self._side - 1]
            outputs = F.unfold(part, self._side)[0]
            total += (inputs[:, top : top + rows].flatten(1) @ outputs.T).to(total)
        # A pixel f(q) goes into the output at q - d: backwards through the window.
        windows = total.reshape(len(inputs), len(towards), -1).flip(2)
        listed = windows.permute(2, 0, 1).reshape(-1, len(towards))
        self._right[:-1] += listed[:, :-1]
        self._matrix[:-1, -1] += listed[:, -1]
        sums = towards.flatten(1).to(self._matrix).sum(1)
        self._right[-1] += sums[:-1]
        self._matrix[-1, -1] += sums[-1]
