"""The default preset of Stable Diffusion 1's size on a card of 6 GB, by the plan's arithmetic."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from standin import Host, installed
from torch import nn

import msbd.memory
from msbd import cost, pipeline
from msbd.backend import ModelSpec
from msbd.benchmark.random_model import autoencoder, random_stable_diffusion, unet
from msbd.geometry import Size
from msbd.memory import STAYING
from msbd.noise import Noise
from msbd.planning import plan_edit
from msbd.presets import DEFAULT_PRESET, preset
from msbd.settings import EditSettings

GIB = 2**30
CARD, CONTEXT = 6 * GIB, GIB // 2
"""The memory of a card, and what CUDA itself takes of it."""
META = torch.device("meta")
TEXT_ENCODER = 123_060_480
EDITS = [((2000, 3000), 800), ((4000, 6000), 1600), ((4000, 6000), 3200)]
"""Pictures, and the sides of square masks in them."""


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def needed(host: Host, picture: tuple[int, int], side: int) -> dict[str, int]:
    """Bytes by kind of work that lie on the card, in the WebUI."""
    from msbd.webui.estimate import loaded

    mask = np.zeros(picture, np.float32)
    mask[300 : 300 + side, 400 : 400 + side] = 1
    settings = preset(DEFAULT_PRESET)
    assert settings.decoder == "last layer"
    plan = plan_edit(Size(*picture), mask, settings, ModelSpec())
    return cost.memory(plan, loaded(plan, settings))


@pytest.fixture
def stable_diffusion(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable Diffusion 1's networks in half precision, made without data."""
    from msbd.webui import estimate

    half, upscaler = torch.float16, estimate.load_upscaler("R-ESRGAN 4x+")
    host.model.model.diffusion_model = unet(META, half)
    host.model.first_stage_model = autoencoder(META, half).network
    host.model.cond_stage_model = nn.Linear(TEXT_ENCODER, 1, bias=False, device=META, dtype=half)
    monkeypatch.setattr(estimate, "load_upscaler", lambda name: upscaler)
    monkeypatch.setattr(estimate, "decoder_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(estimate, "clip_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(msbd.memory, "capacity", lambda device: CARD)
    host.shared.device, host.devices.dtype_unet = torch.device("cuda"), half
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


def test_the_networks_are_stable_diffusions(host: Host, stable_diffusion: None) -> None:
    from msbd.webui.estimate import loaded

    plan = plan_edit(Size(64, 64), np.ones((64, 64), np.float32), EditSettings(), ModelSpec())
    found = loaded(plan, EditSettings())
    assert found.kind is cost.STABLE_DIFFUSION and found.number == 2
    weights = 2 * (859_520_964 + 83_653_863 + TEXT_ENCODER)
    assert found.resident == pytest.approx(weights, rel=0.001)


def test_clip_stays_only_where_all_of_an_edit_fits_beside_it(
    host: Host, stable_diffusion: None
) -> None:
    """Whatever the card: what stays leaves four times its own size, which suffices."""
    left = cost.STABLE_DIFFUSION.clip / STAYING
    for picture, side in EDITS:
        parts = needed(host, picture, side)
        loaded = sum(p.numel() * p.element_size() for p in host.model.parameters())
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
        plan = plan_edit(Size(*picture), mask, settings, backend.spec)
        image = torch.rand(1, 3, *picture, generator=torch.Generator().manual_seed(0))
        report = pipeline.edit(image, mask, plan, settings, backend, Noise(0)).report
        assert not report.interrupted and not any("memory" in note for note in report.notes)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
