"""Refitting the decoder's last layer: the exact minimum of the paper's loss, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder
from torch import Tensor, nn

from msbd import refit as module
from msbd.decoder import Segment, optimise
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.refit import refit
from msbd.settings import DecoderOptimisation
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE

LAMBDA = 100.0


def nothing() -> None:
    return None


@pytest.fixture(autouse=True)
def every_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Is looked at, that the losses be those of all."""
    monkeypatch.setattr(module, "SAMPLES", 10**6)


class Curved(nn.Module):
    """A decoder with a hidden layer: the last one cannot undo everything."""

    gain = 0.5

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 3, 3, padding=1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(0.2 * Noise(seed)(parameter.shape, name))

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(F.interpolate(z, scale_factor=8, mode="bilinear")))
        return self.gain * self.last(hidden) + 0.5


def segment(key: int = 0, side: int = 12) -> Segment:
    z = Noise(key)((1, 4, side, side), "z")
    painted = torch.zeros(1, 1, 8 * side, 8 * side)
    painted[..., 16:64, 24:72] = 1
    background = Noise(key)((1, 3, side, side), "x") * 0.1 + 0.5
    return Segment(z, F.interpolate(background, scale_factor=8, mode="bilinear"), painted)


def loss(decoder: nn.Module, before: nn.Module, pieces: list[Segment]) -> float:
    """The paper's, term by term."""
    total, count = 0.0, 0
    with torch.no_grad():
        for piece in pieces:
            image, kept = decoder(piece.z), before(piece.z)
            inside = piece.painted * (image - kept).square()
            outside = (1 - piece.painted) * (image - piece.background).square()
            total += float((inside + LAMBDA * outside).sum())
            count += image.numel()
    return total / count


def test_an_error_that_the_last_layer_can_undo_is_undone() -> None:
    decoder = PointwiseDecoder(0.1, "nearest")
    with torch.no_grad():
        truth = PointwiseDecoder(0.0, "nearest")(segment().z)
    piece = Segment(segment().z, truth, torch.zeros_like(segment().painted))
    before, after = refit(decoder, [piece], LAMBDA, nothing)
    assert before == pytest.approx(LAMBDA * 0.01, rel=1e-3) and after < 1e-3 * before
    with torch.no_grad():
        assert torch.allclose(decoder(piece.z), truth, atol=2e-3)


@pytest.mark.parametrize("pieces", [[segment()], [segment(1), segment(2)]], ids=["one", "two"])
def test_the_losses_are_the_papers(pieces: list[Segment]) -> None:
    decoder, before = Curved(), Curved()
    told = refit(decoder, pieces, LAMBDA, nothing)
    expected = loss(before, before, pieces), loss(decoder, before, pieces)
    assert told == pytest.approx(expected, rel=1e-4)
    assert told[1] < told[0]


def test_no_other_last_layer_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ridge it is the minimum: a step in any direction makes the loss worse."""
    monkeypatch.setattr(module, "RIDGE", 1e-9)
    decoder, before, pieces = Curved(), Curved(), [segment()]
    _, best = refit(decoder, pieces, LAMBDA, nothing)
    for direction in range(8):
        with torch.no_grad():
            step = 0.01 * Noise(direction)(decoder.last.weight.shape, "step")
            decoder.last.weight += step
            assert loss(decoder, before, pieces) > best
            decoder.last.weight -= step


def test_it_is_where_many_steps_on_the_last_layer_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RIDGE", 1e-6)
    trained, solved, pieces = Curved(), Curved(), [segment()]
    trained.first.requires_grad_(False)
    steps = DecoderOptimisation(decoder_iterations=600, decoder_rate=1e-2)
    losses = optimise(trained, pieces, steps, nothing)
    before, after = refit(solved, pieces, LAMBDA, nothing)
    assert losses[0] == pytest.approx(before, rel=1e-3)
    assert after <= 1.02 * losses[-1]


def test_a_stronger_ridge_changes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = []
    for ridge in (1e-6, 1e-3, 1.0):
        monkeypatch.setattr(module, "RIDGE", ridge)
        decoder = Curved()
        refit(decoder, [segment()], LAMBDA, nothing)
        old = F.pad(Curved().last.weight, (1,) * 4)
        changes.append(float((decoder.last.weight - old).detach().norm()))
    assert changes[0] > changes[1] > changes[2] > 0


def test_only_the_last_layer_changes() -> None:
    decoder = Curved()
    refit(decoder, [segment()], LAMBDA, nothing)
    for name, value in Curved().named_parameters():
        assert torch.equal(dict(decoder.named_parameters())[name], value) == ("first" in name)


def test_a_wider_kernel_matches_better_and_a_wide_one_keeps_its_width() -> None:
    losses = []
    for width in (3, 5, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "KERNEL", width)
            decoder = Curved()
            _, after = refit(decoder, [segment()], LAMBDA, nothing)
            losses.append(after)
            assert decoder.last.kernel_size == (width, width)
            assert after == pytest.approx(loss(decoder, Curved(), [segment()]), rel=1e-3)
    assert losses[0] > losses[1] > losses[2]


def test_a_hosts_circular_padding_does_not_change_the_pictures_size() -> None:
    """The WebUI's Tiling sets it on every layer; such a layer pads by numbers of its own."""
    decoder = Curved()
    decoder.last = nn.Conv2d(12, 3, 3, padding=1, padding_mode="circular")
    refit(decoder, [segment()], LAMBDA, nothing)
    with torch.no_grad():
        assert decoder(segment().z).shape == segment().background.shape


@pytest.mark.parametrize("weight", [0.0, LAMBDA])
def test_where_there_is_nothing_to_match_nothing_changes(weight: float) -> None:
    piece = segment()
    if weight:
        piece = Segment(piece.z, piece.background, torch.ones_like(piece.painted))
    decoder = Curved()
    assert refit(decoder, [piece], weight, nothing) == (0.0, 0.0)
    assert all(map(torch.equal, decoder.parameters(), Curved().parameters()))


def test_what_is_painted_all_over_is_kept_as_it_is() -> None:
    """A tile with nothing to match still has a say: what it shows must not change."""
    ring, inner = segment(0), segment(1)
    inner = Segment(3 * inner.z, inner.background, torch.ones_like(inner.painted))

    def changed(pieces: list[Segment]) -> float:
        decoder = Curved()
        refit(decoder, pieces, 1.0, nothing)
        with torch.no_grad():
            return float((decoder(inner.z) - Curved()(inner.z)).square().mean())

    assert changed([ring, inner]) < 0.5 * changed([ring])


def test_bands_and_samples_tell_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, banded, sparse = Curved(), Curved(), Curved()
    piece = segment(0, 24)
    _, after = refit(whole, [piece], LAMBDA, nothing)
    monkeypatch.setattr(module, "BAND", 700)
    assert refit(banded, [piece], LAMBDA, nothing)[1] == pytest.approx(after, rel=1e-4)
    with torch.no_grad():
        assert torch.allclose(whole(piece.z), banded(piece.z), atol=5e-3)
    monkeypatch.setattr(module, "SAMPLES", 20)
    refit(sparse, [piece], LAMBDA, nothing)
    seen = loss(sparse, Curved(), [piece])
    assert after <= seen < 1.2 * after


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_needs_no_gradients(mode: Any) -> None:
    decoder = Curved()
    with mode():
        before, after = refit(decoder, [segment()], LAMBDA, nothing)
    assert after < before and all(p.grad is None for p in decoder.parameters())


def test_the_onlooker_hears_of_every_segment_and_no_hook_stays() -> None:
    decoder, calls = Curved(), []
    whole = Segment(segment().z, segment().background, torch.ones_like(segment().painted))
    refit(decoder, [segment(), whole, segment(1)], LAMBDA, lambda: calls.append(1))
    assert len(calls) == 3 and not decoder.last._forward_pre_hooks

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        refit(decoder, [segment()], LAMBDA, interrupted)
    assert not decoder.last._forward_pre_hooks


def test_a_stage_refits_its_decoder_and_counts_it_as_work() -> None:
    image, mask = photograph(96, 128), box_mask(Size(96, 128), Box(30, 40, 70, 90))
    backend = PointwiseBackend(tint=0.1, mode="nearest")
    values = {"decoder_iterations": 0, "decoder_refit": True}
    done = run(image, mask, backend, **values)
    for stage in done.report.stages:
        assert stage.decoder_loss is not None and stage.decoder_iterations == 0
        assert stage.decoder_loss[1] < stage.decoder_loss[0]
    plan = done.report.plan
    assert plan.decoder_steps == sum(len(stage.tiles) for stage in plan.stages)
    assert "decoder refitted" in str(plan)
    tinted = run(image, mask, PointwiseBackend(tint=0.1), decoder_iterations=0)
    for ours, theirs in zip(done.report.stages, tinted.report.stages, strict=True):
        assert ours.background_psnr > theirs.background_psnr


def test_training_that_spoils_a_refit_is_undone() -> None:
    image, mask = photograph(96, 128), box_mask(Size(96, 128), Box(30, 40, 70, 90))
    values = {"decoder_refit": True, "decoder_rate": 1e-2}
    alone = run(image, mask, PointwiseBackend(tint=0.1), decoder_iterations=0, **values)
    spoilt = run(image, mask, PointwiseBackend(tint=0.1), decoder_iterations=2, **values)
    assert any("made it worse" in note for note in spoilt.report.notes)
    trained = run(image, mask, PointwiseBackend(tint=0.1), decoder_iterations=2, decoder_rate=1e-2)
    background = [done.report.stages[0].background_psnr for done in (alone, spoilt, trained)]
    assert background[0] == background[1] > background[2]


@pytest.fixture(scope="module")
def miniature() -> StandaloneModel:
    return StandaloneModel.load(MINIATURE, clip=None, device="cpu")


def test_on_the_miniature_it_beats_five_iterations(miniature: StandaloneModel) -> None:
    backend = miniature.bind("a red star on grass", "", 4.0)
    z = backend.encode(F.interpolate(photograph(16, 16), scale_factor=8, mode="bilinear"))
    background = F.interpolate(photograph(16, 16), scale_factor=8, mode="bilinear")
    painted = torch.zeros(1, 1, 128, 128)
    painted[..., 32:96, 32:96] = 1
    piece = Segment(z, background, painted)
    own = backend.decode(z)
    solved, trained = backend.decoder(), backend.decoder()
    before, after = refit(solved, [piece], LAMBDA, nothing)
    losses = optimise(trained, [piece], DecoderOptimisation(decoder_iterations=5), nothing)
    assert before == pytest.approx(losses[0], rel=1e-3)
    assert after < 0.5 * before and after < losses[-1]
    assert torch.equal(backend.decode(z), own)
