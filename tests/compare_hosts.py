"""Whether several WebUIs give the same picture for the same request.

    python -m tests.compare_hosts A1111 REFORGE FORGE

Each folder's WebUI is started in turn, with the miniature and a fixed candidate, and every later
one's pictures are compared with the first one's. They are alike if no value differs by more than a
level; where the decoder is fine-tuned, by more than two levels in a thousandth of the values.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.host import models
from tests.host.client import Pixels, edited, scene
from tests.host.server import WHOLE_PRECISION, Installation, Webui, prepare

FIXED = {"choose": "first"}
EDITS = {
    "draft": {"preset": "draft"},
    "fast": {"preset": "fast", "candidates": 2},
    "recommended": {"preset": "recommended", "candidates": 2},
    "fine-tune": {"preset": "draft", "decoder": "fine-tune", "decoder_iterations": 10},
}
CHECKPOINTS = (models.PLAIN, models.READING)


def pictures(folder: Path) -> dict[str, Pixels]:
    """Every edit's picture with every checkpoint; each edit is made twice and must not change."""
    python = folder / "venv" / "bin" / "python"
    installation, made = Installation(folder, python), {}
    with tempfile.TemporaryDirectory() as data:
        prepare(Path(data), {}, is_fork=installation.is_fork)
        webui = Webui(installation, Path(data), (*WHOLE_PRECISION, "--skip-install"))
        webui.start()
        try:
            subject = scene(420, 600, 220.0, 110.0)
            for checkpoint in CHECKPOINTS:
                chosen = {"sd_model_checkpoint": checkpoint}
                for name, fields in EDITS.items():
                    first, again = (
                        edited(
                            webui, subject, {**fields, **FIXED}, steps=10, override_settings=chosen
                        ).picture
                        for _ in range(2)
                    )
                    assert (first == again).all(), f"{folder.name}: {name} is another each time"
                    assert subject.is_edited(first)
                    made[f"{name}, {checkpoint.partition('.')[0]}"] = first
        finally:
            webui.stop()
    return made


def main() -> int:
    """0 if all are alike."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of WebUIs, each with its venv")
    folders = [folder.resolve() for folder in parser.parse_args().folders]
    first, alike = pictures(folders[0]), True
    for folder in folders[1:]:
        for name, picture in pictures(folder).items():
            differs = np.abs(picture.astype(int) - first[name])
            share, most = float((differs > 0).mean()), int(differs.max())
            tuned = name.startswith("fine-tune")
            good = (differs > 2).mean() <= 0.001 if tuned else most <= 1
            alike &= bool(good)
            print(
                f"{folder.name}, {name}: {'alike' if good else 'DIFFERENT'}; "
                f"{share:.3%} of the values differ, by {most} at most",
                flush=True,
            )
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
