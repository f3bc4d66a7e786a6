"""Which controls there are, and that everything they state comes from the settings."""

from __future__ import annotations

import pytest

from msbd.presets import PRESETS
from msbd.settings import SETTINGS
from msbd.webui.fields import CONTROLS, HOST_OWNED, PANEL, SHOW_CANDIDATES, THIS_RUN, chosen
from msbd.webui.panel.specification import MOST_NOTCHES, Control, specification

PAPER = {"preset": "paper", "tile_size": 1.5, "tile_overlap": 0.25}
UPSCALERS = ["R-ESRGAN 4x+", "4x: Ultra, sharp", "Lanczos"]


def controls(**defaults: object) -> dict[str, Control]:
    return {one.name: one for one in specification(PAPER | defaults, UPSCALERS)}


def test_controls_panel_and_host_are_all_settings_exactly_once():
    assert tuple(controls()) == CONTROLS
    settings = ["preset", *THIS_RUN, "sampler", *SETTINGS]
    assert sorted([*controls(), *PANEL, *HOST_OWNED]) == sorted(settings)


def test_every_default_label_bound_and_help_is_the_settings():
    for name, setting in SETTINGS.items():
        if name not in controls():
            continue
        control = controls()[name]
        assert control.value == setting.default
        assert type(control.value) is setting.type
        assert control.label == setting.label
        assert control.help.startswith(setting.help)
        assert setting.paper in control.help
        assert control.help.startswith(control.info)
        if control.kind == "Slider":
            bounds = {"minimum": setting.low, "maximum": setting.high, "step": setting.step}
            assert control.arguments == bounds
        if setting.choices:
            assert control.arguments["choices"] == list(setting.choices)


def test_labels_are_unique():
    labels = [control.label for control in controls().values()]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", PRESETS)
def test_the_default_preset_decides_what_is_seen_first(name):
    values = chosen([{"preset": name}], PAPER).values()
    seen = {control.name: control.value for control in controls(preset=name).values()}
    assert seen == {name: values[name] for name in CONTROLS}


def test_kinds():
    kinds = {name: control.kind for name, control in controls().items()}
    assert kinds["preset"] == kinds["upscaler"] == "Dropdown"
    assert kinds["decoder"] == "Radio"
    assert kinds["whole_cells"] == kinds[SHOW_CANDIDATES] == "Checkbox"
    assert {kinds[n] for n in ("candidates", "margin", "guidance_later")} == {"Slider"}
    assert [name for name, kind in kinds.items() if kind == "Textbox"] == [
        *("candidate", "edit_id", "details")
    ]


def test_every_slider_can_be_put_on_what_we_set_it_to():
    for name, control in controls().items():
        if control.kind != "Slider":
            continue
        low, high, step = (control.arguments[k] for k in ("minimum", "maximum", "step"))
        assert (high - low) / step <= MOST_NOTCHES
        for preset in PRESETS:
            value = chosen([{"preset": preset}], PAPER).values()[name]
            assert low + step * round((value - low) / step) == pytest.approx(value)


def test_the_upscalers_are_those_that_can_be_had_and_the_default():
    assert controls()["upscaler"].arguments["choices"] == UPSCALERS
    without = specification(PAPER, ["Lanczos"])
    (upscaler,) = (one for one in without if one.name == "upscaler")
    assert upscaler.arguments["choices"] == ["Lanczos", SETTINGS["upscaler"].default]
