"""Edits that the WebUI keeps: candidates to choose from, going on, redoing, on the stand-in."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from standin import Host, installed
from standin.desk import (
    THREE_STAGES,
    TITLE,
    before,
    edited,
    photograph,
    pixels,
    reports,
    request,
)

from msbd.errors import EditError
from msbd.keeping.store import EditStore
from msbd.pictures.comparison import GAP, LINE

pytestmark = pytest.mark.edits
CHOOSING = {"preset": "recommended", "choose": "fit", "candidates": 3, "decoder": "last layer"}


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def root(host: Host) -> Path:
    return Path(host.paths_internal.data_path) / "msbd-edits"


def asked(host: Host, **changes: Any) -> Any:
    return request(host, **{**THREE_STAGES, **changes})


def id_of(processed: Any, index: int = 0) -> str:
    return reports(processed)[index]["edit_id"]


def calls_of(host: Host, act: Any) -> tuple[Any, int]:
    """What `act()` returns, and how many samples the network saw meanwhile."""
    start = len(host.calls)
    return act(), len(host.calls) - start


@pytest.mark.parametrize("early", [0.5, 1.0])
def test_candidates_are_chosen_and_one_goes_on(host, early):
    choosing = {**CHOOSING, "early_selection": early}
    p = asked(host)
    made = edited(host, p, **choosing, candidates_only=True)
    assert np.array_equal(pixels(made.images[0]), before(p))
    captions = [text.rpartition("MSBD picture: ")[2] for text in made.infotexts[1:]]
    assert len(made.images) == 4 and [c.split()[1] for c in captions] == ["1", "2", "3"]
    assert "Choose one of the candidates, and press Continue." in made.comments
    seen = set()
    for number in ("1", "3", "5"):
        done = edited(host, asked(host), **choosing, edit_id=id_of(made), candidate=number)
        alone = edited(host, asked(host), **choosing, candidate=number)
        ours, theirs = (pixels(one.images[0]).astype(int) for one in (done, alone))
        assert np.abs(ours - theirs).max() <= 1
        assert reports(done)[0]["parts"][0]["chosen"] == int(number) - 1
        assert f"MSBD candidate: {number}" in done.infotexts[0]
        seen.add(ours.tobytes())
    assert len(seen) == 3


def test_going_on_without_a_number_is_what_one_run_would_have_been(host):
    made = edited(host, asked(host), **CHOOSING, candidates_only=True)
    done = edited(host, asked(host, seed=-1), **CHOOSING, edit_id=id_of(made))
    whole = edited(host, asked(host), **CHOOSING)
    assert np.array_equal(pixels(done.images[0]), pixels(whole.images[0]))
    assert "Seed: 5," in done.infotexts[0]


def test_more_candidates_join_those_that_are_there(host):
    made = edited(host, asked(host), **CHOOSING, candidates_only=True)
    more = {**CHOOSING, "candidates": 5}
    again = edited(host, asked(host), **more, edit_id=id_of(made), candidates_only=True)
    assert len(again.images) == 6 and id_of(again) == id_of(made)
    whole = edited(host, asked(host), **more, candidates_only=True)
    for ours, theirs in zip(again.images, whole.images, strict=True):
        assert np.abs(pixels(ours).astype(int) - pixels(theirs)).max() <= 1


def test_redo_paints_only_what_follows_and_keeps_the_first(host):
    whole = edited(host, asked(host), **CHOOSING)
    last = len(reports(whole)[0]["stages"])
    changes = {**CHOOSING, "final_strength": 0.75, "edit_id": id_of(whole)}
    redone, calls = calls_of(host, lambda: edited(host, asked(host), **changes, continue_from=last))
    assert calls > 0 and redone.images[0] != whole.images[0]
    stages = reports(redone)[0]["stages"]
    assert len(stages) == last and id_of(redone) != id_of(whole)
    anew = edited(host, asked(host), **{**CHOOSING, "final_strength": 0.75})
    assert np.array_equal(pixels(redone.images[0]), pixels(anew.images[0]))
    assert f"What is before stage {last} is the kept edit's" in redone.comments
    again = edited(host, asked(host), **CHOOSING, edit_id=id_of(whole))
    assert np.array_equal(pixels(again.images[0]), pixels(whole.images[0]))


def test_a_redone_edit_has_the_present_prompt(host):
    whole = edited(host, asked(host), **CHOOSING)
    p = asked(host, prompt="a blue ring")
    redone = edited(host, p, **CHOOSING, edit_id=id_of(whole), continue_from=2)
    assert "a blue ring" in redone.infotexts[0]
    assert (pixels(redone.images[0]) != pixels(whole.images[0])).any()


def test_the_text_names_the_candidate_that_was_chosen_before(host):
    made = edited(host, asked(host), **CHOOSING, candidates_only=True)
    best = reports(made)[0]["parts"][0]["chosen"] + 1
    other = str(best % 3 + 1)
    edited(host, asked(host), **CHOOSING, edit_id=id_of(made), candidate=other)
    for fields in ({}, {"continue_from": 2}, {"continue_from": 2, "candidate": str(best)}):
        done = edited(host, asked(host), **CHOOSING, edit_id=id_of(made), **fields)
        assert f"MSBD candidate: {other}" in done.infotexts[0]
        assert reports(done)[0]["parts"][0]["chosen"] == int(other) - 1


def test_each_edit_names_its_pictures(host):
    done = edited(host, asked(host, batch_size=2), **CHOOSING, show_candidates=True)
    first, second = (report["pictures"] for report in reports(done))
    assert sorted(first + second) == [*range(len(done.images))][done.index_of_first_image :]
    assert len(first) == len(second) == 4


def test_what_was_interrupted_goes_on(host):
    whole = edited(host, asked(host), **CHOOSING)
    total = len(host.calls)

    def stop(calls: int) -> None:
        if calls > 2 * total - 2:
            host.shared.state.interrupted = True

    host.before_call(stop)
    part = edited(host, asked(host), **CHOOSING)
    assert reports(part)[0]["interrupted"]
    host.before_call(lambda calls: None)
    host.shared.state.interrupted = False
    done = edited(host, asked(host), **CHOOSING, edit_id=id_of(part))
    assert np.array_equal(pixels(done.images[0]), pixels(whole.images[0]))


def test_later_stages_follow_the_prompt_for_details(host):
    plain = edited(host, asked(host), **CHOOSING)
    same = edited(host, asked(host), **CHOOSING, details="a red star")
    assert np.array_equal(pixels(plain.images[0]), pixels(same.images[0]))
    other = edited(host, asked(host), **CHOOSING, details="a blue ring")
    assert "MSBD details: a blue ring" in other.infotexts[0]
    assert (pixels(other.images[0]) != pixels(plain.images[0])).any()
    redone = {**CHOOSING, "details": "a blue ring", "edit_id": id_of(plain), "continue_from": 2}
    assert np.array_equal(
        pixels(edited(host, asked(host), **redone).images[0]), pixels(other.images[0])
    )
    told = edited(host, asked(host), **CHOOSING, details="a blue ring <lora:fur:1>")
    assert np.array_equal(pixels(told.images[0]), pixels(other.images[0]))
    assert "Extra networks in the prompt for details are ignored" in told.comments


def test_after_a_crash_the_last_edit_goes_on(host, monkeypatch):
    """With the mask from its folder, as what was painted by hand is gone."""
    whole = edited(host, asked(host, seed=11), **CHOOSING)
    total = len(host.calls)

    def crash(calls: int) -> None:
        if calls > 2 * total - 2:
            raise ZeroDivisionError

    host.before_call(crash)
    with pytest.raises(ZeroDivisionError):
        edited(host, asked(host, seed=11), **CHOOSING)
    host.before_call(lambda calls: None)
    (kept,) = (path for path in root(host).iterdir() if path.name != id_of(whole))
    mask = Image.open(kept / "mask.png")
    start = len(host.calls)
    done = edited(host, asked(host, seed=-1, mask=mask), **CHOOSING, edit_id="last")
    assert id_of(done) == kept.name and 0 < len(host.calls) - start < total
    assert np.array_equal(pixels(done.images[0]), pixels(whole.images[0]))


def test_two_tabs_go_on_with_their_own(host):
    """In turns, with other seeds and prompts, and at last both with the same edit."""
    ours, theirs = {"seed": 5}, {"seed": 6, "prompt": "a blue ring"}
    alone = [edited(host, asked(host, **tab), **CHOOSING, candidate="2") for tab in (ours, theirs)]
    made = [
        edited(host, asked(host, **tab), **CHOOSING, candidates_only=True) for tab in (ours, theirs)
    ]
    for index in (1, 0):
        tab, fields = (ours, theirs)[index], {"edit_id": id_of(made[index]), "candidate": "2"}
        done = edited(host, asked(host, **tab), **CHOOSING, **fields)
        levels = [pixels(one.images[0]).astype(int) for one in (done, alone[index])]
        assert np.abs(levels[0] - levels[1]).max() <= 1
    for number in ("3", "1", "3"):
        fields = {"edit_id": id_of(made[0]), "candidate": number}
        done = edited(host, asked(host, **ours), **CHOOSING, **fields)
        assert reports(done)[0]["parts"][0]["chosen"] == int(number) - 1


class TestMisuse:
    def refused(self, host: Host, p: Any, words: str, **fields: Any) -> None:
        calls = len(host.calls)
        with pytest.raises(EditError, match=words):
            edited(host, p, **{**CHOOSING, **fields})
        assert len(host.calls) == calls

    def test_an_id_that_is_none(self, host):
        for wrong in ("x", "../" * 10, "A" * 32, "0" * 31, 7):
            self.refused(host, asked(host), "edit_id must be 32 digits", edit_id=wrong)
        self.refused(host, asked(host), "not kept any more", edit_id="0" * 32)
        self.refused(host, asked(host), "no edit is kept", edit_id="last")

    def test_through_the_api_it_is_a_422(self, host):
        p = asked(host)
        p.is_api = True
        with pytest.raises(import_module("fastapi").HTTPException) as refusal:
            edited(host, p, **CHOOSING, edit_id="0" * 32)
        assert refusal.value.status_code == 422

    def test_another_picture_mask_or_prompt(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        other = asked(host, init_images=[photograph(120, 140, seed=1)])
        self.refused(host, other, "of another picture: load its own", edit_id=kept)
        box = (slice(31, 90), slice(40, 110))
        self.refused(host, asked(host, box=box), "of another mask", edit_id=kept)
        changed = {"prompt": "a blue ring", "steps": 5, "cfg_scale": 2.0, "mask_blur": 3}
        for name, value in changed.items():
            self.refused(host, asked(host, **{name: value}), "was changed, which was", edit_id=kept)
        self.refused(host, asked(host), "upscaler was changed", edit_id=kept, upscaler="Lanczos")

    def test_an_option_that_decides_on_the_picture(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        host.shared.opts.data["CLIP_stop_at_last_layers"] = 3
        self.refused(host, asked(host), "options or other scripts was changed", edit_id=kept)

    def test_more_candidates_than_there_are(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        again = {"edit_id": kept, "candidates_only": True}
        self.refused(host, asked(host), "3 candidates already", **again)

    def test_another_checkpoint(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        host.load(host.model, "other")
        self.refused(host, asked(host), "checkpoint was changed", edit_id=kept)

    def test_a_batch(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        self.refused(host, asked(host, n_iter=4), "set batch count and batch size", edit_id=kept)
        assert asked(host).n_iter == 1

    def test_it_was_deleted(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING, candidates_only=True))
        EditStore(root(host)).forget(kept)
        self.refused(host, asked(host), "not kept any more", edit_id=kept)

    def test_a_stage_that_is_none(self, host):
        kept = id_of(edited(host, asked(host), **CHOOSING))
        self.refused(host, asked(host), "stages 1 to", edit_id=kept, continue_from=9)
        self.refused(host, asked(host), "whole number from 0", edit_id=kept, continue_from=-1)

    def test_candidates_cannot_be_kept(self, host):
        host.shared.opts.data["msbd_keep"] = "no"
        self.refused(host, asked(host), "turn it on in Settings", candidates_only=True)

    def test_nothing_can_be_written(self, host):
        root(host).write_text("in the way")
        self.refused(host, asked(host), "nothing can be kept", candidates_only=True)
        done = edited(host, asked(host), **CHOOSING)
        assert "nothing can be kept" in done.comments.lower() and "edit_id" not in reports(done)[0]

    def test_the_disk_is_full(self, host, monkeypatch):
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        whole = edited(host, asked(host), **CHOOSING)
        monkeypatch.setattr("msbd.keeping.folder.write_array", full)
        done = edited(host, asked(host), **CHOOSING)
        assert np.array_equal(pixels(done.images[0]), pixels(whole.images[0]))
        assert "No space left" in done.comments and "edit_id" not in reports(done)[0]


def test_before_and_after_are_shown_and_can_be_saved(host):
    p = asked(host)
    done = edited(host, p, **CHOOSING)
    said = import_module("msbd.webui.panel.kept").compared(id_of(done))
    pictures = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        for text in re.findall("base64,([^']+)'", said)
    ]
    after, before, page = pictures
    assert before.shape == after.shape and (before != after).any()
    assert "type='range'" in said and "download='before-after.jpg'" in said
    width, shown = before.shape[1], page[LINE : LINE + before.shape[0]].astype(int)
    changed = (before.astype(int) - after != 0).any(-1)
    for picture, other, left in ((before, after, GAP), (after, before, 2 * GAP + width)):
        panel = shown[:, left : left + width]
        own, others = (np.abs(panel - one)[changed].mean() for one in (picture, other))
        assert own < others / 4, "but for what JPEG loses"


def test_the_batch_tab_keeps_nothing(host):
    host.begin()
    host.shared.state.job = "2 out of 4"
    from msbd.webui.run import run

    run(asked(host), TITLE, [CHOOSING])
    assert not root(host).exists()


def test_a_batch_keeps_each_of_its_pictures(host):
    done = edited(host, asked(host, batch_size=2), **CHOOSING)
    first, second = id_of(done, 0), id_of(done, 1)
    assert first != second and sorted(p.name for p in root(host).iterdir()) == sorted(
        [first, second]
    )
    again = edited(host, asked(host), **CHOOSING, edit_id=second)
    assert np.array_equal(pixels(again.images[0]), pixels(done.images[-1]))


@pytest.mark.parametrize("name", ["share", "gradio_auth", "gradio_auth_path"])
def test_where_strangers_come_nothing_is_kept_unless_it_is_turned_on(host, name):
    setattr(host.shared.cmd_opts, name, "user:password")
    try:
        assert "edit_id" not in reports(edited(host, asked(host), **CHOOSING))[0]
        assert not root(host).exists()
        host.shared.opts.data["msbd_keep"] = "yes"
        assert id_of(edited(host, asked(host), **CHOOSING))
    finally:
        setattr(host.shared.cmd_opts, name, None)


def test_the_request_is_as_it_was_afterwards(host):
    kept = id_of(edited(host, asked(host), **CHOOSING))
    p = asked(host, seed=-1, subseed=-1, subseed_strength=0.3)
    edited(host, p, **CHOOSING, edit_id=kept)
    assert (p.seed, p.subseed, p.subseed_strength) == (-1, -1, 0.3)


def plotted(host: Host, p: Any, **fields: Any) -> tuple[Any, int]:
    """A cell of an X/Y/Z plot, and how many samples the network saw for it."""
    from msbd.webui.fields import chosen
    from msbd.webui.run import patch

    host.begin()
    host.shared.state.job = "2 out of 4"
    start = len(host.calls)
    patch(p, chosen([{**CHOOSING, **fields}], {}))
    return host.processing.process_images(p), len(host.calls) - start


LATER = {
    "final_strength": (0.25, 0.5, 0.75, 0.9),
    "texture": (1.0, 0.0),
    "upscaler": ("R-ESRGAN 4x+", "Lanczos"),
}


@pytest.mark.parametrize("name", LATER)
def test_of_a_plot_over_a_later_stages_setting_the_first_is_painted_once(host, name):
    alone = [plotted(host, asked(host, seed=100 + n))[1] for n in range(2)]
    assert alone[0] == alone[1]
    spared = []
    for value in LATER[name]:
        cell, made = plotted(host, asked(host), **{name: value})
        fields = {**CHOOSING, name: value}
        anew, whole = calls_of(host, lambda fields=fields: edited(host, asked(host), **fields))
        spared.append(whole - made)
        assert np.array_equal(pixels(cell.images[0]), pixels(anew.images[0])), value
    assert spared[0] == 0 < spared[1] and len({*spared[1:]}) == 1, spared


@pytest.mark.parametrize("name, values", [("candidate", "123"), ("candidates", (1, 3, 6))])
def test_a_plot_over_candidates_shows_each(host, name, values):
    for value in values:
        cell, _ = plotted(host, asked(host), **{name: value})
        anew = edited(host, asked(host), **{**CHOOSING, name: value})
        assert np.array_equal(pixels(cell.images[0]), pixels(anew.images[0])), value


@pytest.mark.parametrize(
    "change", [{"seed": 7}, {"prompt": "a blue ring"}, {"cfg_scale": 2.0}, {"steps": 5}]
)
def test_a_cell_that_differs_otherwise_is_made_anew(host, change):
    plotted(host, asked(host))
    cell, _ = plotted(host, asked(host, **change), final_strength=0.5)
    anew = edited(host, asked(host, **change), **CHOOSING, final_strength=0.5)
    assert np.array_equal(pixels(cell.images[0]), pixels(anew.images[0]))


def test_a_cell_knows_of_options_that_differ(host):
    _, first = plotted(host, asked(host))
    host.shared.opts.data["CLIP_stop_at_last_layers"] = 3
    _, other = plotted(host, asked(host))
    assert other == first
    _, again = plotted(host, asked(host))
    assert again == 0


def test_of_two_parts_each_has_its_candidates(host):
    levels = np.zeros((170, 240), np.uint8)
    levels[10:40, 10:40] = levels[120:160, 180:230] = 255
    asks = {"size": (170, 240), "mask": Image.fromarray(levels)}
    made = edited(host, request(host, **asks), **CHOOSING, candidates_only=True)
    captions = [text.rpartition("MSBD picture: ")[2] for text in made.infotexts[1:]]
    assert [c.rpartition(" ")[0] for c in captions] == [
        f"part {part} candidate {number}" for part in (1, 2) for number in (1, 2, 3)
    ]
    chosen = {"edit_id": id_of(made), "candidate": "1:2,2:3"}
    done = edited(host, request(host, **asks), **CHOOSING, **chosen)
    assert [part["chosen"] for part in reports(done)[0]["parts"]] == [1, 2]
