"""Reading and writing pictures: nothing is lost that the edit does not change."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import Desk, load, painted, save, speckles
from PIL import Image, ImageCms, ImageOps

from msbd import masks
from msbd.cli.recipe import Recipe, read_recipe
from msbd.cli.saving import replacing, save_picture
from msbd.geometry import Size
from msbd.settings import EditSettings
from msbd.standalone import exif
from msbd.standalone.pictures import read_mask, read_picture, to_pixels

RECIPE = Recipe("a \u2605 on grass", 'bad "hands"', 7, EditSettings(), "sd15.safetensors")
SUFFIXES = (".png", ".webp", ".jpg", ".jpeg", ".PNG")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def camera_exif(orientation: int = 1) -> bytes:
    """What a camera writes: make, orientation, exposure and a position."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0112] = "Maker", orientation
    tags.get_ifd(0x8769)[0x829A] = 0.01
    tags.get_ifd(0x8825)[2] = (50.0, 5.0, 1.0)
    return tags.tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.bmp", "a.tiff"])
def test_pixels_survive_reading_and_the_tensor_both_ways(tmp_path: Path, name: str) -> None:
    pixels = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    save(tmp_path / name, pixels, lossless=True)
    picture = read_picture(tmp_path / name)
    assert (picture.pixels == pixels).all() and picture.alpha is None
    assert (to_pixels(picture.tensor()) == pixels).all()
    assert picture.tensor().shape == (1, 3, 16, 16) and picture.tensor().max() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_orientation_is_applied_and_reset(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    path, out = tmp_path / f"in{suffix}", tmp_path / "out.png"
    pixels = speckles(24, 40)
    save(path, pixels, exif=camera_exif(orientation), lossless=True)
    picture = read_picture(path)
    assert tuple(picture.size.__dict__.values()) == ((40, 24) if orientation > 4 else (24, 40))
    save_picture(out, picture.pixels, picture, RECIPE)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (load(out) == expected).all()
    with Image.open(out) as image:
        assert image.getexif()[0x0112] == 1
        assert (np.asarray(ImageOps.exif_transpose(image)) == expected).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_profile_resolution_and_recipe_are_kept(tmp_path: Path, suffix: str) -> None:
    path, out = tmp_path / "in.jpg", tmp_path / f"out{suffix}"
    save(path, speckles(24, 40), exif=camera_exif(), icc_profile=SRGB, dpi=(300, 300))
    picture = read_picture(path)
    save_picture(out, picture.pixels, picture, RECIPE)
    with Image.open(out) as image:
        tags = image.getexif()
        assert tags[0x010F] == "Maker" and tags.get_ifd(0x8769)[0x829A] == pytest.approx(0.01)
        assert tags.get_ifd(0x8825)[2] == (50.0, 5.0, 1.0)
        assert image.info["icc_profile"] == SRGB
        if suffix != ".webp":
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert read_recipe(out) == RECIPE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_without_exif_gets_a_recipe_too(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    save(tmp_path / "in.png", speckles(24, 40))
    picture = read_picture(tmp_path / "in.png")
    save_picture(out, picture.pixels, picture, RECIPE)
    assert read_recipe(out) == RECIPE
    again = read_picture(out)
    save_picture(out, again.pixels, again, RECIPE)
    assert read_recipe(out) == RECIPE


def test_jpeg_is_written_without_chroma_subsampling(tmp_path: Path) -> None:
    save(tmp_path / "in.png", speckles(24, 40))
    picture = read_picture(tmp_path / "in.png")
    save_picture(tmp_path / "out.jpg", picture.pixels, picture)
    with Image.open(tmp_path / "out.jpg") as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.edits
@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_alpha_and_the_colours_under_it_are_kept(desk: Desk, suffix: str) -> None:
    pixels = speckles(70, 96, 4)
    save(desk.image, pixels)
    desk.out = desk.folder / f"out{suffix}"
    assert desk.edit("--set", "feather=0") == 0, desk.stderr
    assert "is transparent inside the mask" in desk.stdout
    after, kept = load(desk.out), load(desk.mask) == 0
    assert (after[..., 3] == pixels[..., 3]).all()
    assert (after[kept] == pixels[kept]).all() and (after[~kept] != pixels[~kept]).any()


def test_alpha_in_a_jpeg_is_refused_before_any_work(desk: Desk, model) -> None:
    save(desk.image, speckles(70, 96, 4))
    desk.out = desk.folder / "out.jpg"
    assert desk.edit() == 2 and desk.refused("transparency", ".png") and not model.loaded


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA"])
def test_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(speckles(24, 40)).convert(mode)
    image.save(tmp_path / "in.png")
    picture = read_picture(tmp_path / "in.png")
    assert (picture.pixels == np.asarray(image.convert("RGB"))).all()
    assert (picture.alpha is not None) == (mode == "LA")


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_a_transparent_colour_becomes_alpha(tmp_path: Path, mode: str) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[4:] = 200
    image = Image.fromarray(pixels).convert("RGB" if mode == "RGB" else mode)
    key = {"P": image.getpixel((0, 0)), "RGB": (0, 0, 0), "L": 0}[mode]
    image.save(tmp_path / "in.png", transparency=key)
    picture = read_picture(tmp_path / "in.png")
    assert picture.alpha is not None
    assert (picture.alpha[:4] == 0).all() and (picture.alpha[4:] == 255).all()


def test_a_grey_profile_is_not_put_into_a_colour_picture(tmp_path: Path) -> None:
    profile = bytearray(SRGB)
    profile[16:20] = b"GRAY"
    Image.new("L", (8, 8)).save(tmp_path / "in.png", icc_profile=bytes(profile))
    assert read_picture(tmp_path / "in.png").icc is None


def mask_of(path: Path, soft: bool = False) -> masks.Mask:
    luminance, alpha = read_mask(path)
    return masks.from_picture(luminance, alpha, Size(*luminance.shape), soft=soft)[0]


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "RGBA"])
def test_a_mask_may_have_any_8_bit_mode(tmp_path: Path, mode: str) -> None:
    grey = painted(24, 40, slice(5, 10), slice(5, 30))
    Image.fromarray(grey).convert(mode).save(tmp_path / "mask.png")
    assert (mask_of(tmp_path / "mask.png") == grey / 255).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_16_bit_mask_is_scaled_not_cut_off(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 68
    save(tmp_path / f"mask{suffix}", levels)
    read = mask_of(tmp_path / f"mask{suffix}", soft=True)
    ground = levels < 2.5 * 257
    assert np.abs(read - levels / 65535)[~ground].max() <= 0.5 / 255 + 1e-6
    assert not read[ground].any() and ground.any()
    assert (mask_of(tmp_path / f"mask{suffix}") == (read * 255 >= 128)).all()


def test_transparent_parts_of_a_mask_are_kept(tmp_path: Path) -> None:
    layer = np.full((24, 40, 4), 255, np.uint8)
    layer[..., 3] = painted(24, 40, slice(5, 10), slice(5, 30))
    save(tmp_path / "mask.png", layer)
    assert (mask_of(tmp_path / "mask.png") == layer[..., 3] / 255).all()


def test_the_noise_of_a_jpeg_mask_is_not_painted(tmp_path: Path) -> None:
    grey = painted(64, 64, slice(16, 40), slice(16, 48))
    save(tmp_path / "mask.jpg", grey, quality=30)
    assert (mask_of(tmp_path / "mask.jpg") == grey / 255).all()


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_changed_tag_moves_no_other_byte_of_the_exif(order: str) -> None:
    """Makers' notes hold offsets from the block's beginning."""
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    entries = struct.pack(order + "HHIHH", 0x0112, 3, 1, 6, 0)
    entries += struct.pack(order + "HHII", 0x8769, 4, 1, 38)
    inner = struct.pack(order + "HHHIII", 1, 0x927C, 7, 8, 56, 0)
    block = mark + struct.pack(order + "IH", 8, 2) + entries + struct.pack(order + "I", 0) + inner
    block += b"makernot"
    assert block[56:64] == b"makernot"
    turned = exif.upright(block)
    assert [i for i, (a, b) in enumerate(zip(block, turned, strict=True)) if a != b] == [
        18 if order == "<" else 19
    ]
    noted = exif.with_comment(turned, "hello")
    changed = {i for i in range(len(block)) if noted[i] != turned[i]}
    assert changed <= set(range(4, 8)), "only the first directory's offset may change"
    assert exif.comment(noted) == "hello"
    tags = Image.Exif()
    tags.load(noted)
    assert tags[0x0112] == 1 and tags.get_ifd(0x8769)[0x927C] == b"makernot"


@pytest.mark.parametrize("block", [b"", b"II*\0", b"nonsense", b"II*\0\xff\xff\xff\x7f"])
def test_unreadable_exif_does_no_harm(block: bytes) -> None:
    assert exif.upright(block) == block and exif.comment(block) is None
    assert exif.comment(exif.with_comment(block, "hello")) == "hello"


def test_exif_too_long_for_settings_is_kept_without_them(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x010F] = "x" * 65_000
    save(tmp_path / "in.jpg", speckles(8, 8), exif=tags.tobytes())
    picture = read_picture(tmp_path / "in.jpg")
    notes = save_picture(tmp_path / "out.jpg", picture.pixels, picture, RECIPE)
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.getexif()[0x010F] == "x" * 65_000
    assert len(notes) == 1 and "settings" in notes[0] and "EXIF" not in notes[0]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with replacing(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "real.txt").read_text() == "new"
