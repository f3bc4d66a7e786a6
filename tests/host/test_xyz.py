"""A cell of the X/Y/Z plot is an edit like any other: its picture, its text, and pasting it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .client import QUICK, TITLE, Answer, Scene, asked, edited
from .server import Webui
from .test_browser import Play, browser, play, wide

__all__ = ["browser", "play"]
PLOT = "x/y/z plot"


def plotted(webui: Webui, subject: Scene, *axes: tuple[str, str]) -> Answer:
    """A plot with its cells after the grid; axes: name and values, at most three."""
    scripts = webui.get("/sdapi/v1/script-info").json
    (info,) = [one for one in scripts if one["name"] == PLOT and one["is_img2img"]]
    known = info["args"][0]["choices"]
    values: list[Any] = []
    for name, text in [*axes, *[("Nothing", "")] * (3 - len(axes))]:
        values += [known.index(name), text, []]
    legend, lone_pictures, sub_grids, no_fixed_seeds, vary, margin, csv = (
        False, True, False, False, [False] * 3, 0, True,
    )  # fmt: skip
    rest = [legend, lone_pictures, sub_grids, no_fixed_seeds, *vary, margin, csv]
    body = subject.request(script_name=PLOT) | {"script_args": values + rest}
    return asked(webui, "img2img", body)


def test_a_cell_is_the_edit_it_says(webui: Webui, small: Scene, play: Play) -> None:
    axes = ("[MSBD] Preset", "draft"), ("[MSBD] Upscaler", "Lanczos, Bicubic")
    answer = plotted(webui, small, *axes)
    _grid, *cells = answer.pictures
    texts = answer.info["infotexts"][1:]
    assert len(cells) == len(texts) == 2
    for upscaler, cell, text in zip(("Lanczos", "Bicubic"), cells, texts, strict=True):
        plain = edited(webui, small, {**QUICK, "upscaler": upscaler})
        assert (cell == plain.picture).all()
        assert text == plain.info["infotexts"][0]
    assert f"Script: {TITLE}" in texts[1]
    names = ("preset", "upscaler", "candidates")
    found = play("paste", infotext=texts[1], prompt="a red star", controls=names)
    assert found["script"] == TITLE
    assert found["values"] == {"preset": "draft", "upscaler": "Bicubic", "candidates": "1"}


def test_over_a_later_stages_setting_the_first_stage_is_painted_once(webui: Webui) -> None:
    subject, strengths = wide(), ("0.25", "0.5", "0.75", "0.9")
    edits = webui.data / "msbd-edits"
    before = set(edits.iterdir()) if edits.is_dir() else set()
    axes = ("[MSBD] Preset", "fast"), ("[MSBD] Detail", ", ".join(strengths))
    answer = plotted(webui, subject, *axes, ("[MSBD] Upscaler", "Lanczos"))
    _grid, *cells = answer.pictures
    for strength, cell in zip(strengths, cells, strict=True):
        fields = {"preset": "fast", "upscaler": "Lanczos", "final_strength": float(strength)}
        assert (cell == edited(webui, subject, fields).picture).all()
    files = [path / "part1-stage1.npy" for path in set(edits.iterdir()) - before]
    times = sorted(Counter(file.stat().st_ino for file in files).values())
    assert times == [1] * len(strengths) + [len(strengths)], "the plot's cells share theirs"
