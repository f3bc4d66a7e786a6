"""The Batch tab's first picture: the host's order, and its rules for masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from standin import Host, installed

from msbd.errors import EditError


@pytest.fixture(scope="module", autouse=True)
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def saved(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 9), level, np.uint8)).save(path)


def first(folder: Path) -> Any:
    from msbd.webui.batch import first_of

    return first_of(str(folder / "pictures"), str(folder / "masks"))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(1, 30), min_size=1, max_size=6, unique=True),
)
def test_the_first_is_the_lowest_number_that_has_a_mask(tmp_path_factory, pictures, masks):
    folder = tmp_path_factory.mktemp("batch")
    for number in pictures:
        saved(folder / "pictures" / f"{number}.png", number)
    for number in masks:
        saved(folder / "masks" / f"{number}.webp", number)
    paired = sorted(set(pictures) & set(masks)) if len(masks) > 1 else sorted(pictures)
    if not paired:
        with pytest.raises(EditError, match="has a mask of its name"):
            first(folder)
        return
    found = first(folder)
    assert found.name == f"{paired[0]}.png"
    assert np.asarray(found.picture)[0, 0] == paired[0]
    assert (found.count, found.left_out) == (len(paired), len(pictures) - len(paired))
    assert (f"{len(paired)} pictures" in str(found)) == (len(paired) > 1)


def test_what_is_no_picture_is_passed_over(tmp_path):
    saved(tmp_path / "pictures" / "2.png", 2)
    (tmp_path / "pictures" / "1.png").write_text("nothing")
    (tmp_path / "pictures" / "0.txt").write_text("nothing")
    saved(tmp_path / "masks" / "all.png", 255)
    assert first(tmp_path).name == "2.png"


def test_what_is_missing_is_said(host, tmp_path, monkeypatch):
    from msbd.webui.batch import first_of

    with pytest.raises(EditError, match="Input directory: name a folder"):
        first_of("", "")
    with pytest.raises(EditError, match="Input directory: there is no folder"):
        first_of(str(tmp_path / "pictures"), "")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(EditError, match="Input directory: there are no pictures"):
        first(tmp_path)
    saved(tmp_path / "pictures" / "1.png")
    with pytest.raises(EditError, match="mask directory: name a folder"):
        first_of(str(tmp_path / "pictures"), "")
    (tmp_path / "masks").mkdir()
    with pytest.raises(EditError, match="mask directory: there are no masks"):
        first(tmp_path)
    monkeypatch.setattr(host.shared.cmd_opts, "hide_ui_dir_config", True)
    with pytest.raises(EditError, match="hide-ui-dir-config"):
        first(tmp_path)
