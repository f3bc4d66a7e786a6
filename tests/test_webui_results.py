"""What comes back besides the picture: further pictures, report, infotext, files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import THREE_STAGES, TITLE, edited, pixels, reports, request

from msbd import __version__

pytestmark = pytest.mark.edits


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        from msbd.webui import options

        options.register()
        yield started


def want(host: Host, **kinds: str) -> None:
    """Set the panel: what to do with candidates, stages, sheet."""
    for kind, what in kinds.items():
        setattr(host.shared.opts, f"msbd_{kind}", what)


def kinds(processed: Any) -> list[str]:
    """What each of the result's pictures is, by its infotext."""
    found = []
    for picture in processed.images:
        text = picture.info["parameters"]
        found.append(text.partition("MSBD picture: ")[2].split(",")[0] or "picture")
    return found


class TestFurtherPictures:
    def test_by_default_there_is_only_the_result(self, host):
        assert kinds(edited(host, request(host))) == ["picture"]

    def test_candidates_stages_and_sheet_follow_in_this_order(self, host):
        want(host, sheet="show", stages="show", candidates="show")
        processed = edited(host, request(host, **THREE_STAGES))
        assert kinds(processed) == [
            "picture",
            "candidate 1 (chosen)",
            "candidate 2",
            "stage 1: 32x32",
            "stage 2: 48x48",
            "stage 3: 96x96",
            "sheet",
        ]
        assert {one.size for one in processed.images[:6]} == {(140, 120)}

    def test_of_several_pictures_the_hosts_come_first_with_their_grid(self, host):
        want(host, stages="show", candidates="show")
        processed = edited(host, request(host, n_iter=2))
        of_each = ["candidate 1 (chosen)", "candidate 2", "stage 1: 32x32", "stage 2: 48x48"]
        assert kinds(processed) == ["picture"] * 3 + of_each * 2
        assert processed.index_of_first_image == 1
        seeds = [f"Seed: {seed}," for seed in (5, 6) for _ in of_each]
        for text, seed in zip(processed.infotexts[3:], seeds, strict=True):
            assert seed in text

    def test_every_picture_has_its_infotext(self, host):
        want(host, candidates="show", sheet="show")
        host.shared.opts.return_mask = True
        processed = edited(host, request(host, batch_size=2))
        assert len(processed.images) == len(processed.infotexts)

    def test_only_what_is_to_be_saved_is(self, host):
        want(host, candidates="show and save", stages="show", sheet="show and save")
        edited(host, request(host, n_iter=2))
        extras = [one for one in host.saved if "msbd" in one.suffix]
        assert [one.suffix.split("-")[2] for one in extras] == ["candidates"] * 2 + ["sheet"] + [
            "candidates"
        ] * 2 + ["sheet"]
        assert [one.seed for one in extras] == [5] * 3 + [6] * 3
        assert all("MSBD picture: " in one.info and one.path == "samples" for one in extras)
        assert len({(one.seed, one.suffix) for one in extras}) == len(extras)
        plain = [one for one in host.saved if "msbd" not in one.suffix]
        assert [one.grid for one in plain] == [False, False, True]

    @pytest.mark.parametrize("refuse", ["samples_save", "do_not_save_samples"])
    def test_nothing_is_saved_if_the_host_saves_nothing(self, host, refuse):
        want(host, candidates="show and save")
        changes = {}
        if refuse == "samples_save":
            host.shared.opts.samples_save = False
        else:
            changes["do_not_save_samples"] = True
        processed = edited(host, request(host, **changes))
        assert len(processed.images) == 3
        assert host.saved == []

    def test_override_settings_hold_for_saving_too(self, host):
        want(host, candidates="show and save")
        settings = {"samples_save": False}
        edited(host, request(host, override_settings=settings))
        assert host.saved == []

    def test_an_interrupted_edit_shows_what_there_is(self, host):
        want(host, stages="show", sheet="show")
        calls = 2 * 4 + 1
        host.before_call(lambda n: host.shared.state.interrupt() if n == calls else None)
        assert kinds(edited(host, request(host, **THREE_STAGES))) == [
            "picture",
            "stage 1: 32x32",
            "sheet",
        ]

    def test_looking_does_not_change_the_result(self, host):
        plain = pixels(edited(host, request(host)).images[0])
        want(host, candidates="show", stages="show", sheet="show")
        assert np.array_equal(pixels(edited(host, request(host)).images[0]), plain)
        host.shared.opts.live_previews_enable = False
        want(host, candidates="no", stages="no", sheet="no")
        assert np.array_equal(pixels(edited(host, request(host)).images[0]), plain)


class TestReport:
    def test_info_carries_one_per_picture(self, host):
        processed = edited(host, request(host, batch_size=2, n_iter=2))
        assert [one["seed"] for one in reports(processed)] == [5, 6, 7, 8]
        facts = json.loads(processed.js())
        assert facts["all_seeds"] == [5, 6, 7, 8] and facts["width"] == 96

    def test_says_what_was_done(self, host):
        report = reports(edited(host, request(host, **THREE_STAGES)))[0]
        assert report["version"] == __version__
        assert [stage["size"] for stage in report["stages"]] == ["32x32", "48x48", "96x96"]
        assert report["settings"]["candidates"] == 2 and report["settings"]["steps"] == 4
        assert report["settings"]["feather"] == 2
        assert report["outside_max_difference"] == 0 and not report["interrupted"]
        assert report["host"] == {
            "sampler": "Euler a", "scheduler": "Automatic", "cfg_scale": 1.0
        }  # fmt: skip
        assert not {"sampler", "guidance"} & set(report["settings"])

    def test_is_told_in_words_below_the_gallery(self, host):
        comments = edited(host, request(host)).comments
        assert re.match(
            r"Painted in 2 stages, \d+ s\. Nothing outside the mask changed\.\n", comments
        )

    def test_tells_the_pictures_apart(self, host):
        comments = edited(host, request(host, n_iter=2)).comments
        assert "Picture 1: Painted" in comments and "Picture 2: Painted" in comments

    def test_comments_of_the_host_stay(self, host):
        p = request(host)
        p.comment("from elsewhere")
        assert edited(host, p).comments.startswith("from elsewhere\n")


class TestJudgement:
    """CLIP's choice, with a ranker that knows what it likes."""

    def judged(self, host: Host, monkeypatch: pytest.MonkeyPatch, **ranker: Any) -> Any:
        from msbd.webui import run

        told = SimpleNamespace(source=None, reason=None, seen=[])

        def score(images: torch.Tensor, prompt: str) -> torch.Tensor:
            told.seen.append(prompt)
            return torch.tensor([0.1, 0.3])

        told.score = score
        vars(told).update(ranker)
        monkeypatch.setattr(run, "ranker", lambda: told)
        want(host, candidates="show")
        p = request(host, prompt="a (red:1.2) star <lora:x:1>", batch_size=2, do_not_save_grid=True)
        return edited(host, p, choose="clip"), told

    def test_the_best_goes_on_and_scores_are_shown(self, host, monkeypatch):
        processed, told = self.judged(host, monkeypatch)
        assert told.seen == ["a red star"] * 2
        assert [report["parts"][0]["chosen"] for report in reports(processed)] == [1, 1]
        assert np.allclose(reports(processed)[0]["parts"][0]["scores"], [0.1, 0.3])
        shown = [one.info["parameters"] for one in processed.images[2:]]
        assert ["(chosen)" in text for text in shown] == [False, True] * 2
        assert all("0.3" in text for text in shown[1::2])
        assert "Candidate 2 of 2 was nearest to the prompt." in processed.comments

    def test_without_clip_the_first_goes_on_and_the_user_is_told(self, host, monkeypatch):
        absent = {"reason": "CLIP cannot be used: no file", "score": lambda images, prompt: None}
        processed, _ = self.judged(host, monkeypatch, **absent)
        assert [report["parts"][0]["chosen"] for report in reports(processed)] == [0, 0]
        assert "CLIP cannot be used: no file" in processed.comments
        assert all("CLIP cannot" in " ".join(one["notes"]) for one in reports(processed))

    def test_nobody_is_asked_for_the_first_of_them(self, host, monkeypatch):
        from msbd.webui import run

        silent = SimpleNamespace(source=None, reason="no CLIP model is chosen", score=None)
        monkeypatch.setattr(run, "ranker", lambda: silent)
        processed = edited(host, request(host), choose="first")
        assert "CLIP" not in processed.comments


class TestInfotext:
    def parsed(self, host: Host, text: str) -> dict[str, str]:
        return host.infotext_utils.parse_generation_parameters(text)

    def test_holds_what_differs_from_the_preset(self, host):
        text = edited(host, request(host), preset="fast", margin=1.5).infotexts[0]
        found = self.parsed(host, text)
        assert found["Script"] == TITLE
        assert found["MSBD version"] == __version__ and found["MSBD preset"] == "fast"
        assert found["MSBD margin"] == "1.5" and found["MSBD candidates"] == "2"
        assert found["Mask blur"] == "2"
        assert "MSBD growth per stage" not in found
        assert (found["Size-1"], found["Size-2"]) == ("96", "70")

    def test_gives_the_same_choice_when_read_again(self, host):
        from msbd.webui.fields import FIELDS
        from msbd.webui.infotext import parsed

        fields = {"preset": "draft", "upscaler": "Lanczos", "lowpass_background": False,
                  "decoder_rate": 5e-5, "tile_size": 1.25}  # fmt: skip
        processed = edited(host, request(host), **fields)
        choice = parsed(self.parsed(host, processed.infotexts[0]))
        settings = reports(processed)[0]["settings"]
        assert choice.preset == "draft"
        flat = choice.settings.decided(False, "a red star").flat()
        assert all(flat[name] == settings[name] for name in FIELDS[1:])

    def test_further_pictures_have_it_too(self, host):
        want(host, stages="show")
        processed = edited(host, request(host))
        for text in processed.infotexts[1:]:
            assert self.parsed(host, text)["MSBD preset"] == "paper"

    def test_masks_of_the_hosts_are_marked_as_ever(self, host):
        p = request(host, inpainting_mask_invert=1, box=(slice(5, 60), slice(5, 90)))
        assert self.parsed(host, edited(host, p).infotexts[0])["Mask mode"] == "Inpaint not masked"
        plain = self.parsed(host, edited(host, request(host)).infotexts[0])
        assert "Mask mode" not in plain

    def test_settings_of_the_panel_are_what_was_used(self, host):
        host.shared.opts.msbd_tile_size = 2.0
        processed = edited(host, request(host))
        assert reports(processed)[0]["settings"]["tile_size"] == 2.0
        assert self.parsed(host, processed.infotexts[0])["MSBD tile size"] == "2.0"

    def test_the_initial_picture_is_saved_as_the_host_would(self, host):
        host.shared.opts.save_init_img = True
        p = request(host)
        processed = edited(host, p)
        assert self.parsed(host, processed.infotexts[0])["Init image hash"] == p.init_img_hash
        assert host.saved[0].image is p.init_images[0]


def test_lists_of_the_default_preset_come_from_the_panel(host):
    host.shared.opts.msbd_preset = "draft"
    processed = edited(host, request(host))
    assert "MSBD preset: draft" in processed.infotexts[0]
