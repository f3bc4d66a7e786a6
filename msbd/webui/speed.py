"""How fast the loaded checkpoint is here."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from modules import devices, shared

from ..plan import DECODER_STEP_WORK, EditPlan
from ..report import Stopwatch
from .backend import HostDecoder, make_room
from .facts import LATENT_FACTOR
from .measure import decoder_device, latent, model_key, predict
from .sampling import own_randomness

_LONG_ENOUGH = 0.3
"""Seconds of work that tell the speed."""
_ROUND_TRIP = 0.6
"""Time of encoding and decoding a tile, in decoder steps: a pass without its way back each."""


@dataclass(frozen=True)
class Speed:
    """Seconds at the training resolution of a guided model call, and of a decoder step."""

    call: float
    step: float

    def seconds(self, plan: EditPlan) -> float:
        """Enlarging and choosing are left out; beside the rest they take little."""
        steps = (plan.work - plan.network_evaluations) / DECODER_STEP_WORK
        tiles = sum(len(stage.tiles) * plan.share(stage) for stage in plan.stages)
        steps += _ROUND_TRIP * tiles
        return self.call * plan.network_evaluations + self.step * steps


_speeds: dict[Hashable, Speed] = {}
_finished: dict[Hashable, tuple[EditPlan, float]] = {}


def speed(resolution: int) -> Speed:
    """Of the loaded checkpoint, trained at `resolution`; timed when first asked for."""
    key = model_key(resolution)
    if key not in _speeds:
        with own_randomness():
            _speeds[key] = _timed(shared.sd_model, resolution // LATENT_FACTOR)
    return _speeds[key]


def is_timed(resolution: int) -> bool:
    """Whether `speed` has nothing to run."""
    return model_key(resolution) in _speeds


def seconds(plan: EditPlan) -> float:
    """What an edit should take: by the speed, and by how long the last one really took."""
    known = speed(plan.resolution)
    last, took = _finished.get(model_key(plan.resolution), (plan, known.seconds(plan)))
    return known.seconds(plan) * took / known.seconds(last)


def remember(plan: EditPlan, took: float) -> None:
    """An edit after `plan` was finished in so many seconds."""
    _finished[model_key(plan.resolution)] = plan, took


def _timed(model: Any, side: int) -> Speed:
    """Seconds of the network on a pair of latents, and of training the decoder on a smaller one.

    If there is no memory for the latter, the engine's own proportion is taken.
    """
    with torch.no_grad(), devices.autocast():
        call = _of_one(lambda: predict(model, side, 2), torch.device(shared.device))
    make_room()
    small = max(1, side // 2)
    try:
        copy = HostDecoder(model, decoder_device())
        with torch.inference_mode(False), torch.enable_grad(), devices.without_autocast():
            step = _of_one(lambda: copy(latent(small)).sum().backward(), decoder_device())
    except RuntimeError:
        return Speed(call, DECODER_STEP_WORK * call)
    return Speed(call, step * (side / small) ** 2)


def _of_one(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one `run()`; the very first is slower and does not count."""
    run()
    clock, runs = Stopwatch(device), 0
    while (spent := clock.seconds()) < _LONG_ENOUGH:
        run()
        runs += 1
    return spent / runs
