"""With --offload the checkpoint's networks take turns on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from engine import box_mask, photograph
from torch import nn

from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE, MINIATURE_UPSCALER
from msbd.standalone.offloading import Offloading


class Network:
    """Knows where it is."""

    def __init__(self, fails: bool = False) -> None:
        self.place, self.moves, self.fails = "cpu", 0, fails

    def to(self, device: Any) -> None:
        """Fails after a part of it has been moved."""
        self.moves += 1
        self.place = str(device)
        if self.fails and str(device) != "cpu":
            raise torch.OutOfMemoryError("out of memory")


def test_never_more_than_one_is_there() -> None:
    networks = [Network(), Network(), Network()]
    networks[2].place = "cuda"
    turns = Offloading(torch.device("cuda"), networks)
    assert [network.place for network in networks] == ["cpu"] * 3
    for index in (0, 1, 1, 2, 0):
        turns.bring(networks[index])
        places = [network.place for network in networks]
        assert places.pop(index) == "cuda" and places == ["cpu", "cpu"]
    before = networks[0].moves
    turns.bring(networks[0])
    assert networks[0].moves == before, "what is there is not moved again"


def test_after_a_failure_it_is_brought_again() -> None:
    first, second = Network(), Network(fails=True)
    turns = Offloading(torch.device("cuda"), [first, second])
    turns.bring(first)
    with pytest.raises(torch.OutOfMemoryError):
        turns.bring(second)
    assert (first.place, second.place) == ("cpu", "cpu")
    second.fails = False
    turns.bring(second)
    assert second.place == "cuda"
    turns.bring(first)
    assert (first.place, second.place) == ("cuda", "cpu")


def load(offload: bool, device: str = "cpu") -> StandaloneModel:
    return StandaloneModel.load(
        MINIATURE, MINIATURE_UPSCALER, clip=None, device=device, offload=offload
    )


def edited(model: StandaloneModel) -> torch.Tensor:
    size, settings = Size(150, 180), preset("draft").with_values({"steps": 3, "choose": "first"})
    backend = model.bind("a red star on grass", "", 4.0)
    image, mask = photograph(150, 180), box_mask(size, Box(10, 10, 140, 150))
    plan = plan_edit(size, mask, settings, backend.spec)
    assert len(plan.stages) > 1
    return edit(image, mask, plan, settings, backend, Noise(1)).image


@pytest.fixture
def uses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Which network was brought, in order, and each use of one that had not been."""
    seen: list[str] = []
    monkeypatch.setattr(
        Offloading, "bring", lambda self, network: seen.append(type(network).__name__), raising=True
    )

    def used(network: nn.Module, *_: Any) -> None:
        name = type(network).__name__
        if name in ("UNet2DConditionModel", "CLIPTextModel") and seen[-1:] != [name]:
            seen.append(f"{name} was not there")
        if name in ("Encoder", "Decoder") and seen[-1:] != ["AutoencoderKL"]:
            seen.append("AutoencoderKL was not there")

    hook = nn.modules.module.register_module_forward_pre_hook(used)
    yield seen
    hook.remove()


@pytest.mark.edits
def test_an_edit_brings_each_network_before_it_uses_it(uses: list[str]) -> None:
    edited(load(offload=True))
    assert {"CLIPTextModel", "AutoencoderKL", "UNet2DConditionModel"} == set(uses)


@pytest.mark.edits
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_picture_is_the_same(device: str) -> None:
    offloaded, resident = (edited(load(offload, device)) for offload in (True, False))
    assert torch.equal(offloaded, resident)
