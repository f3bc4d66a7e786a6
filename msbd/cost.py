"""What an edit costs: constants of a kind of model, corrected by the last edit on this machine."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .plan import EditPlan
from .settings import FINE_TUNE, LAST_LAYER

if TYPE_CHECKING:
    from .report import Report

logger = logging.getLogger(__name__)
CELL, FLOAT, OVERHEAD = 64, 4, 1.1
"""Pixels of a latent cell; bytes in single precision; what allocators take for a byte."""
UPSCALER, UPSCALING = 16_700_000, 2371
"""Real-ESRGAN x4plus: numbers of its weights, and of its activations for a pixel of its input."""
ENCODING, DECODING, SOLVING, EQUATIONS = 0.2, 0.3, 0.6, 0.3
"""Time of a tile, in decoder steps; of solving a stage's equations, in seconds."""
FITTING = "decoder optimisation"


@dataclass(frozen=True)
class Kind:
    """Bytes: of the decoder's weights, of what its last layer is solved with, of CLIP. Numbers for
    a latent cell: denoising a sample, decoding, fine-tuning without and with checkpointing. cpu,
    gpu: seconds of a guided call, of a decoder step, of enlarging, at the training resolution."""

    decoder: int
    equations: int
    clip: int
    denoising: int
    decoding: int
    tuning: int
    checkpointed: int
    cpu: tuple[float, float, float]
    gpu: tuple[float, float, float]


# Measured on one core; guessed for a GPU.
MINIATURE = Kind(10_083_164, 91_885_600, 12_000_000, 885, 20_480, 97_500, 48_700,
                 (0.015, 0.2, 0.4), (0.01, 0.03, 0.05))  # fmt: skip
# Measured on one core, for four; measured on an H200, for a card a seventh as fast.
STABLE_DIFFUSION = Kind(197_960_796, 350_560_288, 1_710_000_000, 8_340, 49_152, 371_600, 160_100,
                        (4.0, 10.0, 12.0), (0.1, 0.8, 1.0))  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """A model as it is loaded. name: its last edit is remembered by it. device, fitting, choosing:
    types of devices: of its own, for fitting its decoder, and for CLIP, if that chooses. resident:
    bytes that are always on its device; network, autoencoder: that come when they work. number:
    bytes of a number in the network. passes: samples in it for a guided one. upscaled: the longest
    side in pixels that is enlarged at once; 0 for interpolation."""

    name: str
    kind: Kind
    device: str
    fitting: str
    choosing: str = ""
    resident: int = 0
    network: int = 0
    autoencoder: int = 0
    number: int = FLOAT
    passes: int = 2
    upscaled: int = 0


@dataclass(frozen=True)
class Work:
    """Seconds that a kind of work takes; bytes of weights there meanwhile; bytes that it makes."""

    seconds: float
    held: int = 0
    made: float = 0.0


def memory(plan: EditPlan, loaded: Loaded) -> dict[str, int]:
    """Bytes that lie on the model's device while each kind of work is done there, by its name."""
    ratio, works = lesson(loaded).get("memory", 1.0), _works(plan, loaded).items()
    there = {name: work.held + round(ratio * work.made) for name, work in works}
    return {name: loaded.resident + size for name, size in there.items() if size}


def seconds(plan: EditPlan, loaded: Loaded) -> float:
    """What an edit takes from beginning to end."""
    ratios, works = lesson(loaded), _works(plan, loaded).items()
    return sum(ratios.get(name, ratios.get("all", 1.0)) * work.seconds for name, work in works)


def learn(plan: EditPlan, loaded: Loaded, report: Report, peak: int = 0) -> None:
    """Measure later edits by one that was finished after `plan`.

    Kinds of work are corrected separately; what the edit left out is corrected as all of it is.
    peak: bytes on a GPU at the worst moment, 0 where that is not known.
    """
    works, stages = _works(plan, loaded), report.stages
    taken = {
        "decoding": sum(stage.decoding_seconds for stage in stages),
        FITTING: sum(stage.fitting_seconds for stage in stages),
        "enlarging": report.seconds - sum(stage.seconds for stage in stages),
    }
    taken = {name: spent for name, spent in taken.items() if name in works}
    taken["denoising"] = report.seconds - sum(taken.values())
    ratios = {name: max(spent, 1e-3) / works[name].seconds for name, spent in taken.items()}
    ratios["all"] = max(report.seconds, 1e-3) / sum(work.seconds for work in works.values())
    worst = max(works.values(), key=lambda work: work.held + work.made)
    made = peak - loaded.resident - worst.held
    if worst.made and made > 0:
        # What others have there meanwhile must not grow into a refusal.
        ratios["memory"] = min(max(made / worst.made, 0.5), 2.0)
    _remember(loaded.name, lesson(loaded) | ratios)


def _works(plan: EditPlan, loaded: Loaded) -> dict[str, Work]:
    """Each kind of work by its name, before correction."""
    kind, stages, first, unit = loaded.kind, plan.stages, plan.stages[0], plan.resolution**2
    call, coding, enlarging = kind.cpu if loaded.device == "cpu" else kind.gpu
    step = (kind.cpu if loaded.fitting == "cpu" else kind.gpu)[1]
    here, sparing = loaded.fitting == loaded.device, first.decoder_checkpointing
    tiles = sum(len(stage.tiles) * stage.tile_area for stage in stages) / unit
    chosen = sum(part.stages[0].schedule.candidates for part in plan.parts)
    calls = plan.network_evaluations + chosen * bool(loaded.choosing)
    samples = loaded.passes * max(stage.batch * stage.tile_area for stage in stages) / CELL
    kept = FLOAT * max((len(stage.tiles) + 2) * stage.tile_area for stage in stages)
    cells = OVERHEAD * FLOAT * max(stage.tile_area for stage in stages) / CELL
    made, passing = OVERHEAD * loaded.number, kind.decoding * cells
    spent = call * calls + ENCODING * coding * tiles
    works = {
        "denoising": Work(spent, loaded.network, made * kind.denoising * samples),
        "decoding": Work(DECODING * coding * tiles, loaded.autoencoder, passing),
    }
    if first.decoder == FINE_TUNE:
        spent = step * tiles * (first.decoder_iterations * (4 / 3 if sparing else 1) + DECODING)
        training = cells * (kind.checkpointed if sparing else kind.tuning) + 12 * kept
        # The weights, their gradients and Adam's two moments.
        works[FITTING] = Work(spent, here * 4 * kind.decoder, here * training)
    elif first.decoder == LAST_LAYER:
        spent = SOLVING * step * tiles + EQUATIONS * len(stages)
        held = kind.decoder + kind.equations
        works[FITTING] = Work(spent, here * held, here * (passing + 5 * kept))
    small = [stage.size for part in plan.parts for stage in part.stages[:-1]]
    if small and loaded.upscaled:
        spent, held = enlarging * sum(size.area for size in small) / unit, loaded.number * UPSCALER
        sides = loaded.upscaled
        area = max(min(size.height, sides) * min(size.width, sides) for size in small)
        works["enlarging"] = Work(spent, held, made * UPSCALING * area)
    if loaded.choosing == loaded.device != "cpu":
        works["choosing"] = Work(0.0, kind.clip)
    return works


_lessons: dict[str, dict[str, float]] = {}


def lesson(loaded: Loaded) -> dict[str, float]:
    """Taken / expected in the last edit, by kind of work; this process's, else an earlier one's."""
    return _lessons.get(loaded.name) or _stored().get(loaded.name, {})


def file() -> Path:
    """What outlasts the process, in the user's cache folder."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(folder) if folder else Path.home() / ".cache") / "msbd" / "cost.json"


def _stored() -> dict[str, dict[str, float]]:
    try:
        found: dict[str, dict[str, float]] = json.loads(file().read_text("utf-8"))
        if all(0 < ratio < 1e9 for one in found.values() for ratio in one.values()):
            return found
    except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        logger.debug("no costs of earlier edits: %s", error)
    return {}


def _remember(name: str, ratios: dict[str, float]) -> None:
    _lessons[name] = ratios
    try:
        file().parent.mkdir(parents=True, exist_ok=True)
        draft = file().with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(_stored() | {name: ratios}), "utf-8")
        draft.replace(file())
    except (OSError, RuntimeError) as error:
        logger.debug("costs are not kept: %s", error)
