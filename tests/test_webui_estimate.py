"""Estimates of memory and time: held against measurements, and on the stand-in of the WebUI."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import edited, request
from standin.model import LatentDiffusion
from torch import nn

from msbd.backend import ModelFacts
from msbd.decoder import Segment, optimise
from msbd.errors import EditError
from msbd.geometry import Size
from msbd.miniature.files import WEIGHTS
from msbd.patches import PatchTraining
from msbd.plan import PATCHES, EditPlan, plan_edit
from msbd.settings import SETTINGS, DecoderOptimisation, EditSettings
from msbd.standalone.checkpoint import load_checkpoint
from msbd.webui.footprint import Growth, LiveBytes, inference, training, weight_bytes

MIB = 2**20
QUICK = {"choose": "first", "steps": 4, "repaint_repeats": 1, "decoder_iterations": 2}


def latent(side: int) -> torch.Tensor:
    return torch.zeros(1, 4, side, side)


class TestFootprint:
    """Without any host."""

    @pytest.fixture(scope="class")
    def miniature(self) -> Any:
        path = WEIGHTS / "miniature.safetensors"
        return load_checkpoint(path, torch.device("cpu"), torch.float32)

    @pytest.mark.parametrize("checkpointing", [False, True])
    @pytest.mark.parametrize(("side", "count"), [(16, 1), (16, 4), (24, 1), (32, 1)])
    def test_training_the_miniatures_decoder_takes_what_was_estimated(
        self, miniature, side, count, checkpointing
    ):
        """Within a quarter, from measurements on 64 and 128 pixels, up to four times the area."""
        decoder, pixels = miniature.autoencoder.decoder(), 8 * side
        known = training(decoder, (8, 16), latent)
        estimated = known.at(side**2, pixels**2, count, checkpointing)
        colours, painted = (torch.zeros(1, n, pixels, pixels) for n in (3, 1))
        segment = Segment(latent(side), colours, painted, painted)
        settings = DecoderOptimisation(decoder_iterations=2, decoder_checkpointing=checkpointing)
        with LiveBytes() as live:
            optimise(decoder, [segment] * count, settings, lambda: None)
        assert estimated == pytest.approx(live.peak + weight_bytes(decoder), rel=0.25)

    @pytest.mark.parametrize(("side", "patch", "count"), [(24, 4, 1), (32, 4, 2), (32, 8, 1)])
    def test_training_on_patches_takes_what_was_estimated(self, miniature, side, patch, count):
        """Within a half, and less than whole tiles take."""
        decoder, pixels = miniature.autoencoder.decoder(), 8 * side
        known = training(decoder, (8, 16), latent)
        passing = inference(lambda n: decoder(latent(n)), (8, 16)).at(side**2)
        estimated = known.on_patches(PATCHES * patch**2, passing, pixels**2, count)
        colours, painted = (torch.zeros(1, n, pixels, pixels) for n in (3, 1))
        segment = Segment(latent(side), colours, painted, painted)
        settings = DecoderOptimisation(decoder_iterations=2, decoder_patch=8 * patch)
        with LiveBytes() as live:
            on_patches = PatchTraining(decoder, [segment] * count)
            on_patches.train(settings, lambda: None)
            on_patches.loss(100.0)
        assert estimated == pytest.approx(live.peak + weight_bytes(decoder), rel=0.5)
        with LiveBytes() as whole:
            optimise(miniature.autoencoder.decoder(), [segment] * count, settings, lambda: None)
        assert live.peak < 0.7 * whole.peak

    @pytest.mark.parametrize("side", [16, 32, 48])
    def test_denoising_and_decoding_take_what_was_estimated(self, miniature, side):
        def denoise(n: int) -> Any:
            return miniature.unet(latent(n), torch.tensor([500.0]), torch.zeros(1, 77, 64))

        decoder = miniature.autoencoder.decoder()
        for run, sides in ((denoise, (4, 8)), (lambda n: decoder(latent(n)), (8, 16))):
            with torch.no_grad(), LiveBytes() as live:
                run(side)
            assert inference(run, sides).at(side**2) == pytest.approx(live.peak, rel=0.25)

    def test_attention_that_keeps_all_pairs_grows_with_the_square(self):
        def attend(side: int) -> torch.Tensor:
            tokens = torch.zeros(side**2, 16)
            return torch.softmax(tokens @ tokens.T, -1) @ tokens

        growth = inference(attend, (16, 32))
        with LiveBytes() as live:
            attend(64)
        assert growth.quadratic > 0
        assert growth.at(64**2) == pytest.approx(live.peak, rel=0.1)

    def test_the_growth_goes_through_both_measurements(self):
        curved = Growth.through((10, 1250), (20, 4500))
        assert (curved.at(10), curved.at(20), curved.at(40)) == (1250, 4500, 17000)
        straight = Growth.along((10, 1300), (20, 1500))
        assert (straight.constant, straight.at(100)) == (1100, 3100)

    def test_only_what_is_there_at_one_time_counts(self):
        with LiveBytes() as live:
            first = torch.zeros(MIB // 4)
            view = first[1:]
            second = torch.zeros(MIB // 2)
            del first, view
            third = torch.zeros(MIB // 8)
        assert (live.peak, live.largest) == (3 * MIB, 2 * MIB)
        assert second.numel() > third.numel()

    def test_measuring_leaves_the_decoder_and_the_random_numbers_alone(self):
        decoder = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Upsample(scale_factor=8))
        before = copy.deepcopy(decoder.state_dict())
        state = torch.get_rng_state()
        training(decoder, (2, 4), latent)
        assert all(torch.equal(decoder.state_dict()[k], v) for k, v in before.items())
        assert all(p.grad is None for p in decoder.parameters())
        assert torch.equal(torch.get_rng_state(), state)

    def test_shared_weights_count_once(self):
        layer = nn.Linear(10, 10, bias=False)
        assert weight_bytes(nn.Sequential(layer, layer), layer) == 400


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def planned(resolution: int = 32, side: int = 200, **values: Any) -> tuple[EditPlan, EditSettings]:
    settings = EditSettings().with_values({**QUICK, **values})
    mask = np.zeros((side, side), np.float32)
    mask[side // 10 : -side // 10, side // 10 : -side // 10] = 1
    facts = ModelFacts(resolution=resolution, multiple=16)
    return plan_edit(Size(side, side), mask, settings, facts), settings


def parts(**values: Any) -> dict[str, int]:
    from msbd.webui.estimate import memory

    return memory(*planned(**values))


def test_memory_grows_with_tiles_and_candidates(host):
    small, large = (parts(tile_size=size) for size in (1.0, 4.0))
    assert small["decoder optimisation"] < large["decoder optimisation"]
    assert small["decoding"] < large["decoding"]
    few, many = (parts(candidates=count)["denoising"] for count in (1, 16))
    assert few < many


def test_refitting_grows_less_with_the_tile_than_training_does(host):
    """It has its equations besides, which do not grow."""

    def growth(**values: Any) -> int:
        small, large = (parts(tile_size=size, **values) for size in (1.0, 4.0))
        return large["decoder optimisation"] - small["decoder optimisation"]

    assert 0 < growth(decoder_iterations=0, decoder_refit=True) < growth()


def test_patches_need_less_than_tiles_and_a_refit_after_them_counts(host):
    def fitting(**values: Any) -> int:
        return parts(tile_size=4.0, **values)["decoder optimisation"]

    on_patches = fitting(decoder_patch=32)
    refit_alone = fitting(decoder_iterations=0, decoder_refit=True)
    both = fitting(decoder_patch=32, decoder_refit=True)
    assert on_patches < fitting()
    assert both > refit_alone and both >= on_patches


def test_the_host_may_predict_with_and_without_the_prompt_one_by_one(host):
    both = parts(candidates=16)["denoising"]
    host.shared.opts.batch_cond_uncond = False
    assert parts(candidates=16)["denoising"] < both


def test_work_that_is_not_done_or_done_elsewhere_does_not_count(host, monkeypatch):
    from msbd.webui import measure

    assert "decoder optimisation" in parts()
    assert "decoder optimisation" not in parts(decoder_iterations=0)
    assert "decoder optimisation" in parts(decoder_iterations=0, decoder_refit=True)
    plan, _ = planned(side=32)
    found = measure.footprint(plan.resolution)
    monkeypatch.setattr(measure, "footprint", lambda _: found)
    monkeypatch.setattr(measure, "decoder_device", lambda: torch.device("meta"))
    assert "decoder optimisation" not in parts()
    monkeypatch.setattr(measure, "enlargement", lambda _: 1 / 0)
    assert len(plan.stages) == 1 and parts(side=32)


def test_clip_counts_where_it_chooses(host, tmp_path):
    without, default = parts(), parts(choose="clip")
    assert default["denoising"] - without["denoising"] == pytest.approx(1.7e9, rel=0.05)
    weights = tmp_path / "clip.safetensors"
    weights.write_bytes(bytes(1000))
    host.shared.opts.msbd_clip_weights = str(weights)
    assert parts(choose="clip")["denoising"] - without["denoising"] == 1000
    assert parts(choose="clip", candidates=1) == parts(candidates=1)


def test_one_part_of_the_model_at_a_time(host):
    together = parts()
    host.model.lowvram = True
    apart = parts()
    assert all(apart[work] < together[work] for work in together)


def test_measuring_runs_little_and_only_once_for_a_checkpoint(host):
    from msbd.webui.estimate import estimate

    plan, settings = planned()
    state = torch.get_rng_state()
    weights = copy.deepcopy(host.model.state_dict())
    estimate(plan, settings, 1)
    ran = len(host.calls)
    assert max(max(call.shape[-2:]) for call in host.calls) == plan.resolution // 8
    estimate(plan, settings, 2)
    assert len(host.calls) == ran
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(host.model.state_dict()[k], v) for k, v in weights.items())
    host.load(LatentDiffusion(name="other"), "other")
    estimate(plan, settings, 1)
    assert host.calls


@pytest.mark.parametrize("key", ["crossattn", "hybrid"])
def test_inpainting_checkpoints_are_measured_too(host, key):
    host.load(LatentDiffusion(conditioning_key=key), key)
    assert parts()["denoising"] > 0


def test_time_goes_by_the_last_edit_with_the_checkpoint(host):
    from msbd.webui.estimate import estimate, remember_pace

    plan, settings = planned()
    larger, _ = planned(tile_size=4.0)
    assert estimate(plan, settings, 1).seconds >= 0
    remember_pace(plan, 42.0)
    assert estimate(plan, settings, 1).seconds == 42
    assert estimate(plan, settings, 3).seconds == 126
    assert estimate(larger, settings, 1).seconds != 42
    host.load(LatentDiffusion(name="other"), "other")
    assert estimate(plan, settings, 1).seconds < 42


def test_time_counts_model_calls_decoder_steps_and_tiles(host):
    from msbd.webui.speed import _ROUND_TRIP, Speed

    plan, _ = planned(decoder_iterations=0)
    assert Speed(2.0, 0.0).seconds(plan) == 2 * plan.network_evaluations
    for iterations in (0, 2):
        plan, _ = planned(side=32, decoder_iterations=iterations)
        assert plan.decoder_steps == iterations and len(plan.stages[0].tiles) == 1
        assert Speed(0.0, 5.0).seconds(plan) == 5 * (iterations + _ROUND_TRIP)


def test_without_memory_for_a_decoder_step_its_time_is_guessed(host, monkeypatch):
    from msbd.plan import DECODER_STEP_WORK
    from msbd.webui import speed

    def fail(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(speed, "HostDecoder", fail)
    known = speed.speed(32)
    assert known.step == DECODER_STEP_WORK * known.call > 0


@pytest.mark.edits
def test_an_edit_tells_the_pace(host):
    from msbd.webui.estimate import estimate
    from msbd.webui.speed import _finished

    edited(host, request(host))
    ((plan, took),) = _finished.values()
    assert estimate(plan, EditSettings(), 1).seconds == pytest.approx(took, abs=0.06)


class TestLimit:
    def limited(self, host: Host, gib: float, **values: Any) -> Any:
        from msbd.webui.estimate import limited

        host.shared.opts.msbd_memory_limit = gib
        settings = planned(**values)[1]

        def plan(some: EditSettings) -> EditPlan:
            changed = (some.later, "tile_size"), (some.decoder, "decoder_checkpointing")
            return planned(**values | {name: getattr(section, name) for section, name in changed})[
                0
            ]

        return settings, limited(settings, plan)

    def test_without_a_limit_nothing_is_run_or_changed(self, host):
        before, (settings, plan, notes) = self.limited(host, 0.0, tile_size=4.0)
        assert settings == before and plan == planned(tile_size=4.0)[0] and not notes
        assert not host.calls

    def test_tiles_shrink_until_they_fit_and_no_further(self, host):
        needs = {step / 4: max(parts(tile_size=step / 4).values()) for step in range(16, 3, -1)}
        limit = sorted(needs.values())[len(needs) // 2] / 2**30
        fits = next(size for size, need in needs.items() if need <= limit * 2**30)
        assert fits < 4
        _, (settings, plan, notes) = self.limited(host, limit, tile_size=4.0)
        assert settings.later.tile_size == fits and plan == planned(tile_size=fits)[0]
        change = f"{SETTINGS['tile_size'].label} lowered from 4 to {fits:g}"
        assert notes == [f"{change} to keep within the memory limit of {limit:g} GiB"]

    def test_the_decoder_is_checkpointed_before_tiles_shrink(self, host, monkeypatch):
        """The stand-in's decoder has no blocks: let it have some."""
        from msbd.webui import measure
        from msbd.webui.footprint import Training

        found = measure.footprint(32)
        trained = Training(10, Growth(9e5), Growth(2e5), Growth(100.0))
        monkeypatch.setattr(measure, "footprint", lambda _: replace(found, training=trained))
        plain, with_it = (
            parts(tile_size=4.0, decoder_checkpointing=on)["decoder optimisation"]
            for on in (False, True)
        )
        assert with_it < 0.5 * plain
        limit = (plain - 1) / 2**30
        _, (settings, plan, notes) = self.limited(host, limit, tile_size=4.0)
        assert settings.decoder.decoder_checkpointing and settings.later.tile_size == 4.0
        assert plan.stages[-1].decoder_checkpointing
        change = f"{SETTINGS['decoder_checkpointing'].label} turned on"
        assert notes == [f"{change} to keep within the memory limit of {limit:g} GiB"]
        _, (settings, _, notes) = self.limited(host, (with_it - 1) / 2**30, tile_size=4.0)
        assert settings.decoder.decoder_checkpointing and settings.later.tile_size < 4.0
        assert len(notes) == 2 and "lowered" in notes[1]

    def test_a_size_between_two_steps_goes_to_the_next_lower_step(self, host):
        from msbd.webui.estimate import _smaller

        odd = EditSettings().with_values({"tile_size": 1.6})
        whole = _smaller(odd)
        assert whole is not None and whole.later.tile_size == 1.5
        assert _smaller(EditSettings().with_values({"tile_size": 1.0})) is None

    def test_if_nothing_fits_the_user_is_told_what_to_change(self, host):
        with pytest.raises(EditError, match=r"needs about .* GiB .*limit.* GiB: .*raise the limit"):
            self.limited(host, 1e-6)
        with pytest.raises(EditError, match=r"CLIP run on the CPU|candidates|iterations"):
            self.limited(host, 1e-6, candidates=16)
