"""Pictures as overlapping windows, and what these hold in each octave."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 32
"""Side in pixels of the windows in which texture is measured and made."""
STEP = WINDOW // 2
"""From window to window."""
OCTAVES = 3
"""Of wavelengths from 2 pixels on that count as texture: up to 16 pixels."""
UNEVEN = 4.0
"""Energy of a window's busiest sixteenth, in medians of all, from which on it shows a thing."""


def _framed(image: Tensor, mode: str) -> Tensor:
    """With half a window more on every side, and whole half windows."""
    height, width = image.shape[-2:]
    return F.pad(image, (STEP, STEP + -width % STEP, STEP, STEP + -height % STEP), mode)


def shares(mask: Tensor) -> Tensor:
    """[rows,columns]: the share of [1,1,H,W] that is 1 in each window."""
    return F.avg_pool2d(_framed(mask, "constant"), WINDOW, STEP)[0, 0]


def windows_of(image: Tensor) -> Tensor:
    """A view [rows,columns,3,WINDOW,WINDOW] of [1,3,H,W]; windows overlap by half."""
    framed = _framed(image, "replicate")
    return framed.unfold(2, WINDOW, STEP).unfold(3, WINDOW, STEP)[0].permute(1, 2, 0, 3, 4)


def windows_at(places: Tensor, windows: Tensor) -> Tensor:
    """[n,3,WINDOW,WINDOW]: those at n places [n,2]."""
    return windows[places[:, 0], places[:, 1]]


def spectra_of(windows: Tensor) -> Tensor:
    """Of windows [n,3,WINDOW,WINDOW] without their means, so that energies are those of pixels."""
    fade = torch.hann_window(WINDOW)
    fade = fade[:, None] * fade
    windows = windows - windows.mean((2, 3), keepdim=True)
    return torch.fft.rfft2(windows * fade / fade.square().mean().sqrt(), norm="ortho")


@cache
def octave_bands() -> Tensor:
    """[OCTAVES,WINDOW,WINDOW // 2 + 1] of 0 and 1: which frequencies belong to each."""
    down, across = torch.fft.fftfreq(WINDOW)[:, None], torch.fft.rfftfreq(WINDOW)
    frequency = torch.hypot(down, across)
    lows = [2.0 ** -(octave + 2) for octave in range(OCTAVES)]
    highs = [2.0, *lows]
    pairs = zip(lows, highs, strict=False)
    return torch.stack([((low <= frequency) & (frequency < high)).float() for low, high in pairs])


def energies(squares: Tensor) -> Tensor:
    """Mean square of a pixel by octave and channel, [n,OCTAVES,C].

    squares: [n,C,WINDOW,WINDOW // 2 + 1], of spectra.
    """
    twice = torch.full((WINDOW // 2 + 1,), 2.0)  # a real signal's spectrum is kept by half
    twice[0] = twice[-1] = 1
    return torch.einsum("nchw,ohw->noc", squares * twice, octave_bands()) / WINDOW**2


def is_even(lost: Tensor) -> Tensor:
    """Which of the windows [n,3,WINDOW,WINDOW] show texture all over, and neither an edge nor a
    thing, [n]."""
    kept = torch.fft.rfft2(lost) * octave_bands().sum(0)
    fine = torch.fft.irfft2(kept, s=(WINDOW, WINDOW))
    parts = F.avg_pool2d(fine.square().mean(1, keepdim=True), WINDOW // 4).flatten(1)
    parts += (0.5 / 255) ** 2
    return parts.amax(1) <= UNEVEN * parts.median(1).values


def without_grid(cross: Tensor) -> Tensor:
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
