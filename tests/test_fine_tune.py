"""Fine-tuning the decoder: it must help outside, keep inside, and hurt nothing else. With gradient
checkpointing it is the very same training in less memory."""

from __future__ import annotations

import copy
import math
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder, WithABlock
from live_bytes import LiveBytes
from torch import Tensor, nn

from msbd import decoder as package
from msbd.backend import Decoder
from msbd.decoder import Segment, nearness
from msbd.decoder.fine_tune import checkpointed, fine_tune
from msbd.errors import Interrupted
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.progress import Callbacks
from msbd.setting import Ablation
from msbd.settings import SETTINGS
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE


def nothing() -> None:
    return None


def segment(key: int = 0, inside: bool = True) -> Segment:
    """Latents whose true picture is what the untinted decoder makes of them."""
    z = Noise(key)((1, 4, 6, 6), "z") * 0.4
    painted = torch.zeros(1, 1, 48, 48)
    painted[..., 8:24, 8:24] = float(inside)
    with torch.no_grad():
        return Segment(z, PointwiseDecoder(0.0, "nearest")(z), painted, nearness(painted, 8))


def settings(**values) -> Ablation:
    return Ablation(**{"decoder_iterations": 200, "decoder_rate": 1e-2, **values})


def error_outside(decoder, piece: Segment) -> float:
    with torch.no_grad():
        difference = (decoder(piece.z) - piece.background) * (1 - piece.painted)
    return float(difference.abs().max())


def test_it_learns_the_surroundings_tone():
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    before = error_outside(decoder, piece)
    losses = fine_tune(decoder, [piece], settings(), False, nothing)
    assert before == pytest.approx(0.1, abs=1e-5)
    assert error_outside(decoder, piece) < 0.01
    assert losses[-1] < 0.05 * losses[0]


def test_without_weight_on_the_background_nothing_changes():
    decoder = PointwiseDecoder(0.1, "nearest")
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    losses = fine_tune(
        decoder, [segment()], settings(decoder_background_weight=0.0), False, nothing
    )
    assert losses[0] == 0
    assert all(torch.equal(v, decoder.state_dict()[k]) for k, v in before.items())


def test_the_loss_is_the_papers():
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    losses = fine_tune(decoder, [piece], settings(decoder_iterations=1), False, nothing)
    outside = float((1 - piece.painted).mean())
    assert losses == [pytest.approx(100 * 0.1**2 * outside, rel=1e-4)]


def test_segments_together_are_one_picture():
    """Two segments give the step that one picture of both would give."""
    pieces = [segment(0), segment(1)]
    joined = Segment(
        *(
            torch.cat([getattr(p, name) for p in pieces], dim=-1)
            for name in ("z", "background", "painted", "edge")
        )
    )
    apart, together = PointwiseDecoder(0.1, "nearest"), PointwiseDecoder(0.1, "nearest")
    a = fine_tune(apart, pieces, settings(decoder_iterations=5), False, nothing)
    b = fine_tune(together, [joined], settings(decoder_iterations=5), False, nothing)
    assert a == pytest.approx(b, rel=1e-4)
    for one, other in zip(apart.parameters(), together.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(mode):
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    with mode():
        losses = fine_tune(decoder, [piece], settings(decoder_iterations=20), False, nothing)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("error", [None, RuntimeError("boom"), Interrupted()])
def test_the_models_own_decoder_is_never_touched(error):
    class Owner(PointwiseBackend):
        own = PointwiseDecoder(0.1, "nearest").requires_grad_(False)

        def decoder(self):
            return copy.deepcopy(self.own).requires_grad_(True)

    backend = Owner()
    before = {k: v.clone() for k, v in backend.own.state_dict().items()}
    calls = []

    def advance():
        calls.append(1)
        if error and len(calls) == 3:
            raise error

    if error is None:
        fine_tune(backend.decoder(), [segment()], settings(decoder_iterations=5), False, advance)
    else:
        with pytest.raises(type(error)):
            fine_tune(backend.decoder(), [segment()], settings(), False, advance)
    assert all(torch.equal(v, backend.own.state_dict()[k]) for k, v in before.items())
    assert not any(p.requires_grad or p.grad is not None for p in backend.own.parameters())


def test_the_onlooker_hears_of_every_segment_of_every_step():
    calls = []
    fine_tune(
        PointwiseDecoder(0.1, "nearest"),
        [segment(0), segment(1)],
        settings(decoder_iterations=7),
        False,
        lambda: calls.append(1),
    )
    assert len(calls) == 14


class Attending(nn.Module):
    """A decoder of matrix products, as attention has them, in single precision by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 0.9, 12).reshape(1, 4, 3))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            colours = torch.bmm(z.flatten(2).transpose(1, 2), self.weight).transpose(1, 2)
            return F.interpolate(colours.unflatten(2, z.shape[2:]), scale_factor=8)


def test_gradients_do_not_follow_the_callers_autocast():
    piece = segment()

    def trained() -> Tensor:
        decoder = Attending()
        fine_tune(decoder, [piece], settings(decoder_iterations=3), False, nothing)
        return decoder.weight.detach()

    alone = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(trained(), alone)


def test_no_gradients_stay_behind():
    decoder = PointwiseDecoder(0.1, "nearest")
    fine_tune(decoder, [segment()], settings(decoder_iterations=2), False, nothing)
    assert all(parameter.grad is None for parameter in decoder.parameters())


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    model = StandaloneModel.load(MINIATURE, clip=None, device="cpu")
    return model.bind("a red star on grass", "", 4.0).decoder()


def square(side: int = 96) -> Segment:
    z = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    painted = torch.zeros(1, 1, side, side)
    painted[..., side // 4 : side // 2, side // 4 :] = 1
    return Segment(z, photograph(side, side), painted, nearness(painted, 8))


def trained(decoder: Decoder, sparing: bool) -> tuple[list[float], int]:
    """Losses, and bytes at the peak."""
    with LiveBytes() as live:
        losses = fine_tune(
            decoder, [square()] * 2, Ablation(decoder_iterations=3), sparing, nothing
        )
    return losses, live.peak


def test_it_is_the_same_training_bit_by_bit_in_less_memory(decoder: Decoder) -> None:
    plain, sparing = copy.deepcopy(decoder), copy.deepcopy(decoder)
    losses, peak = trained(plain, False)
    same, less = trained(sparing, True)
    assert losses == same and losses[-1] != losses[0]
    weights = plain.state_dict()
    assert list(weights) == list(sparing.state_dict())
    assert all(torch.equal(weights[name], one) for name, one in sparing.state_dict().items())
    assert less < 0.7 * peak


def blocks_of(network: nn.Module) -> list[str]:
    """Names of the modules whose way forward is another one just now."""
    return [name for name, module in network.named_modules() if "forward" in vars(module)]


def test_afterwards_the_network_is_as_it_was_even_after_an_error(decoder: Decoder) -> None:
    def broken() -> None:
        with checkpointed(decoder):
            assert blocks_of(decoder)
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        broken()
    assert not blocks_of(decoder)


def test_blocks_are_the_residual_ones() -> None:
    """Neither attention nor the whole, which normalises at its end."""

    def block(side: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(1, 4), nn.Tanh(), nn.Conv2d(4, 4, side))

    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ModuleList([block(3), block(1)]), block(3))
    network.append(nn.GroupNorm(1, 4))
    with checkpointed(network):
        assert blocks_of(network) == ["1.0", "2"]


SIZE, PAINTED = Size(150, 203), Box(40, 60, 90, 130)
CROWDED = "CUDA out of memory"


def crowded(
    monkeypatch: pytest.MonkeyPatch, steps: int = 0, sparing_fits: bool = True
) -> list[Callable[[], nn.Module | None]]:
    """From now on memory runs out in fine-tuning, after some steps, as when another program takes
    it; with checkpointing it may suffice. Returns what refers to the copies that did not fit."""
    failed: list[Callable[[], nn.Module | None]] = []

    def train(
        decoder: nn.Module, segments: Any, ablation: Ablation, sparing: bool, advance: Any
    ) -> list[float]:
        if sparing and sparing_fits:
            assert failed[-1]() is None, "the copy that did not fit is still there"
            return fine_tune(decoder, segments, ablation, sparing, advance)
        failed.append(weakref.ref(decoder))
        if steps:
            fine_tune(
                decoder, segments, replace(ablation, decoder_iterations=steps), False, advance
            )
        raise torch.cuda.OutOfMemoryError(CROWDED)

    monkeypatch.setattr(package, "fine_tune", train)
    return failed


AGAIN = [
    f"memory ran out in {SETTINGS['decoder'].label}: it was done again more sparingly, which takes "
    "longer, and so in later stages"
]


@pytest.mark.edits
@pytest.mark.parametrize("steps", [0, 2])
def test_without_memory_for_whole_tiles_it_is_done_again_with_it_and_so_later(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """With the same result, and without a word of it in the plan."""
    image, mask = photograph(SIZE.height, SIZE.width), box_mask(SIZE, PAINTED)
    told: list[float] = []
    watch = Callbacks(
        begin=lambda plan, total: told.append(-total), advance=lambda work, text: told.append(work)
    )
    values = {"decoder_iterations": 4, "decoder_rate": 1e-3}
    plain = run(image, mask, WithABlock(), **values)
    failed = crowded(monkeypatch, steps)
    done = run(image, mask, WithABlock(), watch=watch, **values)
    assert torch.equal(done.image, plain.image) and not plain.report.notes
    assert done.report.notes == AGAIN and len(failed) == 1 < len(done.report.stages)
    assert done.report.plan == plain.report.plan
    assert plain.report.as_planned and not done.report.as_planned
    for one, other in zip(done.report.stages, plain.report.stages, strict=True):
        assert one.decoder_loss == other.decoder_loss is not None
    assert min(told[1:]) >= 0 and math.isclose(sum(told), 0, abs_tol=1e-6)
    at_once = run(image, mask, WithABlock(), decoder_checkpointing=True, **values)
    assert torch.equal(at_once.image, plain.image) and not at_once.report.notes
    assert len(failed) == 1, "asked for, it is the first way"


@pytest.mark.edits
def test_a_stage_in_smaller_tiles_finds_its_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(WithABlock):
        """Memory for tiles of so many cells."""

        def denoise(self, z: Any, *others: Any, **named: Any) -> Any:
            if z.shape[-1] * z.shape[-2] > 40:
                raise torch.cuda.OutOfMemoryError(CROWDED)
            return super().denoise(z, *others, **named)

    image, mask = photograph(SIZE.height, SIZE.width), box_mask(SIZE, PAINTED)
    failed = crowded(monkeypatch)
    done = run(image, mask, Small(), candidates=1, tile_size=3.0, growth=4.0)
    stages = done.report.plan.stages
    assert len(failed) == 1 and len(done.report.stages) == len(stages)
    notes = done.report.notes
    smaller = [note for note in notes if "done again in tiles" in note]
    assert smaller and [note for note in notes if note not in smaller] == AGAIN
    assert len(set(notes)) == len(notes)
    assert all(stage.tiles[0].size.area <= 40 * 64 for stage in stages)
    assert not any(stage.decoder_checkpointing for stage in stages)


@pytest.mark.edits
@pytest.mark.parametrize("asked", [False, True])
def test_where_even_that_does_not_fit_the_edit_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    image, mask = photograph(SIZE.height, SIZE.width), box_mask(SIZE, PAINTED)
    failed = crowded(monkeypatch, sparing_fits=False)
    done = run(image, mask, WithABlock(), decoder_checkpointing=asked)
    stages = len(done.report.stages)
    left_out = [note for note in done.report.notes if "was left out in stage" in note]
    assert len(left_out) == stages == len(done.report.plan.stages) > 1
    others = [note for note in done.report.notes if note not in left_out]
    assert others == ([] if asked else AGAIN)
    assert len(failed) == stages + (not asked)
    assert not done.report.interrupted
    assert all(stage.decoder_loss is None for stage in done.report.stages)
    off = run(image, mask, WithABlock(), decoder="off")
    assert torch.equal(done.image, off.image)
