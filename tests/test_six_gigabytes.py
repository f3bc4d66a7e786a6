"""The default preset of Stable Diffusion 1's size on a card of 6 GB, by the plan's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from standin import Host, installed
from torch import Tensor, nn

import msbd.memory
from msbd import pipeline
from msbd.backend import ModelFacts
from msbd.benchmark.random_model import autoencoder, random_stable_diffusion, unet
from msbd.geometry import Size
from msbd.memory import STAYING
from msbd.miniature.rrdb import RRDBNet
from msbd.noise import Noise
from msbd.plan import plan_edit
from msbd.refit import working_bytes
from msbd.settings import DEFAULT_PRESET, preset
from msbd.webui.footprint import Growth, Refitting, Training, inference, weight_bytes

GIB = 2**30
CARD, CONTEXT = 6 * GIB, GIB // 2
"""The memory of a card, and what CUDA itself takes of it."""
META = torch.device("meta")
TEXT_ENCODER = 123_060_480 * 2
EDITS = [((2000, 3000), 800), ((4000, 6000), 1600), ((4000, 6000), 3200)]
"""Pictures, and the sides of square masks in them."""


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def latent(side: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(1, 4, side, side, device=META, dtype=dtype)


@cache
def sizes() -> dict[str, Any]:
    """Bytes of Stable Diffusion 1's networks in half precision, and of what they make on the way:
    made without data, with attention that keeps no scores, as GPUs have it."""
    network, decoder = unet(META, torch.float16), autoencoder(META, torch.float16)
    copy = decoder.decoder()
    text, step = torch.zeros(1, 77, 768, device=META, dtype=torch.float16), torch.ones(1)

    def denoise(side: int) -> Any:
        return network(latent(side, torch.float16), step.to(META), text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(F, "scaled_dot_product_attention", lambda q, k, v, **_: q + v.sum())
        denoising = inference(denoise, (32, 64))
        decoding = inference(lambda side: copy(latent(side)), (32, 64))
    children = (one if isinstance(one, nn.ModuleList) else [one] for one in network.children())
    return {
        "unet": weight_bytes(network),
        "autoencoder": weight_bytes(decoder.network),
        "others": TEXT_ENCODER,
        "block": max(weight_bytes(block) for blocks in children for block in blocks),
        "denoising": denoising,
        "decoding": Growth(decoding.linear / 2, decoding.quadratic / 2),
        "training": Training(weight_bytes(copy), *[Growth(0)] * 3),  # the default trains nothing
        "refitting": Refitting(weight_bytes(copy), decoding, working_bytes(copy.last)),
    }


@cache
def enlargement() -> Growth:
    """Real-ESRGAN's network, in half precision."""
    network = RRDBNet(64, 23).to(META, torch.float16).eval()

    def run(side: int) -> Tensor:
        return network(torch.zeros(1, 3, side, side, device=META, dtype=torch.float16))

    growth = inference(run, (48, 96))
    return Growth(growth.linear, growth.quadratic, weight_bytes(network))


def needed(host: Host, picture: tuple[int, int], side: int) -> dict[str, int]:
    """Bytes by kind of work that lie on the card, in the WebUI."""
    from msbd.webui.estimate import memory

    mask = np.zeros(picture, np.float32)
    mask[300 : 300 + side, 400 : 400 + side] = 1
    settings = preset(DEFAULT_PRESET)
    assert not settings.decoder.decoder_iterations and settings.decoder.decoder_refit
    plan = plan_edit(Size(*picture), mask, settings, ModelFacts())
    return memory(plan, settings)


@pytest.fixture
def stable_diffusion(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from msbd.webui import estimate, measure

    found = measure.Footprint(**sizes())
    monkeypatch.setattr(measure, "footprint", lambda resolution: found)
    monkeypatch.setattr(measure, "enlargement", lambda name: enlargement())
    monkeypatch.setattr(measure, "decoder_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(estimate, "_clip_device", lambda: "cuda")
    monkeypatch.setattr(msbd.memory, "capacity", lambda device: CARD)
    host.shared.device = torch.device("cuda")
    host.shared.opts.ESRGAN_tile = 192  # the host's own


@pytest.mark.parametrize(("picture", "side"), EDITS)
@pytest.mark.parametrize("flag", ["", "medvram", "lowvram"])
def test_the_default_fits(
    host: Host, stable_diffusion: None, picture: tuple[int, int], side: int, flag: str
) -> None:
    host.model.lowvram = bool(flag)
    host.shared.cmd_opts.lowvram = flag == "lowvram"
    parts = needed(host, picture, side)
    assert max(parts.values()) < CARD - CONTEXT, parts


def test_the_networks_are_stable_diffusions() -> None:
    found = sizes()
    assert found["unet"] == 2 * 859_520_964
    assert found["autoencoder"] == 2 * 83_653_863


def test_clip_stays_only_where_all_of_an_edit_fits_beside_it(
    host: Host, stable_diffusion: None
) -> None:
    """Whatever the card: what stays leaves four times its own size, which suffices."""
    from msbd.webui.estimate import CLIP_BYTES

    left = CLIP_BYTES / STAYING
    for picture, side in EDITS:
        parts = needed(host, picture, side)
        loaded = sum(sizes()[name] for name in ("unet", "autoencoder", "others"))
        assert max(parts.values()) - loaded < left, parts


@pytest.mark.edits
@pytest.mark.gpu
@pytest.mark.parametrize(("picture", "side"), EDITS)
def test_the_default_fits_on_a_card(picture: tuple[int, int], side: int) -> None:
    """With networks of the same sizes, on the command line's way."""
    device, settings = torch.device("cuda"), preset(DEFAULT_PRESET)
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((CARD - CONTEXT) / total)
    try:
        backend = random_stable_diffusion(device, torch.float16).bind("a red star")
        mask = np.zeros(picture, np.float32)
        mask[300 : 300 + side, 400 : 400 + side] = 1
        plan = plan_edit(Size(*picture), mask, settings, backend.facts)
        image = torch.rand(1, 3, *picture, generator=torch.Generator().manual_seed(0))
        report = pipeline.edit(image, mask, plan, settings, backend, Noise(0)).report
        assert not report.interrupted and not any("memory" in note for note in report.notes)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
