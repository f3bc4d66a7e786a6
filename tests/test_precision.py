"""Mixed precision: nearly the same training, in less memory."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder, WithABlock
from torch import nn

from msbd import fitting
from msbd.backend import Decoder
from msbd.decoder import Segment, nearness, optimise
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.patches import PatchTraining
from msbd.precision import computes_in_bfloat16, mixed_precision
from msbd.settings import DecoderOptimisation
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE
from msbd.webui.footprint import LiveBytes

SIDE = 96


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    model = StandaloneModel.load(MINIATURE, clip=None, device="cpu")
    return model.bind("a red star on grass", "", 4.0).decoder()


@pytest.fixture(scope="module")
def segment() -> Segment:
    model = StandaloneModel.load(MINIATURE, clip=None, device="cpu")
    image = F.interpolate(photograph(SIDE // 8, SIDE // 8), scale_factor=8, mode="bilinear")
    painted = torch.zeros(1, 1, SIDE, SIDE)
    painted[..., SIDE // 4 : SIDE // 2, SIDE // 4 :] = 1
    z = model.bind("a red star on grass", "", 4.0).encode(image)
    return Segment(z, image, painted, nearness(painted, 8))


def settings(mixed: bool, **values: int) -> DecoderOptimisation:
    return DecoderOptimisation(
        **{"decoder_iterations": 12, "decoder_mixed_precision": mixed, **values}
    )


def test_every_loss_is_nearly_the_same_in_less_memory(decoder: Decoder, segment: Segment) -> None:
    """Every step's: a weight that is lowered once and kept would show from the second on."""
    losses, peaks, copies = [], [], []
    for mixed in (False, True):
        copies.append(copy.deepcopy(decoder))
        with LiveBytes() as live:
            losses.append(optimise(copies[-1], [segment], settings(mixed), lambda: None))
        peaks.append(live.peak)
    single, lowered = losses
    assert single[-1] < 0.8 * single[0]
    assert lowered == pytest.approx(single, rel=0.02) and lowered != single
    assert peaks[1] < 0.9 * peaks[0]
    assert all(one.dtype == torch.float32 for one in copies[1].parameters())
    with torch.no_grad():
        images = [one(segment.z) for one in copies]
    outside = (1 - segment.painted) * (images[1] - images[0])
    assert outside.abs().mean() < 0.002


def test_checkpointing_makes_no_difference_to_it(decoder: Decoder, segment: Segment) -> None:
    plain, sparing = copy.deepcopy(decoder), copy.deepcopy(decoder)
    losses = optimise(plain, [segment], settings(True), lambda: None)
    both = settings(True, decoder_checkpointing=True)
    assert losses == optimise(sparing, [segment], both, lambda: None)
    weights = plain.state_dict()
    assert all(torch.equal(weights[name], one) for name, one in sparing.state_dict().items())


def test_on_patches_too(decoder: Decoder, segment: Segment) -> None:
    """They end nearly where they do in single precision, and are shown in that."""
    after = []
    for mixed in (False, True):
        training = PatchTraining(copy.deepcopy(decoder), [segment])
        training.train(settings(mixed, decoder_patch=32, decoder_rate=3e-4), lambda: None)
        before, last = training.loss(100.0)
        after.append(last)
        assert last < 0.8 * before
    assert after[1] == pytest.approx(after[0], rel=0.02) and after[1] != after[0]


def test_blocks_and_wide_convolutions_are_lowered_and_given_back(decoder: Decoder) -> None:
    def names(network: nn.Module) -> list[str]:
        return [name for name, _ in network.named_modules()]

    before = names(decoder)

    def broken() -> None:
        with mixed_precision(decoder):
            lowered = [name for name in names(decoder) if name.endswith(".layer")]
            # Neither what takes latents and gives pictures, nor attention, nor what is within.
            assert all(".resnets." in name or ".upsamplers." in name for name in lowered)
            blocks = sum(type(one).__name__ == "ResnetBlock2D" for one in decoder.modules())
            enlarged = sum(type(one).__name__ == "Upsample2D" for one in decoder.modules())
            assert len(lowered) == blocks + enlarged > enlarged > 0
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        broken()
    assert names(decoder) == before


def test_a_lowered_convolution_rounds_and_a_narrow_one_does_not() -> None:
    network = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 3, 3), nn.Conv2d(8, 8, 1))
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(0.1 * Noise(0)(parameter.shape, name))
    x = Noise(0)((1, 8, 6, 6), "x")
    plain = [layer(x) for layer in network]
    with mixed_precision(network):
        lowered = [layer(x) for layer in network]
    assert [torch.equal(a, b) for a, b in zip(plain, lowered, strict=True)] == [False, True, True]
    assert torch.equal(lowered[0], lowered[0].bfloat16().float())
    assert torch.allclose(lowered[0], plain[0], atol=0.03)


@pytest.mark.edits
@pytest.mark.parametrize("patch", [0, 16])
def test_where_a_device_cannot_the_user_is_told(
    monkeypatch: pytest.MonkeyPatch, patch: int
) -> None:
    image, mask = photograph(150, 203), box_mask(Size(150, 203), Box(40, 60, 90, 130))
    values = {"decoder_patch": patch, "decoder_rate": 1e-3}
    plain = run(image, mask, PointwiseBackend(), **values)
    monkeypatch.setattr(fitting, "computes_in_bfloat16", lambda device: False)
    done = run(image, mask, PointwiseBackend(), decoder_mixed_precision=True, **values)
    (note,) = done.report.notes
    assert "bfloat16" in note and "single precision" in note and len(done.report.stages) > 1
    assert torch.equal(done.image, plain.image) and not plain.report.notes


@pytest.mark.edits
@pytest.mark.parametrize("values", [{}, {"decoder_checkpointing": True}, {"decoder_patch": 16}])
def test_where_it_can_an_edit_is_trained_so(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    monkeypatch.setattr(fitting, "computes_in_bfloat16", lambda device: True)
    image, mask = photograph(150, 203), box_mask(Size(150, 203), Box(40, 60, 90, 130))
    plain, mixed = (
        run(image, mask, WithABlock(), decoder_mixed_precision=on, decoder_rate=1e-3, **values)
        for on in (False, True)
    )
    assert not mixed.report.notes
    for one, other in zip(plain.report.stages, mixed.report.stages, strict=True):
        assert other.decoder_loss != one.decoder_loss
        assert other.decoder_loss == pytest.approx(one.decoder_loss, rel=0.02)


def test_which_devices_compute_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert computes_in_bfloat16(torch.device("cuda")) is expected
    assert not computes_in_bfloat16(torch.device("mps"))
    monkeypatch.setattr(torch.version, "hip", "6.0")
    assert not computes_in_bfloat16(torch.device("cuda"))
    flags = Path("/proc/cpuinfo")
    if flags.exists() and hasattr(torch.cpu, "_is_avx512_bf16_supported"):
        assert computes_in_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags.read_text())


class Loud(PointwiseDecoder):
    """Its last layer takes numbers beyond what half precision holds, and gives moderate ones."""

    def __init__(self, tint: float, mode: str) -> None:
        super().__init__(tint, mode)
        with torch.no_grad():
            self.last.weight.mul_(1e-6)

    def tail(self, middle: torch.Tensor) -> torch.Tensor:
        return super().tail(1e6 * middle)


class LoudBackend(PointwiseBackend):
    def decoder(self) -> Any:
        return Loud(self.tint, self.mode)


@pytest.mark.edits
@pytest.mark.parametrize("values", [{}, {"decoder_refit": True}, {"decoder_patch": 16}])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("modes", [(True, False), (False, True), (True, True)])
def test_a_hosts_modes_have_no_effect_on_an_edit(
    values: dict[str, Any], dtype: torch.dtype, modes: tuple[bool, bool]
) -> None:
    """Not even where half precision overflows: beyond 65,504."""

    def edited() -> torch.Tensor:
        backend = LoudBackend(tint=0.1)
        done = run(photograph(100, 120), box_mask(Size(100, 120), Box(20, 30, 80, 90)), backend,
                   tile_size=1, **values)  # fmt: skip
        assert all(stage.decoder_loss for stage in done.report.stages)
        return done.image

    expected = edited()
    casting, inferring = modes
    with torch.inference_mode(inferring), torch.autocast("cpu", dtype, enabled=casting):
        half = Loud(0.0, "nearest")(torch.ones(1, 4, 2, 2))
        assert bool(torch.isfinite(half).all()) != (casting and dtype == torch.float16)
        result = edited()
        assert torch.is_autocast_enabled("cpu") == casting
        assert torch.is_inference_mode_enabled() == inferring
    assert torch.equal(result, expected)


class Inferring(PointwiseBackend):
    """It answers in inference mode, as the autoencoders of some hosts do."""

    encode = torch.inference_mode()(PointwiseBackend.encode)
    decode = torch.inference_mode()(PointwiseBackend.decode)
    denoise = torch.inference_mode()(PointwiseBackend.denoise)
    upscale = torch.inference_mode()(PointwiseBackend.upscale)


@pytest.mark.edits
@pytest.mark.parametrize("values", [{}, {"decoder_refit": True}, {"decoder_patch": 16}])
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_decoder_is_fitted_to_what_was_made_in_inference_mode(
    values: dict[str, Any], strength: float
) -> None:
    image, mask = photograph(100, 120), box_mask(Size(100, 120), Box(20, 30, 80, 90))
    plain, inferred = (
        run(image, mask, backend, final_strength=strength, **values)
        for backend in (PointwiseBackend(tint=0.1), Inferring(tint=0.1))
    )
    assert all(stage.decoder_loss for stage in inferred.report.stages)
    assert torch.equal(plain.image, inferred.image)
