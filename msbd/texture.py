"""Texture of the surroundings that the model cannot paint, put back inside an edit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Size
from .noise import Noise
from .spectra import (
    OCTAVES,
    STEP,
    WINDOW,
    energies,
    is_even,
    octave_bands,
    shares,
    spectra_of,
    windows_at,
    windows_of,
    without_grid,
)
from .tone import local_median

STRONGEST = 12 / 255
"""The strongest texture that is made, as a root mean square: there is no coarser grain."""
LIKE = 0.15
"""Difference of levels from which on another window says little of a window's grain; of contrast
a third of it."""
FEWEST, MOST = 4, 256
"""Windows that texture is measured in."""


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
    near, as bright and as busy. It is less where the edit has such detail already, and none where
    the surroundings have none.

    edited: the decoded picture [1,3,H,W] in [0,1], the edit and what was decoded round it; where
    nothing was, the photograph itself. photograph: before the edit, likewise. alpha: opacity
    [1,1,H,W] that the edit will be pasted with. strength: 0 to 1. None if too little was decoded
    round the edit to see its texture.
    """
    own = (alpha > 0).float()
    decoded = (edited != photograph).any(1, keepdim=True) * (1 - own)
    clipped = ((photograph - 0.5).abs() > 0.5 - 2 / 255).any(1, keepdim=True).float()
    around = (shares(decoded) > 0.98) & (shares(clipped) < 0.1)
    places = around.nonzero()
    places = places[:: max(1, -(-len(places) // MOST))]
    if len(places) < FEWEST:
        return None
    all_edited = windows_of(edited)
    before, after = (windows_at(places, one) for one in (windows_of(photograph), all_edited))
    even = is_even(before - after)
    if even.sum() < FEWEST:
        return None
    sample = _Sample.of(before[even], after[even], places[even])
    inside = shares(own) > 0
    amounts = sample.missing(all_edited, windows_of(own), inside)
    gains = strength * (amounts / sample.power.clamp(min=1e-12)).sqrt()
    added = (strength * amounts.mean((0, 2)).sqrt() * 255).tolist()
    image = _made(sample.root, gains, inside, Size(*edited.shape[-2:]), noise)
    # Pasted at opacity a, the photograph's own texture keeps the share 1 - a of its deviation.
    share = (1 - (1 - alpha).square()).sqrt() / alpha.clamp(min=1e-3)
    image = image * torch.where(alpha > 0, share, 0)
    # As much up as down, also beside black and white.
    room = torch.minimum(edited, 1 - edited).clamp(min=0)
    return Texture(image.clamp(-room, room), [round(one, 2) for one in added])


@dataclass(frozen=True)
class _Sample:
    """Texture that was lost round an edit.

    places: of n windows, [n,2]. looks: see `_looks`, [n,4]. wanted, lost: energies by
    octave and channel, [n,OCTAVES,3], of the photograph, and of it what the networks lost. root:
    Hermitian root of the lost texture's cross-spectrum, [WINDOW,WINDOW // 2 + 1,3,3]. power: its
    energies [OCTAVES,3].
    """

    places: Tensor
    looks: Tensor
    wanted: Tensor
    lost: Tensor
    root: Tensor
    power: Tensor

    @classmethod
    def of(cls, before: Tensor, after: Tensor, places: Tensor) -> _Sample:
        """before, after: windows [n,3,WINDOW,WINDOW] of the photograph and of what was made of
        it."""
        spectra = [spectra_of(windows) for windows in (before, after)]
        wanted, had = (energies(one.abs().square()) for one in spectra)
        # Each window counts alike, so that the few that show things do not decide.
        share = 1 / (wanted.sum((1, 2)) + (0.5 / 255) ** 2)
        weighted = (one * share.sqrt()[:, None, None, None] for one in spectra)
        cross = [torch.einsum("nihw,njhw->hwij", one, one.conj()) / len(one) for one in weighted]
        values, vectors = torch.linalg.eigh(without_grid(cross[0] - cross[1]))
        values = values.clamp(min=0)
        turned = vectors.conj().transpose(-1, -2)
        root = vectors @ (values.sqrt()[..., None] * turned)
        lost = (vectors @ (values[..., None] * turned)).diagonal(dim1=-2, dim2=-1).real
        power = energies(lost.permute(2, 0, 1)[None])[0]
        looks = _looks(after, torch.ones_like(after[:, :1]))
        return cls(places, looks, wanted, wanted - had, root, power)

    def missing(self, edited: Tensor, own: Tensor, inside: Tensor) -> Tensor:
        """Energies [n,OCTAVES,3] that an edit lacks in the n windows of it that are `inside`,
        [rows,columns]. edited, own: its windows, see `windows_of`, and where they are its own."""
        places = inside.nonzero()
        has = edited.new_full((*inside.shape, OCTAVES * 3), torch.inf)
        result = []
        for some in places.split(2**12):
            windows = windows_at(some, edited)
            has[some[:, 0], some[:, 1]] = energies(spectra_of(windows).abs().square()).flatten(1)
        has = local_median(has.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0)
        for some in places.split(2**12):
            looks = _looks(windows_at(some, edited), windows_at(some, own))
            far = torch.cdist(some.float(), self.places.float()).square()
            unlike = (looks[:, None] - self.looks).square()
            unlike = unlike[..., :3] + unlike[..., 3:]
            near = (torch.exp(-unlike / (2 * LIKE**2)) + 1e-3) / (far[..., None] + 16)
            wanted, lost = (_surely(one, near) for one in (self.wanted, self.lost))
            own = has[some[:, 0], some[:, 1]].unflatten(1, (OCTAVES, 3))
            lacks = torch.minimum(2 * lost, wanted - own).clamp(min=0)
            most = STRONGEST**2 / lacks.sum(1, keepdim=True).clamp(min=1e-12)
            result.append(lacks * most.clamp(max=1))
        return torch.cat(result)


def _looks(windows: Tensor, where: Tensor) -> Tensor:
    """Mean colours of windows [n,3,WINDOW,WINDOW], and three times their contrast, [n,4]; where
    [n,1,WINDOW,WINDOW] is 1."""
    size = where.sum((2, 3), keepdim=True)
    means = (windows * where).sum((2, 3), keepdim=True) / size
    contrast = ((windows - means).square() * where).sum((2, 3), keepdim=True) / size
    return torch.cat([means, 3 * contrast.mean(1, keepdim=True).sqrt()], 1)[..., 0, 0]


def _surely(values: Tensor, weights: Tensor) -> Tensor:
    """What the medians of values [m,O,C] by n sets of weights [n,m,C] surely reach, [n,O,C]: the
    value one window below. Few windows that differ show things, and no texture."""
    result = weights.new_empty(len(weights), *values.shape[1:])
    for channel in range(values.shape[2]):
        total = weights[..., channel].sum(1, keepdim=True)
        count = total.square() / weights[..., channel].square().sum(1, keepdim=True)
        wanted = (total / 2 - total / count).clamp(min=0)
        for octave in range(values.shape[1]):
            ordered, order = values[:, octave, channel].sort()
            below = weights[:, order, channel].cumsum(1)
            middle = (below < wanted).sum(1).clamp(max=len(ordered) - 1)
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
    bands = octave_bands()
    each = gains.split(inside.sum(1).tolist())
    strip_of = lru_cache(2)(lambda row: noise((1, 3, STEP, width), "texture", row))
    for row in inside.any(1).nonzero()[:, 0].tolist():
        white = (
            torch.cat([strip_of(row), strip_of(row + 1)], 2)
            .unfold(3, WINDOW, STEP)[0]
            .permute(2, 0, 1, 3)
        )
        spectra = torch.fft.rfft2(white[inside[row]] * fade)
        filtered = torch.einsum("hwij,njhw->nihw", root, spectra)
        filtered *= torch.einsum("noc,ohw->nchw", each[row], bands)
        made = result.new_zeros(columns, 3, WINDOW, WINDOW)
        made[inside[row]] = torch.fft.irfft2(filtered, s=(WINDOW, WINDOW)) * fade
        strip = F.fold(made.flatten(1).T[None], (WINDOW, width), WINDOW, stride=STEP)
        result[:, :, row * STEP : row * STEP + WINDOW] += strip
    return result[..., STEP : STEP + size.height, STEP : STEP + size.width]
