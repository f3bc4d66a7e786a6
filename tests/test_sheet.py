"""The contact sheet and the drawn plan: everything is on them, at a readable size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Desk, load, painted, save, speckles
from engine import box_mask
from fakes import PointwiseBackend, small_spec
from PIL import Image, ImageDraw, ImageFont

from msbd.backend import ModelSpec
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.pictures import lettering
from msbd.pictures.drawing import CROP, STAGES, draw_plan
from msbd.pictures.sheet import SheetRecorder
from msbd.pipeline import edit
from msbd.plan import EditPlan
from msbd.planning import plan_edit
from msbd.progress import Callbacks
from msbd.settings import EditSettings

SETTINGS = EditSettings().with_values(
    {"steps": 3, "candidates": 3, "resampling_steps": 0, "decoder_iterations": 2}
)


def planned(height: int, width: int, box: Box, settings: EditSettings = SETTINGS) -> EditPlan:
    size = Size(height, width)
    return plan_edit(size, box_mask(size, box), settings, small_spec())


def recorded(settings: EditSettings = SETTINGS) -> SheetRecorder:
    """The sheet of an edit with three stages, the last one in tiles."""
    size = Size(150, 200)
    mask = box_mask(size, Box(30, 60, 120, 150))
    plan = plan_edit(size, mask, settings, small_spec())
    recorder = SheetRecorder()
    image = torch.full((1, 3, 150, 200), 0.5)
    watch = Callbacks(picture=recorder.picture)
    edit(image, mask, plan, settings, PointwiseBackend(), Noise(1), watch)
    return recorder


def has_colour(image: Image.Image, colour: str) -> bool:
    target = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(np.asarray(image).astype(int) - target).max(-1) <= 2).any())


def drawn_texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything written on pictures from now on."""
    texts: list[str] = []
    original = ImageDraw.ImageDraw.text

    def text(self, xy, text, *more, **options):
        texts.append(text)
        return original(self, xy, text, *more, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


@pytest.mark.edits
def test_the_sheet_shows_every_step_of_every_stage(monkeypatch) -> None:
    recorder = recorded()
    texts = drawn_texts(monkeypatch)
    whole = Image.new("RGB", (200, 150))
    sheet = recorder.render("a red star", whole, whole)
    for text in ("a red star", "crop of the picture", "draft: the stage before, enlarged", "before",
                 "context: low-passed picture", "start: draft in context", "after",
                 "before decoder optimisation", "after decoder optimisation"):  # fmt: skip
        assert text in texts
    assert sum(text.startswith("candidate ") for text in texts) == 3
    assert sum(text.endswith("(chosen)") for text in texts) == 1
    assert any("overlapping tiles" in text for text in texts)
    titles = [text[:7] for text in texts if text.startswith("Stage ")]
    assert titles == ["Stage 1", "Stage 2", "Stage 3"]
    assert has_colour(sheet, CROP)
    assert all(has_colour(sheet, colour) for colour in STAGES[:3])


@pytest.mark.edits
def test_without_decoder_optimisation_the_result_is_just_the_result(monkeypatch) -> None:
    recorder = recorded(SETTINGS.with_values({"decoder": "off"}))
    texts = drawn_texts(monkeypatch)
    recorder.render()
    assert "result" in texts and not any("decoder" in text for text in texts)


def test_the_sheet_keeps_only_small_copies() -> None:
    plan = planned(2000, 3000, Box(0, 0, 2000, 3000))
    recorder = SheetRecorder()
    recorder.picture("result", torch.rand(1, 3, 2000, 3000), plan.stages[-1], "result")
    (row,) = recorder._rows.values()
    assert row.shots[0].image.size == (256, 171)


@pytest.mark.edits
def test_many_candidates_take_several_lines() -> None:
    narrow = recorded().render()
    wide = recorded(SETTINGS.with_values({"candidates": 16})).render()
    assert wide.width <= 2300 and wide.height > narrow.height + 2 * 256


def test_an_unfinished_and_an_empty_sheet_can_be_rendered() -> None:
    plan = planned(150, 200, Box(30, 60, 120, 150))
    recorder = SheetRecorder()
    assert recorder.render("title").width > 500
    recorder.picture("draft", torch.rand(1, 3, 30, 30), plan.stages[1], "draft")
    assert recorder.render().height > 256


@pytest.mark.edits
def test_edit_writes_the_sheet(desk: Desk) -> None:
    sheet = desk.folder / "sheet.webp"
    assert desk.edit("--sheet", sheet) == 0, desk.stderr
    assert load(sheet).shape[1] > 1000 and str(sheet) in desk.stdout


@pytest.mark.parametrize(
    "height, width, box",
    [(1, 1, Box(0, 0, 1, 1)), (700, 500, Box(0, 0, 100, 100)), (100, 900, Box(10, 10, 90, 800)),
     (900, 60, Box(100, 0, 800, 60)), (3000, 4000, Box(2000, 3000, 3000, 4000))],
)  # fmt: skip
def test_the_plan_can_be_drawn_at_any_size(monkeypatch, height: int, width: int, box: Box) -> None:
    texts = drawn_texts(monkeypatch)
    plan = planned(height, width, box)
    mask = box_mask(plan.image, box)
    drawing = draw_plan(Image.fromarray(speckles(height, width)), plan, mask)
    assert drawing.width == 1200 and drawing.height < 2500
    assert f"picture {plan.image}" in texts
    for stage in plan.stages:
        assert any(text.startswith(f"{stage.index + 1}. at ") for text in texts)
        assert has_colour(drawing, STAGES[stage.index % len(STAGES)])
    assert has_colour(drawing, CROP)


def overview(mask: np.ndarray, grey: int) -> np.ndarray:
    """The drawn picture itself, of one grey, larger than its drawing by whole pixels."""
    size = Size(*mask.shape)
    plan = plan_edit(size, mask, SETTINGS, small_spec())
    drawing = draw_plan(Image.new("RGB", (size.width, size.height), (grey,) * 3), plan, mask)
    return np.asarray(drawing)[24 : 24 + 768, 24 : 24 + 1152].astype(int)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_the_masks_own_shape_is_drawn(grey: int) -> None:
    """On any ground: red inside, an outline of two tones round it, and nothing further out."""
    rows, columns = np.ogrid[:256, :384]
    mask = (np.hypot(rows - 128, columns - 192) <= 60).astype(np.float32)
    red = overview(mask, grey)
    red = red[..., 0] - red[..., 1]
    inside = np.kron(mask, np.ones((3, 3))) > 0
    assert (red[inside] > 50).all()
    box = np.zeros_like(inside)
    box[(128 - 60) * 3 : (128 + 61) * 3, (192 - 60) * 3 : (192 + 61) * 3] = True
    assert (red[box & ~inside] == 0).all(), "its box is not its shape"
    shown = overview(mask, grey)[384]
    edge = int(np.flatnonzero(inside[384])[0])
    assert (shown[edge - 2 : edge] == 255).all() and (shown[edge - 3] == 0).all()
    assert (shown[edge - 4] == grey).all()


def test_a_soft_mask_is_tinted_by_its_level() -> None:
    mask = np.zeros((256, 384), np.float32)
    mask[100:150, 150:251] = np.linspace(0, 1, 101)
    row = overview(mask, 128)[375, 450:753]
    red = (row[:, 0] - row[:, 1])[1::3]
    assert red[0] == 0 and (np.diff(red) >= 0).all() and len(set(red)) > 50


def test_a_speck_in_a_large_picture_is_seen() -> None:
    mask = np.zeros((4000, 6000), np.float32)
    mask[2000, 3000] = 1
    plan = plan_edit(Size(4000, 6000), mask, SETTINGS, ModelSpec())
    dark = Image.new("RGB", (6000, 4000))
    drawing = np.asarray(draw_plan(dark, plan, mask))[24 : 24 + 768, 24 : 24 + 1152]
    assert (drawing == 255).all(-1).sum() >= 16


def test_a_grey_picture_can_be_drawn_on(desk: Desk) -> None:
    save(desk.image, speckles(70, 96, 1))
    save(desk.mask, painted(70, 96, slice(0, 70), slice(0, 96)))
    drawing = desk.folder / "plan.png"
    assert desk.msbd("plan", desk.image, desk.mask, "--draw", drawing) == 0
    assert load(drawing).ndim == 3


def test_letters_are_found_with_an_old_pillow(monkeypatch) -> None:
    """Pillow before 10.1 has no scalable font of its own."""

    def old(*size: int) -> object:
        if size:
            raise TypeError
        return "bitmap"

    monkeypatch.setattr(ImageFont, "load_default", old)
    monkeypatch.setattr(ImageFont, "truetype", lambda name, size: (name, size))
    lettering.font.cache_clear()
    try:
        assert lettering.font(20) == ("DejaVuSans.ttf", 20)
    finally:
        lettering.font.cache_clear()


def test_texts_are_shortened_to_fit() -> None:
    draw = ImageDraw.Draw(Image.new("RGB", (10, 10)))
    short = lettering.shortened(draw, "a very long text indeed", 60, 16)
    assert short.endswith("...") and draw.textlength(short, font=lettering.font(16)) <= 60
    assert lettering.shortened(draw, "short", 600, 16) == "short"
