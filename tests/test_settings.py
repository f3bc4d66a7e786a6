"""One source of defaults, ranges and labels."""

from __future__ import annotations

import pytest

from msbd.errors import EditError
from msbd.settings import PRESETS, SETTINGS, EditSettings, FirstStage, preset


def test_defaults_are_valid_and_flat_is_a_bijection():
    settings = EditSettings()
    assert settings.flat() == {name: s.default for name, s in SETTINGS.items()}
    assert EditSettings().with_values(settings.flat()) == settings
    assert settings.changed() == {}


def test_labels_are_unique_and_everything_is_explained():
    labels = [s.label for s in SETTINGS.values()]
    assert len(set(labels)) == len(labels)
    for s in SETTINGS.values():
        assert s.help.endswith(".")
        assert s.choices or s.type in (bool, str) or (s.low is not None and s.high is not None)
        assert s.low is None or s.low <= s.default <= s.high


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    assert preset(name).changed() == PRESETS[name]


def test_the_paper_preset_is_the_papers():
    values = preset("paper").flat()
    assert values["candidates"] == 5
    assert (values["steps"], values["repaint_repeats"]) == (50, 5)
    assert (values["intermediate_strength"], values["final_strength"]) == (0.4, 0.25)
    assert (values["tile_size"] * 512, values["tile_overlap"] * 512) == (768, 128)
    assert values["decoder_iterations"] == 100
    assert (values["decoder_rate"], values["decoder_background_weight"]) == (1e-4, 100.0)
    assert values["guidance"] == 7.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"steps": "20"}, 20),
        ({"steps": 20.0}, 20),
        ({"margin": "1.5"}, 1.5),
        ({"margin": 2}, 2.0),
        ({"lowpass_background": "off"}, False),
        ({"choose": "first"}, "first"),
    ],
)
def test_values_from_outside_become_the_settings_type(values, expected):
    (name,) = values
    got = EditSettings().with_values(values).flat()[name]
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    "values",
    [
        {"stpes": 20},
        {"steps": 0},
        {"steps": 20.5},
        {"steps": "many"},
        {"steps": True},
        {"margin": float("nan")},
        {"margin": float("inf")},
        {"margin": None},
        {"choose": "best"},
        {"lowpass_background": 1},
        {"lowpass_background": "maybe"},
        {"upscaler": 4},
    ],
)
def test_bad_values_name_the_setting(values):
    (name,) = values
    with pytest.raises(EditError, match=name):
        EditSettings().with_values(values)


def test_unknown_presets_are_refused():
    with pytest.raises(EditError, match="paper"):
        preset("papre")


def test_a_group_given_directly_is_checked_too():
    with pytest.raises(EditError, match="candidates"):
        EditSettings(first=FirstStage(candidates=99))
