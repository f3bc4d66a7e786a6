"""What keeping an edit is worth, and takes: killed for real it ends in the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import save

from msbd.cli.command import main
from msbd.keeping.folder import EditFolder
from msbd.miniature.scene import Scene, draw_mask, draw_picture


def drawn(folder: Path) -> tuple[Path, Path]:
    """A corner of the demo's picture, and a mask in it."""
    place = np.s_[330:620, 510:810]
    scene = Scene()
    return (
        save(folder / "photo.png", draw_picture(scene)[place]),
        save(folder / "mask.png", draw_mask(scene)[place]),
    )


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("preset", ["draft", "fast", "recommended"])
def test_killed_for_real_it_ends_in_the_same_bytes(tmp_path: Path, preset: str) -> None:
    """Seven times each, at moments left to chance."""
    picture, mask = drawn(tmp_path)
    program, steps = (sys.executable, "-m", "msbd"), ("--set", "steps=4", "--quiet")
    what = (picture, mask, "a red star on grass", "--preset", preset, "--seed", 3, *steps)

    def command(*arguments: object) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen([*program, *map(str, arguments)], env=environment)

    whole, out = tmp_path / "whole.png", tmp_path / "out.png"
    began = time.monotonic()
    assert command("edit", *what, "-o", whole).wait() == 0
    seconds = time.monotonic() - began
    chance, killed, number = random.Random(preset), 0, 0
    while killed < 7:
        number += 1
        kept = tmp_path / f"kept{number}"
        run = command("edit", *what, "-o", out, "--keep", kept)
        while run.poll() is None:
            try:
                run.wait(chance.uniform(0.3, 1) * seconds)
            except subprocess.TimeoutExpired:
                run.send_signal(signal.SIGKILL)
                run.wait()
                killed += 1
            if not (kept / "edit.json").exists():
                break  # it had not even begun
            run = command("continue", kept, "-o", out, "--quiet")
            run.wait()
        if (kept / "edit.json").exists():
            assert out.read_bytes() == whole.read_bytes()
            out.unlink()


@pytest.mark.slow
@pytest.mark.edits(alike=False)
@pytest.mark.timeout(1800)
def test_keeping_takes_little_of_an_edits_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the edit's own thread, and of the one beside it. With -s it prints both shares."""
    spent = {"in the edit": 0.0, "beside it": 0.0}

    def timed(owner: type, name: str, where: str) -> None:
        original = getattr(owner, name)

        def measured(*arguments: Any, **named: Any) -> Any:
            began = time.monotonic()
            try:
                return original(*arguments, **named)
            finally:
                spent[where] += time.monotonic() - began

        monkeypatch.setattr(owner, name, measured)

    for name in ("begin", "keep", "keep_candidates", "finish", "__exit__"):
        timed(EditFolder, name, "in the edit")
    for name in ("_keep_stage", "_keep_candidates"):
        timed(EditFolder, name, "beside it")
    scene = Scene()
    picture = save(tmp_path / "photo.png", draw_picture(scene))
    mask = save(tmp_path / "mask.png", draw_mask(scene))
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    what = "edit", picture, mask, "a red star on grass", "-o", out, "--seed", 3
    keeping = "--keep", tmp_path / "kept", "--report", report, "--quiet"
    assert main([str(part) for part in (*what, *keeping)]) == 0
    seconds = json.loads(report.read_text())["seconds"]
    size = sum(file.stat().st_size for file in (tmp_path / "kept").iterdir())
    told = ", ".join(f"{share / seconds:.2%} {where}" for where, share in spent.items())
    print(f"\n{told}; {seconds:.1f} s, {size / 2**20:.1f} MiB")
    assert sum(spent.values()) <= 0.03 * seconds
