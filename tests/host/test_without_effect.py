"""Controls of the img2img tab without effect with the script: measured, told, and greyed out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from . import models
from .client import TITLE, Answer, Scene, asked, disc, edited, painted
from .server import Webui
from .test_browser import Play, browser, play, quick, shown
from .test_left_alone import reload

__all__ = ["browser", "play"]

EFFECTIVE: dict[str, list[dict[str, Any]]] = {
    "img2img_mask_blur": [{"mask_blur": 9}],
    "img2img_mask_mode": [{"inpainting_mask_invert": 1}],
    "img2img_sampling": [{"sampler_name": "Euler"}],
    "img2img_scheduler": [{"scheduler": "Karras"}],
    "img2img_steps": [{"steps": 5}],
    "img2img_batch_count": [{"n_iter": 2}],
    "img2img_batch_size": [{"batch_size": 2}],
    "img2img_cfg_scale": [{"cfg_scale": 3}],
    "img2img_seed": [{"seed": 2}],
    "img2img_subseed": [{"subseed": 9, "subseed_strength": 0.5}],
    "img2img_subseed_strength": [{"subseed": 8, "subseed_strength": 0.5}],
    "img2img_override_settings": [{"override_settings": {"CLIP_stop_at_last_layers": 2}}],
}
"""Control -> changes of a request that give another result."""


def softly(*values: float) -> dict[str, Any]:
    """Soft Inpainting on, with these in place of its first sliders' values."""
    return {"alwayson_scripts": {"soft inpainting": {"args": [True, *values]}}}


WITHOUT: dict[str, list[dict[str, Any]]] = {
    "resize_mode": [{"resize_mode": mode} for mode in (1, 2, 3)],
    "img2img_width": [{"width": 640}, {"width": 64, "resize_mode": 2}],
    "img2img_height": [{"height": 640}, {"width": 320, "height": 704}],
    "img2img_inpainting_fill": [{"inpainting_fill": kind} for kind in (1, 2, 3)],
    "img2img_inpaint_full_res": [{"inpaint_full_res": False}],
    "img2img_inpaint_full_res_padding": [{"inpaint_full_res_padding": 64}],
    "img2img_denoising_strength": [{"denoising_strength": value} for value in (0, 0.3, 1)],
    "soft_inpainting_enabled": [softly(1, 0.5, 4, 0, 0.5, 2)],
    "mask_blend_power": [softly(7, 0.5, 4, 0, 0.5, 2)],
    "mask_blend_scale": [softly(1, 7, 4, 0, 0.5, 2)],
    "inpaint_detail_preservation": [softly(1, 0.5, 30, 0, 0.5, 2)],
    "composite_mask_influence": [softly(1, 0.5, 4, 1, 0.5, 2)],
    "composite_difference_threshold": [softly(1, 0.5, 4, 0, 7, 2)],
    "composite_difference_contrast": [softly(1, 0.5, 4, 0, 0.5, 7)],
    "img2img_enable": [{"refiner_checkpoint": models.PERTURBED, "refiner_switch_at": 0.8}],
    "img2img_checkpoint": [{"refiner_checkpoint": models.VELOCITY, "refiner_switch_at": 0.8}],
    "img2img_switch_at": [{"refiner_checkpoint": models.PERTURBED, "refiner_switch_at": 0.1}],
    "img2img_seed_resize_from_w": [{"seed_resize_from_w": 96, "seed_resize_from_h": 64}],
    "img2img_seed_resize_from_h": [{"seed_resize_from_w": 64, "seed_resize_from_h": 96}],
}
"""Control -> changes of a request that give the same bytes."""

OF_THE_PAGE = {
    "img2img_mask_alpha": "part of what Inpaint sketch sends as its picture and mask",
    "img2img_distilled_cfg_scale": "unseen but for Flux",
    "img2img_image_cfg_scale": "unseen but for checkpoints that are told what to change",
    "img2img_subseed_show": "shows the variation seed",
    "img2img_random_seed": "sets the seed",
    "img2img_reuse_seed": "sets the seed",
    "img2img_random_subseed": "sets the variation seed",
    "img2img_reuse_subseed": "sets the variation seed",
    "img2img_res_switch_btn": "sets width and height",
    "img2img_detect_image_size_btn": "sets width and height",
    "img2img_scale": "of which the page makes width and height",
    "img2img_unused_scale_by_slider": "never seen",
    "img2img_update_resize_to": "never seen",
    "img2img_checkpoint_refresh": "a list of the refiner's",
}
"""Controls without a field of a request, and why."""
GREYED_OF_THE_PAGE = {
    *("img2img_res_switch_btn", "img2img_detect_image_size_btn", "img2img_scale"),
    *("img2img_unused_scale_by_slider", "img2img_update_resize_to", "img2img_checkpoint_refresh"),
}
APART = ("mode_img2img", "img2img_script_container", "extra_options_img2img")
"""Parts of the tab that hold pictures, scripts, and what the user puts there."""
INPUTS = {"slider", "radio", "checkbox", "dropdown", "number", "textbox", "button"}
DRAFT = {"preset": "draft"}
SHOWN_SETTINGS = ["face_restoration", "img2img_color_correction"]


@pytest.fixture(scope="module")
def soft() -> Scene:
    """The small scene, its mask grey at the rim: what depends on levels shows as well."""
    from .client import scene

    plain = scene()
    rim = np.where(disc(208, 256, 60) > 0, 100, 0).astype(np.uint8)
    return Scene(plain.picture, np.maximum(plain.mask, rim))


@pytest.fixture(scope="module")
def unchanged(webui: Webui, soft: Scene) -> Answer:
    return edited(webui, soft)


@pytest.mark.parametrize("control", EFFECTIVE)
def test_with_effect(webui: Webui, soft: Scene, unchanged: Answer, control: str) -> None:
    for change in EFFECTIVE[control]:
        answer = edited(webui, soft, **change)
        first, *more = answer.pictures
        assert more or (first != unchanged.picture).any(), change
        assert told(answer) == []


@pytest.mark.parametrize("control", WITHOUT)
def test_without_effect_and_told(
    webui: Webui, soft: Scene, unchanged: Answer, control: str
) -> None:
    for change in WITHOUT[control]:
        answer = edited(webui, soft, **change)
        assert (answer.picture == unchanged.picture).all(), change
        assert len(told(answer)) == 1, change
        assert "Soft" not in answer.info["infotexts"][0]


def test_every_control_of_the_tab_is_known_and_those_without_effect_are_greyed(
    webui: Webui,
) -> None:
    """The selectors are ids, so that the page's description is enough."""
    found = controls(webui)
    known = {*EFFECTIVE, *WITHOUT, *OF_THE_PAGE}
    if webui.installation.kind != "forge":
        known.remove("img2img_distilled_cfg_scale")
    assert set(found) == known, set(found) ^ known
    ids = {part.strip()[1:] for part in selectors(webui) if " " not in part.strip()}
    greyed = {name for name, path in found.items() if ids & {name, *path}}
    assert greyed == {*WITHOUT, *GREYED_OF_THE_PAGE}


def test_soft_inpaintings_earlier_picture_stays_away(webui: Webui, soft: Scene) -> None:
    """It keeps what surrounds the mask in its last picture, and lays it over the next."""
    other = Scene(np.ascontiguousarray(255 - soft.picture), soft.mask)
    on = softly(1, 0.5, 4, 0, 0.5, 2)
    body = other.request(width=256, height=208, inpaint_full_res=False, **on)
    asked(webui, "img2img", body | {"script_name": None, "script_args": []})
    assert (edited(webui, soft, **on).picture == edited(webui, soft).picture).all()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"restore_faces": True}, "Restore faces"),
        ({"override_settings": {"face_restoration": True}}, "Restore faces"),
        ({"override_settings": {"img2img_color_correction": True}}, "Color correction"),
    ],
    ids=str,
)
def test_what_would_change_the_rest_is_turned_off(
    webui: Webui, soft: Scene, unchanged: Answer, change: dict[str, Any], name: str
) -> None:
    assert (painted(webui, restore_faces=True) != painted(webui)).all(), "it is at work"
    answer = edited(webui, soft, **change)
    assert (answer.picture == unchanged.picture).all()
    (note,) = told(answer)
    assert note.startswith(f"Not used: {name}.")
    assert "Face restoration" not in answer.info["infotexts"][0]


@pytest.fixture
def settings_shown(webui: Webui) -> Iterator[None]:
    """The tab has settings of the user's choice, and its scripts come first."""
    options: dict[str, Any] = {"extra_options_img2img": SHOWN_SETTINGS}
    if webui.installation.kind != "forge":  # whose own ControlNet then keeps the page from starting
        options["ui_reorder_list"] = ["scripts"]
    before = webui.get("/sdapi/v1/options").json
    webui.post("/sdapi/v1/options", options)
    reload(webui)
    yield
    webui.post("/sdapi/v1/options", {name: before[name] for name in options})
    reload(webui)


def test_on_the_page(webui: Webui, play: Play, small: Scene, settings_shown: None) -> None:
    """Greyed, out of reach of mouse and keyboard, with the reason; then as before."""
    pasted = (
        "a red ring\nSteps: 6, Sampler: Euler a, CFG scale: 6, Seed: 1, Size: 768x640, "
        "Denoising strength: 0.61, Masked content: latent noise, Inpaint area: Only masked, "
        "Masked area padding: 64, Soft inpainting enabled: True, Soft inpainting schedule bias: 3, "
        f"Script: {TITLE}"
    )
    found = play(
        "greyed", small, **quick(fields=DRAFT, pasted=pasted, refiner=Path(models.PERTURBED).stem)
    )
    soft = "soft_inpainting_enabled"
    missing = {"#img2img_restore_faces"}
    if f'"{soft}"' not in webui.get("/config").text:
        missing.add(f"#{soft}")
    expected = {part.strip() for part in selectors(webui)} - missing
    assert set(found["greyed"]) == expected
    for selector, one in found["greyed"].items():
        assert one["tooltip"].startswith("Not used by this script. "), selector
        assert one["opacity"] < 0.6 and not one["focused"], selector
    assert not found["focused"] and not found["changed"], "by mouse or keyboard"
    assert not found["left"], "all attributes and values are as before"
    assert found["modes"] == [len(expected)] * 3
    arrived = {"width": "768", "height": "640", "strength": "0.61",
               "content": "latent noise", "area": "Only masked", "padding": "64"}  # fmt: skip
    softly_arrived = {} if f"#{soft}" in missing else {"soft": True, "bias": "3"}
    assert found["pasted"] == arrived | softly_arrived
    assert found["pastedGreyed"] == len(expected)
    assert found["usable"] == "448", "and can be changed again"
    assert found["missing"] == len(expected) - 1
    (picture,) = found["pictures"]
    assert (shown(webui, picture) == edited(webui, small, DRAFT, steps=6).picture).all()
    assert found["log"].count("Not used") == 2, "of the settings; greyed controls say it themselves"


def told(answer: Answer) -> list[str]:
    return [note for note in answer.report["notes"] if note.startswith("Not used: ")]


def selectors(webui: Webui) -> list[str]:
    """As the page has them."""
    page = webui.get("/config").text
    return [
        part
        for one in re.findall(r"selector&quot;: &quot;(.*?)&quot;", page)
        for part in one.split(",")
    ]


def controls(webui: Webui) -> dict[str, set[str]]:
    """The tab's inputs by elem_id, each with the elem_ids of what it lies in."""
    config = webui.get("/config").json
    known = {one["id"]: one for one in config["components"]}
    found: dict[str, set[str]] = {}

    def walk(node: dict[str, Any], path: tuple[str, ...]) -> None:
        one = known.get(node["id"], {"type": "", "props": {}})
        name = one["props"].get("elem_id") or ""
        if name in APART:
            return
        if one["type"] in INPUTS and "img2img_settings" in path and name:
            found[name.removesuffix("-checkbox")] = set(path)
        for child in node.get("children", ()):
            walk(child, (*path, name))

    walk(config["layout"], ())
    return found
