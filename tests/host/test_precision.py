"""Edits in the precision that the host chooses on a GPU, and with numbers that are none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from msbd.presets import PRESETS

from .client import QUICK, Scene, edited, refused
from .server import Webui


@pytest.fixture
def cast(webui: Webui) -> Iterator[None]:
    """The CPU's autocast in place of that of the GPU, all over the host."""
    if webui.installation.is_fork:
        pytest.skip("this WebUI casts by itself, without autocast")
    assert webui.probe("cast", on=True)["bits"] == 16
    yield
    assert webui.probe("cast", on=False)["bits"] == 32


@pytest.fixture
def traps(webui: Webui) -> Iterator[None]:
    yield
    assert webui.probe("disarm")["sprung"] == [True]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_edits_under_the_hosts_autocast(
    webui: Webui, small: Scene, cast: None, preset: str
) -> None:
    """Nearly as without, where only the networks are rounded."""
    fields = {"preset": preset, "choose": "first", "candidates": 1}
    rounded = edited(webui, small, fields)
    assert small.is_edited(rounded.picture)
    assert rounded.report["outside_max_difference"] == 0 and not rounded.report["interrupted"]
    webui.probe("cast", on=False)
    whole = edited(webui, small, fields)
    webui.probe("cast", on=True)
    difference = np.abs(rounded.picture.astype(int) - whole.picture)
    assert difference.any(), "the host's networks are not rounded"
    assert difference[small.mask >= 128].mean() < 12


def test_the_defaults_edit_under_the_hosts_autocast(webui: Webui, small: Scene, cast: None) -> None:
    """With CLIP, candidates and the super-resolution network."""
    answer = edited(webui, small, {"preset": "recommended"})
    assert small.is_edited(answer.picture) and answer.report["parts"][0]["scores"]
    assert not answer.report["notes"], answer.report["notes"]


def test_a_network_that_gives_nan_once_is_asked_again(
    webui: Webui, small: Scene, traps: None
) -> None:
    expected = edited(webui, small)
    webui.probe("arm", where="denoise", error="nan", call=3)
    answer = edited(webui, small)
    assert (answer.picture == expected.picture).all()
    assert any("single precision" in note for note in answer.report["notes"])


def test_nan_from_the_autoencoder_in_the_first_stage_is_refused(
    webui: Webui, small: Scene, traps: None
) -> None:
    webui.probe("arm", where="decode", error="nan", call=1)
    status, reason = refused(webui, small.request())
    assert status == 422 and "the autoencoder gives NaN" in reason


def test_nan_from_the_autoencoder_in_the_last_stage_keeps_the_first(
    webui: Webui, small: Scene, traps: None
) -> None:
    fields = {**QUICK, "choose": "first", "decoder": "off"}
    count = len(edited(webui, small, fields).report["stages"])
    webui.probe("arm", where="decode", error="nan", call=count)
    answer = edited(webui, small, fields)
    assert small.is_edited(answer.picture)
    assert answer.report["interrupted"] and len(answer.report["stages"]) == count - 1
    assert any("the autoencoder gives NaN" in note for note in answer.report["notes"])
