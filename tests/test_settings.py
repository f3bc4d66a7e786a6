"""One source of defaults, ranges and labels."""

from __future__ import annotations

import pytest

from msbd.errors import EditError
from msbd.presets import PRESETS, preset
from msbd.setting import ABLATIONS, Ablation, numbers_with
from msbd.settings import SETTINGS, EditSettings


def test_defaults_are_valid_and_flat_is_a_bijection():
    settings = EditSettings()
    assert settings.flat() == {name: s.default for name, s in (SETTINGS | ABLATIONS).items()}
    assert EditSettings().with_values(settings.flat()) == settings
    assert settings.changed() == {}


def test_labels_are_unique_and_everything_is_explained():
    labels = [s.label for s in SETTINGS.values()]
    assert len(set(labels)) == len(labels)
    for s in SETTINGS.values():
        assert s.label and s.help.endswith(".")
        assert s.choices or s.type in (bool, str) or (s.low is not None and s.high is not None)
    for s in (SETTINGS | ABLATIONS).values():
        assert s.low is None or s.default is None or s.low <= s.default <= s.high


def test_users_have_no_more_than_twenty_two():
    assert len(SETTINGS) == 22 and not {*SETTINGS} & {*ABLATIONS}


def test_everything_is_where_its_name_says():
    """A setting is a field of the settings, an ablation of `ablation`."""
    for name, known in SETTINGS.items():
        assert getattr(EditSettings(), name) == known.default
    for name, known in ABLATIONS.items():
        assert getattr(EditSettings().ablation, name) == known.default


def test_what_stands_for_two_follows_unless_it_is_told_otherwise():
    def settings(**values):
        return EditSettings().with_values(values)

    assert settings(guidance_later=0.5).tile_guidance == 0.25
    assert settings(guidance_later=0.5, tile_guidance=0.7).tile_guidance == 0.7
    assert settings(tile_guidance=0.0).tile_guidance == 0.0
    assert settings(tile_guidance=0.7).with_values({"tile_guidance": None}).tile_guidance == 1.0


def test_clip_ranks_only_where_there_is_a_choice():
    assert EditSettings().ranks_by_clip
    assert not EditSettings(candidates=1).ranks_by_clip
    assert not EditSettings().with_values({"choose": "first"}).ranks_by_clip


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    assert preset(name).changed() == PRESETS[name]


def test_the_paper_preset_is_the_papers():
    values = preset("paper").flat()
    assert values["candidates"] == 5
    assert (values["steps"], values["resampling_steps"]) == (50, 5)
    assert (values["intermediate_strength"], values["final_strength"]) == (0.4, 0.25)
    assert (values["tile_size"] * 512, values["tile_overlap"] * 512) == (768, 128)
    assert (values["decoder"], values["decoder_iterations"]) == ("fine-tune", 100)
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
        {"decoder": "refit"},
        {"decoder_iterations": 0},
        {"decoder_iterations": 1001},
        {"tile_guidance": 3.0},
        {"whole_cells": "perhaps"},
        {"repaint_repeats": 3},
    ],
)
def test_bad_values_name_the_setting(values):
    (name,) = values
    with pytest.raises(EditError, match=name):
        EditSettings().with_values(values)


def test_unknown_presets_are_refused():
    with pytest.raises(EditError, match="paper"):
        preset("papre")


def test_values_given_directly_are_checked_too():
    with pytest.raises(EditError, match="candidates"):
        EditSettings(candidates=99)
    with pytest.raises(EditError, match="growth"):
        Ablation(growth=99.0)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("steps", "a whole number from 1 to 150"),
        ("margin", "a number from 1 to 4"),
        ("whole_cells", "true or false"),
        ("decoder", "one of off, last layer, fine-tune"),
        ("upscaler", "a text"),
    ],
)
def test_what_is_allowed_is_told_in_words(name, kind):
    assert SETTINGS[name].kind == kind


@pytest.mark.parametrize(
    "earlier, later, both",
    [
        ("best", "3", "3"),
        ("2", "best", "2"),
        ("2", "3", "3"),
        ("2:3", "1:2", "1:2,2:3"),
        ("1:4,2:3", "1:2", "1:2,2:3"),
        ("5", "1:2", "1:2"),
        ("1:2", "4", "4"),
    ],
)
def test_numbers_that_were_chosen_one_after_the_other(earlier, later, both):
    assert numbers_with(earlier, later) == both
