"""Peak memory of an edit's parts with networks of Stable Diffusion 1's size, on the CPU.

Random weights in single precision; each part in a process of its own. The edit's peak is that of
its largest part, as no two are at work at once.
"""

from __future__ import annotations

from typing import Any

import torch

from ..decoder import Segment, nearness
from ..decoder.fine_tune import fine_tune
from ..decoder.last_layer import LastLayer
from ..evaluation.memory import PeakMemory
from ..noise import Noise
from ..report import stopwatch
from ..setting import Ablation
from .random_model import WIDTH, autoencoder, random_stable_diffusion, unet
from .runs import alone
from .setups import WAYS

CPU = torch.device("cpu")
TILE = 512
"""Side of the decoder's tile in pixels, the smallest there is; the paper's are up to 768, and its
memory grows with their area."""
LARGEST = 768
"""Side of the largest tile there is."""
CELLS = 64
"""Side of the first stage's latents."""


def peaks(
    threads: int, tile: int = TILE, cells: int = CELLS, largest_tile: int = LARGEST
) -> dict[str, Any]:
    """Bytes above the networks' own, by part and way, and the largest of each way; and an estimate
    of what our way takes on a GPU.

    The estimate adds the weights in half precision to the largest part in single precision, with
    the largest tile there is and the decoder's copy. sparing: bytes of the paper's fitting
    with gradient checkpointing, and its seconds over those without.
    """
    first = {way: settings.candidates for way, settings in WAYS.items()}
    assert len(set(first.values())) == 1, "both ways denoise as many candidates together"
    denoising = alone(_denoise, threads, next(iter(first.values())), cells)
    decoding = alone(_decode, threads, tile)
    trained, seconds = alone(_train, threads, tile)
    less, took = alone(_train, threads, tile, True)
    sparing = {"bytes": less, "times_as_long": round(took / seconds, 2)}
    fitting = {"paper": trained, "ours": alone(_solve, threads, tile)}
    ways: dict[str, Any] = {
        way: {"denoising": denoising, "decoding": decoding, "fitting": fitting[way]} for way in WAYS
    }
    largest = {way: max(filter(None, parts.values()), default=None) for way, parts in ways.items()}
    fitting_most = alone(_solve, threads, largest_tile)
    estimate = {"weights": alone(_weights, threads), "tile": largest_tile, "part": None}
    if fitting_most and denoising:
        estimate["part"] = max(fitting_most, denoising)
    return {
        **{"tile": tile, "cells": cells, "parts": ways, "largest": largest},
        "sparing": sparing,
        "estimate": estimate,
    }


def _weights() -> int:
    """Bytes of all networks but CLIP's, which rests on the CPU, in half precision."""
    checkpoint = random_stable_diffusion(CPU, torch.float16).checkpoint
    networks = checkpoint.unet, checkpoint.autoencoder.network, checkpoint.text_encoder
    return sum(p.numel() * p.element_size() for one in networks for p in one.parameters())


@torch.no_grad()
def _denoise(candidates: int, cells: int) -> int | None:
    """Guided: every candidate with the prompt and without."""
    network, batch = unet(CPU, torch.float32), 2 * candidates
    z, words = torch.randn(batch, 4, cells, cells), torch.randn(batch, 77, WIDTH)
    memory = PeakMemory()
    network(z, torch.tensor(500), words)
    return memory.grown()


def _decode(tile: int) -> int | None:
    network, z = autoencoder(CPU, torch.float32), _segment(tile).z
    memory = PeakMemory()
    network.decode(z)
    return memory.grown()


def _train(tile: int, sparing: bool = False) -> tuple[int | None, float]:
    """Bytes, and seconds."""
    network, segment = autoencoder(CPU, torch.float32), _segment(tile)
    memory, decoder = PeakMemory(), network.decoder()
    clock = stopwatch(CPU)
    fine_tune(decoder, [segment], Ablation(decoder_iterations=2), sparing, lambda: None)
    return memory.grown(), clock()


def _solve(tile: int) -> int | None:
    network, segment = autoencoder(CPU, torch.float32), _segment(tile)
    memory = PeakMemory()
    weight = Ablation().decoder_background_weight
    LastLayer(network.decoder(), [segment], weight, lambda: None).decoded(0)
    return memory.grown()


def _segment(tile: int) -> Segment:
    z, picture = Noise(0)((1, 4, tile // 8, tile // 8), "z"), torch.full((1, 3, tile, tile), 0.5)
    painted = torch.zeros(1, 1, tile, tile)
    painted[..., tile // 4 :, tile // 4 :] = 1
    return Segment(z, picture, painted, nearness(painted, 8))
