"""What users stored with versions before 0.2 means what it meant (tests/recorded)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from recorded import RECORDED, assert_means, recorded

from msbd import legacy
from msbd.cli.recipe import read_recipe
from msbd.legacy import with_stored
from msbd.presets import PRESETS, preset
from msbd.settings import LAST_LAYER, OFF, EditSettings
from msbd.webui.fields import CONTROLS, PANEL, UNSEEN, chosen
from msbd.webui.infotext import key, parsed, renew


@pytest.mark.parametrize("entry", recorded("requests.json"))
def test_requests(entry: dict[str, Any]) -> None:
    choice = chosen(entry["args"], entry["defaults"])
    assert choice.preset == entry["preset"]
    assert_means(choice.settings, entry["settings"])


@pytest.mark.parametrize("entry", recorded("infotexts.json"))
def test_infotexts(entry: dict[str, Any]) -> None:
    choice = parsed(entry["parameters"])
    assert choice is not None and choice.preset == entry["preset"]
    assert_means(choice.settings, entry["settings"])


@pytest.mark.parametrize("name", ["result.png", "result.jpg", "result.webp", "camera.jpg"])
def test_pictures(name: str) -> None:
    recipe = read_recipe(RECORDED / name)
    then = recorded("pictures.json")[name]
    assert (recipe.prompt, recipe.negative) == (then["prompt"], then["negative"])
    assert (recipe.seed, recipe.model) == (then["seed"], then["model"])
    assert_means(recipe.settings, then["settings"])


@pytest.mark.parametrize("base", PRESETS)
def test_new_names_go_through_unchanged(base: str) -> None:
    settings = preset(base)
    assert with_stored(EditSettings(), settings.flat()) == settings
    assert with_stored(settings, {}) == settings


@pytest.mark.parametrize("name", sorted(legacy.OLD))
def test_an_old_name_is_told_of_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    legacy._told.discard(name)
    value = {"repaint_repeats": 2, "choose_after": 0.5, "tile_context": 1.0, "later_guidance": 0.5}
    with caplog.at_level(logging.WARNING, "msbd.legacy"):
        for _ in range(2):
            with_stored(EditSettings(), {name: value.get(name, True)})
    assert [record.getMessage() for record in caplog.records if name in record.getMessage()] == [
        record.getMessage() for record in caplog.records
    ]
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({"repaint_repeats": 9, "resampling_steps": 2}, {"resampling_steps": 2}),
        ({"resampling_steps": 2, "repaint_repeats": 9}, {"resampling_steps": 2}),
        ({"later_guidance": 0.1, "guidance_later": 0.7}, {"guidance_later": 0.7}),
        ({"keep_inside": True, "whole_cells": False}, {}),
        ({"decoder": LAST_LAYER, "decoder_refit": False}, {"decoder": LAST_LAYER}),
        ({"decoder": LAST_LAYER, "decoder_iterations": 0}, {"decoder": LAST_LAYER}),
        ({"decoder": LAST_LAYER, "decoder_iterations": "0.0"}, {"decoder": LAST_LAYER}),
    ],
)
def test_where_both_are_given_the_name_of_today_counts(
    values: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert with_stored(EditSettings(), values).changed() == meant


@pytest.mark.parametrize("name", ["draft", "recommended"])
def test_a_stored_number_of_steps_does_not_turn_fine_tuning_on(name: str) -> None:
    choice = chosen(({"preset": name},), {"decoder_iterations": 30})
    assert choice.settings.decoder == preset(name).decoder
    assert choice.settings.ablation.decoder_iterations == 30


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", "0"], {"decoder": OFF}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", 9], {"decoder_iterations": 9}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", None, 1.5], {"minimum_crop": 1.5}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", None, None, "first"], {"choose": "first"}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", OFF], {"decoder": OFF}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", OFF, True, 0.5],
         {"decoder": OFF, "whole_cells": True, "early_selection": 0.5}),
        (["paper", 5, 5, 1.3, 0.25, "Lanczos", None, True], {"whole_cells": True}),
    ],
)  # fmt: skip
def test_short_lists_are_read_in_the_order_they_have(args: list[Any], meant: Any) -> None:
    assert chosen(args, {}).settings.changed() == {"upscaler": "Lanczos", **meant}


@pytest.mark.parametrize("entry", recorded("infotexts.json"))
def test_a_pasted_infotext_is_said_anew_in_full(entry: dict[str, Any]) -> None:
    """Controls and overrides of options, which the host makes of its keys, then mean the same."""
    params = dict(entry["parameters"])
    renew("", params)
    assert (
        params.items()
        >= {k: v for k, v in entry["parameters"].items() if not k.startswith("MSBD")}.items()
    )
    choice = parsed(params)
    assert choice is not None
    assert_means(choice.settings, entry["settings"])
    controls = {name: choice.values()[name] for name in CONTROLS}
    options = {name: params[key(name)] for name in (*PANEL, *UNSEEN) if key(name) in params}
    assert_means(chosen((controls,), options).settings, entry["settings"])
