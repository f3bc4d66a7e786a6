"""What an edit in the WebUI starts from: the host's own controls, a sketch's layers, its rim."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from standin import Host, installed
from standin.desk import edited, mask_of, photograph, pixels, reports, request

pytestmark = pytest.mark.edits
BOX = slice(20, 50), slice(30, 66)


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def first_stage(processed: Any) -> dict[str, Any]:
    return dict(reports(processed)[0]["plan"]["stages"][0])


@pytest.mark.parametrize(
    ("fill", "start"),
    [(0, "surroundings"), (1, "picture"), (2, "latent noise"), (3, "latent nothing")],
)
def test_strength_and_masked_content_are_the_hosts(host, fill: int, start: str) -> None:
    p = request(host, denoising_strength=0.5, inpainting_fill=fill)
    processed = edited(host, p, start="picture")
    stage = first_stage(processed)
    assert (stage["start"], stage["strength"], stage["run_steps"]) == (start, 0.5, 2)
    text = processed.infotexts[0]
    assert "Denoising strength: 0.5" in text and "MSBD start: picture" in text
    assert ("Masked content: " in text) == (fill != 1)


def test_what_starts_anew_knows_neither(host) -> None:
    results = [
        edited(host, request(host, denoising_strength=strength, inpainting_fill=fill))
        for strength, fill in ((0.2, 1), (0.9, 3))
    ]
    assert (pixels(results[0].images[0]) == pixels(results[1].images[0])).all()
    assert "Denoising strength" not in results[0].infotexts[0]


def img2img(host: Host, mode: int, **layers: Any) -> Any:
    """As the host's function behind its Generate button, by whose arguments layers are known."""
    inpaint_color_sketch, inpaint_color_sketch_orig = layers["sketch"], layers["original"]
    composite = Image.blend(
        inpaint_color_sketch, inpaint_color_sketch_orig or layers["sketch"], 0.5
    )
    p = request(host, init_images=[composite], denoising_strength=0.0, inpainting_fill=1)
    return edited(host, p, **layers.get("fields", {}))


def sketched() -> tuple[Image.Image, Image.Image]:
    """A picture and a sketch on it."""
    original = photograph(70, 96)
    levels = np.array(original)
    levels[BOX] = (250, 10, 10)
    return original, Image.fromarray(levels)


def test_a_sketch_starts_from_its_paint_over_the_picture_below(host) -> None:
    original, sketch = sketched()
    processed = img2img(host, mode=3, sketch=sketch, original=original)
    assert first_stage(processed)["start"] == "paint"
    assert "MSBD start: paint" in processed.infotexts[0]
    result = pixels(processed.images[0])
    outside = np.ones((70, 96), bool)
    outside[18:52, 28:68] = False
    assert (result[outside] == pixels(original)[outside]).all(), "and not what the host blends"
    red, green, blue = result[30:40, 42:54].reshape(-1, 3).mean(0)
    assert red > 150 and green < 100 and blue < 100


def test_a_sketch_may_start_otherwise(host) -> None:
    original, sketch = sketched()
    for start in ("new", "picture"):
        fields = {"start": start}
        processed = img2img(host, mode=3, sketch=sketch, original=original, fields=fields)
        assert first_stage(processed)["start"] == start
        outside = pixels(processed.images[0])[:10]
        assert (outside == pixels(original)[:10]).all()


def test_other_modes_and_requests_have_no_sketch(host) -> None:
    from msbd.webui.hosts import page

    original, sketch = sketched()
    processed = img2img(host, mode=2, sketch=sketch, original=original)
    assert first_stage(processed)["start"] == "new" and page.sketch() is None


def test_a_sketch_without_a_stroke_is_the_picture(host) -> None:
    original, _ = sketched()
    processed = img2img(host, mode=3, sketch=original, original=None)
    assert first_stage(processed)["start"] == "paint"


def test_a_sketch_that_does_not_fit_its_picture_is_refused(host) -> None:
    from msbd.errors import EditError
    from msbd.webui.inputs import prepared

    inputs = prepared([photograph(70, 96)], mask_of((70, 96), BOX), invert=False)
    with pytest.raises(EditError, match="differ in size"):
        inputs.with_paint(photograph(96, 70))


def test_a_request_with_paint_has_its_rim_covered(host) -> None:
    p = request(host, denoising_strength=0.5, inpainting_fill=1)
    p.is_api = True
    processed = edited(host, p, start="paint")
    (report,) = reports(processed)
    assert report["plan"]["stages"][0]["start"] == "paint"
    mask = report["plan"]["mask"]
    rim = 2 + 2  # mask blur, and what a brush may have touched
    assert (mask["top"], mask["left"]) == (20 - rim, 30 - rim)
    assert any(f"{rim} pixels wider" in note for note in report["notes"])


def test_shape_and_growth_of_the_mask_are_planned(host) -> None:
    for fields, top in (({}, 20), ({"grow": 5}, 15), ({"grow": -3}, 23)):
        plan = reports(edited(host, request(host), **fields))[0]["plan"]
        assert plan["mask"]["top"] == top


def test_without_a_prompt_it_is_told_what_that_means(host) -> None:
    (report,) = reports(edited(host, request(host, prompt=""), choose="clip"))
    assert any("there is no prompt" in note for note in report["notes"])
    assert report["settings"]["choose"] == "fit" and report["parts"][0]["scores"]
    (report,) = reports(edited(host, request(host)))
    assert not any("there is no prompt" in note for note in report["notes"])
