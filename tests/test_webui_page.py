"""Forge's canvas: which of its texts is which, and the picture and mask that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from standin import installed
from standin.desk import photograph


class Text:
    """As Forge makes them, two for each canvas."""

    elem_id = "uuid_0123"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with installed():
        from msbd.webui.hosts import page

        monkeypatch.setattr(page, "LogicalImage", Text)
        monkeypatch.setattr(page, "CANVAS", page.ForgeCanvas())
        yield page


def drawn(levels: np.ndarray) -> Image.Image:
    """Red of these opacities."""
    red = np.zeros((*levels.shape, 4), np.uint8)
    red[..., 0], red[..., 3] = 255, levels
    return Image.fromarray(red)


def test_a_canvas_texts_are_named_after_it(page: ModuleType) -> None:
    from msbd.webui.panel.tab import Tab

    canvases = ("img2img_image", "img2img_sketch", "img2maskimg", "inpaint_sketch", "controlnet")
    texts = {name: (Text(), Text()) for name in canvases}
    tab = Tab()
    for name, pair in texts.items():
        for component in (SimpleNamespace(elem_id=name), *pair, SimpleNamespace(elem_id=None)):
            tab.saw(component)
    for mode, canvas in ((page.INPAINT, "img2maskimg"), (page.SKETCH, "inpaint_sketch")):
        names = getattr(page.CANVAS, "inpaint" if mode == page.INPAINT else "sketch")
        assert tuple(tab.components[name] for name in names) == texts[canvas]
    assert sum(isinstance(one, Text) for one in tab.components.values()) == 4


def test_what_is_more_than_half_opaque_is_repainted(page: ModuleType) -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (3, 1))
    below = photograph(3, 256).convert("RGBA")
    picture, mask = page.picture_and_mask(page.INPAINT, (drawn(levels), below), 0)
    assert picture is below
    assert (np.asarray(mask) == np.where(levels > 128, 255, 0)).all()


def test_a_sketch_is_in_the_picture_and_its_mask_is_wider(page: ModuleType) -> None:
    levels = np.zeros((200, 300), np.uint8)
    levels[90:110, 120:160] = 255
    below = photograph(200, 300).convert("RGBA")
    picture, mask = page.picture_and_mask(page.SKETCH, (drawn(levels), below), 0)
    inside = levels > 0
    assert (np.asarray(picture)[inside] == (255, 0, 0, 255)).all()
    assert (np.asarray(picture)[~inside] == np.asarray(below)[~inside]).all()
    rows, columns = np.nonzero(mask)
    reach = 3  # 1.5 % of 200
    assert (rows.min(), rows.max()) == (90 - reach, 109 + reach)
    assert (columns.min(), columns.max()) == (120 - reach, 159 + reach)


def test_an_empty_canvas_has_neither_picture_nor_mask(page: ModuleType) -> None:
    for mode in (page.INPAINT, page.SKETCH):
        assert page.picture_and_mask(mode, (None, None), 0) == (None, None)
