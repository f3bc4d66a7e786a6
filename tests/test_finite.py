"""What is not a number never becomes a picture: whoever gives it, whenever."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from engine import box_mask, photograph, run
from fakes import PointwiseBackend
from standalone_files import write_checkpoint
from torch import Tensor, nn

from msbd.errors import EditError
from msbd.geometry import Box, Size
from msbd.pipeline import Edit
from msbd.precision import finite, finite_in_single
from msbd.standalone import prompt as prompts
from msbd.standalone.model import StandaloneModel

SIZE = Size(120, 150)
PARTS = {"denoise": "network", "encode": "autoencoder", "decode": "autoencoder",
         "upscale": "upscaler"}  # fmt: skip


@dataclass
class Failing(PointwiseBackend):
    """One of its methods gives one number that is none, from some call on.

    part: its name. value: the number. good: how many calls go well. calls: all there were.
    """

    part: str = ""
    value: float = math.nan
    good: int = 0
    calls: int = 0

    def _spoilt(self, part: str, result: Tensor) -> Tensor:
        if part != self.part:
            return result
        self.calls += 1
        if self.calls > self.good:
            result = result.clone()
            result.flatten()[-1] = self.value
        return result

    def denoise(self, *given: Any, **named: Any) -> Tensor:
        return self._spoilt("denoise", super().denoise(*given, **named))

    def encode(self, image: Tensor) -> Tensor:
        return self._spoilt("encode", super().encode(image))

    def decode(self, z: Tensor) -> Tensor:
        return self._spoilt("decode", super().decode(z))

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return self._spoilt("upscale", super().upscale(image, size))


def edited(backend: Failing, **values: Any) -> Edit:
    # The whole picture is repainted, so that a number anywhere in it would show.
    return run(photograph(SIZE.height, SIZE.width), box_mask(SIZE, Box.of(SIZE)), backend, **values)


@pytest.mark.edits
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("good", [0, 1, 2, 4, 8, 16, 32])
def test_an_edit_ends_with_finite_numbers_or_an_error(part: str, value: float, good: int) -> None:
    """With those of the stages before, and what failed is told."""
    expected = edited(Failing())
    backend = Failing(part=part, value=value, good=good)
    try:
        done = edited(backend)
    except EditError as error:
        assert PARTS[part] in str(error) and "not finite" in str(error)
        return
    assert bool(torch.isfinite(done.image).all())
    assert done.report.interrupted == (backend.calls > good)
    if done.report.interrupted:
        assert 0 < len(done.report.stages) < len(expected.report.stages)
        assert any(PARTS[part] in note and "not finite" in note for note in done.report.notes)
    else:
        assert torch.equal(done.image, expected.image)


@pytest.mark.edits
@pytest.mark.parametrize("part", PARTS)
def test_what_fails_at_the_very_end_leaves_the_stages_before(part: str) -> None:
    plain = {"decoder": "off"}
    whole = Failing(part=part, good=10**6)
    stages = len(edited(whole, **plain).report.stages)
    done = edited(Failing(part=part, good=whole.calls - 1), **plain)
    assert done.report.interrupted and len(done.report.stages) == stages - 1
    assert bool(torch.isfinite(done.image).all())


def test_finite_numbers_are_handed_on() -> None:
    numbers = torch.tensor([0.0, 65504.0, -3e38])
    assert finite(numbers, "it") is numbers
    with pytest.raises(EditError, match="it gave"):
        finite(torch.tensor([0.0, math.inf]), "it")


class Overflowing(nn.Module):
    """Its result is moderate, what it computes on the way is more than half precision holds."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    @property
    def dtype(self) -> torch.dtype:
        return self.factor.dtype

    def forward(self, x: Tensor) -> Tensor:
        return x.to(self.dtype) * self.factor * self.factor / self.factor / self.factor


def test_a_network_that_overflows_goes_on_in_single_precision(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network, x = Overflowing(1000.0).half(), torch.linspace(-1, 1, 5)
    assert not bool(torch.isfinite(network(x)).all())
    for _ in range(2):
        result = finite_in_single(network, lambda: network(x), "it")
        assert torch.allclose(result, x) and network.dtype == torch.float32
    assert caplog.text.count("it overflows in half precision") == 1
    with pytest.raises(EditError, match="it gave numbers"):
        finite_in_single(network, lambda: network(x * math.inf), "it")


def test_without_memory_for_single_precision_the_network_stays_as_it_is() -> None:
    class Large(Overflowing):
        def float(self) -> Any:
            raise torch.cuda.OutOfMemoryError

    network = Large(1000.0).half()
    with pytest.raises(torch.cuda.OutOfMemoryError):
        finite_in_single(network, lambda: network(torch.ones(1)), "it")
    assert network.dtype == torch.float16


def _text(model: StandaloneModel) -> Callable[[], Tensor]:
    return lambda: prompts.encode(model.checkpoint.text_encoder, ["a cat"])


def _denoised(model: StandaloneModel) -> Callable[[], Tensor]:
    z = torch.linspace(-1, 1, 4 * 8 * 8).reshape(1, 4, 8, 8)
    return lambda: model.bind("a cat").denoise(z, torch.ones(1))


def _encoded(model: StandaloneModel) -> Callable[[], Tensor]:
    image = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    return lambda: model.bind("a cat").encode(image)


ASKED = {
    "text_encoder": (_text, lambda network: network.get_submodule("encoder.layers.0.mlp.fc1")),
    "unet": (_denoised, lambda network: network.conv_in),
    "autoencoder": (_encoded, lambda network: network.encoder.conv_in),
}


@pytest.mark.parametrize("name", ASKED)
def test_every_network_of_a_checkpoint_is_rescued(name: str, tmp_path: Any) -> None:
    """By the same numbers as if it had been in single precision at once."""
    model = StandaloneModel.load(write_checkpoint(tmp_path / "x.safetensors"), clip=None)
    network = getattr(model.checkpoint, name)
    network = getattr(network, "network", network)
    ask, layer = ASKED[name]
    found = network if name != "text_encoder" else getattr(network, "text_model", network)
    with torch.no_grad():
        for one in layer(found).parameters():
            one.mul_(60000).clamp_(-60000, 60000)
    network.half().float()  # the weights that half precision has
    expected = ask(model)()
    network.half()
    rescued = ask(model)()
    assert network.dtype == torch.float32
    assert torch.equal(rescued, expected)
