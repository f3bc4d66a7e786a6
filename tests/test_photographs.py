"""What the evaluation tells of photographs that return."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from msbd.errors import EditError
from msbd.evaluation import photographs_page
from msbd.evaluation.photographs import (
    GRAIN,
    PLACES,
    SHOWN,
    Pixels,
    compared,
    mask_of,
    photograph,
    rms,
)

DOCS = Path(__file__).parent.parent / "docs" / "evaluation"
NAME = "coffee"


def edited(picture: Pixels, other: np.ndarray) -> Pixels:
    """The picture with the disc of another one."""
    inside = mask_of(NAME, picture.shape)[..., None]
    return np.where(inside, other.round().clip(0, 255).astype(np.uint8), picture)


def test_the_photograph_itself_is_perfect() -> None:
    picture = photograph(NAME, "own")
    found = compared(NAME, "own", picture, picture)
    assert found["octaves"] == [0, 0, 0] and found["error"] == found["seam"] == found["tone"] == 0
    assert found["structure"] == 1 and found["displaced"] == pytest.approx([0, 0, 0], abs=1e-3)


def test_what_is_lost_added_and_displaced_is_told() -> None:
    picture = photograph(NAME, "film")
    soft = compared(
        NAME, "film", picture, edited(picture, ndimage.gaussian_filter(picture * 1.0, (2, 2, 0)))
    )
    assert soft["octaves"][0] < -2 and soft["seam"] > 0.3 and soft["tone"] < 1
    noise = np.random.default_rng(1).standard_normal(picture.shape[:2])[..., None]
    added = compared(NAME, "film", picture, edited(picture, picture + 25 * noise))
    assert added["octaves"][0] > 0.5 and added["displaced"][0] > 0.3
    moved = compared(NAME, "film", picture, edited(picture, np.roll(picture, 9, 1) * 1.0))
    assert moved["displaced"][0] > 0.8 and abs(moved["octaves"][0]) < 0.1
    tinted = compared(NAME, "film", picture, edited(picture, picture * 1.0 + 10))
    assert tinted["tone"] == pytest.approx(10, abs=1) and tinted["seam"] > 0.1


@pytest.mark.parametrize("version", GRAIN)
def test_grain_is_as_strong_as_it_is_told(version: str) -> None:
    deviation, _ = GRAIN[version]
    plain, grainy = (photograph("coffee", one).astype(float) for one in ("defocused", version))
    inside = mask_of("coffee", plain.shape)
    assert (grainy - plain)[inside].std() == pytest.approx(deviation, rel=0.1)
    assert rms(photograph("coffee", version), inside)[0] > 1


def test_twelve_crops_are_shown_none_too_large() -> None:
    assert len(SHOWN) == len(set(SHOWN)) == 12
    assert {name for name, _ in SHOWN} == set(PLACES)
    assert all(1.3 * 2 * radius <= 768 for _, _, radius in PLACES.values())


def test_the_committed_document_is_that_of_the_committed_figures() -> None:
    found = json.loads((DOCS / "photographs.json").read_text())
    assert (DOCS / "photographs.md").read_text() == photographs_page.text(found)
    assert {(r["name"], r["version"]) for r in found["rows"]} == set(SHOWN)
    assert (DOCS / "photographs.jpg").stat().st_size < 1.5e6


def test_an_upscaler_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="no upscaler"):
        photographs_page.perform(tmp_path, 1, tmp_path / "none.pth", lambda _: None)
