"""An edit whose process is killed, for real, goes on and ends in the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import save

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
