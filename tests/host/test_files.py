"""Files of odd kinds by the API: refused in words, or edited without loss."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from files import profile
from PIL import Image

from .client import Scene, edited, refused
from .server import Webui

WIDE = "Adobe RGB"


def file(image: Image.Image, format: str = "PNG", **more: Any) -> str:
    """In base64."""
    data = io.BytesIO()
    image.save(data, format, **more)
    return base64.b64encode(data.getvalue()).decode()


def photograph(subject: Scene) -> Image.Image:
    return Image.fromarray(subject.picture)


def deep(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels.astype(np.uint16) * 257)


REFUSED = {
    "16 bits": (lambda s: file(deep(s.picture[..., 0])), "8 bits per channel"),
    "CMYK": (lambda s: file(photograph(s).convert("CMYK"), "JPEG"), "save it as RGB"),
    "floating point": (lambda s: file(photograph(s).convert("F"), "TIFF"), "8 bits per channel"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("field", ["init_images", "mask"])
def test_what_would_lose_is_refused(webui: Webui, small: Scene, kind: str, field: str) -> None:
    made, words = REFUSED[kind]
    if (kind, field) == ("16 bits", "mask"):
        pytest.skip("masks of 16 bits are scaled")
    body = small.request(**{field: [made(small)] if field == "init_images" else made(small)})
    status, reason = refused(webui, body)
    assert status == 422 and words in reason, reason


def test_a_mask_of_16_bits_is_scaled(webui: Webui, small: Scene) -> None:
    plain = edited(webui, small)
    answer = edited(webui, small, mask=file(deep(small.mask)))
    assert (answer.picture == plain.picture).all()


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA"])
def test_grey_palette_and_alpha_are_edited(webui: Webui, small: Scene, mode: str) -> None:
    picture = photograph(small).convert(mode)
    subject = Scene(np.asarray(picture.convert("RGB")), small.mask)
    answer = edited(webui, subject, init_images=[file(picture)])
    assert subject.is_edited(answer.picture)


def test_a_picture_with_a_profile_comes_back_in_its_own_colours(webui: Webui, small: Scene) -> None:
    icc = profile(WIDE)
    given = file(photograph(small), icc_profile=icc, dpi=(300, 300))
    before = {*webui.data.glob("outputs/img2img/**/*.png")}
    answer = edited(webui, small, init_images=[given], save_images=True)
    notes = " ".join(answer.report["notes"])
    assert "own colour profile" in notes and "dots per inch" in notes
    (saved,) = {*webui.data.glob("outputs/img2img/**/*.png")} - before
    with Image.open(saved) as image:
        assert image.info["icc_profile"] == icc
        assert small.is_edited(np.asarray(image.convert("RGB")))


def test_a_jpeg_with_exif_lies_as_it_is_seen(webui: Webui, small: Scene) -> None:
    """A camera's picture that lies on its side."""
    exif = Image.Exif()
    exif[274] = 6
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(small.picture)))
    given = file(turned, exif=exif)
    answer = edited(webui, small, init_images=[given])
    assert small.is_edited(answer.picture)
