"""A press of Generate with the script selected, on the stand-in of the WebUI."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import (
    THREE_STAGES,
    TITLE,
    before,
    edited,
    inside,
    mask_of,
    photograph,
    pixels,
    plainly,
    reports,
    request,
    touched,
)
from standin.model import LatentDiffusion

from msbd.errors import EditError

pytestmark = pytest.mark.edits

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def colour_of(picture: Any, p: Any) -> np.ndarray:
    """Mean colour inside the mask."""
    return pixels(picture)[inside(p)].mean(0) / 255


def in_stage(host: Host, number: int, act: Any) -> None:
    """Call `act()` once, when stage `number` (from 1) calls the network for the first time."""
    waiting = [act]

    def happens(calls: int) -> None:
        if waiting and re.search(rf"\b{number} of \d+: ", host.shared.state.textinfo or ""):
            waiting.pop()()

    host.before_call(happens)


@pytest.mark.parametrize("size", [(70, 96), (67, 101), (53, 65)])
@pytest.mark.parametrize("blur", [0, 3])
def test_the_mask_is_repainted_and_every_other_byte_is_the_pictures(host, size, blur):
    p = request(host, size, mask_blur=blur)
    result = pixels(edited(host, p).images[0])
    outside = ~touched(p)
    assert np.array_equal(result[outside], before(p)[outside])
    assert np.abs(result[inside(p)].mean(0) / 255 - RED).max() < 0.1
    assert (result[inside(p)] != before(p)[inside(p)]).any()


def test_of_two_different_blurs_the_wider_is_the_soft_edge(host):
    p = request(host)
    p.mask_blur_x, p.mask_blur_y = 0, 3
    processed = edited(host, p)
    assert reports(processed)[0]["settings"]["feather"] == 3
    assert np.array_equal(pixels(processed.images[0])[~touched(p)], before(p)[~touched(p)])


def test_the_result_has_the_pictures_own_size_whatever_the_sliders_say(host):
    p = request(host, (67, 101), width=512, height=768)
    processed = edited(host, p)
    assert processed.images[0].size == (101, 67)
    assert "Size: 101x67" in processed.infotexts[0]
    assert (p.width, p.height) == (512, 768)
    assert all(max(shape[-2:]) <= 48 for shape in host.model.first_stage_model._encoded)


def test_the_same_request_gives_the_same_bytes_and_another_seed_others(host):
    first, again, other = (
        pixels(edited(host, request(host, seed=seed)).images[0]) for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_batch_of_batches_equals_single_runs(host):
    p = request(host, batch_size=2, n_iter=2, do_not_save_grid=True)
    processed = edited(host, p)
    assert processed.all_seeds == [5, 6, 7, 8]
    singles = [edited(host, request(host, seed=seed)).images[0] for seed in (5, 6, 7, 8)]
    assert len(processed.images) == 4
    for picture, single in zip(processed.images, singles, strict=True):
        assert np.array_equal(pixels(picture), pixels(single))
    assert [report["seed"] for report in reports(processed)] == [5, 6, 7, 8]


def test_variation_goes_from_one_seed_to_the_other(host):
    def result(**seeds: Any) -> np.ndarray:
        return pixels(edited(host, request(host, **seeds)).images[0])

    plain, other = result(seed=5), result(seed=9)
    assert np.array_equal(result(seed=5, subseed=9, subseed_strength=0.0), plain)
    assert np.array_equal(result(seed=5, subseed=9, subseed_strength=1.0), other)
    between = result(seed=5, subseed=9, subseed_strength=0.5)
    assert not np.array_equal(between, plain) and not np.array_equal(between, other)


def test_variations_of_a_batch_share_the_seed_and_count_the_other(host):
    varied = {"subseed_strength": 0.5, "do_not_save_grid": True}
    both = edited(host, request(host, batch_size=2, **varied))
    second = edited(host, request(host, subseed=10, **varied))
    assert np.array_equal(pixels(both.images[1]), pixels(second.images[0]))


def test_every_picture_gets_its_own_prompts(host):
    prompts = ["a red star", "a blue star", "red AND blue :0", "a [red:blue:0.0] star"]
    p = request(host, prompt=prompts, batch_size=2, n_iter=2, do_not_save_grid=True)
    processed = edited(host, p)
    wanted = [RED, BLUE, RED, BLUE]
    for picture, colour in zip(processed.images, wanted, strict=True):
        assert np.abs(colour_of(picture, p) - colour).max() < 0.1
    assert [text.split("\n")[0] for text in processed.infotexts] == prompts


def test_guidance_leads_away_from_the_negative_prompt(host):
    p = request(host, prompt="grey", negative_prompt="a red star", cfg_scale=1.25)
    without = request(host, prompt="grey", cfg_scale=1.25)
    led, plain = (colour_of(edited(host, one).images[0], one) for one in (p, without))
    assert led[0] < plain[0] - 0.05 and led[1] > plain[1] + 0.05


def test_extra_networks_work_and_are_not_part_of_the_prompt(host):
    told: list[str] = []

    class Lora(host.extra_networks.ExtraNetwork):
        def activate(self, p, params_list):
            told.extend(f"+{one.positional}" for one in params_list)

        def deactivate(self, p):
            told.append("-")

    host.extra_networks.register_extra_network(Lora("lora"))
    p = request(host, prompt="a blue star <lora:thing:0.5>")
    processed = edited(host, p)
    assert told == ["+['thing', '0.5']", "-"]
    assert np.abs(colour_of(processed.images[0], p) - BLUE).max() < 0.1


def test_several_pictures_are_edited_with_one_mask(host):
    given = [photograph(70, 96, seed) for seed in (1, 2)]
    p = request(host, init_images=given, batch_size=2, do_not_save_grid=True)
    processed = edited(host, p)
    outside = ~touched(p)
    for index, picture in enumerate(processed.images):
        assert np.array_equal(pixels(picture)[outside], before(p, index)[outside])


def test_an_inverted_mask_repaints_the_rest(host):
    box = (slice(10, 60), slice(10, 86))
    p = request(host, box=box, mask_blur=0, inpainting_mask_invert=1)
    processed = edited(host, p)
    kept = inside(p)
    result = pixels(processed.images[0])
    assert np.array_equal(result[kept], before(p)[kept])
    assert (result[~kept] != before(p)[~kept]).mean() > 0.9
    assert "Mask mode: Inpaint not masked" in processed.infotexts[0]


def test_the_mask_of_the_ui_is_its_opacity(host):
    white = mask_of((70, 96), (slice(20, 50), slice(30, 66)))
    rgba = photograph(70, 96).convert("RGBA")
    rgba.putalpha(white)
    by_opacity, by_brightness = (
        pixels(edited(host, request(host, mask=mask)).images[0]) for mask in (rgba, white)
    )
    assert np.array_equal(by_opacity, by_brightness)


def test_what_other_samplers_would_do_is_said(host):
    for name in ("DDIM", "PLMS", "UniPC", "DPM fast"):
        processed = edited(host, request(host, sampler_name=name))
        assert f"in place of {name}" in processed.comments
        assert any(f"in place of {name}" in note for note in reports(processed)[0]["notes"])


@pytest.mark.parametrize(
    "name", ["Euler a", "Euler", "Heun", "LMS", "DPM++ 2M", "DPM++ 2M SDE Heun", "DDIM"]
)
@pytest.mark.parametrize("scheduler", ["Automatic", "Karras", "SGM Uniform"])
def test_all_samplers_and_schedules_paint_the_prompt_and_the_plan_counts_their_calls(
    host, name, scheduler
):
    p = request(host, sampler_name=name, scheduler=scheduler)
    processed = edited(host, p)
    assert np.abs(colour_of(processed.images[0], p) - RED).max() < 0.1
    network = sum(call.shape[0] for call in host.calls) / 2  # with and without prompt
    assert (
        network
        == reports(processed)[0]["model_calls"]
        == reports(processed)[0]["plan"]["model_calls"]
    )


def test_override_settings_are_in_force_inside_and_undone_after(host):
    from msbd.webui import options

    options.register()
    p = request(host, override_settings={"msbd_stages": "show", "msbd_resolution": 64})
    processed = edited(host, p)
    assert len(processed.images) > 1
    assert reports(processed)[0]["plan"]["resolution"] == 64
    assert host.shared.opts.msbd_stages == "no" and host.shared.opts.msbd_resolution == 0


def test_another_checkpoint_may_be_asked_for(host):
    other, ours = host.load(LatentDiffusion(resolution=48), "other"), host.load(LatentDiffusion())
    p = request(host, override_settings={"sd_model_checkpoint": "other"})
    processed = edited(host, p)
    assert reports(processed)[0]["plan"]["resolution"] == 48
    assert other._calls and not ours._calls


def test_inpainting_checkpoints_see_the_mask_and_what_it_does_not_cover(host):
    host.load(LatentDiffusion(conditioning_key="hybrid"), "inpainting")
    p = request(host, **THREE_STAGES)
    processed = edited(host, p)
    assert np.abs(colour_of(processed.images[0], p) - RED).max() < 0.1
    covers = [call.concat[:, :1] for call in host.calls]
    assert all(set(cover.unique().tolist()) <= {0.0, 1.0} and cover.any() for cover in covers)
    hidden = torch.cat([call.concat[0, 1:][:, call.concat[0, 0] == 1] for call in host.calls], 1)
    assert hidden.abs().mean() < 0.05  # grey


def test_models_that_predict_v_paint_as_well(host):
    host.load(LatentDiffusion(parameterization="v"), "v")
    host.model.is_sd2 = False
    p = request(host)
    assert np.abs(colour_of(edited(host, p).images[0], p) - RED).max() < 0.1


def test_with_medvram_the_result_is_the_same(host):
    plain = pixels(edited(host, request(host)).images[0])
    host.shared.cmd_opts.medvram = host.model.lowvram = True
    host.shared.parallel_processing_allowed = False
    assert np.array_equal(pixels(edited(host, request(host)).images[0]), plain)


def test_scripts_of_others_see_the_whole_picture(host):
    seen: dict[str, Any] = {}

    class Witness(host.scripts.Script):
        title = staticmethod(lambda: "witness")

        def post_sample(self, p, ps, *args):
            seen["decoded"] = ps.samples.already_decoded, len(ps.samples), ps.samples[0].shape

        def postprocess_batch(self, p, *args, **kwargs):
            seen["batch"] = kwargs["images"].shape

        def postprocess_image(self, p, pp, *args):
            seen["image"] = pp.image.size

        def postprocess_image_after_composite(self, p, pp, *args):
            seen["compositing"] = pp.image.size

    runner = host.scripts.ScriptRunner()
    runner.alwayson_scripts.append(Witness())
    p = request(host, (67, 101), batch_size=2)
    p.scripts, p.script_args = runner, [0]
    edited(host, p)
    assert seen == {
        "decoded": (True, 2, (3, 67, 101)),
        "batch": (2, 3, 67, 101),
        "image": (101, 67),
        "compositing": (101, 67),
    }
    assert host.errors.exception_records == []


def test_the_hosts_own_pictures_of_masks_have_the_pictures_size(host):
    host.shared.opts.return_mask = host.shared.opts.return_mask_composite = True
    p = request(host, (67, 101), do_not_save_grid=True)
    processed = edited(host, p)
    assert [picture.size for picture in processed.images] == [(101, 67)] * 3
    assert len(processed.infotexts) == len(processed.images)
    assert np.array_equal(pixels(processed.images[1])[..., 0] > 0, inside(p))


def test_generating_without_the_script_is_as_before(host):
    def generated() -> np.ndarray:
        torch.manual_seed(0)  # the host draws latents from the autoencoder's posterior
        return pixels(plainly(host, request(host)).images[0])

    first = generated()
    edited(host, request(host))
    assert np.array_equal(generated(), first)


class TestInterruption:
    """Nothing that is finished is thrown away, and the user is told."""

    @pytest.mark.parametrize("stage", [2, 3])
    def test_the_last_finished_stage_is_pasted_at_full_size(self, host, stage):
        in_stage(host, stage, host.shared.state.interrupt)
        p = request(host, **THREE_STAGES)
        processed = edited(host, p)
        result, outside = pixels(processed.images[0]), ~touched(p)
        assert np.array_equal(result[outside], before(p)[outside])
        assert np.abs(colour_of(processed.images[0], p) - RED).max() < 0.1
        assert f"Stopped after stage {stage - 1} of 3: the picture shows" in processed.comments
        assert reports(processed)[0]["interrupted"]

    def test_before_the_first_stage_is_done_the_picture_comes_back(self, host):
        in_stage(host, 1, host.shared.state.interrupt)
        p = request(host)
        processed = edited(host, p)
        assert np.array_equal(pixels(processed.images[0]), before(p))
        assert "the picture is unchanged" in processed.comments

    def test_before_anything_runs_the_host_ends_as_ever(self, host):
        from msbd.webui.run import run

        p = request(host)
        host.begin()
        host.shared.state.interrupt()
        assert run(p, "title", []).images == []
        assert "init" not in vars(p)

    def test_no_further_picture_is_begun(self, host):
        in_stage(host, 2, host.shared.state.interrupt)
        processed = edited(host, request(host, batch_size=2, n_iter=2))
        assert len(processed.images) == 1

    @pytest.mark.parametrize("batch", [{"n_iter": 3}, {"batch_size": 3}])
    def test_the_first_click_lets_the_picture_be_finished(self, host, batch):
        in_stage(host, 1, host.shared.state.stop_generating)
        processed = edited(host, request(host, **batch))
        single = edited(host, request(host))
        assert len(processed.images) == 1
        assert np.array_equal(pixels(processed.images[0]), pixels(single.images[0]))
        assert not reports(processed)[0]["interrupted"]

    @pytest.mark.parametrize("batch", [{"n_iter": 3}, {"batch_size": 3}])
    def test_skip_goes_on_with_the_next_picture(self, host, batch):
        in_stage(host, 2, host.shared.state.skip)
        processed = edited(host, request(host, do_not_save_grid=True, **batch))
        assert [report["interrupted"] for report in reports(processed)] == [True, False, False]
        for seed in (6, 7):
            single = edited(host, request(host, seed=seed))
            assert np.array_equal(pixels(processed.images[seed - 5]), pixels(single.images[0]))

    def test_out_of_memory_after_a_stage_keeps_it(self, host):
        def fail() -> None:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

        in_stage(host, 2, fail)
        p = request(host)
        processed = edited(host, p)
        assert np.abs(colour_of(processed.images[0], p) - RED).max() < 0.1
        assert "Memory ran out in stage 2: it was done again in tiles of" in processed.comments

    def test_out_of_memory_in_the_first_stage_says_what_to_change(self, host):
        def fail() -> None:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

        in_stage(host, 1, fail)
        with pytest.raises(EditError, match="Tile size or Candidates"):
            edited(host, request(host), candidates=1)

    @pytest.mark.parametrize("fails", [0, 1])
    def test_a_picture_that_fails_leaves_those_before_it(self, host, monkeypatch, fails):
        """Of a batch; a first one that fails is refused."""
        from msbd.webui import run

        edit, asked = run.edit, []

        def failing(*given: Any, **named: Any) -> Any:
            asked.append(1)
            if len(asked) == fails + 1:
                raise EditError("the network gives NaN")
            return edit(*given, **named)

        monkeypatch.setattr(run, "edit", failing)
        p = request(host, batch_size=3, do_not_save_grid=True)
        if not fails:
            with pytest.raises(EditError, match="NaN"):
                edited(host, p)
            return
        processed = edited(host, p)
        assert [report["interrupted"] for report in reports(processed)] == [False, True, False]
        assert np.array_equal(pixels(processed.images[1]), before(p))
        assert "Picture 2: The network gives NaN: the picture is unchanged" in processed.comments

    def test_out_of_memory_with_several_candidates_makes_fewer_at_a_time(self, host):
        def fail() -> None:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

        whole = edited(host, request(host), candidates=3)
        in_stage(host, 1, fail)
        split = edited(host, request(host), candidates=3)
        assert np.array_equal(pixels(split.images[0]), pixels(whole.images[0]))


class TestProgress:
    """The host's bar: jobs done, and the share of the current edit_run."""

    def shares(self, host: Host, p: Any) -> list[float]:
        state, seen = host.shared.state, []

        def share() -> float:
            jobs = max(state.job_count, 1)
            part = state.sampling_step / state.sampling_steps if state.sampling_steps else 0
            return (state.job_no + min(part, 1)) / jobs

        host.before_call(lambda calls: seen.append(share()))
        advance = host.shared.total_tqdm.update

        def update() -> None:
            advance()
            seen.append(share())

        host.shared.total_tqdm.update = update
        edited(host, p)
        return [*seen, share()]

    @pytest.mark.parametrize("batch", [{}, {"batch_size": 2}, {"n_iter": 2}])
    def test_it_never_falls_and_ends_at_all(self, host, batch):
        seen = self.shares(host, request(host, **THREE_STAGES, **batch))
        assert seen == sorted(seen) and seen[-1] == 1
        assert np.diff(seen).max() < 0.3

    def test_the_consoles_total_is_reached(self, host):
        self.shares(host, request(host, n_iter=2))
        bar = host.shared.total_tqdm._tqdm
        assert bar.n == bar.total

    @pytest.mark.parametrize("steps", [(4, 9), (9, 4), (4, 4, 7)])
    def test_the_consoles_total_is_reached_by_a_plots_cells(self, host, steps):
        from msbd.webui.run import run

        host.begin()
        host.shared.state.job_count = 2 * len(steps)
        for count in steps:
            run(request(host, n_iter=2, steps=count), TITLE, [{"preset": "draft"}])
        bar = host.shared.total_tqdm._tqdm
        assert bar.n == bar.total

    def test_it_is_not_behind_after_an_early_end(self, host):
        in_stage(host, 2, host.shared.state.skip)
        seen = self.shares(host, request(host, n_iter=2))
        assert seen == sorted(seen) and seen[-1] == 1

    def test_stages_are_named_and_previewed(self, host):
        texts, previews = [], []
        state = host.shared.state

        def happens(calls: int) -> None:
            texts.append(state.textinfo)
            previews.append((state.id_live_preview, state.current_image))

        host.before_call(happens)
        edited(host, request(host, **THREE_STAGES))
        stages = [f"Stage {number} of 3" for number in (1, 2, 3)]
        assert list(dict.fromkeys(text.split(":")[0] for text in texts)) == stages
        assert len({number for number, _ in previews}) >= 3
        assert state.textinfo is None


class TestRefusals:
    """What a user can mend is said; the API answers 422."""

    CASES = (
        ({"candidates": 99}, {}, "candidates must be a whole number from 1 to 16"),
        ({"candidat": 2}, {}, "unknown field 'candidat'"),
        ({"steps": 20}, {}, "request's own field 'steps'"),
        ({"upscaler": "no such"}, {}, "no upscaler 'no such'"),
        ({}, {"mask": None}, "no mask"),
        ({}, {"mask": mask_of((70, 96), (slice(0), slice(0)))}, "the mask is empty"),
        ({}, {"mask": mask_of((32, 32), (slice(8, 20), slice(8, 20)))}, "32x32"),
        ({}, {"init_images": [None]}, "no picture"),
    )

    @pytest.mark.parametrize("fields, changes, words", CASES, ids=lambda case: str(case)[:20])
    def test_of_the_api(self, host, fields, changes, words):
        import fastapi

        p = request(host, **changes)
        p.is_api = True
        with pytest.raises(fastapi.HTTPException) as refused:
            edited(host, p, **fields)
        assert refused.value.status_code == 422 and words in refused.value.detail
        assert not {"init", "sample"} & set(vars(p))

    @pytest.mark.parametrize("fields, changes, words", CASES, ids=lambda case: str(case)[:20])
    def test_of_the_ui(self, host, fields, changes, words):
        with pytest.raises(EditError, match=words):
            edited(host, request(host, **changes), **fields)

    def test_of_other_families_of_checkpoints(self, host):
        host.model.is_sdxl = True
        with pytest.raises(EditError, match="SDXL"):
            edited(host, request(host))

    def test_other_errors_stay_what_they_are(self, host):
        def fail() -> None:
            raise ZeroDivisionError

        in_stage(host, 1, fail)
        p = request(host)
        p.is_api = True
        with pytest.raises(ZeroDivisionError):
            edited(host, p)


class TestArguments:
    """A request's list takes the place of the script's whole share of all scripts' values."""

    def through_the_api(self, host: Host, given: list[Any]) -> Any:
        from msbd.webui.fields import CONTROLS
        from msbd.webui.run import run

        class Edit(host.scripts.Script):
            title = staticmethod(lambda: "edit")
            args_from, args_to = 1, 1 + len(CONTROLS)

            def run(self, p, *args):
                return run(p, "edit", args)

        class Other(host.scripts.Script):
            title = staticmethod(lambda: "other")
            alwayson = True
            args_from, args_to = 1 + len(CONTROLS), 3 + len(CONTROLS)

        runner = host.scripts.ScriptRunner()
        runner.scripts = [Edit(), Other()]
        runner.selectable_scripts, runner.alwayson_scripts = runner.scripts[:1], runner.scripts[1:]
        values: list[Any] = [0, *[None] * len(CONTROLS), "other's", "values"]
        values[1 : 1 + len(CONTROLS)] = given
        values[0] = 1
        p = request(host)
        p.is_api = True
        p.scripts, p.script_args = runner, values
        host.begin()
        return runner.run(p, *values)

    def test_a_dictionary_is_enough(self, host):
        fields = {"preset": "draft", "margin": 1.5, "choose": "first"}
        report = reports(self.through_the_api(host, [fields]))[0]
        assert report["settings"]["margin"] == 1.5
        assert report["settings"]["candidates"] == 1

    def test_a_short_list_is_enough(self, host):
        report = reports(self.through_the_api(host, ["draft", 1.0, 1, 1.5]))[0]
        assert report["settings"]["margin"] == 1.5
        assert report["settings"]["resampling_steps"] == 1
        assert report["settings"]["upscaler"] == "R-ESRGAN 4x+"

    def test_a_list_of_an_older_version_is_whole(self, host):
        """Its end lies beyond the share of the arguments that the script is handed."""
        from msbd.webui.fields import OLD_CONTROLS

        given = ["draft", *[None] * (len(OLD_CONTROLS) - 1)]
        for name, value in {"growth": 2.0, "soft_edge": False, "repaint_until": 0.5}.items():
            given[OLD_CONTROLS.index(name)] = value
        settings = reports(self.through_the_api(host, given))[0]["settings"]
        assert (settings["growth"], settings["repaint_until"]) == (2.0, 0.5)
        assert "soft_edge" not in settings

    def test_too_long_a_list_is_refused(self, host):
        import fastapi

        with pytest.raises(fastapi.HTTPException) as refused:
            self.through_the_api(host, [None] * 30)
        assert refused.value.status_code == 422


def test_an_edit_of_one_stage_needs_no_upscaler(host):
    data = next(u for u in host.shared.sd_upscalers if u.name == "R-ESRGAN 4x+")
    data.local_data_path = None
    processed = edited(host, request(host, (40, 40), (slice(10, 20), slice(10, 20))), margin=1.0)
    assert len(reports(processed)[0]["stages"]) == 1
    with pytest.raises(EditError, match="weights are missing"):
        edited(host, request(host, **THREE_STAGES))


def test_more_pictures_than_the_batch_holds_are_refused(host):
    p = request(host, init_images=[photograph(70, 96), photograph(70, 96, seed=1)])
    with pytest.raises(EditError, match="raise batch_size"):
        edited(host, p)
