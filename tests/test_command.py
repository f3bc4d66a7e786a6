"""The command line, from its arguments to the files it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Desk, Model, load, painted, save, speckles

from msbd.cli.progress import Progress
from msbd.cli.recipe import read_recipe
from msbd.errors import Interrupted
from msbd.presets import DEFAULT_PRESET, PRESETS, preset
from msbd.settings import SETTINGS
from msbd.standalone import models

pytestmark = pytest.mark.edits


def test_edit_repaints_the_mask_and_nothing_else(desk: Desk) -> None:
    assert desk.edit("--seed", 1, "--set", "feather=0") == 0, desk.stderr
    before, after = load(desk.image), load(desk.out)
    kept = load(desk.mask) == 0
    assert (after[kept] == before[kept]).all()
    assert (after[~kept] != before[~kept]).any()
    red, green, blue = after[25:45, 35:60].reshape(-1, 3).mean(0)
    assert red > 180 and green < 90 and blue < 90


def test_prompt_negative_guidance_and_sampler_reach_the_model(desk: Desk, model: Model) -> None:
    desk.edit("--negative", "blue", "--set", "guidance=3", "--set", "sampler=euler")
    assert model.bound == ("a red star", "blue", 3.0, "euler")


def test_same_seed_same_bytes_and_another_seed_another_picture(desk: Desk) -> None:
    pictures = []
    for seed in (5, 5, 6):
        assert desk.edit("--seed", seed) == 0
        pictures.append(desk.out.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


@pytest.mark.parametrize("seed", [(), ("--seed", "-1")])
def test_a_random_seed_is_reported_and_reproduces_the_picture(desk: Desk, seed: tuple) -> None:
    report = desk.folder / "report.json"
    desk.edit("--report", report, *seed)
    first = load(desk.out)
    chosen = json.loads(report.read_text())["seed"]
    assert chosen >= 0 and f"seed {chosen}" in desk.stdout
    desk.edit("--seed", chosen)
    assert (load(desk.out) == first).all()


def test_like_repeats_an_edit_from_its_picture_alone(desk: Desk) -> None:
    desk.edit("--negative", "blue", "--set", "feather=2")
    again = desk.folder / "again.png"
    assert desk.msbd("edit", desk.image, desk.mask, "--like", desk.out, "-o", again, "--quiet") == 0
    assert again.read_bytes() == desk.out.read_bytes()
    recipe = read_recipe(again)
    assert (recipe.prompt, recipe.negative) == ("a red star", "blue")
    assert recipe.settings.feather == 2


def test_like_can_be_overridden(desk: Desk) -> None:
    desk.edit("--seed", 5)
    again = desk.folder / "again.webp"
    arguments = ("--like", desk.out, "-o", again, "--seed", 6, "--set", "feather=7", "--quiet")
    assert desk.msbd("edit", desk.image, desk.mask, "a blue ring", *arguments) == 0
    recipe = read_recipe(again)
    assert (recipe.prompt, recipe.seed, recipe.settings.feather) == ("a blue ring", 6, 7)
    assert recipe.settings.steps == 3


def test_the_report_says_what_the_issue_promises(desk: Desk) -> None:
    report = desk.folder / "report.json"
    desk.edit("--report", report, "--seed", 3)
    facts = json.loads(report.read_text())
    assert facts["seed"] == 3 and facts["prompt"] == "a red star"
    assert facts["settings"] == preset(DEFAULT_PRESET).decided(False, "a red star").flat() | {
        "steps": 3, "candidates": 2, "resampling_steps": 0, "decoder": "fine-tune",
        "decoder_iterations": 2,
    }  # fmt: skip
    assert facts["models"]["checkpoint"] == "fake.safetensors"
    assert facts["outside_max_difference"] == 0 and facts["peak_memory_bytes"] > 0
    assert {"plan", "seconds", "model_calls", "parts"} <= facts.keys()
    for stage in facts["stages"]:
        assert {"name", "seconds", "model_calls", "decoder_loss"} <= stage.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(desk: Desk, name: str) -> None:
    arguments = (desk.image, desk.mask, "x", "-o", desk.out, "--preset", name, "--quiet")
    assert desk.msbd("edit", *arguments) == 0
    assert read_recipe(desk.out).settings == preset(name).decided(False, "a red star")


def test_plan_only_prints_the_plan_and_loads_nothing(desk: Desk, model: Model) -> None:
    assert desk.msbd("edit", desk.image, desk.mask, "x", "--plan-only") == 0
    assert "the model works on" in desk.stdout.splitlines()[0]
    assert "picture 96x70" in desk.stdout and "model calls" in desk.stdout
    assert model.loaded == 0 and not desk.out.exists()


def test_plan_prints_and_draws(desk: Desk, model: Model) -> None:
    drawing = desk.folder / "plan.png"
    assert desk.msbd("plan", desk.image, desk.mask, "--draw", drawing, "--preset", "draft") == 0
    assert "1 candidate" in desk.stdout and load(drawing).shape[2] == 3
    assert model.loaded == 0


def test_settings_lists_every_setting_and_preset(desk: Desk) -> None:
    assert desk.msbd("settings") == 0
    assert all(f"\n{name} = " in f"\n{desk.stdout}" for name in SETTINGS)
    assert all(f"\n  {name}: " in desk.stdout for name in PRESETS)
    assert desk.msbd("edit", "-h") == 0
    assert all(f"{name}=" in desk.stdout.replace("\n  ", " ") for name in SETTINGS)


@pytest.mark.parametrize("preset_name", ["paper", "fast"])
def test_the_progress_bar_knows_the_total(desk: Desk, monkeypatch, preset_name: str) -> None:
    seen: list[Progress] = []
    original = Progress.begin
    monkeypatch.setattr(Progress, "begin", lambda self, *a: (seen.append(self), original(self, *a)))
    arguments = (desk.image, desk.mask, "x", "-o", desk.out, "--preset", preset_name)
    assert desk.msbd("edit", *arguments) == 0
    bar = seen[0].bar
    assert bar is not None and bar.n == pytest.approx(bar.total)
    assert "100%" in desk.stderr and "stage 1 of 2 (first, 32x32)" in desk.stderr


def test_ctrl_c_keeps_the_best_so_far(desk: Desk, model: Model) -> None:
    """The signal arrives in the second stage; the handler of before is back afterwards."""
    save(desk.image, speckles(160, 160))
    save(desk.mask, painted(160, 160, slice(20, 140), slice(20, 140)))
    report, sheet = desk.folder / "report.json", desk.folder / "sheet.png"
    handler = signal.getsignal(signal.SIGINT)

    def press(samples: int) -> None:
        if len(model.backend.shapes) and model.backend.shapes[-1][-1] > 4:
            os.kill(os.getpid(), signal.SIGINT)

    model.backend.before = press
    assert desk.edit("--report", report, "--sheet", sheet) == 130
    facts = json.loads(report.read_text())
    assert facts["interrupted"] and 1 <= len(facts["stages"]) < len(facts["plan"]["stages"])
    assert "stopped after stage" in desk.stdout and str(desk.out) in desk.stdout
    kept = load(desk.mask) == 0
    assert load(desk.out).shape == (160, 160, 3) and load(sheet).size
    assert (load(desk.out)[~kept] != load(desk.image)[~kept]).any()
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_after_the_last_step_changes_nothing(desk: Desk, monkeypatch) -> None:
    original = Progress.advance

    def advance(self: Progress, work: float, text: str) -> None:
        original(self, work, text)
        if self.bar is not None and self.bar.n > self.bar.total - 1e-6 and not self.stopped:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Progress, "advance", advance)
    arguments = ("--preset", "draft", "--set", "steps=2", "-o", desk.out)
    assert desk.msbd("edit", desk.image, desk.mask, "x", *arguments) == 0
    assert "2 of 2 stages" in desk.stdout


def test_ctrl_c_before_the_first_stage_is_done_writes_nothing(desk: Desk, model: Model) -> None:
    model.backend.before = lambda samples: os.kill(os.getpid(), signal.SIGINT)
    assert desk.edit() == 130
    assert "nothing was written" in desk.stderr and not desk.out.exists()


def test_a_second_ctrl_c_does_not_wait(monkeypatch) -> None:
    progress = Progress(quiet=True)
    with progress.running():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            progress.advance(1, "text")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)


def test_ctrl_c_while_loading_is_one_line(desk: Desk, monkeypatch) -> None:
    def load(chosen: models.Models) -> Model:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "load", load)
    assert desk.edit() == 130 and desk.refused("nothing was written")


def test_a_full_disk_is_one_line_and_the_old_result_survives(desk: Desk, monkeypatch) -> None:
    desk.out.write_bytes(b"precious")

    def replace(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", replace)
    assert desk.edit() == 1 and desk.refused("No space left")
    assert desk.out.read_bytes() == b"precious"
    assert sorted(p.name for p in desk.folder.iterdir()) == ["mask.png", "out.png", "photo.png"]


def test_out_of_memory_keeps_the_best_so_far(desk: Desk, model: Model) -> None:
    save(desk.image, speckles(160, 160))
    save(desk.mask, painted(160, 160, slice(20, 140), slice(20, 140)))

    def fail(samples: int) -> None:
        if len(model.backend.shapes) and model.backend.shapes[-1][-1] > 4:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    model.backend.before = fail
    assert desk.edit() == 1
    assert "Tile size" in desk.stdout and desk.out.exists()


@pytest.mark.parametrize(
    "arguments", [["-h"], ["edit", "-h"], ["edit", "no.png", "no.png", "x", "-o", "o.png"]]
)
def test_help_and_bad_files_answer_without_loading_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from msbd.cli.command import main\n"
        f"try: main({arguments!r})\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert ran.returncode == 0


def test_the_module_runs_as_a_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "msbd", "--version"], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("msbd ")


@pytest.mark.parametrize("start", ["picture", "surroundings", "latent nothing"])
def test_an_edit_starts_from_what_is_said(desk: Desk, start: str) -> None:
    report = desk.folder / "report.json"
    assert desk.edit("--start", start, "--strength", "0.4", "--report", report) == 0
    stage = json.loads(report.read_text())["plan"]["stages"][0]
    assert (stage["start"], stage["strength"]) == (start, 0.4)


def test_an_edit_starts_from_paint_if_there_is_some(desk: Desk) -> None:
    colours = load(desk.image).copy()
    colours[20:50, 30:66] = (10, 10, 240)
    paint, report = desk.folder / "paint.png", desk.folder / "report.json"
    save(paint, colours)
    assert desk.edit("--paint", paint, "--strength", "0", "--report", report) == 0
    assert json.loads(report.read_text())["plan"]["stages"][0]["start"] == "paint"
    red, _, blue = load(desk.out)[30:40, 42:54].reshape(-1, 3).mean(0)
    assert blue > red
    assert desk.edit("--paint", paint, "--start", "new") == 0
    assert "the paint is not used" in desk.stdout
    assert desk.edit("--start", "paint") == 2 and "--paint FILE" in desk.stderr
    save(paint, colours[:50])
    assert desk.edit("--paint", paint) == 2 and "the paint is 96x50" in desk.stderr


def test_removing_needs_no_prompt(desk: Desk) -> None:
    arguments = (desk.image, desk.mask, "-o", desk.out, "--quiet", "--set", "steps=2")
    assert desk.msbd("edit", *arguments, "--preset", "remove") == 0
    assert "there is no prompt" in desk.stdout
    assert desk.msbd("edit", *arguments) == 2 and "there is no prompt" in desk.stderr


def test_the_masks_shape_is_planned_as_it_is_edited(desk: Desk) -> None:
    assert desk.msbd("plan", desk.image, desk.mask, "--set", "grow=4") == 0
    assert "mask 44x38" in desk.stdout
    assert desk.msbd("plan", desk.image, desk.mask, "--set", "grow=-90") == 2
    assert "shrink it less" in desk.stderr


def test_a_soft_mask_blends(desk: Desk) -> None:
    grey = np.zeros((70, 96), np.uint8)
    grey[20:50, 30:66] = 100
    save(desk.mask, grey)
    assert desk.edit() == 2 and "empty" in desk.stderr
    assert desk.edit("--soft-mask") == 0
