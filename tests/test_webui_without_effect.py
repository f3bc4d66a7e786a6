"""The host's controls without effect: notes, what is turned off, and what the page is told."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from standin import Host, installed
from standin.desk import before, edited, pixels, reports, request, touched

from msbd.settings import SETTINGS

ASKED: dict[str, list[dict[str, Any]]] = {
    "Resize mode, width and height": [{"resize_mode": 1}, {"width": 640}, {"height": 64}],
    "Masked content": [{"inpainting_fill": 1}],
    "Inpaint area and padding": [{"inpaint_full_res": False}, {"inpaint_full_res_padding": 32}],
    "Denoising strength": [{"denoising_strength": 0.0}, {"denoising_strength": 0.3}],
    "Soft inpainting": [{"soft": True}],
    "Refiner": [{"refiner_checkpoint": "other"}],
    "Resize seed": [{"seed_resize_from_w": 64, "seed_resize_from_h": 64}],
    "Restore faces": [{"restore_faces": True}],
    "Color correction": [],
}
"""Name of controls -> what a request says that sets them."""
SILENT: list[dict[str, Any]] = [
    {},
    {"width": 96, "height": 70},
    {"refiner_checkpoint": ""},
    {"refiner_checkpoint": "None", "refiner_switch_at": 0.8},
    {"seed_resize_from_w": 0, "seed_resize_from_h": 0},
    {"restore_faces": False},
    {"soft": False},
]
"""What a request may say without setting any: defaults, nothing, or the picture's own size."""


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def asking(host: Host, soft: bool | None = None, **changes: Any) -> Any:
    """An API request with the host's defaults. soft: of the script Soft Inpainting; None without
    the script."""
    p = request(host, **{"width": 512, "height": 512, **changes})
    p.is_api = True
    if soft is not None:
        p.scripts = host.scripts.ScriptRunner()
        p.scripts.alwayson_scripts.append(SoftInpainting())
        p.script_args = (0, "another script's", soft, 0.5)
    return p


class SoftInpainting:
    """Lays a picture of its own over the result, as the host's may."""

    args_from, args_to = 2, 4
    laid = Image.new("RGBA", (96, 70), "green")

    def title(self) -> str:
        return "Soft Inpainting"

    def process(self, p: Any, enabled: bool, power: float) -> None:
        if enabled:
            p.extra_generation_params["Soft inpainting enabled"] = True

    def postprocess_maskoverlay(self, p: Any, covers: Any, enabled: bool, power: float) -> None:
        if enabled:
            covers.overlay_image = self.laid

    def __getattr__(self, occasion: str) -> Any:
        return lambda *_, **__: None


def told(p: Any, start: str = "new") -> list[str]:
    from msbd.webui import without_effect

    return without_effect.notes(without_effect.asked(p), start, start)


@pytest.mark.parametrize(
    ("name", "values"), [(name, one) for name, several in ASKED.items() for one in several]
)
def test_a_request_that_sets_one_is_told_of_it_alone(host, name, values):
    (note,) = told(asking(host, **values))
    assert note.startswith(f"Not used: {name}. ") and note.endswith(".")


@pytest.mark.parametrize("values", SILENT)
def test_a_request_that_sets_none_is_told_nothing(host, values):
    assert told(asking(host, **values)) == []


@pytest.mark.parametrize("start", SETTINGS["start"].choices or ())
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Denoising strength", {"denoising_strength": 0.3}),
        ("Masked content", {"inpainting_fill": 1}),
    ],
)
def test_what_has_its_usual_effect_is_not_told_of(host, start, name, values):
    """Strength counts wherever the first stage starts from something, Masked content where that is
    picture or paint."""
    unused = {"new"} if name == "Denoising strength" else {"new", *(SETTINGS["start"].choices)[4:]}
    if start == "automatic":
        return  # decided by then
    assert bool(told(asking(host, **values), start)) == (start in unused)


def test_a_request_that_leaves_masked_content_at_fill_is_told(host):
    from msbd.webui import without_effect

    given = without_effect.asked(asking(host))
    (note,) = without_effect.notes(given, "picture", "surroundings")
    assert "inpainting_fill" in note
    assert without_effect.notes(given, "surroundings", "surroundings") == []
    assert without_effect.notes(given, "picture", "picture") == []


def test_all_controls_are_asked_for_above(host):
    from msbd.webui.without_effect import UNUSED

    assert [one.name for one in UNUSED] == list(ASKED)


def test_on_the_page_the_greyed_controls_say_it(host):
    p = asking(host, soft=True, resize_mode=1, denoising_strength=0.3, refiner_checkpoint="other")
    assert len(told(p)) == 4
    p.is_api = False
    assert told(p) == []


@pytest.mark.edits
def test_the_notes_are_in_the_result(host):
    p = asking(host, resize_mode=2, inpainting_fill=3, restore_faces=True)
    host.shared.opts.face_restoration = True
    processed = edited(host, p)
    (report,) = reports(processed)
    told = [note for note in report["notes"] if note.startswith("Not used: ")]
    assert len(told) == 3, "one of faces, though setting and request both ask for it"
    assert all(note in processed.comments for note in told)


@pytest.mark.edits
@pytest.mark.parametrize("asked", [{"restore_faces": True}, {}])
def test_faces_are_not_restored_and_the_request_is_as_it_was(host, monkeypatch, asked):
    """Asked for by the request, or by the setting."""
    plain = pixels(edited(host, asking(host)).images[0])
    host.shared.opts.face_restoration = not asked
    p = asking(host, **asked)
    seen = []
    monkeypatch.setattr(
        host.processing,
        "create_infotext",
        lambda p, *_, **__: seen.append(p.restore_faces) or "",
    )
    assert np.array_equal(pixels(edited(host, p).images[0]), plain)
    assert seen and not any(seen)
    assert p.restore_faces is asked.get("restore_faces")


@pytest.mark.edits
def test_soft_inpainting_has_no_part_in_it(host):
    plain = pixels(edited(host, asking(host, soft=False)).images[0])
    p = asking(host, soft=True)
    given = p.script_args
    processed = edited(host, p)
    result = pixels(processed.images[0])
    assert np.array_equal(result, plain)
    assert np.array_equal(result[~touched(p)], before(p)[~touched(p)])
    assert "Soft inpainting" not in processed.infotexts[0]
    assert p.script_args is given and given == (0, "another script's", True, 0.5)


def test_arguments_that_end_before_soft_inpaintings_are_left_alone(host):
    from msbd.webui.without_effect import turn_off

    p = asking(host, soft=True)
    p.script_args = [0, 1]
    turn_off(p)
    assert p.script_args == [0, 1]


def test_a_title_that_fails_is_passed_over(host):
    from msbd.webui.without_effect import always_on_arguments

    def title() -> str:
        raise RuntimeError

    p = asking(host, soft=True)
    p.scripts.alwayson_scripts.insert(0, SimpleNamespace(title=title))
    assert always_on_arguments(p, "soft inpainting") == [True, 0.5]
    assert always_on_arguments(p, "controlnet") == []


def test_the_page_is_told_of_every_control_once(host):
    from msbd.webui.without_effect import UNUSED, for_the_page

    text = re.fullmatch(r"<div class='msbd-without-effect'>(.*)</div>", for_the_page())
    assert text and "<" not in text[1]
    told = json.loads(html.unescape(text[1]))
    assert [set(one) for one in told] == [{"selector", "tooltip", "alive"}] * len(UNUSED)
    selectors = [part for one in told for part in one["selector"].split(", ")]
    assert len(set(selectors)) == len(selectors) == sum(len(one.selectors) for one in UNUSED)
    assert all(one["tooltip"].startswith("Not used by this script. ") for one in told)
