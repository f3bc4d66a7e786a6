"""The demo, and which files make up the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Desk, Model, load
from fakes import PointwiseBackend, small_spec
from standalone_files import Widths, write_checkpoint

from msbd import masks
from msbd.cli import demo
from msbd.errors import EditError
from msbd.geometry import Size
from msbd.miniature import scene as scene_of
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.settings import EditSettings
from msbd.standalone import models

FILES = ["input.png", "mask.png", "report.json", "result.png", "sheet.png"]
MINIATURE = small_spec(128, multiple=32)


@pytest.mark.edits
def test_the_demo_writes_its_five_files_and_says_what_it_sees(
    desk: Desk, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pointwise decoder has too few weights to match the surroundings without losing the edit.
    monkeypatch.setattr(demo, "CHANGES", {**demo.CHANGES, "decoder": "off"})
    model.backend = PointwiseBackend(spec=MINIATURE, colour=(0.87, 0.11, 0.13), spread=0.02)
    folder = desk.folder / "new" / "demo"
    assert desk.msbd("demo", "-o", folder, "--quiet") == 0, desk.stderr
    assert sorted(path.name for path in folder.iterdir()) == FILES
    result, before, mask = (load(folder / f"{name}.png") for name in ("result", "input", "mask"))
    assert result.shape == (896, 1152, 3) and result.shape[0] * result.shape[1] > 1e6
    far = np.ones(mask.shape, bool)
    far[300:640, 480:840] = False
    assert (result[far] == before[far]).all() and (result != before).any()
    report = json.loads((folder / "report.json").read_text())
    assert report["outside_max_difference"] == 0
    assert report["settings"] == preset("fast").with_values(demo.CHANGES).decided(False, "a").flat()
    assert "the result shows a red circle and a blue circle" in desk.stdout
    assert model.bound[0] == "a red star on grass"


def test_the_demos_crop_is_one_unit_of_its_world() -> None:
    scene = scene_of.Scene()
    mask = masks.from_grey(scene_of.draw_mask(scene))
    plan = plan_edit(scene.size, mask, preset("fast"), MINIATURE)
    assert plan.crop.size == Size(scene.unit, scene.unit)
    assert scene_of.in_words(scene_of.draw_picture(scene), scene) == "a blue circle"


def test_the_demo_needs_a_folder_it_can_make(desk: Desk) -> None:
    (desk.folder / "file").write_text("")
    assert desk.msbd("demo", "-o", desk.folder / "file") == 2 and desk.refused("file")


@pytest.mark.edits
@pytest.mark.slow
def test_the_demo_paints_a_red_star(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert desk.msbd("demo", "-o", desk.folder, "--quiet") == 0, desk.stderr
    assert "a red star" in desk.stdout


@pytest.mark.parametrize("levels", [(1,), (1, 2), (1, 1, 2), (1, 1, 1, 2)])
@pytest.mark.parametrize("sampler", ["euler_ancestral", "heun"])
def test_a_plan_needs_no_weights(tmp_path: Path, levels: tuple[int, ...], sampler: str) -> None:
    checkpoint = tmp_path / "model.safetensors"
    write_checkpoint(checkpoint, Widths(unet_levels=levels, attending=(len(levels) - 1,)))
    settings = EditSettings().with_values({"sampler": sampler})
    chosen = models.choose(settings, checkpoint, "none", "cpu")
    bound = models.load(chosen).bind("x", "", 7.5, sampler)
    assert models.spec(chosen, settings) == bound.spec


def test_what_goes_with_a_checkpoint(model: Model, tmp_path: Path) -> None:
    settings, file = EditSettings(), tmp_path / "net.pth"
    file.write_bytes(b"network")
    own = models.choose(settings)
    assert own.checkpoint == models.MINIATURE and own.upscaler == str(models.MINIATURE_UPSCALER)
    other = models.choose(settings, file)
    assert (other.upscaler, other.clip) == ("lanczos", "ViT-L-14/openai")
    assert models.choose(settings, clip="None").clip is None
    named = models.choose(settings.with_values({"upscaler": str(file)}), file)
    assert named.upscaler == str(file) and named.to_dict()["upscaler"] == "net.pth"
    with pytest.raises(EditError, match="gone"):
        models.choose(settings.with_values({"upscaler": "gone"}))
