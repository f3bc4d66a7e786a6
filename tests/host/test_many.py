"""`msbd batch` with running WebUIs as its workers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from msbd.cli.recipe import read_recipe

from .client import Scene, edited, scene
from .conftest import Start
from .server import Webui

DRAFT = ("--preset", "draft", "--upscaler", "Lanczos", "--set", "steps=4", "--quiet")


def manifest(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "a red star", **row}) + "\n" for row in rows))
    return path


def subjects(folder: Path, count: int) -> tuple[list[Scene], list[dict[str, Any]]]:
    """Scenes, and the rows of a manifest of them."""
    scenes, rows = [], []
    for number in range(count):
        one = scene(208 + 16 * (number % 3), 256, radius=40)
        names = {"image": f"p{number}.png", "mask": f"m{number}.png"}
        Image.fromarray(one.picture).save(folder / names["image"])
        Image.fromarray(one.mask).save(folder / names["mask"])
        scenes.append(one)
        rows.append({**names, "seed": number, "output": f"{number}.png"})
    return scenes, rows


def batch(path: Path, webuis: list[Webui], *more: str) -> subprocess.CompletedProcess[str]:
    named = [part for one in webuis for part in ("--webui", f"http://127.0.0.1:{one.port}")]
    where = ("batch", str(path), "-o", str(path.parent / "out"))
    command = [sys.executable, "-m", "msbd", *where, *DRAFT, *named, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "out" / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_what_the_webui_makes(webui: Webui, tmp_path: Path) -> None:
    scenes, rows = subjects(tmp_path, 2)
    rows[0] |= {"margin": 2, "guidance": 5, "feather": 3}
    rows[1] |= {"texture": 0.5, "negative": "a ring", "checkpoint": "miniature"}
    wrong = {"candidates": 99}, {"mask": "no.png"}, {"checkpoint": "nobody's"}
    rows += [{**rows[0], "output": f"w{n}.png", **values} for n, values in enumerate(wrong)]
    ran = batch(manifest(tmp_path, rows), [webui])
    lines = table(tmp_path)
    assert ran.returncode == 1 and "2 of 5 made" in ran.stdout and not ran.stderr, ran
    assert "candidates" in lines[2]["error"] and "no.png" in lines[3]["error"]
    assert "has no checkpoint nobody's: it has miniature" in lines[4]["error"]
    fields = [{"margin": 2}, {"texture": 0.5}]
    hosts = [{"cfg_scale": 5, "mask_blur": 3}, {"negative_prompt": "a ring", "cfg_scale": 7.5}]
    for number, one in enumerate(scenes):
        made = np.asarray(Image.open(lines[number]["output"]))
        named = {"preset": "draft", "upscaler": "Lanczos", **fields[number]}
        more = {"mask_blur": 4, **hosts[number], "seed": number}
        alone = edited(webui, one, named, **more).picture
        assert (made == alone).all()
        assert one.is_edited(made) and float(lines[number]["seam"]) > 0
        recipe = read_recipe(Path(lines[number]["output"]))
        assert recipe.seed == number and recipe.prompt == "a red star"


@pytest.mark.slow
def test_two_webuis_share_them_and_one_may_go(start: Start, webui: Webui, tmp_path: Path) -> None:
    other = start("--api-auth", "ann:secret", auth=("ann", "secret"))
    scenes, rows = subjects(tmp_path, 12)
    path = manifest(tmp_path, rows)
    ran = batch(path, [other])
    assert ran.returncode == 2 and "give --auth" in ran.stderr
    named = [f"http://127.0.0.1:{one.port}" for one in (webui, other)]
    command = [
        sys.executable,
        "-m",
        "msbd",
        "batch",
        str(path),
        "-o",
        str(tmp_path / "out"),
        *DRAFT,
    ]
    command += ["--webui", named[0], "--webui", named[1], "--auth", "ann:secret"]
    running = subprocess.Popen(command)
    while len(list((tmp_path / "out").glob("*.png"))) < 5:
        assert running.poll() is None
    other.stop()
    assert running.wait() == 0
    lines = table(tmp_path)
    assert Counter(bool(line["error"]) for line in lines) == {False: 12}
    for one, line in zip(scenes, lines, strict=True):
        assert one.is_edited(np.asarray(Image.open(line["output"])))
