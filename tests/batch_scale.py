"""What a batch of many rows takes besides its edits: `python tests/batch_scale.py ray 1000 10000`.

ray: rows whose edit is a copy, through Ray started here, with two workers; memory of the command
and of Ray's object store. files: seconds of reading and writing a picture of six megapixels.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
from PIL import Image
from skimage import data

from msbd.cli.batch import run
from msbd.cli.batch.rows import Row
from msbd.cli.batch.work import Options, Outcome
from msbd.cli.encoding import encoded
from msbd.standalone.pictures import read_picture

_STORE = "/dev/shm"
"""Where Ray's object store lies, on Linux."""


class Copier:
    """A worker whose edits are copies."""

    def __init__(self, options: Options, device: str | None) -> None:
        """Needs nothing."""

    def ready(self) -> None:
        """At once."""

    def perform(self, row: Row) -> Outcome:
        began, out = time.monotonic(), Path(row.values["output"])
        shutil.copyfile(row.values["image"], out)
        return Outcome(row.number, str(out), time.monotonic() - began, size=out.stat().st_size)


def manifest(folder: Path, rows: int) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "p.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    Image.fromarray(mask).save(folder / "m.png")
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "mask", "prompt", "seed", "output"])
        for number in range(rows):
            writer.writerow(["p.png", "m.png", "a red star on grass", number, f"{number}.png"])
    return path


class Watch:
    """Looks at the memory of this process, and of Ray's store, every second."""

    def __init__(self) -> None:
        self.own: list[int] = []
        self.store: list[int] = []
        self._ended = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        own, before = psutil.Process(), shutil.disk_usage(_STORE).used
        while not self._ended.wait(1):
            self.own.append(own.memory_full_info().uss)
            self.store.append(shutil.disk_usage(_STORE).used - before)


def through_ray(rows: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = manifest(Path(name), rows)
        batch = run.Batch(str(path), None, Options(), str(Path(name) / "out"), workers=2, ray="",
                          quiet=True)  # fmt: skip
        watch, began = Watch(), time.monotonic()
        summary = run.perform(batch, lambda text: None)
        watch.end()
    assert summary.complete
    seconds, mib = time.monotonic() - began, 2**20
    print(
        f"{rows} rows: {seconds:.0f} s, {1000 * seconds / rows:.1f} ms a row; this command "
        f"{watch.own[0] / mib:.0f} MiB at first, {max(watch.own) / mib:.0f} at most; "
        f"object store {max(watch.store) / 1024:.0f} KiB at most",
        flush=True,
    )


def files() -> None:
    """Of an enlarged photograph with grain."""
    photograph = Image.fromarray(data.astronaut()).resize((3000, 2000), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 3, (2000, 3000, 3))
    pixels = (np.asarray(photograph) + grain).clip(0, 255).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for kind, ending in (("JPEG", "jpg"), ("WEBP", "webp"), ("PNG", "png")):
            path, began = Path(folder) / f"a.{ending}", time.monotonic()
            path.write_bytes(encoded(kind, pixels))
            wrote = time.monotonic() - began
            began = time.monotonic()
            read_picture(path)
            read, size = time.monotonic() - began, path.stat().st_size / 1e6
            if kind == "PNG":
                began, usual = time.monotonic(), io.BytesIO()
                Image.fromarray(pixels).save(usual, "PNG")
                longer, share = (time.monotonic() - began) / wrote, usual.tell() / size / 1e6
                print(f"zlib's usual level: {longer:.1f} times as long, {share:.3f} of the size")
            print(f"{kind}, 6 MP: {wrote:.2f} s to write, {read:.2f} s to read, {size:.1f} MB")


if __name__ == "__main__":
    if sys.argv[1] == "files":
        files()
    else:
        run.Editor = Copier  # type: ignore[assignment,misc]
        for count in map(int, sys.argv[2:]):
            through_ray(count)
