"""Pictures as they reach the script: the same are refused as on the command line, colours and
profiles are kept, and in the Batch tab one that cannot be edited does not end the rest."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from files import made, profile
from PIL import Image, ImageCms, ImageOps
from standin import Host, installed
from standin.desk import TITLE, edited, inside, mask_of, photograph, pixels, reports, request

from msbd.errors import EditError
from msbd.standalone.colour import conversion

pytestmark = pytest.mark.edits
HOLE = (slice(8, 40), slice(8, 40))
HARDLY = {"preset": "draft", "choose": "first"}
WIDE = profile("Adobe RGB")


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def as_the_host_reads(data: bytes, copied: bool) -> Image.Image:
    """As `images.read` does since 1.9, and before."""
    image = Image.open(io.BytesIO(data))
    try:
        return ImageOps.exif_transpose(image) if copied else image
    except Exception:
        return image


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_what_cannot_be_edited_is_refused_and_the_rest_is_whole(
    host: Host, seed: int, copied: bool
) -> None:
    subject = made(seed)
    try:
        picture = as_the_host_reads(subject.data, copied)
        picture.load()
    except Exception:
        pytest.skip("the host itself stops at this file")
    if subject.label in ("TIFF pages", "WEBP animated", "GIF animated") and copied:
        pytest.skip("the host hands over the first picture alone")
    p = request(host, init_images=[picture], mask=mask_of(picture.size[::-1], HOLE), mask_blur=0)
    p.is_api, p.steps = True, 1
    if subject.refused:
        import fastapi  # the stand-in's

        with pytest.raises(fastapi.HTTPException) as refused:
            edited(host, p, **HARDLY)
        assert refused.value.status_code == 422
        assert subject.refused.replace("frames", "") in refused.value.detail
        return
    height, width = subject.pixels.shape[:2]
    p = request(host, init_images=[picture], mask=mask_of((height, width), HOLE), mask_blur=0)
    p.steps = 1
    processed = edited(host, p, **HARDLY)
    expected = subject.pixels
    if subject.alpha is not None:
        layer = Image.fromarray(np.dstack([subject.pixels, subject.alpha]))
        expected = pixels(host.images.flatten(layer, host.shared.opts.img2img_background_color))
    kept = ~inside(p)
    assert (pixels(processed.images[0])[kept] == expected[kept]).all()
    told = processed.comments
    assert ("transparent" in told) == (
        subject.alpha is not None and bool((subject.alpha < 255).any())
    )
    assert ("own colour profile" in told) == (not subject.is_srgb)
    dots = subject.beside.get("dpi")
    assert ("resolution" in told) == (dots is not None and tuple(map(round, dots)) != (72, 72))


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_a_16_bit_mask_is_scaled_not_cut_off(host: Host, mode: str) -> None:
    levels = np.full((70, 96), 20_000, np.int32)  # dark: nothing of it is painted
    levels[HOLE] = 65_535
    mask = Image.fromarray(levels.astype(np.uint16) if mode == "I;16" else levels)
    assert mask.mode == mode
    p = request(host, mask=mask, mask_blur=0)
    plain = request(host, box=HOLE, mask_blur=0)
    assert (pixels(edited(host, p).images[0]) == pixels(edited(host, plain).images[0])).all()


def seen(picture: Image.Image, icc: bytes | None) -> np.ndarray:
    """What a colour-managed program shows."""
    if icc is None:
        return pixels(picture)
    shown = ImageCms.profileToProfile(
        picture.convert("RGB"), io.BytesIO(icc), ImageCms.createProfile("sRGB")
    )
    return np.asarray(shown)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_the_result_looks_like_the_edit_of_the_same_picture_in_srgb(
    host: Host, format: str
) -> None:
    host.shared.opts.samples_format = format
    # Dark colours lose more by 8 bits.
    plain, found = Image.fromarray(pixels(photograph(70, 96)) // 2 + 96), conversion(WIDE)
    assert found is not None
    black, all_of_it = np.zeros((70, 96, 3), np.uint8), np.ones((70, 96), np.float32)
    picture = Image.fromarray(found.restored(pixels(plain), black, all_of_it, 0))
    picture.info["icc_profile"] = WIDE
    results = [edited(host, request(host, init_images=[one])) for one in (picture, plain)]
    profiles = [one.images[0].info.get("icc_profile") for one in results]
    assert profiles == [WIDE if format == "png" else None, None]
    after, reference = (
        seen(one.images[0], icc) for one, icc in zip(results, profiles, strict=True)
    )
    assert np.abs(after.astype(int) - reference).max() <= 3
    told = results[0].comments
    assert ("own colour profile" if format == "png" else "he result is in sRGB") in told
    assert ("compresses all of it anew" in told) == (format != "png")
    if format == "png":
        p = request(host, init_images=[picture], mask_blur=0)
        same = pixels(edited(host, p).images[0]) == pixels(picture)
        assert same[~inside(p)].all()


def test_what_the_host_saves_gets_the_profile_and_what_we_add_does_not(host: Host) -> None:
    from msbd.webui.run import keep_profile

    plain, kept = host.images.save_image, []

    def save_image(image: Any, *others: Any, **named: Any) -> Any:
        """The host asks those who want to know of what it is about to save."""

        class Parameters:
            p = named.get("p")

        Parameters.image = image  # type: ignore[attr-defined]
        keep_profile(Parameters)
        kept.append((named.get("suffix", ""), image.info.get("icc_profile")))
        return plain(image, *others, **named)

    host.images.save_image = save_image
    host.shared.opts.samples_save = True
    host.shared.opts.data["msbd_candidates"] = "show and save"
    picture = photograph(70, 96)
    picture.info["icc_profile"] = WIDE
    p = request(host, init_images=[picture])
    edited(host, p, candidates=2)
    assert [icc for suffix, icc in kept if not suffix] == [WIDE]
    others = [icc for suffix, icc in kept if "msbd" in suffix]
    assert others and set(others) == {None}
    keep_profile(type("Parameters", (), {"p": p, "image": picture}))  # another's, later
    assert not hasattr(p, "msbd_colour_profile")


def test_pictures_of_a_batch_with_different_profiles_are_given_back_in_srgb(host: Host) -> None:
    pictures = [photograph(70, 96, seed) for seed in range(2)]
    pictures[0].info["icc_profile"] = WIDE
    processed = edited(host, request(host, init_images=pictures, batch_size=2))
    first = processed.index_of_first_image
    assert all(not one.info.get("icc_profile") for one in processed.images[first:])
    assert "The result is in sRGB" in processed.comments


def test_an_edit_that_stops_at_once_gives_back_the_very_bytes(host: Host) -> None:
    picture = photograph(70, 96)
    picture.info["icc_profile"] = WIDE
    p = request(host, init_images=[picture])

    def stop(calls: int) -> None:
        host.shared.state.interrupted = True

    host.before_call(stop)
    processed = edited(host, p)
    assert (pixels(processed.images[0]) == pixels(picture)).all()


def through_the_batch_tab(host: Host, p: Any, pictures: list[Any], fields: dict[str, Any]) -> Any:
    """What the host's `process_batch` does with a folder."""
    from msbd.webui.run import run

    host.begin()
    host.shared.state.job_count = len(pictures) * p.n_iter
    shown = None
    for number, picture in enumerate(pictures, 1):
        host.shared.state.job = f"{number} out of {len(pictures)}"
        p.init_images = [picture] * p.batch_size
        done = run(p, TITLE, [fields])
        if bar := host.shared.total_tqdm._tqdm:
            assert bar.n == bar.total, "the console's bar is full"
        host.shared.total_tqdm.clear()
        if shown is None:
            shown = done
        else:
            shown.images.extend(done.images)
            shown.infotexts.extend(done.infotexts)
    return shown


FITS = (70, 96)
BAD = {
    "deep": Image.fromarray(np.zeros(FITS, np.uint16)),
    "CMYK": Image.new("CMYK", FITS[::-1]),
    "another size": photograph(40, 40),
}


@pytest.mark.parametrize("bad", [(), (0,), (1,), (2,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("kind", [*BAD, "a fault of the program"])
def test_the_batch_tab_goes_on_after_what_cannot_be_edited(
    host: Host, monkeypatch, kind: str, bad: tuple[int, ...]
) -> None:
    if kind == "a fault of the program":
        from msbd.webui import run

        plain, calls = run._processed, []

        def processed(*given: Any) -> Any:
            calls.append(0)
            if len(calls) - 1 in bad:
                raise RuntimeError("something nobody foresaw")
            return plain(*given)

        monkeypatch.setattr(run, "_processed", processed)
    pictures = [
        BAD[kind] if kind in BAD and number in bad else photograph(*FITS, number)
        for number in range(3)
    ]
    from msbd.webui.run import run

    p = request(host)
    shown = through_the_batch_tab(host, p, pictures, {"preset": "draft"})
    assert host.shared.state.job_no == host.shared.state.job_count == 3
    host.shared.state.job = ""
    good = [number for number in range(3) if number not in bad]
    assert len(shown.images) == len(good) == len(reports(shown))
    for image, number in zip(shown.images, good, strict=True):
        alone = run(request(host, init_images=[pictures[number]]), TITLE, [{"preset": "draft"}])
        assert (pixels(image) == pixels(alone.images[0])).all()
    lines = shown.comments.splitlines()
    for number in range(3):
        own = [one for one in lines if one.startswith(f"Picture {number + 1} of 3: ")]
        assert sum("Not edited: " in line for line in own) == (number in bad)
        assert sum("Painted in " in line for line in own) == (number not in bad)


@pytest.mark.parametrize("more", [{"n_iter": 2}, {"batch_size": 2}])
def test_each_pictures_bar_in_the_batch_tab_is_full(host: Host, more: dict[str, int]) -> None:
    p = request(host, **more)
    shown = through_the_batch_tab(
        host, p, [photograph(*FITS, n) for n in range(3)], {"preset": "draft"}
    )
    assert len(reports(shown)) == 6


def test_outside_the_batch_tab_errors_stay_errors(host: Host) -> None:
    p = request(host, init_images=[BAD["deep"]])
    with pytest.raises(EditError, match="8 bits"):
        edited(host, p)


def test_the_conversion_changes_what_the_profile_says() -> None:
    found = conversion(WIDE)
    assert found is not None
    green = np.full((1, 1, 3), (64, 200, 64), np.uint8)
    assert np.abs(found.to_srgb(green).astype(int) - green).max() > 8
