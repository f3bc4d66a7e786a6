"""How well the time that is left is known."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Model, painted, save, speckles
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd import cost
from msbd.cli.batch.forecast import Forecast, Line
from msbd.cli.batch.rows import Row
from msbd.cli.batch.work import Options, Outcome

NUMBERS = st.floats(0, 1e4)


def fitted(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    line = Line()
    for x, y in pairs:
        line.add(x, y)
    return line.fitted()


def planned(rows: list[Row], many: int) -> Forecast:
    """A forecast that has planned so many of them."""
    forecast = Forecast(rows, Options())
    while forecast.planned < many:
        time.sleep(0.01)
    return forecast


@settings(deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_the_fit_is_the_best_one(pairs: list[tuple[float, float]]) -> None:
    """No other line without negative numbers is nearer."""
    x, y = np.array(pairs).T
    fixed, rate = fitted(pairs)
    assert fixed >= 0 and rate >= 0

    def away(a: float, b: float) -> float:
        return float(((a + b * x - y) ** 2).sum())

    least = away(fixed, rate)
    for a, b in ((1, 0), (-1, 0), (0, 1e-3), (0, -1e-3), (1, -1e-3), (-1, 1e-3)):
        other = away(max(fixed + a * 1e-2, 0), max(rate + b * 1e-2, 0))
        assert least <= other + 1e-6 * (1 + other)


@given(st.floats(0, 100), st.floats(1e-3, 100), st.integers(2, 20))
def test_a_line_is_found(fixed: float, rate: float, count: int) -> None:
    found = fitted([(x, fixed + rate * x) for x in range(count)])
    assert found == pytest.approx((fixed, rate), rel=1e-4, abs=1e-4)


def mixed(folder: Path, count: int, sizes: tuple[int, ...]) -> list[Row]:
    """Rows whose edits take from one to some fifty times as long."""
    rng, rows = np.random.default_rng(3), []
    for size in sizes:
        save(folder / f"p{size}.png", speckles(size, size))
        save(folder / f"m{size}.png", painted(size, size, slice(9, size - 9), slice(9, size - 9)))
    for number in range(1, count + 1):
        size = rng.choice(sizes)
        values = {
            "image": str(folder / f"p{size}.png"),
            "mask": str(folder / f"m{size}.png"),
            "prompt": "a red star",
            "seed": str(number),
            "preset": str(rng.choice(["draft", "fast"])),
            "steps": str(rng.choice([3, 6, 12])),
            "output": str(folder / "out" / f"{number}.png"),
        }
        rows.append(Row(number, values))
    return rows


def test_a_mixed_batch_is_known_after_a_tenth(tmp_path: Path, model: Model) -> None:
    """Edits that take what their plans say, but for what varies, and something more each."""
    rows = mixed(tmp_path, 200, (48, 96, 192))
    forecast = planned(rows, len(rows))
    rng = np.random.default_rng(0)
    weights = np.array([forecast._weights[row.number] for row in rows])
    assert weights.max() > 5 * weights.min()
    taken = (0.3 + 2 * weights) * rng.lognormal(0, 0.3, len(rows))
    assert forecast.seconds(2) is None
    for index, row in enumerate(rows[:-10]):
        forecast.made(Outcome(row.number, "", taken[index]))
        left = taken[index + 1 :].sum() / 2
        if index + 1 >= len(rows) / 10:
            assert forecast.seconds(2) == pytest.approx(left, rel=0.25)


def test_rows_that_fail_count_for_nothing(tmp_path: Path, model: Model) -> None:
    rows = mixed(tmp_path, 6, (48,))
    rows[2] = replace(rows[2], values={**rows[2].values, "image": "nope.png"})
    forecast = planned(rows, 5)
    forecast.made(Outcome(3, "", 99.0, error="no such file"))
    assert forecast.seconds(1) is None, "nothing was made"
    forecast.made(Outcome(1, "", 2.0))
    assert forecast.seconds(1) == pytest.approx(8.0)
    forecast.close()


def test_of_rows_that_are_afar_the_mean_is_known(model: Model) -> None:
    values = {"image": "s3://b/a.png", "mask": "s3://b/m.png", "prompt": "x", "output": "a.png"}
    forecast = Forecast([Row(number, values) for number in range(1, 11)], Options())
    for number, seconds in ((1, 2.0), (2, 4.0)):
        forecast.made(Outcome(number, "", seconds))
    assert forecast.seconds(2) == pytest.approx(8 * 3 / 2) and not forecast.planned


def test_its_cost_does_not_grow_with_the_rows(tmp_path: Path, model: Model) -> None:
    rows = mixed(tmp_path, 3, (48,))
    more = [*rows, *(replace(rows[0], number=number) for number in range(4, 20_004))]
    few, many = planned(rows, 3), planned(more, 3)
    taken = []
    for forecast in (few, many):
        forecast.made(Outcome(1, "", 2.0))
        began = time.monotonic()
        for _ in range(1000):
            forecast.seconds(1)
        taken.append(time.monotonic() - began)
        forecast.close()
    assert taken[1] < 20 * taken[0] + 1


def test_planning_makes_nothing(tmp_path: Path, model: Model) -> None:
    rows = mixed(tmp_path, 3, (48,))
    planned(rows, 3)
    assert not model.loaded and not (tmp_path / "out").exists()
    assert cost.lesson(cost.Loaded("", cost.MINIATURE, "cpu", "cpu")) == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_is_known_of_real_edits(tmp_path: Path) -> None:
    """With -s it prints how far off it was, from a tenth on."""
    rows = mixed(tmp_path, 200, (96, 160, 256))
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row.values) + "\n" for row in rows))
    where = "batch", str(path), "-o", str(tmp_path / "out"), "--quiet"
    assert subprocess.run([sys.executable, "-m", "msbd", *where], check=False).returncode == 0
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        taken = [float(line["seconds"]) for line in csv.DictReader(file)]
    forecast = planned(rows, len(rows))
    off = []
    for index, row in enumerate(rows[:-10]):
        forecast.made(Outcome(row.number, "", taken[index]))
        if index + 1 >= len(rows) / 10:
            expected = forecast.seconds(1)
            assert expected is not None
            off.append(expected / sum(taken[index + 1 :]) - 1)
    print(f"\n{min(off):+.0%} to {max(off):+.0%}; rows take {min(taken):.2f} to {max(taken):.2f} s")
    assert max(map(abs, off)) < 0.25
