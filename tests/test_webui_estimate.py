"""Estimates of memory and time on the stand-in of the WebUI: what the host knows, and its limit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import edited, request
from standin.model import LatentDiffusion
from torch import nn

import msbd.memory
from msbd import cost
from msbd.backend import ModelSpec
from msbd.cost import FITTING
from msbd.errors import EditError
from msbd.geometry import Size
from msbd.plan import EditPlan
from msbd.planning import plan_edit
from msbd.report import Report
from msbd.settings import SETTINGS, EditSettings

QUICK = {"choose": "first", "steps": 4, "resampling_steps": 1, "decoder_iterations": 2}


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


@pytest.fixture
def gpu(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's device is a GPU, whatever is here."""
    monkeypatch.setattr(msbd.memory, "capacity", lambda device: 0)
    host.shared.device = torch.device("cuda")


def planned(resolution: int = 32, side: int = 200, **values: Any) -> tuple[EditPlan, EditSettings]:
    settings = EditSettings().with_values({**QUICK, **values})
    mask = np.zeros((side, side), np.float32)
    mask[side // 10 : -side // 10, side // 10 : -side // 10] = 1
    facts = ModelSpec(resolution=resolution, multiple=16)
    return plan_edit(Size(side, side), mask, settings, facts), settings


def loaded(**values: Any) -> cost.Loaded:
    from msbd.webui.estimate import loaded

    return loaded(*planned(**values))


def parts(**values: Any) -> dict[str, int]:
    return cost.memory(planned(**values)[0], loaded(**values))


def seconds(**values: Any) -> float:
    return cost.seconds(planned(**values)[0], loaded(**values))


def test_nothing_is_run_and_nothing_changed_for_it(host):
    state, weights = torch.get_rng_state(), copy.deepcopy(host.model.state_dict())
    assert parts() and seconds() > 0
    assert not host.calls and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(host.model.state_dict()[k], v) for k, v in weights.items())


def test_all_weights_count_once(host):
    before = loaded().resident
    layer = nn.Linear(10, 10, bias=False)
    host.model.one, host.model.other = layer, nn.Sequential(layer)
    assert loaded().resident == before + 400


def test_the_kind_is_told_by_the_networks_size(host):
    assert loaded().kind is cost.MINIATURE
    host.model.model.diffusion_model.large = nn.Linear(10_000, 86_000, device="meta")
    assert loaded().kind is cost.STABLE_DIFFUSION


def test_the_host_may_predict_with_and_without_the_prompt_one_by_one(host):
    both = parts(candidates=16)["denoising"]
    host.shared.opts.batch_cond_uncond = False
    assert parts(candidates=16)["denoising"] < both


def test_single_precision_takes_more(host):
    single = parts(candidates=16)["denoising"]
    host.devices.dtype_unet = torch.float16
    assert parts(candidates=16)["denoising"] < single


def test_work_that_is_not_done_does_not_count(host):
    assert FITTING in parts()
    assert FITTING not in parts(decoder="off")
    assert FITTING in parts(decoder="last layer")
    assert "enlarging" in parts() and "enlarging" not in parts(upscaler="Lanczos")
    assert "enlarging" not in parts(side=32)


def test_work_that_is_done_elsewhere_does_not_count(host, gpu):
    assert FITTING in parts()
    host.shared.opts.msbd_decoder_device = "CPU"
    assert FITTING not in parts()


def test_the_hosts_tiles_bound_what_enlarging_takes(host):
    whole = parts(tile_size=4.0)["enlarging"]
    host.shared.opts.ESRGAN_tile = 16
    assert parts(tile_size=4.0)["enlarging"] < whole


def test_clip_counts_where_it_chooses(host):
    clip = cost.MINIATURE.clip
    without, default = parts(), parts(choose="clip")
    assert default == {work: size + clip for work, size in without.items()}
    assert parts(choose="clip", candidates=1) == parts(candidates=1)
    assert seconds(choose="clip") > seconds()


def test_clip_comes_to_a_gpu_where_it_chooses(host, gpu):
    clip = cost.MINIATURE.clip
    assert parts(choose="clip")["choosing"] == loaded().resident + clip
    host.shared.opts.msbd_clip_device = "CPU"
    assert parts(choose="clip") == parts()


@pytest.mark.parametrize("block_by_block", [False, True])
def test_one_part_of_the_model_at_a_time(host, block_by_block):
    host.model.model.diffusion_model.blocks = nn.ModuleList([nn.Linear(90, 90), nn.Linear(9, 9)])
    together = parts()
    host.model.lowvram, host.shared.cmd_opts.lowvram = True, block_by_block
    apart = parts()
    assert all(apart[work] < together[work] for work in together)
    assert loaded().network == 4 * 90 * 91 + (0 if block_by_block else 4 * (9 * 10 + 1))


@pytest.mark.parametrize("key", ["crossattn", "hybrid"])
def test_inpainting_checkpoints_are_estimated_too(host, key):
    host.load(LatentDiffusion(conditioning_key=key), key)
    assert parts()["denoising"] > 0


@pytest.mark.edits
def test_an_edit_tells_the_pace(host, monkeypatch):
    learned = []
    learn = cost.learn
    monkeypatch.setattr(cost, "learn", lambda *given: (learned.append(given), learn(*given)))
    edited(host, request(host))
    ((plan, model, report, peak),) = learned
    assert cost.seconds(plan, model) == pytest.approx(report.seconds, abs=0.01)
    assert not peak, "a process's peak on a CPU is not the edit's"
    assert plan == report.plan


@pytest.mark.parametrize(("before", "peak", "told"), [(0, 5, 5), (5, 5, 0), (3, 9, 9)])
def test_a_gpus_peak_is_the_edits_if_it_rose_in_it(host, gpu, monkeypatch, before, peak, told):
    from msbd.webui.run import EditRun

    learned = []
    monkeypatch.setattr(cost, "learn", lambda *given: learned.append(given))
    job = EditRun(request(host), lambda: 1 / 0)
    job.plan, job.settings = planned()
    job.learn(Report(job.plan, job.settings, 0, peak_memory_bytes=peak), before)
    assert learned[0][-1] == told


@pytest.mark.edits
def test_a_picture_is_not_lost_by_learning(host, monkeypatch):
    def learn(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cost, "learn", learn)
    assert edited(host, request(host)).images


class TestLimit:
    def limited(self, host: Host, gib: float, **values: Any) -> Any:
        from msbd.webui.limit import limited

        host.shared.opts.msbd_memory_limit = gib
        settings = planned(**values)[1]

        def plan(some: EditSettings) -> EditPlan:
            changed = (some, "tile_size"), (some.ablation, "decoder_checkpointing")
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
        assert settings.tile_size == fits and plan == planned(tile_size=fits)[0]
        change = f"{SETTINGS['tile_size'].label} lowered from 4 to {fits:g}"
        assert notes == [f"{change} to keep within the memory limit of {limit:g} GiB"]

    def test_the_decoder_is_checkpointed_before_tiles_shrink(self, host):
        host.shared.opts.ESRGAN_tile = 16
        plain, with_it = (
            parts(tile_size=4.0, decoder_checkpointing=on)[FITTING] for on in (False, True)
        )
        assert with_it < 0.8 * plain
        limit = (plain - 1) / 2**30
        _, (settings, plan, notes) = self.limited(host, limit, tile_size=4.0)
        assert settings.ablation.decoder_checkpointing and settings.tile_size == 4.0
        assert plan.stages[-1].decoder_checkpointing
        change = f"{SETTINGS['decoder'].label} made slower"
        assert notes == [f"{change} to keep within the memory limit of {limit:g} GiB"]
        _, (settings, _, notes) = self.limited(host, (with_it - 1) / 2**30, tile_size=4.0)
        assert settings.ablation.decoder_checkpointing and settings.tile_size < 4.0
        assert len(notes) == 2 and "lowered" in notes[1]

    def test_a_size_between_two_steps_goes_to_the_next_lower_step(self, host):
        values = {"decoder": "off", "candidates": 1, "upscaler": "Lanczos"}
        limit = (max(parts(tile_size=1.8, **values).values()) - 1) / 2**30
        _, (settings, _, notes) = self.limited(host, limit, tile_size=1.8, **values)
        assert settings.tile_size == 1.5 and "from 1.8 to 1.5" in notes[0]

    def test_if_nothing_fits_the_user_is_told_what_to_change(self, host):
        with pytest.raises(EditError, match=r"needs about .* GiB .*limit.* GiB: .*raise the limit"):
            self.limited(host, 1e-6)
        with pytest.raises(EditError, match=r"another upscaler"):
            self.limited(host, 1e-6, upscaler="R-ESRGAN 4x+")
        with pytest.raises(EditError, match=r"candidates|set it to off|medvram"):
            self.limited(host, 1e-6, upscaler="Lanczos")
