"""The dry run and the notes on conflicts, on the stand-in of the WebUI."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from standin import Host, installed
from standin.desk import QUICK, THREE_STAGES, edited, mask_of, photograph, reports, request

from msbd.errors import EditError

EVERYWHERE = (slice(None), slice(None))


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def inputs_of(size: tuple[int, int] = (70, 96), box: Any = (slice(20, 50), slice(30, 66))) -> Any:
    from msbd.webui.inputs import prepared

    return prepared([photograph(*size)], mask_of(size, box), invert=False)


def dry(size: Any = (70, 96), box: Any = (slice(20, 50), slice(30, 66)), **changes: Any) -> Any:
    """A dry run of `standin.desk.request`'s edit."""
    from msbd.webui.dry_run import dry_run
    from msbd.webui.fields import chosen, with_the_hosts
    from msbd.webui.options import defaults

    given = {"sampler_name": "Euler a", "count": 1}
    host = {"steps": 4, "feather": 2, "strength": 0.75, "masked_content": 1}
    host |= {name: changes.pop(name) for name in host.keys() & changes.keys()}
    choice = chosen([{**QUICK, **changes.pop("fields", {})}], defaults())
    wanted = with_the_hosts(choice.settings, False, "a star", **host)
    return dry_run(inputs_of(size, box), wanted, **{**given, **changes})


def notes(sampler_name: str = "Euler a", inputs: Any = None, *rest: Any) -> str:
    from msbd.webui.conflicts import conflicts

    return "\n".join(conflicts(sampler_name, inputs, *rest))


def plain(values: Any) -> Any:
    """As it arrives by the API; fails if it cannot be sent."""
    return json.loads(json.dumps(values, allow_nan=False))


class TestDryRun:
    @pytest.mark.edits
    @pytest.mark.parametrize("sampler", ["Euler a", "Heun", "DDIM"])
    def test_the_plan_is_that_of_the_edit(self, host, sampler):
        p = request(host, **THREE_STAGES, sampler_name=sampler)
        done = reports(edited(host, p))[0]
        planned = dry(**THREE_STAGES, sampler_name=sampler)
        assert plain(planned.plan.to_dict()) == done["plan"]
        settings = planned.to_dict()["settings"]
        assert settings == {name: done["settings"][name] for name in settings}
        assert set(done["settings"]) == set(settings)

    @pytest.mark.edits
    def test_so_it_is_with_a_memory_limit(self, host):
        wide = {"tile_size": 4.0, "margin": 4.0, "upscaler": "Lanczos"}
        wide["decoder_checkpointing"] = True  # the first thing that would be done
        needed = max(dry(**THREE_STAGES, fields=wide).memory.values())
        host.shared.opts.msbd_memory_limit = needed / 2**30 * 0.99
        planned = dry(**THREE_STAGES, fields=wide)
        assert planned.settings.tile_size < 4 and "lowered" in planned.text()
        done = reports(edited(host, request(host, **THREE_STAGES), **wide))[0]
        assert plain(planned.plan.to_dict()) == done["plan"]

    def test_the_text_says_what_will_be_done_and_what_it_takes(self, host):
        planned = dry(**THREE_STAGES, count=3)
        text = planned.text().splitlines()
        assert text[0] == planned.headline and "96x96" in text[0]
        for line, stage in zip(text[1:], planned.plan.stages, strict=False):
            assert str(stage.size) in line
        assert "for all 3 pictures" in planned.text() and "GiB of memory" in planned.text()
        assert planned.to_dict()["headline"] == planned.headline

    def test_a_mask_of_few_pixels_is_told_of(self, host):
        (note,) = (note for note in dry().notes if "Your mask has only" in note)
        assert "paint a larger mask" in note

    def test_one_picture_goes_without_saying(self, host):
        assert "for all" not in dry().text()

    def test_the_answer_is_plain_json(self, host):
        answer = plain(dry(count=2).to_dict())
        assert answer["count"] == 2 and answer["stages"] and answer["text"]
        assert answer["estimate"]["memory_bytes"] == max(
            answer["estimate"]["memory_bytes_by_work"].values()
        )

    @pytest.mark.parametrize("size", [(70, 96), (60, 900), (900, 60), (1500, 2400)])
    def test_the_drawing_fits_a_gallery_whatever_the_picture(self, host, size):
        box = (slice(20, 40), slice(20, 40))
        picture = dry(size, box).picture
        assert picture.mode == "RGB" and picture.width == 1200 and picture.height < 2200

    def test_it_is_drawn_once_and_only_if_asked(self, host, monkeypatch):
        from msbd.webui import dry_run

        drawn = []
        draw = dry_run.draw_plan
        monkeypatch.setattr(dry_run, "draw_plan", lambda *a: (drawn.append(a), draw(*a))[1])
        planned = dry()
        planned.to_dict()
        assert not drawn
        assert planned.picture is planned.picture and len(drawn) == 1

    def test_no_network_is_run_for_it(self, host, monkeypatch):
        monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: 1 / 0)
        assert dry(**THREE_STAGES).seconds > 0 and not host.calls

    def test_it_leaves_everything_as_it_was(self, host):
        host.begin()
        state = torch.get_rng_state()
        weights = copy.deepcopy(host.model.state_dict())
        options = dict(host.shared.opts.data)
        status = dict(vars(host.shared.state))
        dry()
        assert torch.equal(torch.get_rng_state(), state)
        assert all(torch.equal(host.model.state_dict()[k], v) for k, v in weights.items())
        assert not any(p.requires_grad for p in host.model.parameters())
        assert host.shared.opts.data == options and vars(host.shared.state) == status

    @pytest.mark.parametrize(
        ("changes", "word"),
        [
            ({"steps": 151}, "steps"),
            ({"feather": 200}, "feather"),
            ({"fields": {"upscaler": "Nonesuch"}}, "Nonesuch"),
            ({"fields": {"candidates": 99}}, "candidates"),
        ],
    )
    def test_what_a_user_can_mend_is_an_edit_error(self, host, changes, word):
        with pytest.raises(EditError, match=word):
            dry(**changes)

    def test_sdxl_is_refused(self, host):
        host.model.is_sdxl = True
        with pytest.raises(EditError, match="SDXL"):
            dry()

    def test_interpolation_is_an_upscaler(self, host):
        for name in ("Bilinear", "lanczos"):
            assert dry(**THREE_STAGES, fields={"upscaler": name}).plan.stages

    @pytest.mark.parametrize(
        ("seconds", "words"),
        [(0.2, "1 s"), (39.6, "40 s"), (119, "119 s"), (150, "2 min"), (7000, "117 min"),
         (9000, "2.5 h")],
    )  # fmt: skip
    def test_durations_in_words(self, host, seconds, words):
        from msbd.webui.dry_run import in_words

        assert in_words(seconds) == words


class TestConflicts:
    def test_nothing_is_said_where_nothing_is_wrong(self, host):
        assert notes() == ""
        assert notes("Euler a", inputs_of()) == ""
        p = request(host)
        assert notes("Euler a", inputs_of(), p) == ""

    def test_a_replaced_sampler_is_named(self, host):
        assert "Euler a is used in place of DDIM" in notes("DDIM")

    def test_multistep_samplers_have_no_use_of_their_history_under_repaint(self, host):
        def said(sampler: str, repeats: int) -> bool:
            found = dry(sampler_name=sampler, fields={"resampling_steps": repeats})
            return any("DPM++ 2M cannot" in note for note in found.notes)

        assert said("DPM++ 2M", 1) and said("UniPC", 1)
        assert not said("DPM++ 2M", 0) and not said("Heun", 1)

    def test_small_pictures_and_large_masks(self, host):
        small = inputs_of((30, 40), (slice(5, 20), slice(5, 20)))
        assert "smaller than the 32 pixels" in notes("Euler a", small)
        assert "covers nearly the whole" in notes("Euler a", inputs_of(box=EVERYWHERE))

    def test_the_resolution_of_the_settings_counts(self, host):
        host.shared.opts.msbd_resolution = 128
        assert "smaller than the 128 pixels" in notes("Euler a", inputs_of())

    def test_tiled_vae(self, host):
        decoder = host.model.first_stage_model.decoder
        decoder.original_forward = decoder.forward
        assert "Tiled VAE" in notes()

    def test_other_families(self, host):
        host.model.is_sdxl = True
        assert "SDXL checkpoints are not supported" in notes()

    def test_no_checkpoint_is_loaded_for_it(self, host, monkeypatch):
        data, loaded = host.sd_models.model_data, []
        data.sd_model, data.was_loaded_at_least_once = None, False
        monkeypatch.setattr(host.sd_models, "load_model", lambda: loaded.append(True))
        assert notes("DDIM", inputs_of()).startswith("Euler a is used")
        assert not loaded

    def test_the_hosts_options(self, host):
        host.shared.opts.img2img_color_correction = True
        assert "Not used: Color correction." in notes()
        host.shared.opts.face_restoration = True
        assert "Not used: Restore faces." in notes()

    def test_the_requests_own_settings(self, host):
        p = request(host)
        p.tiling = True
        assert "Tiling" in notes("Euler a", None, p)

    @pytest.mark.parametrize(
        ("unit", "expected"),
        [
            (SimpleNamespace(enabled=True), True),
            (SimpleNamespace(enabled=False), False),
            ({"enabled": True}, True),
            ({"enabled": False}, False),
            ({"model": "canny"}, True),
            (None, False),
        ],
    )
    def test_controlnet(self, host, unit, expected):
        script = SimpleNamespace(title=lambda: "ControlNet", args_from=1, args_to=2)
        scripts = SimpleNamespace(alwayson_scripts=[script])
        p = SimpleNamespace(scripts=scripts, script_args=[0, unit, SimpleNamespace(enabled=True)])
        assert ("ControlNet" in notes("Euler a", None, p)) is expected
