"""What an edit will take: time and memory, before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from modules import lowvram, shared

from ..errors import EditError
from ..pipeline import pictures
from ..plan import PATCHES, EditPlan, StagePlan
from ..settings import SETTINGS, EditSettings
from . import measure, speed
from .facts import LATENT_FACTOR
from .footprint import FLOAT, OVERHEAD, PATCHED
from .options import option

GIB = 2**30
CLIP_BYTES = 1_710_000_000
"""CLIP ViT-L/14 in single precision, as it is used."""
_PICTURES, _CROPS = 6, 8
"""Copies of the picture and of the crop, in single precision, that are there at one time."""
_DECODER = "decoder optimisation"
_REMEDIES = {
    "denoising": "choose fewer candidates",
    "decoding": "start the WebUI with --medvram",
    "enlarging": "choose another upscaler, or smaller tiles in the settings for upscalers",
    _DECODER: "let it run on the CPU (see the settings), or set 0 iterations",
    "choosing": "let CLIP run on the CPU (see the settings), or choose by first",
}


@dataclass(frozen=True)
class Estimate:
    """seconds: of all pictures together. memory_bytes: at the worst moment, the checkpoint
    included; on a GPU only what lies there. parts: the same by kind of work."""

    seconds: float
    memory_bytes: int
    parts: dict[str, int]


def estimate(plan: EditPlan, settings: EditSettings, count: int) -> Estimate:
    """What `count` edits after `plan` will take.

    The first time with a checkpoint its networks are run for it, see `measure` and `speed`.
    """
    parts = memory(plan, settings)
    return Estimate(round(speed.seconds(plan) * count, 1), max(parts.values()), parts)


def prepare(
    resolution: int, upscaler: str, turn: Callable[[], AbstractContextManager[Any]]
) -> None:
    """Run whatever estimates for the loaded checkpoint need, if that was not done before.

    turn: what to wait for if something must be run.
    """
    if not (measure.is_measured(resolution, upscaler) and speed.is_timed(resolution)):
        with turn():
            measure.footprint(resolution)
            measure.enlargement(upscaler)
            speed.speed(resolution)


def remember_pace(plan: EditPlan, seconds: float) -> None:
    """Take one edit that took `seconds` as the measure of the next with the same checkpoint."""
    speed.remember(plan, seconds)


def limited(
    settings: EditSettings, plan: Callable[[EditSettings], EditPlan]
) -> tuple[EditSettings, EditPlan, list[str]]:
    """Settings whose work fits the memory limit; their plan; and what was done.

    The decoder keeps less of a tile, by checkpointing, before tiles are made smaller. plan: makes
    the plan for settings. Raises `EditError` if even the smallest tiles are too large.
    """
    limit, wanted = option("memory_limit"), settings
    planned = plan(settings)
    if not limit:
        return settings, planned, []
    while max((needed := memory(planned, settings)).values()) > limit * GIB:
        less = _checkpointing(settings, needed, plan) or _smaller(settings)
        if less is None:
            raise _too_large(needed, limit)
        settings, planned = less, plan(less)
    changes, size = [], settings.later.tile_size
    if settings.decoder != wanted.decoder:
        changes.append(f"{SETTINGS['decoder_checkpointing'].label} turned on")
    if settings.later != wanted.later:
        changes.append(
            f"{SETTINGS['tile_size'].label} lowered from {wanted.later.tile_size:g} to {size:g}"
        )
    keep = f"to keep within the memory limit of {limit:g} GiB"
    return settings, planned, [f"{change} {keep}" for change in changes]


def memory(plan: EditPlan, settings: EditSettings) -> dict[str, int]:
    """Bytes that lie on the host's device while each kind of work is done, by its name."""
    found, device = measure.footprint(plan.resolution), torch.device(shared.device)
    apart = lowvram.is_enabled(shared.sd_model)
    loaded = 0 if apart else found.unet + found.autoencoder + found.others
    part = found.block if shared.cmd_opts.lowvram else found.unet
    cells = {stage: stage.tile_area // LATENT_FACTOR**2 for stage in plan.stages}
    samples = {stage: stage.batch * _passes_at_once() for stage in plan.stages}
    needed = {
        "denoising": max(found.denoising.at(n) * samples[stage] for stage, n in cells.items()),
        "decoding": max(found.decoding.at(n) for n in cells.values()),
        "enlarging": _enlarging(plan, settings),
    }
    needed = {work: round(OVERHEAD * size) for work, size in needed.items()}
    needed["denoising"] += part if apart else 0
    needed["decoding"] += found.autoencoder if apart else 0
    if measure.decoder_device().type == device.type:
        fitting = max(_fitting(stage, found) for stage in plan.stages)
        if fitting:
            needed[_DECODER] = fitting
    if settings.first.choose == "clip" and settings.first.candidates > 1:
        needed["choosing"] = _clip_bytes() if _clip_device() == device.type else 0
    if device.type == "cpu":
        # Pictures and CLIP are always in main memory, so there they come on top.
        loaded += 3 * FLOAT * (_PICTURES * plan.image.area + _CROPS * plan.crop.size.area)
        loaded += needed.pop("choosing", 0)
    elif not (apart or option("memory_limit")):
        loaded += pictures(plan.crop.size, device)
    return {work: loaded + size for work, size in needed.items()}


def _fitting(stage: StagePlan, found: measure.Footprint) -> int:
    """Decoder optimisation where the host's networks are; 0 if there is none. In single precision:
    mixed takes less."""
    cells, pixels, tiles = stage.tile_area // LATENT_FACTOR**2, stage.tile_area, len(stage.tiles)
    refitting = found.refitting.at(cells, pixels, tiles) if stage.decoder_refit else 0
    if not stage.decoder_iterations:
        return refitting
    if not stage.decoder_patch:
        training = found.training.at(cells, pixels, tiles, stage.decoder_checkpointing)
        return max(refitting, training)
    patches = PATCHES * (stage.decoder_patch // LATENT_FACTOR) ** 2
    passing = found.refitting.passing.at(cells)
    training = found.training.on_patches(patches, passing, pixels, tiles)
    kept = PATCHED * tiles * FLOAT * pixels if refitting else 0
    return max(training, refitting + kept)


def _passes_at_once() -> int:
    """Guidance needs two predictions; the host makes them in one batch, or one by one."""
    return 2 if shared.opts.batch_cond_uncond else 1


def _enlarging(plan: EditPlan, settings: EditSettings) -> int:
    """One pass of the upscaler over the largest stage it starts from; the host works in tiles."""
    if len(plan.stages) == 1:
        return 0
    size, tile = plan.stages[-2].size, shared.opts.ESRGAN_tile
    sides = (min(side, tile) if tile else side for side in (size.height, size.width))
    height, width = sides
    return measure.enlargement(settings.later.upscaler).at(height * width)


def _clip_device() -> str:
    return "cpu" if option("clip_device") == "CPU" else torch.device(shared.device).type


def _clip_bytes() -> int:
    """CLIP's weights in single precision; files but safetensors hold half precision."""
    path = Path(option("clip_weights"))
    if not path.is_file():
        return CLIP_BYTES
    return path.stat().st_size * (1 if path.suffix == ".safetensors" else 2)


def _checkpointing(
    settings: EditSettings, needed: dict[str, int], plan: Callable[[EditSettings], EditPlan]
) -> EditSettings | None:
    """With it, if the decoder is what takes the most, and then takes less; else None."""
    most = max(needed.values())
    if needed.get(_DECODER) != most:
        return None
    sparing = settings.with_values({"decoder_checkpointing": True})
    return sparing if memory(plan(sparing), sparing)[_DECODER] < most else None


def _smaller(settings: EditSettings) -> EditSettings | None:
    """With tiles one step smaller, on whole steps; None if there are none."""
    known, now = SETTINGS["tile_size"], settings.later.tile_size
    assert known.low is not None and known.step is not None
    if now <= known.low:
        return None
    steps = -(-(now - known.low) // known.step) - 1
    return settings.with_values({"tile_size": known.low + steps * known.step})


def _too_large(needed: dict[str, int], limit: float) -> EditError:
    work = max(needed, key=lambda name: needed[name])
    return EditError(
        f"{work} needs about {needed[work] / GIB:.1f} GiB even with the smallest tiles, but the "
        f"memory limit is {limit:g} GiB: {_REMEDIES[work]}, or raise the limit in the settings"
    )
