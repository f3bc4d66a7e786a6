"""From a stage's picture to its denoised latents: tile by tile, or all tiles together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .backend import Condition
from .blended import (
    blended_diffusion,
    inner_mask,
    last_steps,
    latent_mask,
    onwards,
    soft_mask,
)
from .composite import tile_weight
from .geometry import Box, Size
from .job import Job, View, cut
from .memory import AdaptiveBatches
from .plan import StagePlan
from .precision import finite
from .upscaling import blend

NETWORK = "the denoising network"


def denoised(stage: StagePlan, canvas: Tensor, view: View, job: Job) -> list[Tensor]:
    """Latents [1,4,h,w] of the stage's tiles, blended with the canvas outside the mask.

    canvas: [1,3,canvas], what the stage starts from.
    """
    if job.settings.later.joint_tiles and len(stage.tiles) > 1 and stage.run_steps:
        return _together(stage, canvas, view, job)
    return list(_apart(stage, canvas, view, job).split(1))


def _apart(stage: StagePlan, canvas: Tensor, view: View, job: Job) -> Tensor:
    """Latents of all tiles [n,4,h,w], each as if it were alone.

    The first stage makes all candidates of its one tile together until one of them is chosen.
    """
    backend = job.backend
    factor = backend.facts.latent_factor
    cells = [tile.divided(factor) for tile in stage.tiles]
    source, condition = _encoded(stage, canvas, view, job)
    if not stage.run_steps:
        return source
    model, sigmas = _model(stage, condition, job), _levels(stage, job)
    whole = _repainted(stage, view, job)
    mask = torch.cat([cut(whole, box) for box in cells]).to(source)
    resamplings = [stage.repeats_at(step) for step in range(stage.run_steps)]

    def sample(z: Tensor, first: int, last: int, candidates: range) -> Tensor:
        """From level `first` of the schedule to level `last`."""
        noise = onwards(_noise(stage, cells, source, job, candidates), first)
        levels, again = sigmas[first : last + 1], resamplings[first:]
        z = blended_diffusion(model, backend.sampler, z, levels, source, mask, noise, again)
        return finite(z, NETWORK)

    everyone, k, n = range(stage.candidates), stage.choose_at, stage.run_steps
    mean = torch.zeros_like(source) if stage.from_noise else source
    z = mean + float(sigmas[0]) * _noise(stage, cells, source, job, everyone)("start")
    if k:
        z = sample(z, 0, k, everyone)
        preview = mask * model.predicted + (1 - mask) * source
        i = _choose(stage, preview, view, job)
        return sample(z[i : i + 1], k, n, everyone[i : i + 1])
    z = sample(z, 0, n, everyone)
    if stage.from_noise and len(cells) == 1:  # several tiles are no candidates
        i = _choose(stage, z, view, job)
        z = z[i : i + 1]
    return z


def _together(stage: StagePlan, canvas: Tensor, view: View, job: Job) -> list[Tensor]:
    """All tiles as one picture: in every step their predictions are averaged where they overlap.

    MultiDiffusion (Bar-Tal et al. 2023) with the weights of the tiles' paste.
    """
    backend = job.backend
    factor = backend.facts.latent_factor
    cells = [tile.divided(factor) for tile in stage.tiles]
    encoded, condition = _encoded(stage, canvas, view, job)
    model, sigmas = _model(stage, condition, job), _levels(stage, job)
    grid = stage.canvas.divided(factor)
    source = _averaged(encoded, cells, grid)

    def denoise(z: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        tiles = torch.cat([cut(z, box) for box in cells])
        return _averaged(model(tiles, sigma.expand(len(tiles))), cells, grid)

    mask = _repainted(stage, view, job).to(source)
    noise = _noise(stage, [Box.of(grid)], source, job, range(1))
    z = source + float(sigmas[0]) * noise("start")
    z = blended_diffusion(denoise, backend.sampler, z, sigmas, source, mask, noise)
    finite(z, NETWORK)
    return [cut(z, box) for box in cells]


def _repainted(stage: StagePlan, view: View, job: Job) -> Tensor:
    """How far each latent cell of the canvas is repainted, [1,1,h,w] in [0,1]."""
    settings, factor = job.settings, job.backend.facts.latent_factor
    if stage.from_noise:
        reduced = inner_mask if settings.first.keep_inside else latent_mask
    else:
        reduced = soft_mask if settings.later.soft_edge else latent_mask
    return reduced(view.canvas_painted, factor)


def _encoded(stage: StagePlan, canvas: Tensor, view: View, job: Job) -> tuple[Tensor, Condition]:
    """Latents [n,4,h,w] of all tiles of the canvas, and what the network must be told of them."""
    backend, latents, conditions = job.backend, [], []
    for tile in stage.tiles:
        picture = cut(canvas, tile).to(backend.device)
        painted = cut(view.canvas_painted, tile).to(backend.device)
        latents.append(finite(backend.encode(picture), "the autoencoder"))
        if stage.run_steps:
            conditions.append(backend.condition(picture, painted, latents[-1]))
    told = [condition for condition in conditions if condition is not None]
    return torch.cat(latents), torch.cat(told) if told else None


def _model(stage: StagePlan, condition: Condition, job: Job) -> AdaptiveBatches:
    """The guided network on tiles, which tells its progress."""
    share, text = job.plan.share(stage), f"stage {stage.index + 1}: denoising"
    guided = partial(job.backend.denoise, guidance=stage.guidance)
    return AdaptiveBatches(
        guided, condition, stage.batch, lambda samples: job.watch.advance(samples * share, text)
    )


def _levels(stage: StagePlan, job: Job) -> Tensor:
    """The noise levels that a stage runs through, [run_steps + 1]."""
    return last_steps(job.backend.sigmas(stage.steps), stage.run_steps)


def _averaged(parts: Tensor, boxes: Sequence[Box], size: Size) -> Tensor:
    """[n,C,h,w] put where the boxes are and averaged in overlaps; 0 where there is none."""
    total = parts.new_zeros(1, parts.shape[1], size.height, size.width)
    weights = torch.zeros_like(total[:, :1])
    for part, box in zip(parts, boxes, strict=True):
        weight = tile_weight(box.size, total)
        cut(total, box).add_(weight * part)
        cut(weights, box).add_(weight)
    return total / weights.clamp_min(1e-9)


def _noise(
    stage: StagePlan, cells: Sequence[Box], like: Tensor, job: Job, candidates: range
) -> Callable[..., Tensor]:
    """Parts of the stage's one noise field, for some candidates: [n,4,h,w]."""
    canvas = stage.canvas.divided(job.backend.facts.latent_factor)
    shape = (like.shape[1], canvas.height, canvas.width)
    named = job.noise.at("stage", stage.index)

    def noise(*key: int | str) -> Tensor:
        fields = (named(shape, *key, candidate) for candidate in candidates)
        return torch.stack([cut(field, box) for field in fields for box in cells]).to(like)

    return noise


def _choose(stage: StagePlan, z: Tensor, view: View, job: Job) -> int:
    """Which candidate of z [n,4,h,w] goes on, judged on the decoded crop."""
    by_clip = job.settings.first.choose == "clip" and len(z) > 1
    if not (by_clip or job.watch.looks("candidate")):
        return 0
    decoded = torch.cat([job.backend.decode(one[None]).to(view.target) for one in z])
    decoded = finite(decoded, "the autoencoder")
    shown = blend(cut(decoded, Box.of(stage.size)), view.target, view.painted)
    scores = job.backend.score(shown.to(job.backend.device)) if by_clip else None
    if scores is not None and not bool(torch.isfinite(scores).all()):
        scores = None
    if by_clip and scores is None:
        job.report.notes.append("CLIP is not available: the first candidate was taken")
    chosen = 0 if scores is None else int(scores.argmax())
    job.report.chosen = chosen
    if scores is not None:
        job.report.scores = [round(float(score), 4) for score in scores]
    for index, one in enumerate(shown):
        score = f" {job.report.scores[index]:.3f}" if job.report.scores else ""
        mark = " (chosen)" if index == chosen else ""
        caption = f"candidate {index + 1}{score}{mark}"
        job.watch.show("candidate", one[None], stage, caption)
    return chosen
