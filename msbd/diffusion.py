"""Blended diffusion with RePaint round any sampler of k-diffusion's signature; a stage's tiles.

Everything is in sigma space: a sample at noise level sigma is z = z0 + sigma * epsilon
(Karras et al. 2022). There "noise the source to the sample's level" is one addition.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .backend import Backend, Condition, Denoise, Sampler
from .compositing import cropped
from .geometry import Box
from .memory import AdaptiveBatches
from .noise import KeyedNoise, Noise, parts_of_fields
from .plan import StagePlan
from .precision import finite
from .report import Candidates
from .settings import LATENT_NOISE, LATENT_NOTHING, NEW

NETWORK = "the denoising network"
SAME = 1e-4
"""Noise levels and masks' levels that differ by no more are the same."""


@dataclass(frozen=True)
class Repainted:
    """Which latent cells are repainted at which noise level.

    cells: their levels, [1 or B,1,h,w] in [0,1]. sigmas: the stage's whole schedule, [n + 1]. In
    step i of n a cell of level m is repainted if m > 0 and m >= 1 - i / n, and is the source
    before (Levin & Fried 2023, Algorithm 1). So 1 is repainted from the first step on, and less
    keeps the more of what was there the less it is.
    """

    cells: Tensor
    sigmas: Tensor

    def at(self, sigma: Tensor) -> Tensor:
        """sigma [B] -> [1 or B,1,h,w] of bool. Between two levels of the schedule the step counts
        that comes from the higher one, also if it is repeated."""
        begins = self.sigmas[:-1].to(sigma)
        steps = (begins >= (1 - SAME) * sigma[:, None]).sum(1)
        left = (len(begins) + 1 - steps.clamp(min=1)).reshape(-1, 1, 1, 1)
        return (self.cells > 0) & (len(begins) * self.cells >= left - SAME)

    def over(self, source: Tensor, z: Tensor) -> Tensor:
        """z, and the source in cells that are never repainted."""
        return torch.where(self.cells > 0, z, source)


@dataclass(frozen=True)
class Selection:
    """How one of a first stage's candidates is selected. choose: which of all goes on. earlier: the
    first of them, from an earlier run. finishes: see `Keeper`."""

    choose: Callable[[Candidates], int]
    earlier: Candidates | None = None
    finishes: bool = False


def denoised(
    stage: StagePlan,
    canvas: Tensor,
    painted: Tensor,
    cells: Tensor,
    backend: Backend,
    noise: Noise,
    selection: Selection,
    advance: Callable[[int, Tensor], None],
) -> Tensor:
    """Latents [n,4,h,w] of the stage's tiles, each denoised as if it were alone.

    canvas: [1,3,canvas], what the stage starts from. painted: [1,1,canvas] of 0 and 1. cells:
    [1,1,canvas in cells] in [0,1], see `Repainted`; where 0, the canvas stays. selection: of
    a first stage's candidates. advance: see `AdaptiveBatches`; the samples are all tiles of one
    candidate after the other.
    """
    run, factor = stage.schedule, backend.spec.latent_factor
    boxes = [tile.divided(factor) for tile in stage.tiles]
    known = torch.cat([_encoded(canvas, tile, backend) for tile in stage.tiles])
    levels = torch.cat([cropped(cells, box) for box in boxes]).to(known)
    grid = stage.canvas.divided(factor)
    epsilon = partial(parts_of_fields, noise, stage.index, grid, boxes, known)
    source = _with_content(stage, known, levels, epsilon)
    if not run.run_steps:
        return source
    sigmas = last_steps(backend.sigmas(run.steps), run.run_steps)
    mask = Repainted(levels, sigmas.to(source))
    guided = partial(backend.denoise, guidance=run.guidance)

    first, U = run.first_candidate, run.resamplings
    n, k = len(U), run.choose_at or len(U)
    # What is repainted later must be the source until then.
    mean = torch.where(levels < 1, source, 0) if stage.start == NEW else source
    with ExitStack() as during:
        start = epsilon([first])("start")
        condition = _told(stage, canvas, painted, known, start, backend, during)
        model = AdaptiveBatches(guided, condition, stage.batch, advance)
        sample = partial(blended_diffusion, model, backend.sampler, source, mask)

        def finished(z: Tensor, who: Sequence[int]) -> Tensor:
            return z if k == n else finite(sample(z, sigmas[k:], epsilon(who, k), U[k:]), NETWORK)

        candidates = selection.earlier
        if candidates is None or candidates.chosen is None:
            there = 0 if candidates is None else len(candidates.z)
            new = range(first + there, first + run.candidates)
            z = mean + float(sigmas[0]) * epsilon(new)("start")
            z = finite(sample(z, sigmas[: k + 1], epsilon(new), U[:k]), NETWORK)
            if not stage.first or len(boxes) > 1:  # tiles are no candidates
                return z
            shown = finished(z, new) if selection.finishes else z
            if k < n and not selection.finishes:
                shown = torch.where(mask.at(sigmas[k - 1 : k].to(source)), model.predicted, source)
            candidates = Candidates(first, z, shown).after(candidates)
            candidates = replace(candidates, chosen=selection.choose(candidates))
        return finished(candidates.one.to(known), [candidates.number])


def blended_diffusion(
    denoise: Denoise,
    sampler: Sampler,
    source: Tensor,
    mask: Repainted,
    z: Tensor,
    sigmas: Tensor,
    noise: KeyedNoise,
    resamplings: Sequence[int] = (),
) -> Tensor:
    """Denoise z from `sigmas[0]` to the last, blended with the source, with RePaint.

    source, mask: see `blended`. z: [B,4,h,w] at noise level sigmas[0]. sigmas: [n + 1] on the CPU,
    strictly descending; the last is 0, or another call goes on from there. noise: names every
    random number by (purpose, step, repeat, ...). resamplings: how often RePaint repeats each
    step; never after the list's end. Returns [B,4,h,w], equal to the source where the mask is 0.

    Steps that are not repeated the sampler gets in one call, so multistep samplers keep their
    history. Those that are (Lugmayr et al. 2022, Algorithm 1, jump length 1) it gets one at a
    time; before each repetition the sample goes back up to the step's upper level:

        z <- z + sqrt(sigma_hi^2 - sigma_lo^2) eps
    """
    sigmas = sigmas.to(z.dtype)
    steps, repeats = range(len(sigmas) - 1), dict(enumerate(resamplings))
    for part in _parts(steps, [step for step in steps if repeats.get(step)]):
        levels = sigmas[part.start : part.stop + 1]
        for repeat in range(1 + repeats.get(part.start, 0)):
            key = part.start, repeat
            if repeat:
                sigma_hi, sigma_lo = levels
                z = z + (sigma_hi.square() - sigma_lo.square()).sqrt() * noise("back up", *key)
            model = blended(denoise, source, mask, noise("background", *key))
            z = sampler(model, z, levels, disable=True, noise_sampler=_in_turn(noise, key))
    return mask.over(source, z)


def blended(denoise: Denoise, source: Tensor, mask: Repainted, noise: Tensor) -> Denoise:
    """`denoise`, seeing and predicting the source wherever nothing is repainted.

    Blended Diffusion (Avrahami et al. 2022, Algorithm 1) as a wrapper of the model: on every call
    the background is put at the very noise level the sampler has reached, and the prediction
    leads it back to the source, so the rule holds for samplers of any order, and every cell has
    the very noise level that the network is told, whatever the mask's:

        z <- m z + (1 - m) (source + sigma eps)
        z0 <- m z0 + (1 - m) source

    source: z0 of the background, [1 or B,4,h,w]. mask: its m is 1 or 0, depending on sigma. noise:
    the background's epsilon, [B,4,h,w].
    """

    def denoise_blended(z: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        repainted = mask.at(sigma)
        level = sigma.reshape(-1, 1, 1, 1)
        z = torch.where(repainted, z, source + level * noise)
        return torch.where(repainted, denoise(z, sigma, **extra), source)

    return denoise_blended


def last_steps(sigmas: Tensor, count: int) -> Tensor:
    """The last `count` steps of a schedule: SDEdit's start at an intermediate noise level.

    sigmas [n + 1], strictly descending to 0, count from 1 to n -> [count + 1]
    (Meng et al. 2022, Algorithm 1; t0 = count / n).
    """
    assert 1 <= count < len(sigmas), (count, len(sigmas))
    assert bool((sigmas[:-1] > sigmas[1:]).all()) and sigmas[-1] == 0, sigmas
    return sigmas[-(count + 1) :]


def _encoded(canvas: Tensor, tile: Box, backend: Backend) -> Tensor:
    return finite(backend.encode(cropped(canvas, tile).to(backend.device)), "the autoencoder")


def _with_content(
    stage: StagePlan, known: Tensor, levels: Tensor, noise: Callable[..., KeyedNoise]
) -> Tensor:
    """The latents, and in cells that are repainted all the way what "Masked content" says."""
    contents = {LATENT_NOISE: noise([0])("content"), LATENT_NOTHING: torch.zeros_like(known)}
    return torch.where(levels < 1, known, contents.get(stage.start, known))


def _told(
    stage: StagePlan,
    canvas: Tensor,
    painted: Tensor,
    source: Tensor,
    start: Tensor,
    backend: Backend,
    during: ExitStack,
) -> Condition:
    """What the network must be told of all tiles, of latents `source`, while they are sampled.

    start: the noise of all candidates' tiles, the first candidate's first.
    """
    conditions = []
    latents, noises = source.split(1), start[: len(source)].split(1)
    for tile, z0, noise in zip(stage.tiles, latents, noises, strict=True):
        picture, mask = (cropped(one, tile).to(backend.device) for one in (canvas, painted))
        sampling = backend.sampling(picture, mask, z0, noise, stage.in_picture(tile))
        conditions.append(during.enter_context(sampling))
    told = [condition for condition in conditions if condition is not None]
    return torch.cat(told) if told else None


def _in_turn(noise: KeyedNoise, key: tuple[int, int]) -> Callable[[Tensor, Tensor], Tensor]:
    """A sampler's own fresh noise, which is ours too: one after the other of one call."""
    draws = itertools.count()
    return lambda sigma, sigma_next: noise("sampler", *key, next(draws))


def _parts(steps: range, alone: Sequence[int]) -> Iterator[range]:
    """The steps, cut before and after each that is to be alone."""
    cuts = {steps.start, steps.stop, *alone, *(step + 1 for step in alone)}
    return (range(*pair) for pair in itertools.pairwise(sorted(cuts)))
