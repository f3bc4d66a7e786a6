"""Gradient checkpointing: the very same training in less memory."""

from __future__ import annotations

import copy
import math
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
from engine import box_mask, photograph, run
from fakes import WithABlock, small_facts
from torch import nn

from msbd import fitting
from msbd.backend import Decoder
from msbd.checkpointing import checkpointed
from msbd.decoder import Segment, nearness, optimise
from msbd.geometry import Box, Size
from msbd.plan import plan_edit
from msbd.report import Watch
from msbd.settings import DecoderOptimisation, EditSettings
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE
from msbd.webui.footprint import LiveBytes


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    model = StandaloneModel.load(MINIATURE, clip=None, device="cpu")
    return model.bind("a red star on grass", "", 4.0).decoder()


def segment(side: int = 96) -> Segment:
    z = torch.randn(1, 4, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    painted = torch.zeros(1, 1, side, side)
    painted[..., side // 4 : side // 2, side // 4 :] = 1
    return Segment(z, photograph(side, side), painted, nearness(painted, 8))


def trained(decoder: Decoder, checkpointing: bool) -> tuple[list[float], int]:
    """Losses, and bytes at the peak."""
    settings = DecoderOptimisation(decoder_iterations=3, decoder_checkpointing=checkpointing)
    with LiveBytes() as live:
        losses = optimise(decoder, [segment()] * 2, settings, lambda: None)
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


def test_afterwards_the_network_is_as_it_was_even_after_an_error(decoder: Decoder) -> None:
    before = dict(decoder.named_modules())

    def broken() -> None:
        with checkpointed(decoder):
            assert dict(decoder.named_modules()).keys() != before.keys()
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        broken()
    assert dict(decoder.named_modules()) == before


def test_blocks_are_the_residual_ones() -> None:
    """Neither attention nor the whole, which normalises at its end."""

    def block(side: int) -> nn.Module:
        return nn.Sequential(nn.GroupNorm(1, 4), nn.Tanh(), nn.Conv2d(4, 4, side))

    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ModuleList([block(3), block(1)]), block(3))
    network.append(nn.GroupNorm(1, 4))
    with checkpointed(network):
        around = [name for name, _ in network.named_modules() if name.endswith(".block")]
    assert around == ["1.0.block", "2.block"]


@pytest.mark.edits
@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("refit", [False, True])
def test_without_memory_for_whole_tiles_it_is_done_again_with_it(
    monkeypatch: pytest.MonkeyPatch, steps: int, refit: bool
) -> None:
    """After some steps, as when another program takes the memory; and in later stages at once."""
    first: list[weakref.ref[nn.Module]] = []

    def crowded(decoder: nn.Module, segments: Any, settings: Any, advance: Any) -> list[float]:
        if not settings.decoder_checkpointing:
            first.append(weakref.ref(decoder))
            optimise(decoder, segments, replace(settings, decoder_iterations=steps), advance)
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        assert first[0]() is None, "the copy that did not fit is still there"
        return optimise(decoder, segments, settings, advance)

    image, mask = photograph(150, 203), box_mask(Size(150, 203), Box(40, 60, 90, 130))
    told: list[float] = []
    watch = Watch(
        begin=lambda plan, total: told.append(-total), advance=lambda work, text: told.append(work)
    )
    values = {"decoder_iterations": 4, "decoder_rate": 1e-3, "decoder_refit": refit}
    plain = run(image, mask, WithABlock(), **values)
    monkeypatch.setattr(fitting, "optimise", crowded)
    done = run(image, mask, WithABlock(), watch=watch, **values)
    assert torch.equal(done.image, plain.image) and not plain.report.notes
    (note,) = done.report.notes
    assert "stage 1: out of memory" in note and "set decoder_checkpointing" in note
    assert len(first) == 1 < len(done.report.stages)
    assert all(stage.decoder_checkpointing for stage in done.report.plan.stages)
    for one, other in zip(done.report.stages, plain.report.stages, strict=True):
        assert one.decoder_loss == other.decoder_loss
    assert min(told[1:]) >= 0 and math.isclose(sum(told), 0, abs_tol=1e-6)
    at_once = run(image, mask, WithABlock(), decoder_checkpointing=True, **values)
    assert torch.equal(at_once.image, plain.image) and not at_once.report.notes


@pytest.mark.edits
def test_a_stage_done_again_in_smaller_tiles_keeps_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(WithABlock):
        """Memory for tiles of so many cells."""

        def denoise(self, z: Any, *others: Any, **named: Any) -> Any:
            if z.shape[-1] * z.shape[-2] > 40:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return super().denoise(z, *others, **named)

    plain: list[int] = []

    def crowded(decoder: Any, segments: Any, settings: Any, advance: Any) -> list[float]:
        if not settings.decoder_checkpointing:
            plain.append(len(segments))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return optimise(decoder, segments, settings, advance)

    image, mask = photograph(150, 203), box_mask(Size(150, 203), Box(40, 60, 90, 130))
    monkeypatch.setattr(fitting, "optimise", crowded)
    done = run(image, mask, Small(), candidates=1, tile_size=3.0, growth=4.0)
    assert len(plain) == 1
    first, *others = done.report.notes
    assert "goes on with gradient checkpointing" in first
    assert others and all("done again in tiles" in note for note in others)
    assert all(stage.decoder_checkpointing for stage in done.report.plan.stages)


@pytest.mark.edits
def test_where_even_that_does_not_fit_the_edit_goes_on_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> list[float]:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    image, mask = photograph(64, 64), box_mask(Size(64, 64), Box(20, 20, 40, 40))
    monkeypatch.setattr(fitting, "optimise", full)
    done = run(image, mask, WithABlock())
    assert "goes on with gradient checkpointing" in done.report.notes[0]
    left_out = [note for note in done.report.notes[1:] if "left out for lack of memory" in note]
    assert len(left_out) == len(done.report.notes) - 1 == len(done.report.stages)
    assert not done.report.interrupted
    assert all(stage.decoder_iterations == 0 for stage in done.report.stages)


def test_a_step_with_it_counts_a_third_more() -> None:
    def areas(**values: Any) -> list[int]:
        mask = box_mask(Size(300, 300), Box(40, 40, 200, 200))
        settings = EditSettings().with_values({"decoder_iterations": 9, **values})
        plan = plan_edit(Size(300, 300), mask, settings, small_facts())
        return [stage.decoder_area for stage in plan.stages]

    ratios = [
        more / less for more, less in zip(areas(decoder_checkpointing=True), areas(), strict=True)
    ]
    assert ratios == pytest.approx([4 / 3] * len(ratios), rel=1e-3)
    patch = {"decoder_patch": 16}
    assert areas(decoder_checkpointing=True, **patch) == areas(**patch)
