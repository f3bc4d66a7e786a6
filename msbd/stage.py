"""One stage: denoise its tiles, optimise the decoder, decode and merge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .backend import Backend
from .compositing import (
    composited,
    cropped,
    feathered,
    inner_mask,
    largest,
    latent_mask,
    mean_mask,
    padded,
    resized,
)
from .decoder import Decode, Segment, nearness, optimised
from .diffusion import Selection, denoised
from .errors import Paused
from .geometry import Box
from .noise import Noise
from .plan import DRAFT, StagePlan
from .precision import finite
from .progress import Recorder
from .report import Candidates, stopwatch
from .settings import PAINT, PICTURE, EditSettings
from .tone import with_tone_of

AUTOENCODER = "the autoencoder"


@dataclass(frozen=True)
class StageInputs:
    """The photograph and the mask as one stage sees them.

    target: the true picture [1,3,size]. painted: [1,1,size], 1 wherever anything is repainted.
    canvas_target, canvas_painted: the same, padded to the stage's canvas. cells: the level of each
    latent cell of the canvas, [1,1,h,w] in [0,1], see `Repainted`.
    """

    target: Tensor
    painted: Tensor
    canvas_target: Tensor
    canvas_painted: Tensor
    cells: Tensor

    @classmethod
    def of(
        cls,
        stage: StagePlan,
        crop: Tensor,
        mask: Tensor,
        alpha: Tensor | None,
        factor: int,
    ) -> StageInputs:
        """crop: the photograph inside the plan's crop, or what the mask leaves of it, [1,3,H,W].
        mask: there, [1,1,H,W] in [0,1]. alpha: the same with its soft edge, to paint anew first
        what lies inside the mask and then all of it by its levels; None to paint all cells that
        the mask touches. factor: pixels per latent cell."""
        target, levels = resized(crop, stage.size), largest(mask, stage.size)
        if alpha is None:
            painted, cells = levels, latent_mask(levels, factor)
        else:
            painted = largest(alpha, stage.size)
            if stage.start == DRAFT:
                cells = mean_mask(painted, factor)
            else:
                # Of what is to be another, nothing may stay because the mask's edge crosses it.
                changes = stage.start in (PICTURE, PAINT)
                cells = (latent_mask if changes else inner_mask)(levels, factor)
        painted = (painted > 0).float()
        return cls(
            target,
            painted,
            padded(target, stage.canvas),
            padded(painted, stage.canvas, repeat_edge=False),
            padded(cells, stage.canvas.divided(factor), repeat_edge=False),
        )


def refined(
    stage: StagePlan,
    start: Tensor,
    seen: StageInputs,
    settings: EditSettings,
    backend: Backend,
    noise: Noise,
    recorder: Recorder,
) -> Tensor:
    """Carry out one stage on `start` [1,3,size]; return the picture [1,3,size] in [0,1].

    A first stage that starts anew repaints the mask from pure noise and uses only the surroundings
    of `start`; any other noises `start` to its strength and denoises it again (SDEdit, Meng et al.
    2022). Raises what its networks raise, running out of memory included.
    """
    recorder.start(stage)

    def choose(made: Candidates) -> int:
        return choose_candidate(made, stage, seen, settings, backend, recorder)

    earlier = recorder.keeper.candidates(stage.part) if stage.first else None
    if earlier is not None and earlier.chosen is not None:
        recorder.chosen(earlier)
    selection = Selection(choose, earlier, recorder.keeper.finishes)
    maps = padded(start, stage.canvas), seen.canvas_painted, seen.cells
    apart = [replace(stage, tiles=(tile,)) for tile in stage.tiles]
    parts: list[Tensor] = []
    for part in apart if backend.tile_by_tile else [stage]:
        told = partial(recorder.denoised, tile=len(parts))
        parts.append(denoised(part, *maps, backend, noise, selection, told))
    latents = torch.cat(parts).split(1)

    decode: Decode = lambda index: backend.decode(latents[index])  # noqa: E731
    if stage.decoder_steps:
        if recorder.callbacks.wants("before"):
            before = _merged(stage, seen, decode)
            recorder.callbacks.image("before", before, stage, "before decoder optimisation")
        clock = stopwatch(backend.device)
        edge = nearness(seen.canvas_painted, backend.spec.latent_factor)
        maps = seen.canvas_target, seen.canvas_painted, edge
        segments = [
            Segment(z, *(cropped(one, box).to(z) for one in maps))
            for box, z in zip(stage.tiles, latents, strict=True)
        ]
        decode = optimised(stage, segments, decode, settings.ablation, backend, recorder)
        recorder.done.fitting_seconds = clock()
    recorder.fill()
    clock = stopwatch(backend.device)
    result = _merged(stage, seen, recorder.telling(decode))
    if settings.ablation.hold_tone and stage.start == DRAFT:
        result = with_tone_of(start, result, seen.painted)
    recorder.done.decoding_seconds = clock()
    recorder.callbacks.image("result", result, stage, f"stage {stage.index + 1}: {stage.size}")
    recorder.finish()
    return result


def _merged(stage: StagePlan, seen: StageInputs, decode: Decode) -> Tensor:
    """All tiles decoded and composited over the true picture, [1,3,size]."""
    tiles = (
        (box, finite(decode(index), AUTOENCODER).to(seen.canvas_target))
        for index, box in enumerate(stage.tiles)
    )
    return cropped(composited(seen.canvas_target, tiles), Box.of(stage.size))


def choose_candidate(
    made: Candidates,
    stage: StagePlan,
    seen: StageInputs,
    settings: EditSettings,
    backend: Backend,
    recorder: Recorder,
) -> int:
    """Which candidate goes on, ranked on the decoded crop. Raises `Paused` if the keeper pauses."""
    keeper = recorder.keeper
    how = settings.ablation.choose if len(made.z) > 1 else "first"
    wanted = recorder.callbacks.wants("candidate") or keeper.wants_candidates
    if how == "first" and not wanted:
        recorder.chosen(replace(made, chosen=0))
        return 0
    candidates = torch.cat([backend.decode(z).to(seen.target) for z in made.shown.split(1)])
    decoded = finite(candidates, AUTOENCODER)
    shown = torch.lerp(seen.target, cropped(decoded, Box.of(stage.size)), seen.painted)
    scores = None
    if how == "clip":
        scores = backend.score(shown.to(backend.device))
        if scores is None:
            recorder.note("CLIP is not available, so the first candidate was taken")
    elif how == "fit":
        scores = fit(shown, seen.painted)
    best = 0 if scores is None else int(scores.argmax())
    told = None if scores is None else [round(float(score), 4) for score in scores]
    ranked = replace(made, scores=told, chosen=best)
    if keeper.wants_candidates:
        keeper.keep_candidates(stage.part, ranked, shown.cpu())
    recorder.chosen(ranked)
    for index, one in enumerate(shown):
        score = f" {told[index]:.3f}" if told else ""
        mark = " (chosen)" if index == best and not keeper.pauses else ""
        number = made.first + index + 1
        recorder.callbacks.image("candidate", one[None], stage, f"candidate {number}{score}{mark}")
    if keeper.pauses:
        raise Paused
    return best


def fit(images: Tensor, painted: Tensor) -> Tensor:
    """How alike the painted part of each picture [n,3,H,W] and a ring round it are, [n], at most 0.

    Compared are mean and deviation of the colours, and mean slope, in each channel. painted:
    [1,1,H,W] of 0 and 1; all scores are 0 where nothing is beside it.
    """
    reach = max(painted.shape[-2:]) // 8
    ring = feathered(painted, reach).gt(0).to(images) - painted
    if not ring.any():
        return images.new_zeros(len(images))
    across = F.pad(images.diff(dim=-1).abs(), (0, 1, 0, 0))
    down = F.pad(images.diff(dim=-2).abs(), (0, 0, 0, 1))
    facts = torch.cat([images, across + down], 1)

    def moments(where: Tensor) -> Tensor:
        mean = (facts * where).sum((2, 3)) / where.sum()
        spread = ((facts - mean[..., None, None]).square() * where).sum((2, 3)) / where.sum()
        return torch.cat([mean, spread.sqrt()[:, :3]], 1)

    return -(moments(painted) - moments(ring)).abs().sum(1)
