"""Photographs that return: `pytest -m slow tests/test_return.py -s`, about 15 minutes on two cores.

What comes back of photographs with known grain, by `msbd.evaluation.photographs`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from msbd.evaluation.photographs import (
    INNER,
    PLACES,
    WAYS,
    WITH_TEXTURE,
    doublings,
    mask_of,
    photograph,
    returned,
    rms,
)

COMPARED = ("no_texture", "recommended", "two_passes")


def octaves(name: str, version: str) -> dict[str, Any]:
    """Texture inside the mask by octave, in levels, finest first: true, and by each way."""
    picture = photograph(name, version)
    inside = mask_of(name, picture.shape, INNER)
    found: dict[str, Any] = {"name": name, "version": version, "truth": rms(picture, inside)}
    for way in COMPARED:
        found[way] = rms(returned(name, version, WAYS[way]), inside)
    return found


def error(found: dict[str, Any], way: str) -> float:
    """Mean distance of the octaves from what is true, in doublings."""
    pairs = zip(found[way], found["truth"], strict=True)
    return float(np.mean([abs(doublings(*pair)) for pair in pairs]))


@pytest.fixture(scope="module")
def all_returned() -> Iterator[list[dict[str, Any]]]:
    pairs = [(name, version) for name in PLACES for version in ("own", "defocused", *WITH_TEXTURE)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield list(pool.map(octaves, *zip(*pairs, strict=True)))


def told(found: dict[str, Any]) -> None:
    columns = zip(found["truth"], *(found[way] for way in COMPARED), strict=True)
    text = "  ".join("{:5.1f} {:5.1f} {:5.1f} {:5.1f}".format(*column) for column in columns)
    errors = " ".join(f"{error(found, way):.2f}" for way in COMPARED)
    print(f"{found['name']:18} {found['version']:10} {text}   {errors}")


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_texture_comes_back(all_returned) -> None:
    """In fours: true, without texture, with it, by two passes; and the errors of the three."""
    for found in all_returned:
        told(found)
    grainy = [one for one in all_returned if one["version"] in WITH_TEXTURE]
    for other in ("no_texture", "two_passes"):
        better = sum(error(one, "recommended") < error(one, other) for one in grainy)
        print(f"nearer with texture than {other}: {better} of {len(grainy)} with grain or canvas")
        assert better >= 0.8 * len(grainy)
    for one in grainy:
        for octave in range(2):  # coarser ones hold what is shown more than its grain
            true, plain, ours = (one[way][octave] for way in ("truth", "no_texture", "recommended"))
            if plain < true / 2:
                assert ours == pytest.approx(true, rel=0.15), (one["name"], one["version"])


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_nothing_is_put_where_nothing_was(all_returned) -> None:
    for one in all_returned:
        if one["version"] == "defocused":
            assert error(one, "recommended") <= 1.02 * error(one, "no_texture") + 0.005, one["name"]
