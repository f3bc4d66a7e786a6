"""Other extensions' hooks in an edit: ControlNet's hint is made of each tile, and what fails is
said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import THREE_STAGES, edited, inside, pixels, reports, request

from msbd.errors import EditError

pytestmark = pytest.mark.edits


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


@dataclass
class Unit:
    """As ControlNet's, in what an edit looks at."""

    enabled: bool = True
    module: str = "tile_resample"
    image: Any = None
    resize_mode: str = "Crop and Resize"
    input_mode: str = "simple"


@dataclass
class Seen:
    made: list[dict[str, Any]] = field(default_factory=list)
    attached: list[dict[str, Any]] = field(default_factory=list)


def controlnet(host: Host, *units: Unit, fails: str = "", **changes: Any) -> tuple[Any, Any, Seen]:
    """A request with a script like the forks' ControlNet, that script, and what it sees."""
    seen = Seen()

    class ControlNet(host.scripts.Script):
        title = staticmethod(lambda: "ControlNet")
        args_from, args_to = 1, 1 + len(units)

        def __init__(self) -> None:
            self.current = "the host's"

        def get_enabled_units(self, given: Any) -> list[Unit]:
            return [unit for unit in given if unit.enabled]

        def process(self, p: Any, *given: Any) -> None:
            for unit in self.get_enabled_units(given):
                if fails:
                    raise ValueError(fails)
                self.current = "a tile's"
                np.random.seed(7)  # noqa: NPY002
                random.seed(7)
                p.extra_result_images = [*getattr(p, "extra_result_images", []), "a map"]
                seen.made.append({"p": {**vars(p)}, "unit": unit})

        def process_before_every_sampling(self, p: Any, *given: Any, **named: Any) -> None:
            seen.attached.append({"units": given, "hint": self.current, **named})

    script = ControlNet()
    p = request(host, **THREE_STAGES, **changes)
    p.scripts, p.script_args = host.scripts.ScriptRunner(), [0, *units]
    p.scripts.alwayson_scripts.append(script)
    p.scripts.scripts.append(script)
    return p, script, seen


def test_a_hint_is_made_of_every_tile_and_never_of_the_whole_picture(host):
    units = Unit(), Unit(enabled=False)
    p, script, seen = controlnet(host, *units, batch_size=1)
    p.extra_result_images, before = ["another's"], {**vars(p)}
    result = edited(host, p)
    tiles = [
        (stage["index"], tile["bottom"] - tile["top"], tile["right"] - tile["left"])
        for stage in reports(result)[0]["plan"]["stages"]
        for tile in stage["tiles"]
    ]
    assert len(seen.made) == len(seen.attached) == len(tiles) > 3
    for made, (_, height, width) in zip(seen.made, tiles, strict=True):
        as_tile = made["p"]
        assert (as_tile["height"], as_tile["width"]) == (height, width)
        assert as_tile["init_images"][0].size == as_tile["image_mask"].size == (width, height)
        assert as_tile["batch_size"] == 1 and not as_tile["inpaint_full_res"]
        assert made["unit"] == units[0]
    assert {one["hint"] for one in seen.attached} == {"a tile's"}
    assert script.current == "the host's" and p.script_args == [0, *units]
    assert p.extra_result_images == ["another's", "a map"]
    for name in ("n_iter", "resize_mode", "inpaint_full_res", "inpainting_mask_invert"):
        assert getattr(p, name) == before[name], name


def test_the_hook_is_told_the_first_candidates_noise(host):
    """It is the tile's part of one field, so where tiles overlap they have it in common."""
    p, _, seen = controlnet(host, Unit())
    edited(host, p, candidates=3)
    shapes = [one["noise"].shape for one in seen.attached]
    assert shapes == [one["x"].shape for one in seen.attached]
    assert all(0.5 < float(one["noise"].std()) < 1.5 for one in seen.attached)
    again, _, second = controlnet(host, Unit())
    edited(host, again, candidates=3)
    for one, other in zip(seen.attached, second.attached, strict=True):
        assert torch.equal(one["noise"], other["noise"])


def test_nobodys_random_numbers_are_touched(host):
    p, _, _ = controlnet(host, Unit())
    kept = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    edited(host, p)
    assert random.getstate() == kept[0]
    assert np.array_equal(np.random.get_state()[1], kept[1])  # noqa: NPY002


def test_a_unit_that_fails_is_said_before_the_first_stage(host):
    p, _, _ = controlnet(host, Unit(), fails="no control model is chosen")
    with pytest.raises(EditError, match=r"ControlNet .*no control model is chosen.*turn them off"):
        edited(host, p)


def test_another_script_that_fails_costs_a_note_and_no_edit(host):
    p, _, _ = controlnet(host)

    class Faulty(host.scripts.Script):
        title = staticmethod(lambda: "faulty")
        args_from = args_to = 1

        def process_before_every_sampling(self, p: Any, *given: Any, **named: Any) -> None:
            raise RuntimeError("it cannot")

    p.scripts.alwayson_scripts.append(Faulty())
    result = edited(host, p)
    (note,) = [one for one in reports(result)[0]["notes"] if "faulty" in one]
    assert "took no part" in note and "it cannot" in note
    assert (pixels(result.images[0])[inside(p)].std(0) < 100).all()


def test_units_that_cannot_be_read_leave_the_request_as_it_was(host):
    p, script, _ = controlnet(host, Unit())
    script.get_enabled_units = lambda given: 1 / 0
    kept = {**vars(p)}
    with pytest.raises(EditError, match="cannot read its units"):
        edited(host, p)
    assert {**vars(p)} == kept


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        (Unit(), None),
        (Unit(input_mode="batch"), "folder"),
        (Unit(module="inpaint_only+lama"), "inpaint_only+lama"),
        (Unit(enabled=False, input_mode="batch"), None),
    ],
)
def test_what_cannot_be_served_is_noted(host, unit, said):
    p, _, _ = controlnet(host, unit)
    notes = [one for one in reports(edited(host, p))[0]["notes"] if "ControlNet" in one]
    assert bool(notes) == bool(said)
    assert all(said in note for note in notes)


@pytest.mark.parametrize("takes_part", [True, False])
def test_panel_and_dry_run_tell_of_a_controlnet_that_cannot_take_part(
    host, monkeypatch, takes_part
):
    from msbd.webui.conflicts import of_other_scripts
    from msbd.webui.panel.status import show_note

    class ControlNet(host.scripts.Script):
        title = staticmethod(lambda: "ControlNet")
        if takes_part:
            process_before_every_sampling = print

    runner = host.scripts.ScriptRunner()
    runner.alwayson_scripts.append(ControlNet())
    monkeypatch.setattr(host.scripts, "scripts_img2img", runner)
    told = list(of_other_scripts())
    assert all(note in show_note("Euler a") for note in told)
    assert bool(told) != takes_part and all(note.startswith("If one of its units") for note in told)


class TestGuides:
    """A unit's own picture, of the whole picture: a tile's part of it."""

    WHOLE = 120, 160

    def part(self, picture: Any, place: tuple[int, ...], fit: str = "Just Resize") -> Any:
        from msbd.geometry import Box
        from msbd.webui.hosts.guides import cropped_unit

        unit = Unit(image=picture, resize_mode=fit)
        size = place[2] - place[0], place[3] - place[1]
        found = cropped_unit(unit, self.WHOLE, Box(*place), size)
        assert unit.image is picture and found is not unit
        return found.image

    def ramp(self, height: int, width: int) -> np.ndarray:
        y, x = np.mgrid[:height, :width]
        return np.stack([y, x, 0 * x], -1).astype(np.uint8)

    @pytest.mark.parametrize("fit", ["Just Resize", "Crop and Resize", "Resize and Fill", 1])
    def test_of_the_same_size_are_cut_out(self, host, fit):
        guide = self.ramp(*self.WHOLE)
        assert np.array_equal(self.part(guide, (8, 16, 72, 112), fit), guide[8:72, 16:112])
        several = self.part({"image": guide, "mask": guide[..., 0]}, (8, 16, 72, 112), fit)
        assert np.array_equal(several["mask"], guide[8:72, 16:112, 0])

    @pytest.mark.parametrize("factor", [0.5, 2])
    def test_of_another_size_are_scaled(self, host, factor):
        from PIL import Image

        guide = self.ramp(*self.WHOLE)
        sides = (int(160 * factor), int(120 * factor))
        scaled = np.asarray(Image.fromarray(guide).resize(sides))
        found = self.part(scaled, (8, 16, 72, 112)).astype(int)
        assert np.abs(found - guide[8:72, 16:112]).max() <= 1

    def test_beyond_its_edge_the_edge_is_repeated(self, host):
        guide = self.ramp(*self.WHOLE)
        found = self.part(guide, (100, 120, 132, 176))
        assert np.array_equal(found[:20, :40], guide[100:, 120:])
        assert (found[20:, :, 0] == 119).all() and (found[:, 40:, 1] == 159).all()

    def test_of_another_shape_follow_the_units_resize_mode(self, host):
        square = self.ramp(120, 120)
        cover = self.part(square, (0, 0, 120, 160), "Crop and Resize")
        fill = self.part(square, (0, 0, 120, 160), "Resize and Fill")
        assert cover[0, 0, 0] == pytest.approx(15, abs=1) and cover[-1, -1, 1] >= 118
        assert (fill[:, :20, 1] == 0).all() and (fill[:, 140:, 1] == 119).all()
        assert np.array_equal(fill[:, 20:140], square)
