"""Decoder optimisation on patches: the same loss as on whole tiles, for less."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder
from torch import Tensor, nn

from msbd import patches as module
from msbd.backend import Decoder
from msbd.decoder import Segment, nearness
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.patches import HeldNorm, PatchTraining
from msbd.plan import PATCHES, plan_edit
from msbd.settings import DecoderOptimisation, EditSettings
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE

LAMBDA = 100.0


def nothing() -> None:
    return None


class Normalised(Decoder):
    """A decoder without neighbourhoods, but with normalisations over the whole picture."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 12, 1)
        self.inner = nn.Sequential(nn.GroupNorm(3, 12), nn.Tanh())
        self.norm = nn.GroupNorm(4, 12)
        self.out = nn.Conv2d(12, 3, 1)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(0.5 * Noise(seed)(parameter.shape, name))

    @property
    def last(self) -> nn.Conv2d:
        return self.out

    def head(self, z: Tensor) -> Tensor:
        return self.first(z)

    def tail(self, middle: Tensor) -> Tensor:
        enlarged = F.interpolate(self.inner(middle), scale_factor=8)
        return self.out(self.norm(enlarged))


def segment(key: int = 0, side: int = 12) -> Segment:
    z = Noise(key)((1, 4, side, side), "z")
    painted = torch.zeros(1, 1, 8 * side, 8 * side)
    painted[..., 16:64, 24:72] = 1
    background = Noise(key)((1, 3, side, side), "x") * 0.1 + 0.5
    background = F.interpolate(background, scale_factor=8, mode="bilinear")
    return Segment(z, background, painted, nearness(painted, 8))


def settings(**values: Any) -> DecoderOptimisation:
    return DecoderOptimisation(
        **{"decoder_iterations": 40, "decoder_patch": 32, "decoder_rate": 1e-2, **values}
    )


def test_a_part_is_normalised_as_in_the_whole() -> None:
    norm = nn.GroupNorm(3, 12)
    with torch.no_grad():
        for name, parameter in norm.named_parameters():
            parameter.copy_(Noise(0)(parameter.shape, name))
    held, pictures = HeldNorm(norm), [10 * Noise(n)((1, 12, 9, 7), "x") + n for n in range(3)]
    wholes = [held(picture) for picture in pictures]
    assert all(map(torch.equal, wholes, map(norm, pictures)))
    held.using = [2, 0]
    parts = torch.cat([pictures[2][..., 1:5, 2:6], pictures[0][..., 1:5, 2:6]])
    expected = torch.cat([wholes[2][..., 1:5, 2:6], wholes[0][..., 1:5, 2:6]])
    assert torch.allclose(held(parts), expected, atol=1e-5)
    assert not torch.allclose(norm(parts), expected, atol=1e-2)


def test_untrained_its_pictures_are_the_decoders() -> None:
    pieces = [segment(0), segment(1), segment(2)]
    training = PatchTraining(Normalised(), pieces)
    for index in (2, 0, 1):
        expected = Normalised()(pieces[index].z)
        assert torch.allclose(training.picture(index), expected, atol=1e-5)
    before, after = training.loss(LAMBDA)
    assert before == pytest.approx(after, rel=1e-4) and before > 0


def test_patches_have_the_loss_of_the_whole_on_average() -> None:
    """Of a decoder that only looks at single cells; all over, as evenly as can be."""
    training = PatchTraining(Normalised(), [segment(0), segment(1)])
    patches = training._patches(8)
    as_it_was = copy.deepcopy(training._decoder)
    with torch.no_grad():
        losses = [
            float(training._loss([next(patches)], as_it_was, LAMBDA)) for _ in range(2 * 12**2 * 4)
        ]
    assert sum(losses) / len(losses) == pytest.approx(training.loss(LAMBDA)[0], rel=0.02)


@pytest.mark.parametrize("side", [8, 32, 500])
def test_patches_lie_in_the_tiles_and_all_over_them(side: int) -> None:
    training = PatchTraining(Normalised(), [segment(0), segment(1)])
    seen, cells = torch.zeros(2, 12, 12), min(side // 8, 12)
    for index, box in itertools.islice(training._patches(side), 2000):
        assert box in Box.of(Size(12, 12)) and box.size == Size(cells, cells)
        seen[index][box.rows, box.columns] += 1
    assert (seen > 0).all()
    assert seen[0].sum() == pytest.approx(float(seen[1].sum()), rel=0.05)


def test_it_learns_the_surroundings_tone() -> None:
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    with torch.no_grad():
        truth = PointwiseDecoder(0.0, "nearest")(piece.z)
    piece = Segment(piece.z, truth, torch.zeros_like(piece.painted), piece.edge)
    training = PatchTraining(decoder, [piece])
    training.train(settings(decoder_iterations=200), nothing)
    before, after = training.loss(LAMBDA)
    assert before == pytest.approx(LAMBDA * 0.1**2, rel=1e-3) and after < 0.02 * before
    assert (training.picture(0) - truth).abs().max() < 0.03


def test_it_is_the_same_every_time_and_touches_no_generator() -> None:
    decoders, pictures = [Normalised(), Normalised()], []
    state = torch.get_rng_state()
    for decoder in decoders:
        training = PatchTraining(decoder, [segment(0), segment(1)])
        training.train(settings(decoder_iterations=5), nothing)
        pictures.append(training.picture(1))
    assert torch.equal(*pictures) and torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(pictures[0], Normalised()(segment(1).z), atol=1e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_works_whatever_mode_it_is_called_in(mode: Any) -> None:
    decoder = Normalised()
    with mode():
        training = PatchTraining(decoder, [segment(0)])
        training.train(settings(), nothing)
        before, after = training.loss(LAMBDA)
        assert not training.picture(0).requires_grad
    assert after < before and all(p.grad is None for p in decoder.parameters())


def test_what_is_painted_all_over_is_kept_as_it_is() -> None:
    """Patches that show nothing of the surroundings have a say, too."""
    ring, inner = segment(0), segment(1)
    inner = Segment(3 * inner.z, inner.background, torch.ones_like(inner.painted), inner.edge)

    def changed(*pieces: Segment) -> float:
        """How much the last tile changes in relation to the first's error."""
        training = PatchTraining(Normalised(), pieces)
        kept = [training.picture(index) for index in range(len(pieces))]
        training.train(settings(decoder_background_weight=1.0), nothing)
        change = (training.picture(len(pieces) - 1) - kept[-1]).square().mean()
        return float(change / (kept[0] - pieces[0].background).square().mean())

    alone = PatchTraining(Normalised(), [inner])
    before = alone.picture(0)
    assert alone.train(settings(), nothing) == 0
    assert torch.equal(alone.picture(0), before)
    assert changed(ring, inner) < 0.1


def test_the_onlooker_hears_of_every_step_and_may_interrupt() -> None:
    calls: list[int] = []

    def advance() -> None:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    PatchTraining(Normalised(), [segment()]).train(settings(decoder_iterations=6), advance)
    assert len(calls) == 6
    with pytest.raises(KeyboardInterrupt):
        PatchTraining(Normalised(), [segment()]).train(settings(), advance)


@pytest.mark.edits
@pytest.mark.parametrize("refit", [False, True])
def test_a_stage_is_fitted_on_patches_and_they_count_as_work(refit: bool) -> None:
    image, mask = photograph(96, 128), box_mask(Size(96, 128), Box(30, 40, 70, 90))
    values = {
        **{"decoder_iterations": 30, "decoder_patch": 16, "decoder_rate": 1e-2},
        "decoder_refit": refit,
    }
    done = run(image, mask, PointwiseBackend(tint=0.1, mode="nearest"), **values)
    tinted = run(image, mask, PointwiseBackend(tint=0.1, mode="nearest"), decoder_iterations=0)
    assert "30 decoder iterations on patches of 16" in str(done.report.plan)
    assert not done.report.notes
    for ours, theirs in zip(done.report.stages, tinted.report.stages, strict=True):
        assert ours.decoder_iterations == 30
        assert ours.decoder_loss[1] < ours.decoder_loss[0]
        assert ours.background_psnr > theirs.background_psnr


@pytest.mark.edits
@pytest.mark.parametrize(
    ("mask", "weight"), [(Box(0, 0, 64, 64), 100.0), (Box(20, 20, 40, 40), 0.0)]
)
def test_where_there_is_nothing_to_match_nothing_is_trained_nor_told(
    mask: Box, weight: float
) -> None:
    class Backend(PointwiseBackend):
        def decoder(self) -> Any:
            return Normalised()

    size = Size(64, 64)
    values = {"decoder_patch": 16, "decoder_background_weight": weight}
    done = run(photograph(64, 64), box_mask(size, mask), Backend(), feather=0, **values)
    assert not done.report.notes
    for stage in done.report.stages:
        assert stage.decoder_iterations == 0
        assert stage.decoder_loss[0] == stage.decoder_loss[1]


def test_steps_on_patches_are_work_that_does_not_grow_with_the_tiles() -> None:
    size = Size(900, 900)

    def area(side: int, iterations: int, patch: int = 32) -> int:
        values = {"decoder_patch": patch, "decoder_iterations": iterations}
        mask = box_mask(size, Box(0, 0, side, side))
        facts = PointwiseBackend().facts
        plan = plan_edit(size, mask, EditSettings().with_values(values), facts)
        return plan.stages[-1].decoder_area

    for side in (100, 600):
        assert area(side, 101) - area(side, 1) == 100 * 2 * PATCHES * 32**2
    assert area(600, 1) > area(100, 1) and area(600, 0) == 0
    assert area(600, 100, 0) > 100 * area(100, 1)


@pytest.fixture(scope="module")
def miniature() -> StandaloneModel:
    return StandaloneModel.load(MINIATURE, clip=None, device="cpu")


def test_on_the_miniature_a_patch_is_nearly_what_it_is_in_the_whole(
    miniature: StandaloneModel,
) -> None:
    backend = miniature.bind("a red star on grass", "", 4.0)
    decoder, z = backend.decoder(), backend.encode(photograph(128, 128))
    painted = torch.zeros(1, 1, 128, 128)
    piece = Segment(z, photograph(128, 128), painted, nearness(painted, 8))
    training = PatchTraining(backend.decoder(), [piece])
    with torch.no_grad():
        whole = decoder(z)
        assert torch.allclose(training.picture(0), whole, atol=1e-4)
        part = module._passed(training._decoder, [0], training._middles[0][..., 3:13, 2:12])
        plain = decoder.tail(training._middles[0][..., 3:13, 2:12])
    expected, inner = whole[..., 24:104, 16:96], (..., slice(24, 56), slice(24, 56))
    held, free = ((one - expected)[inner].abs().mean() for one in (part, plain))
    assert held < 0.002 and held < 0.2 * free


def test_on_the_miniature_it_lowers_the_loss_and_leaves_the_model_alone(
    miniature: StandaloneModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATCHES", 2)
    backend = miniature.bind("a red star on grass", "", 4.0)
    background = F.interpolate(photograph(16, 16), scale_factor=8, mode="bilinear")
    z, painted = backend.encode(background), torch.zeros(1, 1, 128, 128)
    painted[..., 32:96, 32:96] = 1
    own = backend.decode(z)
    training = PatchTraining(
        backend.decoder(), [Segment(z, background, painted, nearness(painted, 8))]
    )
    training.train(settings(decoder_iterations=25, decoder_rate=2e-4), nothing)
    before, after = training.loss(LAMBDA)
    assert after < 0.7 * before
    assert torch.equal(backend.decode(z), own)
