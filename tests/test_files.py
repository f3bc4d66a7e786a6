"""Files: nothing is lost, nothing is wrong in silence. Made-up ones of every kind, and saving that
fails in every way."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pytest
from conftest import Desk, Model, load, painted, save, speckles
from files import exif_block, profile, read
from PIL import Image, ImageCms
from robustness import examined

from msbd.cli import saving
from msbd.cli.command import main
from msbd.cli.encoding import storable
from msbd.errors import EditError
from msbd.standalone.colour import conversion
from msbd.standalone.pictures import Picture, read_mask, read_picture

SIGNALS = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


@pytest.mark.edits
@pytest.mark.parametrize("seed", range(60))
def test_a_file_is_edited_without_loss_or_refused_in_a_line(seed: int, tmp_path: Path) -> None:
    assert examined(seed, tmp_path).faults == ()


@pytest.mark.slow
def test_a_thousand_files(tmp_path: Path) -> None:
    faults = {seed: found for seed in range(1000) if (found := examined(seed, tmp_path).faults)}
    assert faults == {}


# Masks of more than eight bits

FAR_TOO_WIDE = 200_001


@pytest.mark.parametrize(
    ("shape", "highest", "pages", "said"),
    [
        ((70, 96), 65_535, 2, "several frames or pages"),
        ((70, 96), 2**31 - 1, 1, "8 bits per channel"),
        ((1000, FAR_TOO_WIDE), 0, 1, "megapixels"),
    ],
)
def test_a_deep_mask_is_looked_at_before_it_is_decoded(
    tmp_path, monkeypatch, shape, highest, pages, said
) -> None:
    levels = np.zeros((70, 96), np.uint16 if highest < 2**16 else np.int32)
    levels[20:50, 20:50] = highest
    mask, further = tmp_path / "mask.tif", [Image.fromarray(levels)] * (pages - 1)
    Image.fromarray(levels).save(mask, save_all=True, append_images=further)
    if shape != levels.shape:
        data = mask.read_bytes()
        width = struct.pack("<HHII", 256, 4, 1, 96)
        height = struct.pack("<HHII", 257, 4, 1, 70)
        assert data.count(width) == data.count(height) == 1
        data = data.replace(width, struct.pack("<HHII", 256, 4, 1, shape[1]))
        mask.write_bytes(data.replace(height, struct.pack("<HHII", 257, 4, 1, shape[0])))
        monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(EditError, match=said):
        read_mask(mask)


# Colour


def in_srgb(pixels: np.ndarray, icc: bytes) -> np.ndarray:
    """How a colour-managed program shows pixels with a profile."""
    shown = ImageCms.profileToProfile(
        Image.fromarray(pixels), io.BytesIO(icc), ImageCms.createProfile("sRGB")
    )
    return np.asarray(shown)


def test_srgb_itself_is_not_converted() -> None:
    assert conversion(None) is None and conversion(profile("sRGB")) is None
    assert conversion(profile("Adobe RGB")) is not None


@pytest.mark.edits
def test_what_is_painted_looks_the_same_whatever_the_profile(desk: Desk, model: Model) -> None:
    """The edit of a picture with a profile, seen in sRGB, is the edit of the picture in sRGB."""
    seen = []
    icc = profile("Adobe RGB")
    wide = speckles(70, 96) // 2 + 64  # nothing that sRGB cannot show
    for options in ({"icc_profile": icc}, {}):
        pixels = wide if options else in_srgb(wide, icc)
        save(desk.image, pixels, **options)
        assert desk.edit("--seed", 1, "--set", "feather=0") == 0, desk.stderr
        after, kept = load(desk.out), load(desk.mask) == 0
        assert (after[kept] == pixels[kept]).all()
        seen.append(in_srgb(after, icc) if options else after)
    assert (load(desk.mask) > 0).any()
    assert np.abs(seen[0].astype(int) - seen[1]).max() <= 2


@pytest.mark.parametrize("feather", [0, 4])
def test_colours_that_srgb_lacks_stay_outside_and_fade_at_the_edge(feather: int) -> None:
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[..., 1] = 255  # beyond sRGB's green
    found = conversion(profile("Adobe RGB"))
    assert found is not None
    ramp = np.zeros((24, 40), np.float32)
    ramp[:, 20:] = 1
    for step in range(feather):
        ramp[:, 19 - step] = 1 - (step + 1) / (feather + 1)
    edited = found.to_srgb(pixels).copy()
    edited[..., 2] += 1
    back = found.restored(edited, pixels, ramp, 0)
    assert (back[ramp == 0] == pixels[ramp == 0]).all()
    steps = np.abs(np.diff(back[0].astype(int), axis=0)).max()
    whole = np.abs(back[0, -1].astype(int) - pixels[0, 0]).max()
    assert whole > 8 and steps <= -(-whole // (feather + 1)) + 1


# Saving


def failing(fault: str, path: Path) -> Iterator[Any]:
    """Make the writing of one name fail, as systems do."""
    original = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target == path:
            raise {
                "disk full": OSError(28, "No space left on device"),
                "open elsewhere": PermissionError(13, "The file is used by another process"),
                "folder gone": FileNotFoundError(2, "No such file or directory"),
            }[fault]
        return original(self, target)

    yield replace


@pytest.mark.edits
@pytest.mark.parametrize("fault", ["disk full", "open elsewhere", "folder gone", "metadata"])
@pytest.mark.parametrize("alpha", [False, True])
def test_a_finished_edit_is_saved_whatever_fails(
    desk: Desk, monkeypatch, fault: str, alpha: bool
) -> None:
    save(desk.image, speckles(70, 96, 4 if alpha else 3))
    assert desk.edit("--seed", 1) == 0
    expected = load(desk.out)
    desk.out.write_bytes(b"precious")
    report = desk.folder / "report.json"
    monkeypatch.chdir(desk.folder)
    if fault == "metadata":
        original = saving.encoded

        def encoded(format: str, pixels: Any, opacity: Any = None, besides: Any = None) -> bytes:
            if besides is not None and pixels.size > 3:
                raise ValueError("some kind that nobody foresaw")
            return original(format, pixels, opacity, besides)

        monkeypatch.setattr(saving, "encoded", encoded)
    else:
        monkeypatch.setattr(Path, "replace", next(failing(fault, desk.out)))
    assert desk.edit("--seed", 1, "--report", report) == 1
    (rescued,) = desk.folder.glob("rescued-*.png")
    assert (load(rescued) == expected).all() and report.is_file()
    assert desk.refused(str(rescued.name)) and desk.out.read_bytes() == b"precious"
    left = {path.name for path in desk.folder.iterdir()}
    assert left == {"mask.png", "out.png", "photo.png", "report.json", rescued.name}


@pytest.mark.edits
def test_where_one_folder_is_full_another_takes_it(desk: Desk, monkeypatch, tmp_path: Path) -> None:
    full, elsewhere = tmp_path / "full", tmp_path / "elsewhere"
    full.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    original = Path.write_bytes

    def write_bytes(self: Path, data: bytes) -> int:
        if self.parent == full:
            raise OSError(28, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    wide = profile("Adobe RGB")
    Image.fromarray(speckles(70, 96)).save(desk.image, icc_profile=wide)
    assert desk.edit("-o", full / "out.png") == 1 and desk.refused("No space left", "rescued-")
    (rescued,) = elsewhere.glob("rescued-*.png")
    assert not list(full.iterdir())
    with Image.open(rescued) as image:
        assert image.info["icc_profile"] == wide


@pytest.mark.edits
def test_where_no_picture_can_be_saved_the_report_still_is(desk: Desk, monkeypatch) -> None:
    def write_bytes(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    report = desk.folder / "report.json"
    assert desk.edit("--report", report) == 1 and report.is_file()
    assert desk.refused("No space left", "nor anywhere else")


@pytest.mark.parametrize("length", [1, 2, 5, 40, 255])
def test_a_temporary_name_is_never_longer(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("n" * length)
    with saving.replacing(path) as temporary:
        assert len(os.fsencode(temporary.name)) <= length and temporary.parent == tmp_path
        temporary.write_text("whole")
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]


@pytest.mark.edits
def test_a_name_that_is_too_long_is_refused_before_any_work(desk: Desk, model: Model) -> None:
    assert desk.edit("-o", desk.folder / f"{'n' * 252}.png") == 2 and not model.loaded
    assert desk.edit("-o", desk.folder / f"{'n' * 251}.png") == 0, desk.stderr


@pytest.mark.parametrize(
    "name, good",
    [("out.png", True), ("CON.png", False), ("nul", False), ("com1.tar.png", False),
     ("lpt¹.png", False), ("console.png", True), ("ab:c.png", False), ("what?.png", False),
     ("a.png ", False), ("a.", False), ("結果.png", True)],
)  # fmt: skip
def test_names_that_windows_takes(name: str, good: bool) -> None:
    assert (saving.unusable_name(PureWindowsPath("C:/folder") / name) is None) == good
    assert saving.unusable_name(PurePosixPath("/folder") / name) is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_what_is_said_before_the_work_is_what_is_missing_afterwards(
    tmp_path: Path, format: str
) -> None:
    """Each fact alone, sound or impossible, is either in the file or in the note."""
    pixels, kinds = speckles(8, 8), {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}
    facts: dict[str, list[Any]] = {
        "exif": [exif_block(1, 8, False), exif_block(1, 70_000, False), b"II*\0"],
        "icc": [profile("sRGB"), profile("1.2 MB")],
        "dpi": [(300, 300), (0, 0), (1e12, 1e12), (float("nan"), 1), (-5, -5), "many"],
        "xmp": [b"<x/>", b"<x>" + b"y" * 70_000 + b"</x>", b"\xff\xfe"],
        "text": [{"a": "b"}, {"★": "b"}, {"a" * 200: "b"}, {"": "b"}, {"a": "b\0c"}],
    }
    for name, values in facts.items():
        for value in values:
            original = Picture(pixels, **{name: value})
            kept, notes = storable(format, original)
            out = tmp_path / f"out{kinds[format]}"
            assert saving.save_picture(out, pixels, original) == notes
            found = read(out.read_bytes()).beside
            assert len(notes) == (0 if kept else 1)
            if kept and name == "text":
                assert found.items() >= value.items()
            elif kept and name != "dpi":
                assert found[name] == value
            elif not kept and name != "text":
                assert found.get(name) != value


def test_the_directory_of_a_tiff_becomes_exif(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010F], tags[0x8298], tags[0x0112] = "Maker", "Somebody", 6
    tags.get_ifd(0x8769)[0x829A] = 0.01
    save(tmp_path / "in.tiff", speckles(24, 40), exif=tags.tobytes())
    picture = read_picture(tmp_path / "in.tiff")
    assert tuple(vars(picture.size).values()) == (40, 24)
    saving.save_picture(tmp_path / "out.png", picture.pixels, picture)
    with Image.open(tmp_path / "out.png") as image:
        after = image.getexif()
        assert (after[0x010F], after[0x8298]) == ("Maker", "Somebody")
        assert after.get_ifd(0x8769)[0x829A] == pytest.approx(0.01)
        assert after.get(0x0112, 1) == 1 and 0x0111 not in after  # no place of pixels


@pytest.mark.edits
def test_our_own_result_can_always_be_edited_again(desk: Desk) -> None:
    """What is written is read again, whatever the limits of other programs."""
    save(desk.image, speckles(70, 96), icc_profile=profile("1.2 MB"))
    assert desk.edit() == 0
    desk.image, desk.out = desk.out, desk.folder / "again.png"
    assert desk.edit() == 0, desk.stderr
    assert read(desk.out.read_bytes()).beside["icc"] == profile("1.2 MB")


# Ends and consoles


@pytest.mark.edits
@pytest.mark.parametrize("name", SIGNALS)
def test_every_request_to_end_keeps_the_best_so_far(desk: Desk, model: Model, name: str) -> None:
    save(desk.image, speckles(160, 160))
    save(desk.mask, painted(160, 160, slice(20, 140), slice(20, 140)))
    number = getattr(signal, name)
    handler = signal.getsignal(number)

    def press(samples: int) -> None:
        if len(model.backend.shapes) and model.backend.shapes[-1][-1] > 4:
            os.kill(os.getpid(), number)

    model.backend.before = press
    assert desk.edit() == 130 and "stopped after stage" in desk.stdout
    assert load(desk.out).shape == (160, 160, 3)
    assert signal.getsignal(number) is handler


@pytest.mark.edits
@pytest.mark.parametrize("name", SIGNALS)
def test_before_a_stage_is_done_it_is_one_line(desk: Desk, model: Model, name: str) -> None:
    model.backend.before = lambda samples: os.kill(os.getpid(), getattr(signal, name))
    assert desk.edit() == 130 and desk.refused("nothing was written")


def test_a_terminal_that_is_closed_ends_nothing_but_the_edit(tmp_path: Path) -> None:
    """The terminal goes while the edit runs; what was finished lies on the disk."""
    save(tmp_path / "in.png", speckles(300, 300))
    save(tmp_path / "mask.png", painted(300, 300, slice(40, 260), slice(40, 260)))
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    out = tmp_path / "out.png"
    command = [sys.executable, "-m", "msbd", "edit", str(tmp_path / "in.png")]
    command += [str(tmp_path / "mask.png"), "a red star", "-o", str(out), "--set", "steps=100"]
    command += ["--set", "candidates=1", "--clip", "none", "--preset", "draft"]
    ran = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while b"stage 2 of" not in shown:
        shown += os.read(master, 4096)
    os.close(master)
    os.kill(ran.pid, signal.SIGHUP)  # as the kernel does to the leader of the terminal's session
    assert ran.wait(120) == 130
    assert load(out).shape == (300, 300, 3)


@pytest.mark.edits
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16", "cp932"])
def test_a_console_without_the_characters_ends_nothing(
    desk: Desk, monkeypatch, encoding: str
) -> None:
    desk.out = desk.folder / "結果★.png"
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", console)
    arguments = [desk.image, desk.mask, "x", "-o", desk.out, "--preset", "draft", "--quiet"]
    assert main(["edit", *map(str, arguments)]) == 0
    console.flush()
    assert "wrote" in console.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert desk.out.is_file()


@pytest.mark.edits
def test_a_reader_that_went_away_ends_nothing(desk: Desk, monkeypatch) -> None:
    to_read, to_write = os.pipe()
    os.close(to_read)
    monkeypatch.setattr(sys, "stdout", os.fdopen(to_write, "w"))
    arguments = [desk.image, desk.mask, "x", "-o", desk.out, "--preset", "draft", "--quiet"]
    assert main(["edit", *map(str, arguments)]) == 0 and desk.out.is_file()
