"""The command line's edits that are kept: candidates, continue, redo, show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Desk, Model, load, painted, save
from PIL import Image

from msbd.cli.recipe import read_recipe
from msbd.cli.saving import check_output
from msbd.errors import Interrupted

pytestmark = pytest.mark.edits
QUICK = ("--set", "steps=4", "--set", "resampling_steps=0", "--set", "candidates=3", "--quiet")


def begin(desk: Desk, command: str, *more: object) -> int:
    what = desk.image, desk.mask, "a red star", "--seed", 5, "--keep", desk.folder / "kept"
    return desk.msbd(command, *what, *QUICK, *more)


def go_on(desk: Desk, *more: object, command: str = "continue") -> int:
    return desk.msbd(command, desk.folder / "kept", "-o", desk.out, "--quiet", *more)


def test_a_kept_edit_is_the_same_edit(desk: Desk) -> None:
    other = desk.folder / "other.png"
    assert begin(desk, "edit", "-o", desk.out) == 0, desk.stderr
    assert f"the edit is kept in {desk.folder / 'kept'}" in desk.stdout
    desk.msbd("edit", desk.image, desk.mask, "a red star", "--seed", 5, *QUICK, "-o", other)
    assert other.read_bytes() == desk.out.read_bytes()
    first = desk.out.read_bytes()
    assert go_on(desk) == 0 and desk.out.read_bytes() == first


@pytest.mark.parametrize("finish", [(), ("--finish",)])
def test_candidates_are_shown_and_one_goes_on(desk: Desk, finish: tuple) -> None:
    assert begin(desk, "candidates", *finish) == 0, desk.stderr
    board = desk.folder / "kept" / "candidates.png"
    assert f"wrote {board}" in desk.stdout and load(board).shape[1] >= 3 * 192
    pictures = set()
    for number in (1, 2, 3, 5):
        assert go_on(desk, "--candidate", number) == 0, desk.stderr
        assert read_recipe(desk.out).settings.candidate == str(number)
        pictures.add(load(desk.out).tobytes())
        again = desk.folder / "again.png"
        like = ("--like", desk.out, "-o", again, "--quiet")
        assert desk.msbd("edit", desk.image, desk.mask, *like) == 0
        difference = load(again).astype(int) - load(desk.out)
        assert np.abs(difference).max() <= 1
    assert len(pictures) == 4


def test_the_board_can_be_written_elsewhere(desk: Desk) -> None:
    board = desk.folder / "board.jpg"
    assert begin(desk, "candidates", "-o", board) == 0
    assert board.exists() and not (desk.folder / "kept" / "candidates.png").exists()


def test_without_a_number_the_best_goes_on(desk: Desk) -> None:
    begin(desk, "candidates")
    assert go_on(desk) == 0
    chosen = load(desk.out)
    desk.msbd("edit", desk.image, desk.mask, "a red star", "--seed", 5, *QUICK, "-o", desk.out)
    assert (load(desk.out) == chosen).all()


def test_show_says_what_is_there(desk: Desk) -> None:
    begin(desk, "candidates")
    assert desk.msbd("show", desk.folder / "kept") == 0
    for words in ("prompt: a red star", "seed: 5", "candidates: 1 (", "no stage is finished"):
        assert words in desk.stdout
    go_on(desk, "--candidate", 2)
    desk.msbd("show", desk.folder / "kept")
    for words in ("number 2 goes on", "stage 1: first", "\nfinished; "):
        assert words in desk.stdout


def test_redo_changes_what_follows_and_keeps_the_rest(desk: Desk, model: Model) -> None:
    begin(desk, "edit", "-o", desk.out)
    before, files = load(desk.out), contents(desk.folder / "kept")
    desk.out.unlink()
    model.backend.samples = 0
    changes = ("--set", "final_strength=0.75", "--prompt", "a blue ring", "--negative", "red")
    assert go_on(desk, "--from", 2, *changes, command="redo") == 0, desk.stderr
    assert model.backend.samples < 12 and model.bound[:2] == ("a blue ring", "red")
    assert (load(desk.out) != before).any()
    assert contents(desk.folder / "kept") == files
    assert "what is before stage 2 is the kept edit's" in desk.stdout


def test_redo_with_a_prompt_for_details(desk: Desk, model: Model) -> None:
    begin(desk, "edit", "-o", desk.out)
    assert model.details == ""
    assert go_on(desk, "--from", 2, "--set", "details=(fur:1.2)", command="redo") == 0, desk.stderr
    assert model.bound[0] == "a red star" and model.details == "(fur:1.2)"
    assert read_recipe(desk.out).settings.details == "(fur:1.2)"
    assert go_on(desk, "--from", 2, "--set", "details=<lora:fur:1>", command="redo") == 0
    assert "lora" in desk.stdout


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_redo_with_nothing_changed_is_the_same_and_can_be_kept(desk: Desk) -> None:
    begin(desk, "edit", "-o", desk.out)
    before, new = load(desk.out), desk.folder / "new"
    assert go_on(desk, "--from", 2, "--keep", new, command="redo") == 0, desk.stderr
    assert (load(desk.out) == before).all()
    assert desk.msbd("continue", new, "-o", desk.out, "--quiet") == 0
    assert (load(desk.out) == before).all()


def test_what_was_interrupted_goes_on(desk: Desk, model: Model) -> None:
    begin(desk, "edit", "-o", desk.out)
    whole = load(desk.out)
    shutil.rmtree(desk.folder / "kept")
    total, model.backend.samples = model.backend.samples, 0

    def stop(samples: int) -> None:
        if samples >= total - 1:
            raise Interrupted("stopped")

    model.backend.before = stop
    assert begin(desk, "edit", "-o", desk.out) == 1
    model.backend.before = lambda samples: None
    assert go_on(desk) == 0
    assert (load(desk.out) == whole).all()


def test_paint_and_a_soft_mask_are_kept_too(desk: Desk) -> None:
    paint = load(desk.image).copy()
    paint[20:50, 30:66] = (250, 20, 20)
    save(desk.folder / "paint.png", paint)
    soft = painted(70, 96, slice(20, 50), slice(30, 66)).astype(float)
    soft[20:26] *= 0.4
    save(desk.mask, soft.astype(np.uint8))
    more = ("--paint", desk.folder / "paint.png", "--soft-mask", "-o", desk.out)
    assert begin(desk, "edit", *more) == 0, desk.stderr
    before = load(desk.out)
    for file in (desk.image, desk.mask, desk.folder / "paint.png"):
        file.unlink()
    assert go_on(desk) == 0, desk.stderr
    assert (load(desk.out) == before).all()
    assert go_on(desk, "--from", 1, command="redo") == 0
    assert (load(desk.out) == before).all()


def test_candidates_of_two_parts_are_chosen_apart(desk: Desk) -> None:
    mask = np.zeros((170, 240), np.uint8)
    mask[10:40, 10:40] = mask[120:160, 180:230] = 255
    save(desk.mask, mask)
    save(desk.image, np.random.default_rng(0).integers(0, 256, (170, 240, 3), np.uint8))
    assert begin(desk, "candidates") == 0, desk.stderr
    assert go_on(desk, "--candidate", "1:3,2:2") == 0, desk.stderr
    desk.msbd("show", desk.folder / "kept")
    assert "part 1: " in desk.stdout and "number 3 goes on" in desk.stdout
    assert "part 2: " in desk.stdout and "number 2 goes on" in desk.stdout
    assert go_on(desk, "--candidate", "1:1") == 0
    assert read_recipe(desk.out).settings.candidate == "1:1,2:2"
    assert go_on(desk, "--candidate", "3:1") == 2
    assert desk.refused("there is no part 3", "the mask has 2")


@pytest.mark.parametrize("columns", [(10, 34), (60, 84)])
def test_redo_of_parts_that_see_each_other(desk: Desk, columns: tuple[int, int]) -> None:
    mask = np.zeros((110, 150), np.uint8)
    mask[2:26, columns[0] : columns[1]] = mask[34:104, 120:134] = 255
    save(desk.mask, mask)
    save(desk.image, np.random.default_rng(0).integers(0, 256, (110, 150, 3), np.uint8))
    begin(desk, "edit", "-o", desk.out)
    before = load(desk.out)
    assert go_on(desk, "--from", 2, "--keep", desk.folder / "new", command="redo") == 0, desk.stderr
    assert np.abs(load(desk.out).astype(int) - before).max() <= 1


def test_a_picture_keeps_what_lies_beside_its_pixels(desk: Desk) -> None:
    pixels = load(desk.image)
    alpha = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    alpha[:5] = 7
    image = Image.fromarray(np.concatenate([pixels, alpha], 2))
    image.save(desk.image, dpi=(72, 72))
    begin(desk, "edit", "-o", desk.out)
    first = desk.out.read_bytes()
    assert go_on(desk) == 0 and desk.out.read_bytes() == first
    assert (load(desk.out)[..., 3] == alpha[..., 0]).all()


class TestMisuse:
    def test_a_folder_in_use(self, desk: Desk, model: Model) -> None:
        (desk.folder / "kept").mkdir()
        (desk.folder / "kept" / "mine").write_text("mine")
        assert begin(desk, "edit", "-o", desk.out) == 2
        assert desk.refused("kept is not empty", "name a new folder") and model.loaded == 0

    @pytest.mark.parametrize("command", ["continue", "redo", "show"])
    def test_no_edit(self, desk: Desk, command: str) -> None:
        (desk.folder / "kept").mkdir()
        more = {"continue": ("-o", desk.out), "redo": ("-o", desk.out, "--from", 1), "show": ()}
        assert desk.msbd(command, desk.folder / "kept", *more[command]) == 2
        assert desk.refused("no edit is kept in")

    @pytest.mark.parametrize("command", ["continue", "redo"])
    def test_no_output(self, desk: Desk, command: str) -> None:
        begin(desk, "candidates")
        more = ("--from", 1) if command == "redo" else ()
        assert desk.msbd(command, desk.folder / "kept", *more) == 2
        assert desk.refused("-o OUT.png")

    @pytest.mark.parametrize("harm", ["candidates", "recipe", "model", "inputs"])
    def test_facts_that_are_gone(self, desk: Desk, harm: str) -> None:
        begin(desk, "candidates")
        path = desk.folder / "kept" / "edit.json"
        facts = json.loads(path.read_text())
        facts["about"].pop(harm, None)
        facts["about"]["recipe" if harm == "candidates" else harm] = {}
        path.write_text(json.dumps(facts))
        assert go_on(desk) == 2 and desk.refused("damaged: begin the edit anew")

    def test_another_model(self, desk: Desk, model: Model) -> None:
        begin(desk, "candidates")
        other = desk.folder / "other.safetensors"
        other.write_bytes(b"other weights")
        assert go_on(desk, "--checkpoint", other) == 2
        assert desk.refused("made with another model", "fake.safetensors")

    def test_the_mask_is_gone(self, desk: Desk) -> None:
        begin(desk, "candidates")
        (desk.folder / "kept" / "mask.png").unlink()
        assert go_on(desk) == 2 and desk.refused("mask.png", "there is no such file")

    def test_a_wrong_stage(self, desk: Desk, model: Model) -> None:
        begin(desk, "edit", "-o", desk.out)
        model.loaded = 0
        for number in (0, 9):
            assert go_on(desk, "--from", number, command="redo") == 2
            assert desk.refused("the edit has stages 1 to") and model.loaded == 0

    def test_another_size(self, desk: Desk) -> None:
        begin(desk, "edit", "-o", desk.out)
        assert go_on(desk, "--from", 2, "--set", "margin=1.9", command="redo") == 2
        assert desk.refused("stage 1 has another size", "redo from 1")

    def test_a_number_that_is_none(self, desk: Desk) -> None:
        begin(desk, "candidates")
        assert go_on(desk, "--candidate", "third") == 2
        assert desk.refused("candidate must be best, a number")

    def test_the_output_is_what_is_kept(self, desk: Desk) -> None:
        begin(desk, "candidates")
        picture = desk.folder / "kept" / "picture.png"
        before = picture.read_bytes()
        assert desk.msbd("continue", desk.folder / "kept", "-o", picture) == 2
        assert desk.refused("named twice") and picture.read_bytes() == before

    def test_nothing_to_choose_from(self, desk: Desk) -> None:
        assert begin(desk, "candidates", "--start", "picture", "--strength", 0) == 2
        assert desk.refused("there is nothing to choose from")

    def test_the_webuis(self, desk: Desk) -> None:
        from msbd.keeping.folder import EditFolder

        EditFolder.create(desk.folder / "kept", {"seed": [1, 2, 0.0]})
        for command, more in (("show", ()), ("continue", ("-o", desk.out))):
            assert desk.msbd(command, desk.folder / "kept", *more) == 2
            assert desk.refused("is the WebUI's")

    def test_another_candidate_than_the_first_stage_is_of(self, desk: Desk) -> None:
        begin(desk, "edit", "-o", desk.out)
        assert go_on(desk, "--from", 2, "--set", "candidate=1", command="redo") == 2
        assert desk.refused("chosen in stage 1")

    def test_a_full_disk(self, desk: Desk, monkeypatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("msbd.keeping.folder.write_array", full)
        assert begin(desk, "edit", "-o", desk.out) == 1
        assert "could not be kept" in desk.stderr and "No space left" in desk.stderr
        check_output(desk.out)
        assert load(desk.out).shape == (70, 96, 3)
