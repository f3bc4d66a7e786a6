"""Decoder optimisation on patches of the tiles: less memory and time than on whole ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.quasirandom import SobolEngine

from .backend import Decoder
from .decoder import Segment, squared_error, training
from .geometry import Box, Size
from .job import cut
from .plan import PATCHES
from .precision import single_precision
from .settings import DecoderOptimisation

LAST_RATE = 0.05
"""What is left of the learning rate in the end: the gradients of few patches scatter."""


class HeldNorm(nn.GroupNorm):
    """Group normalisation by means and variances that were noted before.

    Until `using` names some, it normalises as usual and notes what it saw, an entry a call. Then it
    holds each sample of a batch to the entry that is named for it, so that a part of a picture
    comes out as it would in the whole.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__(norm.num_groups, norm.num_channels, norm.eps)
        self.weight, self.bias = norm.weight, norm.bias
        self.noted: list[Tensor] = []
        self.using: Sequence[int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.using is None:
            groups = x.reshape(len(x), self.num_groups, -1)
            self.noted.append(torch.stack(torch.var_mean(groups, 2, correction=0)))
            return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)
        variance, mean = torch.cat([self.noted[index] for index in self.using], 1)
        each = x.shape[1] // self.num_groups
        scale = (variance + self.eps).rsqrt().repeat_interleave(each, 1) * self.weight
        shift = self.bias - mean.repeat_interleave(each, 1) * scale
        return torch.addcmul(shift[..., None, None], x, scale[..., None, None])


class PatchTraining:
    """Section 3.3 on patches of the tiles, instead of all of every tile in every step.

    Only the middle of a decoder sees a tile as a whole. Up to there it stays as it is, and what it
    gives is kept; what follows sees only what is near, but for the means and variances of its
    normalisations, which are held to those of the whole tile. So a patch of what was kept becomes
    what it would in the tile, but for what its edges cut off; how much that is the decoder as it
    was tells, and it is made up for. Patches all over the tiles, at whose borders they lie less
    often, then have the gradient of the whole loss, on average and nearly.

    decoder: it is trained in place, and of no use but through this any more.
    """

    def __init__(self, decoder: Decoder, segments: Sequence[Segment]) -> None:
        self._decoder, self._segments = decoder, segments
        _hold(decoder)
        self._middles: list[Tensor] = []
        self._kept: list[Tensor] = []
        with single_precision():
            for segment in segments:
                self._middles.append(decoder.head(segment.z))
                self._kept.append(decoder.tail(self._middles[-1]))
        self._cell = self._kept[0].shape[-1] // self._middles[0].shape[-1]

    def picture(self, index: int) -> Tensor:
        """A tile's picture [1,3,8h,8w] as the decoder makes it now, unclamped."""
        with single_precision():
            image = _passed(self._decoder, [index], self._middles[index])
        return image.to(self._segments[index].z.device)

    def train(self, settings: DecoderOptimisation, advance: Callable[[], None]) -> int:
        """Adam on patches that lie evenly all over the tiles, with a learning rate that falls.

        Returns how many steps were made.

        Where there is nothing to match, outside the mask or by weight, nothing is done. `advance()`
        is called after each iteration and may raise to interrupt.
        """
        steps, weight = settings.decoder_iterations, settings.decoder_background_weight
        if not weight or all(bool(segment.painted.all()) for segment in self._segments):
            return 0
        patches = self._patches(settings.decoder_patch)
        with training(self._decoder, settings):
            as_it_was = copy.deepcopy(self._decoder).requires_grad_(False)
            optimiser = torch.optim.Adam(self._decoder.parameters(), lr=settings.decoder_rate)
            slower = torch.optim.lr_scheduler.LinearLR(optimiser, 1, LAST_RATE, steps)
            for _ in range(steps):
                optimiser.zero_grad(set_to_none=True)
                chosen = [next(patches) for _ in range(PATCHES)]
                self._loss(chosen, as_it_was, weight).backward()
                optimiser.step()
                slower.step()
                advance()
            optimiser.zero_grad(set_to_none=True)
        return steps

    def loss(self, weight: float) -> tuple[float, float]:
        """The mean over all pixels of all tiles, before any training and now. weight: lambda."""
        pixels = sum(image.numel() for image in self._kept)
        before, after = 0.0, 0.0
        for index, kept in enumerate(self._kept):
            before += float(self._error(kept, index, weight)) / pixels
            after += float(self._error(self.picture(index), index, weight)) / pixels
        return before, after

    def _error(self, image: Tensor, index: int, weight: float) -> Tensor:
        kept, segment = self._kept[index], self._segments[index]
        background, painted = segment.background.to(kept), segment.painted.to(kept)
        return squared_error(image.to(kept), kept, background, painted, weight)

    def _loss(
        self, patches: Sequence[tuple[int, Box]], as_it_was: Decoder, weight: float
    ) -> Tensor:
        middles, truths = [], []
        for index, cells in patches:
            segment, kept = self._segments[index], self._kept[index]
            middles.append(cut(self._middles[index], cells))
            pixels = cells.times(self._cell)
            maps = kept, segment.background, segment.painted
            truths.append([cut(one, pixels).to(kept) for one in maps])
        tiles, middle = [index for index, _ in patches], torch.cat(middles)
        kept, background, painted = (torch.cat(maps) for maps in zip(*truths, strict=True))
        with torch.no_grad():
            cut_off = _passed(as_it_was, tiles, middle) - kept
        image = _passed(self._decoder, tiles, middle) - cut_off
        return squared_error(image, kept, background, painted, weight) / image.numel()

    def _patches(self, side: int) -> Iterator[tuple[int, Box]]:
        """Tiles, and boxes of cells in them."""
        grid = Size(*self._middles[0].shape[-2:])
        cells = max(1, side // self._cell)
        size = Size(min(cells, grid.height), min(cells, grid.width))
        draws = SobolEngine(3)
        while True:
            tile, down, across = draws.draw(1, dtype=torch.float64)[0].tolist()
            top = int(down * (grid.height - size.height + 1))
            left = int(across * (grid.width - size.width + 1))
            yield int(tile * len(self._segments)), Box.at(top, left, size)


def _passed(decoder: Decoder, tiles: Sequence[int], middle: Tensor) -> Tensor:
    """What follows the middle, on parts of these tiles."""
    for module in decoder.modules():
        if isinstance(module, HeldNorm):
            module.using = tiles
    return decoder.tail(middle)


def _hold(network: nn.Module) -> None:
    """Exchange all group normalisations of a network."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(module, name, HeldNorm(child))
