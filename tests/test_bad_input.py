"""What cannot be done is refused at once, in one line that says what to change; odd but sound
input works. Every case goes through the real command."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Desk, Model, load, painted, save, speckles
from PIL import Image

from msbd.cli.recipe import read_recipe
from msbd.standalone import models, pictures

FULL = (slice(None), slice(None))


def png(height: int, width: int, depth: int, kind: int, rows: bytes | None = None) -> bytes:
    """A PNG of any bit depth and colour type, black unless its filtered rows are given."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    if rows is None:
        rows = (b"\0" + bytes(width * channels * depth // 8)) * height

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def animation(format: str) -> bytes:
    frames = [Image.fromarray(speckles(70, 96)), Image.new("RGB", (96, 70))]
    file = io.BytesIO()
    frames[0].save(file, format=format, save_all=True, append_images=frames[1:])
    return file.getvalue()


def in_mode(mode: str, format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(speckles(70, 96)).convert(mode).save(file, format=format)
    return file.getvalue()


def truncated(format: str) -> bytes:
    whole = in_mode("RGB", format)
    return whole[: len(whole) // 2]


UNUSABLE = {
    "16-bit grey": (png(70, 96, 16, 0), "8 bits per channel"),
    "16-bit RGB": (png(70, 96, 16, 2), "8 bits per channel"),
    "16-bit RGBA": (png(70, 96, 16, 6), "8 bits per channel"),
    "16-bit grey and alpha": (png(70, 96, 16, 4), "8 bits per channel"),
    "32-bit": (in_mode("F", "TIFF"), "8 bits per channel"),
    "CMYK": (in_mode("CMYK", "JPEG"), "save it as RGB"),
    "Lab": (in_mode("LAB", "TIFF"), "save it as RGB"),
    "animated GIF": (animation("GIF"), "frames"),
    "animated PNG": (animation("PNG"), "frames"),
    "animated WebP": (animation("WEBP"), "frames"),
    "pages": (animation("TIFF"), "pages"),
    "truncated PNG": (truncated("PNG"), "damaged or incomplete"),
    "truncated JPEG": (truncated("JPEG"), "damaged or incomplete"),
    "truncated WebP": (truncated("WEBP"), ""),
    "text": (b"hello", "not a picture"),
    "empty": (b"", "is empty"),
    "a billion pixels": (png(40_000, 30_000, 8, 0, b""), "megapixels"),
}


@pytest.mark.parametrize("part", ["image", "mask"])
@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_files_are_refused(desk: Desk, model: Model, kind: str, part: str) -> None:
    data, advice = UNUSABLE[kind]
    if (kind, part) == ("16-bit grey", "mask"):
        advice = "mask is empty"  # it is read, and black
    getattr(desk, part).write_bytes(data)
    assert desk.edit() == 2
    assert desk.refused(part if part == "mask" else "photo", advice), desk.stderr
    assert not model.loaded and not desk.out.exists()


@pytest.mark.edits
@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA"])
def test_palette_grey_and_alpha_are_edited(desk: Desk, mode: str) -> None:
    image = Image.fromarray(speckles(70, 96)).convert(mode)
    image.save(desk.image)
    assert desk.edit("--set", "feather=0") == 0, desk.stderr
    kept = load(desk.mask) == 0
    assert (load(desk.out)[kept][:, :3] == np.asarray(image.convert("RGB"))[kept]).all()


@pytest.mark.edits
def test_a_photograph_with_a_second_view_is_not_an_animation(desk: Desk) -> None:
    views = [Image.fromarray(speckles(70, 96)) for _ in range(2)]
    desk.image = desk.folder / "photo.jpg"
    views[0].save(desk.image, format="MPO", save_all=True, append_images=views[1:])
    assert desk.edit() == 0, desk.stderr


def test_an_empty_mask_is_refused(desk: Desk, model: Model) -> None:
    save(desk.mask, np.zeros((70, 96), np.uint8))
    assert desk.edit() == 2 and desk.refused("mask is empty", "white") and not model.loaded


def test_a_mask_of_another_size_is_refused(desk: Desk, model: Model) -> None:
    save(desk.mask, painted(96, 70, slice(3, 9), slice(3, 9)))
    assert desk.edit() == 2 and desk.refused("70x96", "96x70", "own size") and not model.loaded


@pytest.mark.parametrize(
    "rows, columns",
    [FULL, (slice(35, 36), slice(48, 49)), (slice(0, 1), slice(0, 1)),
     (slice(69, 70), slice(95, 96)), (slice(0, 20), slice(30, 60)),
     (slice(50, 70), slice(30, 60)), (slice(20, 50), slice(0, 30)), (slice(20, 50), slice(66, 96)),
     (slice(30, 34), slice(None)), (slice(None), slice(40, 44))],
    ids=["full", "one pixel", "first pixel", "last pixel", "top", "bottom", "left", "right",
         "row", "column"],
)  # fmt: skip
@pytest.mark.edits
def test_masks_of_every_extent_are_edited(desk: Desk, rows: slice, columns: slice) -> None:
    save(desk.mask, painted(70, 96, rows, columns))
    assert desk.edit("--set", "feather=0") == 0, desk.stderr
    before, after, kept = load(desk.image), load(desk.out), load(desk.mask) == 0
    assert (after[kept] == before[kept]).all() and (after[~kept] != before[~kept]).any()


@pytest.mark.edits
@pytest.mark.parametrize("height, width", [(1, 1), (1, 50), (7, 5), (20, 33), (31, 31), (250, 30)])
def test_pictures_smaller_than_the_model_are_edited(desk: Desk, height: int, width: int) -> None:
    save(desk.image, speckles(height, width))
    save(desk.mask, painted(height, width, slice(0, max(1, height // 2)), slice(None)))
    assert desk.edit("--set", "feather=0") == 0, desk.stderr
    kept = load(desk.mask) == 0
    assert (load(desk.out)[kept] == load(desk.image)[kept]).all()


@pytest.mark.edits
def test_forty_megapixels_are_edited(desk: Desk) -> None:
    before = np.zeros((5000, 8000, 3), np.uint8)
    before[::16, 1::32] = 77
    save(desk.image, before, compress_level=1)
    save(desk.mask, painted(5000, 8000, slice(2000, 2060), slice(3000, 3060)), compress_level=1)
    assert desk.edit("--set", "feather=0") == 0, desk.stderr
    after, hole = load(desk.out).copy(), (slice(2000, 2060), slice(3000, 3060))
    assert (after[hole] != before[hole]).any()
    after[hole] = before[hole]
    assert np.array_equal(after, before)


@pytest.mark.edits
def test_pils_own_limit_is_lifted_only_while_reading(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert desk.edit() == 0, desk.stderr
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1000)
    assert desk.edit() == 2 and desk.refused("megapixels")


@pytest.mark.parametrize(
    "change, words",
    [("stepz=3", ("stepz", "known are")), ("steps=0", ("steps", "1 to 150")),
     ("steps=many", ("steps", "whole number")), ("steps=2.5", ("steps", "whole number")),
     ("steps", ("NAME=VALUE",)), ("lowpass_background=maybe", ("true or false",)),
     ("sampler=ddim", ("sampler", "euler_ancestral")), ("margin=nan", ("margin", "1 to 4")),
     ("upscaler=no-such-file.pth", ("upscaler", "lanczos"))],
)  # fmt: skip
def test_bad_settings_are_refused(desk: Desk, model: Model, change: str, words) -> None:
    assert desk.edit("--set", change) == 2
    assert desk.refused(*words), desk.stderr
    assert not model.loaded


@pytest.mark.parametrize(
    "arguments",
    [
        ("--preset", "best"),
        ("--seed", "x"),
        ("--no-such-option",),
        ("--preset", "fast", "--like", "a"),
    ],
)
def test_bad_options_are_refused(desk: Desk, arguments) -> None:
    assert desk.edit(*arguments) == 2 and "usage:" in desk.stderr and "error:" in desk.stderr


@pytest.mark.parametrize("seed", [-2, 2**32])
def test_bad_seeds_are_refused(desk: Desk, seed: int) -> None:
    assert desk.edit("--seed", seed) == 2 and desk.refused("--seed", "4294967295")


def test_a_missing_prompt_or_output_is_refused(desk: Desk) -> None:
    assert desk.msbd("edit", desk.image, desk.mask, "-o", desk.out) == 2
    assert desk.refused("no prompt", "--like")
    assert desk.msbd("edit", desk.image, desk.mask, "x") == 2 and desk.refused("-o OUT")


@pytest.mark.parametrize("part", ["image", "mask"])
def test_missing_pictures_are_refused(desk: Desk, part: str) -> None:
    getattr(desk, part).unlink()
    assert desk.edit() == 2 and desk.refused("no such file")
    getattr(desk, part).mkdir()
    assert desk.edit() == 2 and desk.refused("is a folder")


@pytest.mark.parametrize(
    "name, words",
    [("out.bmp", (".png", ".webp")), ("out", (".png",)), ("missing/out.png", ("no folder",))],
)
@pytest.mark.parametrize("option", ["-o", "--sheet"])
def test_unusable_outputs_are_refused_before_any_work(
    desk: Desk, model: Model, option: str, name: str, words
) -> None:
    assert desk.edit(option, desk.folder / name) == 2 and desk.refused(*words)
    assert not model.loaded


def test_unwritable_folders_are_refused_before_any_work(desk: Desk, model: Model) -> None:
    assert desk.edit("-o", "/proc/out.png") == 2 and desk.refused("cannot be written")
    assert desk.edit("--report", "/proc/report.json") == 2 and desk.refused("cannot be written")
    folder = desk.folder / "taken.png"
    folder.mkdir()
    assert desk.edit("-o", folder) == 2 and desk.refused("is a folder")
    assert not model.loaded


def test_inputs_are_never_overwritten(desk: Desk, model: Model) -> None:
    before = desk.image.read_bytes()
    assert desk.edit("-o", desk.image) == 2 and desk.refused("twice")
    assert desk.edit("--sheet", desk.out) == 2 and desk.refused("twice")
    assert desk.image.read_bytes() == before and not model.loaded


def test_a_picture_too_long_for_its_format_is_refused(desk: Desk, model: Model) -> None:
    save(desk.image, np.zeros((2, 17_000, 3), np.uint8))
    save(desk.mask, painted(2, 17_000, slice(0, 1), slice(0, 5)))
    assert desk.edit("-o", desk.folder / "out.webp") == 2 and desk.refused("WEBP", ".png")
    assert not model.loaded


@pytest.mark.parametrize("option", ["--checkpoint", "--upscaler", "--clip"])
def test_missing_model_files_are_refused(desk: Desk, model: Model, option: str) -> None:
    assert desk.edit(option, desk.folder / "missing.safetensors") == 2
    assert desk.refused("missing.safetensors", "give") and not model.loaded


def test_an_installation_without_the_miniature_is_told(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(models, "MINIATURE", Path("gone.safetensors"))
    assert desk.edit() == 2 and desk.refused("gone.safetensors", "reinstall")


@pytest.mark.parametrize(
    "name, data",
    [("a.safetensors", b""), ("a.safetensors", b"\xff" * 100),
     ("a.safetensors", b"\x02" + bytes(7) + b"{}"),
     ("a.ckpt", b""), ("a.ckpt", b"PK\x03\x04 nothing"), ("a.ckpt", b"\x80\x02cos\nsystem\n.")],
    ids=["empty", "noise", "no weights", "empty pickle", "half a zip", "code"],
)  # fmt: skip
def test_corrupt_checkpoints_are_refused(desk: Desk, monkeypatch, name: str, data: bytes) -> None:
    monkeypatch.undo()
    checkpoint = desk.folder / name
    checkpoint.write_bytes(data)
    assert desk.edit("--checkpoint", checkpoint, "--clip", "none") == 2
    assert desk.refused(name), desk.stderr
    assert not desk.out.exists()


def test_an_unknown_device_is_refused(desk: Desk, monkeypatch) -> None:
    chosen = models.Models(desk.image, "lanczos", None, "toaster")
    monkeypatch.undo()
    with pytest.raises(models.EditError, match=r"toaster.*cpu"):
        models.load(chosen)


@pytest.mark.edits
@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("out of memory"), MemoryError()])
def test_too_little_memory_is_refused(desk: Desk, model: Model, error: BaseException) -> None:
    def fail(samples: int) -> None:
        raise error

    model.backend.before = fail
    desk.out.write_bytes(b"precious")
    assert desk.edit() == 2 and desk.refused("not enough memory", "lower")
    assert desk.out.read_bytes() == b"precious"


def test_a_picture_without_settings_is_no_pattern(desk: Desk) -> None:
    like = ("--like", desk.image, "-o", desk.out)
    assert desk.msbd("edit", desk.image, desk.mask, *like) == 2 and desk.refused("no settings")
    like = ("--like", desk.folder / "missing.png", "-o", desk.out)
    assert desk.msbd("edit", desk.image, desk.mask, *like) == 2 and desk.refused("no such file")


@pytest.mark.edits
def test_an_existing_result_is_replaced_by_a_whole_one(desk: Desk) -> None:
    desk.out.write_bytes(b"old")
    assert desk.edit() == 0
    assert read_recipe(desk.out).prompt == "a red star"
    assert sorted(p.name for p in desk.folder.iterdir()) == ["mask.png", "out.png", "photo.png"]
