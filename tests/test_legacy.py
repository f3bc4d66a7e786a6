"""What users stored with versions before 0.2 means what it meant (tests/recorded)."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from recorded import RECORDED, assert_means, recorded

from msbd import legacy
from msbd.cli.saving import read_recipe
from msbd.legacy import with_stored
from msbd.settings import PRESETS, EditSettings, preset
from msbd.webui.fields import chosen
from msbd.webui.infotext import parsed


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
