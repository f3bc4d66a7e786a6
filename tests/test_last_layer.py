"""Solving for the decoder's last layer: the exact minimum of the paper's loss, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, errors_outside, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder
from torch import Tensor, nn

from msbd.decoder import Segment, nearness
from msbd.decoder import last_layer as module
from msbd.decoder.fine_tune import fine_tune
from msbd.decoder.last_layer import LastLayer
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.pictures.summary import numbers
from msbd.setting import Ablation
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE

LAMBDA = 100.0


def nothing() -> None:
    return None


def solve(decoder: nn.Module, pieces: list[Segment], weight: float = LAMBDA) -> LastLayer:
    return LastLayer(decoder, pieces, weight, nothing)


class Curved(nn.Module):
    """A decoder with a hidden layer: the last one cannot undo everything."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 12, 3, padding=1)
        self.last = nn.Conv2d(12, 3, 3, padding=1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(0.2 * Noise(seed)(parameter.shape, name))

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(F.interpolate(z, scale_factor=8, mode="bilinear")))
        return 0.5 * self.last(hidden) + 0.5


def piece_of(z: Tensor, background: Tensor, painted: Tensor) -> Segment:
    """Near the mask's edge all over."""
    return Segment(z, background, painted, torch.ones_like(painted))


def segment(key: int = 0, side: int = 12) -> Segment:
    z = Noise(key)((1, 4, side, side), "z")
    painted = torch.zeros(1, 1, 8 * side, 8 * side)
    painted[..., 16:64, 24:72] = 1
    background = Noise(key)((1, 3, side, side), "x") * 0.1 + 0.5
    return piece_of(z, F.interpolate(background, scale_factor=8, mode="bilinear"), painted)


def loss(solved: LastLayer, before: nn.Module, pieces: list[Segment]) -> float:
    """The paper's, term by term."""
    total, count = 0.0, 0
    with torch.no_grad():
        for index, piece in enumerate(pieces):
            image, kept = solved.decoded(index), before(piece.z)
            inside = piece.painted * (image - kept).square()
            outside = (1 - piece.painted) * (image - piece.background).square()
            total += float((inside + LAMBDA * outside).sum())
            count += image.numel()
    return total / count


def test_an_error_that_the_last_layer_can_undo_is_undone() -> None:
    decoder = PointwiseDecoder(0.1, "nearest")
    with torch.no_grad():
        truth = PointwiseDecoder(0.0, "nearest")(segment().z)
    piece = piece_of(segment().z, truth, torch.zeros_like(segment().painted))
    solved = solve(decoder, [piece])
    before, after = solved.loss
    assert before == pytest.approx(LAMBDA * 0.01, rel=1e-3) and after < 1e-3 * before
    assert torch.allclose(solved.decoded(0), truth, atol=2e-3)


@pytest.mark.parametrize("pieces", [[segment()], [segment(1), segment(2)]], ids=["one", "two"])
def test_the_losses_are_the_papers(pieces: list[Segment]) -> None:
    solved = solve(Curved(), pieces)
    before, after = solved.loss
    assert after == pytest.approx(loss(solved, Curved(), pieces), rel=1e-4)
    assert after < before
    solved.change = torch.zeros(3, 12, 5, 5), torch.zeros(3)
    assert before == pytest.approx(loss(solved, Curved(), pieces), rel=1e-4)


def test_no_other_last_layer_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ridge it is the minimum: a step in any direction makes the loss worse."""
    monkeypatch.setattr(module, "RIDGE", 1e-9)
    pieces = [segment()]
    solved = solve(Curved(), pieces)
    best, change = solved.loss[1], solved.change
    assert change is not None
    for direction in range(8):
        step = 0.01 * Noise(direction)(change[0].shape, "step")
        solved.change = change[0] + step, change[1]
        assert loss(solved, Curved(), pieces) > best


def test_it_is_where_many_steps_on_the_last_layer_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RIDGE", 1e-6)
    trained, pieces = Curved(), [segment()]
    trained.first.requires_grad_(False)
    steps = Ablation(decoder_iterations=600, decoder_rate=1e-2)
    losses = fine_tune(trained, pieces, steps, False, nothing)
    before, after = solve(Curved(), pieces).loss
    assert losses[0] == pytest.approx(before, rel=1e-3)
    assert after <= 1.02 * losses[-1]


def test_a_stronger_ridge_changes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for ridge in (1e-6, 1e-3, 1.0):
        monkeypatch.setattr(module, "RIDGE", ridge)
        change = solve(Curved(), [segment()]).change
        assert change is not None
        sizes.append(float(change[0].norm()))
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_the_decoder_stays_as_it_is() -> None:
    decoder = Curved()
    solve(decoder, [segment()]).decoded(0)
    assert all(map(torch.equal, decoder.parameters(), Curved().parameters()))


def test_a_wider_kernel_matches_better_and_a_wide_one_keeps_its_width() -> None:
    losses = []
    for width in (3, 5, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "KERNEL", width)
            solved = solve(Curved(), [segment()])
            losses.append(solved.loss[1])
            assert solved.change is not None and solved.change[0].shape[-1] == width
            assert losses[-1] == pytest.approx(loss(solved, Curved(), [segment()]), rel=1e-3)
    assert losses[0] > losses[1] > losses[2]


def test_a_hosts_circular_padding_does_not_change_the_pictures_size() -> None:
    """The WebUI's Tiling sets it on every layer; such a layer pads by numbers of its own."""
    decoder = Curved()
    decoder.last = nn.Conv2d(12, 3, 3, padding=1, padding_mode="circular")
    solved = solve(decoder, [segment()])
    assert solved.loss[1] < solved.loss[0]
    assert solved.decoded(0).shape == segment().background.shape


@pytest.mark.parametrize("weight", [0.0, LAMBDA])
def test_where_there_is_nothing_to_match_nothing_changes(weight: float) -> None:
    piece = segment()
    if weight:
        piece = piece_of(piece.z, piece.background, torch.ones_like(piece.painted))
    solved = solve(Curved(), [piece], weight)
    assert solved.loss == (0.0, 0.0) and not solved.reaches(0)


def test_what_is_painted_all_over_is_kept_as_it_is() -> None:
    """A tile with nothing to match still has a say: what it shows must not change."""
    ring, inner = segment(0), segment(1)
    inner = piece_of(3 * inner.z, inner.background, torch.ones_like(inner.painted))

    def changed(heard: bool) -> float:
        silent = Segment(inner.z, inner.background, inner.painted, 0 * inner.edge)
        solved = solve(Curved(), [ring, inner if heard else silent], 1.0)
        solved._segments = [ring, inner]
        with torch.no_grad():
            return float((solved.decoded(1) - Curved()(inner.z)).square().mean())

    assert changed(True) < 0.5 * changed(False)


def test_tiles_that_are_not_kept_are_decoded_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [segment(0), segment(1), segment(2)]
    kept = solve(Curved(), pieces)
    bytes_of_one = 4 * (12 + 3) * 96**2
    monkeypatch.setattr(module, "KEPT", bytes_of_one)
    made_again = solve(Curved(), pieces)
    for index in range(3):
        assert torch.equal(kept.decoded(index), made_again.decoded(index))


def test_away_from_the_masks_edge_the_decoder_stays_as_it_was() -> None:
    piece, side = segment(), 96
    painted = torch.zeros(1, 1, side, side)
    painted[..., 8:, 8:] = 1
    edge = nearness(painted, 8)
    solved = solve(Curved(), [Segment(piece.z, piece.background, painted, edge)])
    with torch.no_grad():
        before, after = Curved()(piece.z), solved.decoded(0)
    far = (edge == 0).expand_as(before)
    assert far.any() and torch.equal(after[far], before[far])
    change = (after - before).abs().mean(1, keepdim=True)
    assert change[edge == 1].mean() > 0 and change[(edge > 0) & (edge < 1)].mean() > 0


def test_a_tile_far_from_the_edge_is_not_touched() -> None:
    inner = segment(1)
    ones = torch.ones_like(inner.painted)
    pieces = [segment(0), Segment(inner.z, inner.background, ones, 0 * ones)]
    solved = solve(Curved(), pieces)
    assert solved.reaches(0) and not solved.reaches(1)
    alone = solve(Curved(), pieces[:1])
    assert torch.allclose(solved.decoded(0), alone.decoded(0))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_needs_no_gradients(mode: Any) -> None:
    decoder = Curved()
    with mode():
        solved = solve(decoder, [segment()])
        assert not solved.decoded(0).requires_grad
    assert solved.loss[1] < solved.loss[0] and all(p.grad is None for p in decoder.parameters())


def test_the_onlooker_hears_of_every_segment_and_no_hook_stays() -> None:
    decoder, calls = Curved(), []
    whole = piece_of(segment().z, segment().background, torch.ones_like(segment().painted))
    pieces = [segment(), whole, segment(1)]
    LastLayer(decoder, pieces, LAMBDA, lambda: calls.append(1))
    assert len(calls) == 3 and not decoder.last._forward_pre_hooks

    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LastLayer(decoder, pieces, LAMBDA, interrupted)
    assert not decoder.last._forward_pre_hooks


@pytest.mark.edits
def test_a_stage_solves_for_it_and_counts_it_as_work() -> None:
    image, mask = photograph(96, 128), box_mask(Size(96, 128), Box(30, 40, 70, 90))
    backend = PointwiseBackend(tint=0.1, mode="nearest")
    done = run(image, mask, backend, decoder="last layer")
    for stage in done.report.stages:
        assert stage.decoder_loss is not None
        assert stage.decoder_loss[1] < stage.decoder_loss[0]
    plan = done.report.plan
    assert all(stage.decoder_iterations == 0 for stage in plan.stages)
    assert plan.decoder_steps == sum(len(stage.tiles) for stage in plan.stages)
    assert "decoder optimisation: last layer" in numbers(plan)
    solved = errors_outside(image, mask, backend=backend, decoder="last layer")
    tinted = errors_outside(image, mask, backend=PointwiseBackend(tint=0.1), decoder="off")
    assert all(ours < theirs for ours, theirs in zip(solved, tinted, strict=True))


@pytest.fixture(scope="module")
def miniature() -> StandaloneModel:
    return StandaloneModel.load(MINIATURE, clip=None, device="cpu")


def test_on_the_miniature_it_beats_five_iterations(miniature: StandaloneModel) -> None:
    backend = miniature.bind("a red star on grass", "", 4.0)
    z = backend.encode(F.interpolate(photograph(16, 16), scale_factor=8, mode="bilinear"))
    background = F.interpolate(photograph(16, 16), scale_factor=8, mode="bilinear")
    painted = torch.zeros(1, 1, 128, 128)
    painted[..., 32:96, 32:96] = 1
    piece = Segment(z, background, painted, nearness(painted, 8))
    own = backend.decode(z)
    trained = backend.decoder()
    before, after = solve(backend.decoder(), [piece]).loss
    losses = fine_tune(trained, [piece], Ablation(decoder_iterations=5), False, nothing)
    assert before == pytest.approx(losses[0], rel=1e-3)
    assert after < 0.5 * before and after < losses[-1]
    assert torch.equal(backend.decode(z), own)
