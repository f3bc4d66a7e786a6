"""What makes an edit belong: the tone of its draft, and the texture of its surroundings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .compositing import filled, padded
from .geometry import Size
from .noise import Noise

CELL = 8
"""Pixels of the blocks whose mean colours are the tone."""
NEIGHBOURS = 5
"""Blocks in each direction among which a block's change of tone is usual or not."""
MOVED = 20 / 255
"""Further from the usual, a block's change is something that moved, and no change of tone."""
WINDOW = 32
"""Side in pixels of the windows in which texture is measured and made."""
STEP = WINDOW // 2
"""From window to window."""
OCTAVES = 3
"""Of wavelengths from 2 pixels on that count as texture: up to 16 pixels."""
UNEVEN = 4.0
"""Energy of a window's busiest sixteenth, in medians of all, from which on it shows a thing."""
STRONGEST = 12 / 255
"""The strongest texture that is made, as a root mean square: there is no coarser grain."""
LIKE = 0.15
"""Difference of levels from which on another window says little of a window's grain."""
FEWEST, MOST = 4, 256
"""Windows that texture is measured in."""


def with_tone_of(draft: Tensor, image: Tensor, painted: Tensor) -> Tensor:
    """`image` with the tone of `draft` wherever it is painted; all [1,3,H,W] in [0,1].

    Tone is the mean of blocks of `CELL` pixels, so what is finer stays (as in StableSR's wavelet
    colour correction, Wang et al. 2023). Blocks whose change differs from that of their
    neighbours' median show an outline that moved; those next to them may; for all these the
    change runs in from around. painted: [1,1,H,W] of 0 and 1.
    """
    height, width = image.shape[-2:]
    grid = Size(height, width).padded(CELL)
    share = F.avg_pool2d(padded(painted, grid, repeat_edge=False), CELL)
    change = F.avg_pool2d(padded(painted * (draft - image), grid, repeat_edge=False), CELL)
    change = change / share.clamp(min=1e-6)
    usual = _local_median(torch.where(share > 0, change, torch.nan), NEIGHBOURS)
    moved = ((change - usual).abs().amax(1, keepdim=True) > MOVED) & (share > 0)
    unknown = F.max_pool2d(moved.float(), 3, 1, 1).maximum((share == 0).float())
    if unknown.all():
        return image
    smooth = filled(change, unknown)
    for _ in range(2):
        smooth = F.avg_pool2d(F.pad(smooth, (1,) * 4, mode="replicate"), 3, 1)
    tone = F.interpolate(smooth, scale_factor=CELL, mode="bilinear")[..., :height, :width]
    return image + painted * tone


def _local_median(values: Tensor, reach: int) -> Tensor:
    """Of each number's neighbours in [1,C,h,w] that are numbers, up to `reach` away."""
    framed = F.pad(values, (reach,) * 4, value=torch.nan)
    side = 2 * reach + 1
    rows = [
        framed[:, :, top : top + side].unfold(3, side, 1).transpose(2, 3).flatten(3).nanmedian(3)[0]
        for top in range(values.shape[2])
    ]
    return torch.stack(rows, 2)


@dataclass(frozen=True)
class Texture:
    """What is put back inside an edit.

    image: [1,3,H,W], to be added. added: its root mean square in 8-bit levels, by octave, finest
    first.
    """

    image: Tensor
    added: list[float]


def texture(
    edited: Tensor, photograph: Tensor, alpha: Tensor, noise: Noise, strength: float
) -> Texture | None:
    """Grain, canvas or film that surrounds an edit and that the model could not paint.

    What the networks made of the untouched surroundings lacks texture that the photograph has
    there; the edit lacks as much. It is put back as noise of that spectrum, directions and
    correlations of the channels included (Galerne, Gousseau & Morel 2011, "Random Phase Textures:
    Theory and Synthesis"). How much, in each octave and channel, follows the surroundings that are
    near and as bright. It is less where the edit has such detail already, and none where the
    surroundings have none.

    edited: the decoded picture [1,3,H,W] in [0,1], the edit and what was decoded round it; where
    nothing was, the photograph itself. photograph: before the edit, likewise. alpha: opacity
    [1,1,H,W] that the edit will be pasted with. strength: 0 to 1. None if too little was decoded
    round the edit to see its texture.
    """
    own = (alpha > 0).float()
    decoded = (edited != photograph).any(1, keepdim=True) * (1 - own)
    clipped = ((photograph - 0.5).abs() > 0.5 - 2 / 255).any(1, keepdim=True).float()
    around = (_shares(decoded) > 0.98) & (_shares(clipped) < 0.1)
    places = around.nonzero()
    places = places[:: max(1, -(-len(places) // MOST))]
    before, after = (_windows(image, *places.T) for image in (photograph, edited))
    even = _even(before - after)
    if even.sum() < FEWEST:
        return None
    sample = _Sample.of(before[even], after[even], places[even])
    inside = _shares(own) > 0
    amounts = sample.missing(edited, inside)
    gains = strength * (amounts / sample.power.clamp(min=1e-12)).sqrt()
    added = (strength * amounts.mean((0, 2)).sqrt() * 255).tolist()
    image = _made(sample.root, gains, inside, Size(*edited.shape[-2:]), noise)
    # Pasted at opacity a, the photograph's own texture keeps the share 1 - a of its deviation.
    share = (1 - (1 - alpha).square()).sqrt() / alpha.clamp(min=1e-3)
    return Texture(image * torch.where(alpha > 0, share, 0), [round(one, 2) for one in added])


@dataclass(frozen=True)
class _Sample:
    """Texture that was lost round an edit.

    places: of n windows, [n,2]. levels: their mean colours, [n,3]. wanted, lost: energies by
    octave and channel, [n,OCTAVES,3], of the photograph, and of it what the networks lost. root:
    Hermitian root of the lost texture's cross-spectrum, [WINDOW,WINDOW // 2 + 1,3,3]. power: its
    energies [OCTAVES,3].
    """

    places: Tensor
    levels: Tensor
    wanted: Tensor
    lost: Tensor
    root: Tensor
    power: Tensor

    @classmethod
    def of(cls, before: Tensor, after: Tensor, places: Tensor) -> _Sample:
        """before, after: windows [n,3,WINDOW,WINDOW] of the photograph and of what was made of
        it."""
        spectra = [_spectra(windows) for windows in (before, after)]
        wanted, had = (_energies(one.abs().square()) for one in spectra)
        # Each window counts alike, so that the few that show things do not decide.
        share = 1 / (wanted.sum((1, 2)) + (0.5 / 255) ** 2)
        weighted = (one * share.sqrt()[:, None, None, None] for one in spectra)
        cross = [torch.einsum("nihw,njhw->hwij", one, one.conj()) / len(one) for one in weighted]
        values, vectors = torch.linalg.eigh(_without_grid(cross[0] - cross[1]))
        values = values.clamp(min=0)
        turned = vectors.conj().transpose(-1, -2)
        root = vectors @ (values.sqrt()[..., None] * turned)
        lost = (vectors @ (values[..., None] * turned)).diagonal(dim1=-2, dim2=-1).real
        power = _energies(lost.permute(2, 0, 1)[None])[0]
        return cls(places, after.mean((2, 3)), wanted, wanted - had, root, power)

    def missing(self, edited: Tensor, inside: Tensor) -> Tensor:
        """Energies [n,OCTAVES,3] that the windows at n places lack: `inside` [rows,columns]."""
        places = inside.nonzero()
        has = edited.new_full((*inside.shape, OCTAVES * 3), torch.nan)
        result = []
        for some in places.split(2**12):
            windows = _windows(edited, *some.T)
            has[some[:, 0], some[:, 1]] = _energies(_spectra(windows).abs().square()).flatten(1)
        has = _local_median(has.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
        for some in places.split(2**12):
            levels = _windows(edited, *some.T).mean((2, 3))
            far = torch.cdist(some.float(), self.places.float()).square()
            alike = (levels[:, None] - self.levels).square()
            near = (torch.exp(-alike / (2 * LIKE**2)) + 0.05) / (far[..., None] + 16)
            wanted, lost = (_weighted_median(one, near) for one in (self.wanted, self.lost))
            own = has[some[:, 0], some[:, 1]].unflatten(1, (OCTAVES, 3))
            lacks = torch.minimum(lost, wanted - own).clamp(min=0)
            # Twice the deviation must fit between the colour and black or white.
            room = torch.minimum(levels, 1 - levels).clamp(min=0, max=2 * STRONGEST) / 2
            fits = room.square() / lacks.sum(1).clamp(min=1e-12)
            result.append(lacks * fits.clamp(max=1)[:, None])
        return torch.cat(result)


def _weighted_median(values: Tensor, weights: Tensor) -> Tensor:
    """Medians of values [m,O,C] by n sets of weights [n,m,C], [n,O,C]."""
    result = weights.new_empty(len(weights), *values.shape[1:])
    for channel in range(values.shape[2]):
        totals = weights[..., channel].sum(1, keepdim=True)
        for octave in range(values.shape[1]):
            ordered, order = values[:, octave, channel].sort()
            below = weights[:, order, channel].cumsum(1)
            middle = (below < totals / 2).sum(1).clamp(max=len(ordered) - 1)
            result[:, octave, channel] = ordered[middle]
    return result


def _made(root: Tensor, gains: Tensor, inside: Tensor, size: Size, noise: Noise) -> Tensor:
    """Noise [1,3,size] through filters that change from window to window.

    gains: of the windows at `inside` [rows,columns], [n,OCTAVES,3]. Windows fade into each other,
    and share the noise that they filter.
    """
    rows, columns = inside.shape
    width = (columns + 1) * STEP
    fade = torch.hann_window(WINDOW).sqrt()
    fade = fade[:, None] * fade
    result = gains.new_zeros(1, 3, (rows + 1) * STEP, width)
    bands = _octaves()
    each = gains.split(inside.sum(1).tolist())
    for row in inside.any(1).nonzero()[:, 0].tolist():
        strips = [noise((1, 3, STEP, width), "texture", one) for one in (row, row + 1)]
        white = torch.cat(strips, 2).unfold(3, WINDOW, STEP)[0].permute(2, 0, 1, 3)
        spectra = torch.fft.rfft2(white[inside[row]] * fade)
        filtered = torch.einsum("hwij,njhw->nihw", root, spectra)
        filtered *= torch.einsum("noc,ohw->nchw", each[row], bands)
        made = result.new_zeros(columns, 3, WINDOW, WINDOW)
        made[inside[row]] = torch.fft.irfft2(filtered, s=(WINDOW, WINDOW)) * fade
        strip = F.fold(made.flatten(1).T[None], (WINDOW, width), WINDOW, stride=STEP)
        result[:, :, row * STEP : row * STEP + WINDOW] += strip
    return result[..., STEP : STEP + size.height, STEP : STEP + size.width]


def _framed(image: Tensor, mode: str) -> Tensor:
    """With half a window more on every side, and whole half windows."""
    height, width = image.shape[-2:]
    return F.pad(image, (STEP, STEP + -width % STEP, STEP, STEP + -height % STEP), mode)


def _shares(mask: Tensor) -> Tensor:
    """[rows,columns]: the share of [1,1,H,W] that is 1 in each window."""
    return F.avg_pool2d(_framed(mask, "constant"), WINDOW, STEP)[0, 0]


def _windows(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[n,3,WINDOW,WINDOW] of [1,3,H,W]."""
    every = _framed(image, "replicate").unfold(2, WINDOW, STEP).unfold(3, WINDOW, STEP)
    return every[0][:, rows, columns].transpose(0, 1)


def _spectra(windows: Tensor) -> Tensor:
    """Of windows [n,3,WINDOW,WINDOW] without their means, so that energies are those of pixels."""
    fade = torch.hann_window(WINDOW)
    fade = fade[:, None] * fade
    windows = windows - windows.mean((2, 3), keepdim=True)
    return torch.fft.rfft2(windows * fade / fade.square().mean().sqrt(), norm="ortho")


@cache
def _octaves() -> Tensor:
    """[OCTAVES,WINDOW,WINDOW // 2 + 1] of 0 and 1: which frequencies belong to each."""
    down, across = torch.fft.fftfreq(WINDOW)[:, None], torch.fft.rfftfreq(WINDOW)
    frequency = torch.hypot(down, across)
    lows = [2.0 ** -(octave + 2) for octave in range(OCTAVES)]
    highs = [2.0, *lows]
    pairs = zip(lows, highs, strict=False)
    return torch.stack([((low <= frequency) & (frequency < high)).float() for low, high in pairs])


def _energies(squares: Tensor) -> Tensor:
    """Mean square of a pixel by octave and channel, [n,OCTAVES,C].

    squares: [n,C,WINDOW,WINDOW // 2 + 1], of spectra.
    """
    twice = torch.full((WINDOW // 2 + 1,), 2.0)  # a real signal's spectrum is kept by half
    twice[0] = twice[-1] = 1
    return torch.einsum("nchw,ohw->noc", squares * twice, _octaves()) / WINDOW**2


def _even(lost: Tensor) -> Tensor:
    """Which of the windows [n,3,WINDOW,WINDOW] show texture all over, and neither an edge nor a
    thing, [n]."""
    kept = torch.fft.rfft2(lost) * _octaves().sum(0)
    fine = torch.fft.irfft2(kept, s=(WINDOW, WINDOW))
    parts = F.avg_pool2d(fine.square().mean(1, keepdim=True), WINDOW // 4).flatten(1)
    parts += (0.5 / 255) ** 2
    return parts.amax(1) <= UNEVEN * parts.median(1).values


def _without_grid(cross: Tensor) -> Tensor:
    """A cross-spectrum without JPEG's blocks, which are lines 8 pixels apart.

    Across such lines every eighth of the sampling frequency sticks out; what sticks out there is
    cut down to what is beside it. cross: [WINDOW,WINDOW // 2 + 1,3,3].
    """
    power = cross.diagonal(dim1=-2, dim2=-1).real.sum(-1)
    factor = torch.ones_like(power)
    lines = range(WINDOW // 8, WINDOW, WINDOW // 8)
    # The fade spreads a line over its neighbours in frequency.
    for across in (0, 1):
        _cut_down(factor[:, across], power[:, across], lines)
    for down in (-1, 0, 1):
        _cut_down(factor[down], power[down], lines)
    return cross * factor[..., None, None]


def _cut_down(factor: Tensor, power: Tensor, lines: Iterable[int]) -> None:
    """Set the factors [n] by which what stands out at some frequencies of [n] is as high as what
    is beside it."""
    for line in lines:
        places = [one for one in (line - 1, line, line + 1) if one < len(power)]
        beside = [one % WINDOW for one in (line - 2, line + 2)]
        usual = power[[one for one in beside if one < len(power)]].clamp(min=0).mean()
        factor[places] = (usual / power[places].clamp(min=1e-20)).clamp(max=1)
