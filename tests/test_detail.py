"""Laws of what makes an edit belong: tone held to the draft, texture of the surroundings."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from msbd import pipeline
from msbd.compositing import feathered, pasted
from msbd.errors import Interrupted
from msbd.evaluation.texture import octave_energies
from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.precision import single_precision
from msbd.spectra import octave_bands
from msbd.texture import Texture, texture
from msbd.tone import with_tone_of

SIDE = 320
MIDDLE = SIDE // 2
DOWN, ACROSS = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
LEVEL = 1 / 255


def blurred(image: Tensor, sigma: float | tuple[float, float], mode: str = "nearest") -> Tensor:
    """sigma: downwards and across."""
    down, across = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, down, across), mode=mode))


def plain(level: float = 0.5) -> Tensor:
    return torch.full((1, 3, SIDE, SIDE), level)


def disc(radius: float) -> Tensor:
    return (torch.hypot(DOWN - MIDDLE, ACROSS - MIDDLE) < radius).float()[None, None]


# Tone

COLOURS = [(0.8, 0.1, 0.1), (0.35, 0.3, 0.25)], [(0.5, 0.45, 0.4), (0.2, 0.4, 0.6)]
DISTANCES: dict[str, Callable[[float], Tensor]] = {
    "disc": lambda radius: torch.hypot(ACROSS - MIDDLE, DOWN - MIDDLE) - radius,
    "square": lambda radius: (ACROSS - MIDDLE).abs().maximum((DOWN - MIDDLE).abs()) - radius,
    "edge": lambda radius: ACROSS + 0.3 * DOWN - MIDDLE - radius,
}
TINTS = {
    "none": torch.zeros(1),
    "even": torch.tensor([8.0, -4.0, 30.0])[None, :, None, None] * LEVEL,
    "slope": (ACROSS / SIDE - 0.5) * 24 * LEVEL,
}


@pytest.mark.parametrize("shape", DISTANCES)
@pytest.mark.parametrize("tint", TINTS)
@pytest.mark.parametrize("moved", [-16, -8, -4, 4, 8, 16])
@pytest.mark.parametrize("colours", COLOURS)
def test_an_outline_that_moves_has_no_halo(shape: str, tint: str, moved: int, colours) -> None:
    thing, ground = (torch.tensor(one)[None, :, None, None] for one in colours)
    distance = DISTANCES[shape]

    def drawn(radius: float) -> Tensor:
        return ground.lerp(thing, (0.5 - distance(radius)).clamp(0, 1))

    draft, wanted = blurred(drawn(80), 3), drawn(80 + moved)
    painted = disc(150)
    made = wanted + TINTS[tint]
    held = with_tone_of(draft, made, painted)
    band = disc(140) * (distance(80 + moved).abs() < 24)

    def overshoot(image: Tensor) -> float:
        return float((blurred(image - wanted, 2) * band).abs().max() / LEVEL)

    assert overshoot(held) <= 2
    assert overshoot(held) <= overshoot(made) + 0.05
    assert torch.equal(held * (1 - painted), made * (1 - painted))


@pytest.mark.parametrize("detail", [0, 12])
def test_tiles_of_different_tone_leave_no_bands(detail: float) -> None:
    draft, painted = plain(), disc(150)
    ramp = ((ACROSS % 192 - 80) / 32).clamp(0, 1) - ((ACROSS % 192 - 176) / 16).clamp(0, 1)
    grain = detail * LEVEL * Noise(0)((1, 3, SIDE, SIDE))
    grain = grain - blurred(grain, 8)
    held = with_tone_of(draft, draft + (ramp - 0.5) * 16 * LEVEL + grain, painted)
    errors = ((held - draft - grain) * painted)[..., 40:280, 40:280]
    assert F.avg_pool2d(errors, 48).abs().max() < LEVEL
    finest = (held - blurred(held, 1.5))[..., 100:220, 100:220]
    assert finest.std() >= 0.95 * (grain - blurred(grain, 1.5))[..., 100:220, 100:220].std()


def test_what_is_wholly_new_keeps_its_tone() -> None:
    draft, image = plain(0.2), plain(0.9)
    image[..., :MIDDLE] = 0.1
    image[..., ::16, :] = 0.5
    assert torch.isfinite(with_tone_of(draft, image, disc(4))).all()
    assert torch.equal(with_tone_of(draft, image, plain(0)[:, :1]), image)


# Texture

MASK = disc(90)
GRAIN = 6 * LEVEL


def field(
    sigma: float | tuple[float, float] = 0.0, key: str = "grain", colours: float = 1
) -> Tensor:
    """Noise of deviation 1. sigma: of its blur downwards and across. colours: 0 for grey."""
    noise = Noise(5)((1, 3, SIDE, SIDE), key)
    noise = noise[:, :1].lerp(noise, colours)
    noise = blurred(noise, sigma, "wrap")
    return noise / noise.std()


def put_back(photograph: Tensor, ground: Tensor, alpha: Tensor = MASK, seed: int = 1) -> Texture:
    """ground: what the networks make of the photograph, and of the edit."""
    photograph = (photograph * 255).round().clamp(0, 255) / 255
    made = texture(ground, photograph, alpha, Noise(seed), 1.0)
    assert made is not None
    assert not (made.image * (alpha == 0)).any()
    return made


def rms(image: Tensor, where: Tensor) -> list[float]:
    """By octave, finest first, in 8-bit levels; of all channels."""
    region = where[0, 0].numpy() > 0
    channels = [octave_energies(one.double().numpy(), region) for one in image[0]]
    return [255 * math.sqrt(np.mean(octave)) for octave in zip(*channels, strict=True)]


INSIDE = disc(80)
RING = disc(150) - disc(100)


@pytest.mark.parametrize("sigma", [0, 0.6, 1.0, 1.5, (0.4, 1.6)], ids=str)
@pytest.mark.parametrize("colours", [0, 0.5, 1])
@pytest.mark.parametrize("strength", [3, 6, 9])
def test_grain_of_any_spectrum_is_as_strong_inside(sigma, colours, strength) -> None:
    grain = field(sigma, colours=colours) * strength * LEVEL
    made = put_back(plain() + grain, plain())
    wanted, got = rms(grain, RING), rms(made.image, INSIDE)
    strongest = max(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=0.1, abs=0.02 * strongest + 0.1)
    correlation = [
        np.corrcoef(image[0, :, 100:220, 100:220].flatten(1).numpy())[0, 1]
        for image in (grain, made.image)
    ]
    assert correlation[1] == pytest.approx(correlation[0], abs=0.1)
    assert sum(one**2 for one in made.added) ** 0.5 == pytest.approx(strength, rel=0.15)


@pytest.mark.parametrize("angle", [0, 90])
def test_directions_are_kept(angle: int) -> None:
    sigma = (0.3, 3.0) if angle else (3.0, 0.3)
    grain = field(sigma) * GRAIN
    made = put_back(plain() + grain, plain()).image

    def lean(image: Tensor, where: Tensor) -> float:
        down, across = (
            float((image.diff(dim=axis).square() * where.narrow(axis, 1, SIDE - 1)).sum())
            for axis in (2, 3)
        )
        return math.log2(down / across)

    assert lean(made, INSIDE) == pytest.approx(lean(grain, RING), abs=0.5)


def test_nothing_is_added_where_the_surroundings_have_none() -> None:
    slope = plain() + (ACROSS / SIDE - 0.5) * 0.4 + (DOWN / SIDE) * 0.2
    made = put_back(slope, slope + 3 * LEVEL)
    assert max(made.added) < 0.5


def test_an_edge_in_the_surroundings_is_no_texture() -> None:
    photograph = plain()
    photograph[..., 20:26, :] = 0.1
    photograph[..., :, 300:] = 0.9
    made = put_back(photograph + field() * LEVEL, plain())
    assert sum(rms(made.image, INSIDE)) < 3


def test_texture_follows_the_side_that_has_it() -> None:
    amount = (ACROSS < MIDDLE).float()
    made = put_back(plain() + field(0.5) * GRAIN * amount, plain()).image
    left, right = (
        float((made[..., 120:200, columns]).std()) for columns in (slice(75, 95), slice(225, 245))
    )
    assert left > 3 * right


@pytest.mark.parametrize("levels", [30, 50, 80])
@pytest.mark.parametrize("fades", [0.7, 1.0, 1.5])
def test_what_houses_lose_is_not_put_into_the_sky(levels: int, fades: float) -> None:
    """Busy below, as bright as the sky above, and still seen when the networks have blurred it; the
    edit is sky."""
    houses = blurred(field(key="houses").sign(), 1.0) * (DOWN > MIDDLE).float()
    houses = houses / houses.std() * levels * LEVEL
    ground = torch.where(MASK > 0, plain(), plain() + blurred(houses, fades))
    made = put_back(plain() + houses + field() * LEVEL, ground)
    assert max(rms(made.image, INSIDE)) < 1.5


def test_texture_follows_brightness() -> None:
    ground = plain(0.2)
    ground[..., MIDDLE:, :] = 0.7
    photograph = ground + field(0.5) * GRAIN * (1.5 - 1.25 * (ground > 0.5).float())
    turned = ground.clone()
    turned[..., 80:240, 80:240] = ground.flip(2)[..., 80:240, 80:240]
    made = put_back(photograph, torch.where(MASK > 0, turned, ground)).image
    bright, dark = made[..., 100:140, 120:200].std(), made[..., 180:220, 120:200].std()
    assert dark > 2.5 * bright


def test_an_edit_that_has_such_detail_gets_less() -> None:
    grain = field(0.7) * GRAIN
    ours = field(0.7, "ours") * GRAIN * MASK
    none, half, full = (
        sum(one**2 for one in put_back(plain() + grain, plain() + share * ours).added)
        for share in (0, 0.7, 1)
    )
    assert full < 0.3 * none
    assert half == pytest.approx((1 - 0.7**2) * none, rel=0.25)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_black_and_white_stay(level: float) -> None:
    ground = torch.where(MASK > 0, plain(level), plain())
    made = put_back(plain() + field() * GRAIN, ground).image
    after = (ground + made).clamp(0, 1)
    assert float((after - ground).abs().mul(INSIDE).max()) < 0.5 * LEVEL


def test_what_jpeg_makes_of_blocks_is_not_copied() -> None:
    smooth = (plain() + field(8) * 0.06)[0].permute(1, 2, 0).numpy()
    pixels = Image.fromarray((smooth * 255).round().clip(0, 255).astype(np.uint8))
    file = io.BytesIO()
    pixels.save(file, "JPEG", quality=12)
    blocky = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None] / 255
    made = put_back(blocky, torch.from_numpy(smooth).permute(2, 0, 1)[None])
    lines = made.image.mean(1)[0, 100:220, 100:220].diff(dim=1).square().mean(0)
    power = torch.fft.rfft(lines - lines.mean()).abs().square()
    eighth = len(lines) // 8
    assert power[eighth] < 6 * power[1:].mean()


def test_across_a_wide_feather_the_grain_is_even() -> None:
    alpha = feathered(disc(60), 40)
    grain = field(0.5) * GRAIN
    photograph = ((plain() + grain) * 255).round() / 255
    made = put_back(photograph, plain(), alpha)
    result = pasted(photograph, plain() + made.image, Box(0, 0, SIDE, SIDE), alpha)
    reach = torch.hypot(DOWN - MIDDLE, ACROSS - MIDDLE)
    for near, far in pairwise(range(50, 115, 10)):
        band = ((near <= reach) & (reach < far)).expand(1, 3, SIDE, SIDE)
        assert float(result[band].std()) == pytest.approx(float(grain.std()), rel=0.12)


def test_the_same_seed_gives_the_same_texture() -> None:
    photograph = plain() + field() * GRAIN
    one, same, other = (put_back(photograph, plain(), seed=seed).image for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.edits
def test_the_picture_stays_between_black_and_white() -> None:
    image, mask = photograph(150, 150), box_mask(Size(150, 150), Box(50, 50, 100, 100))
    values = {"texture": 1.0, "hold_tone": True, "decoder": "off", "margin": 4.0}
    done = run(image, mask, PointwiseBackend(tint=0.1, mode="bilinear"), **values).image
    assert float(done.min()) >= 0 and float(done.max()) <= 1
    draft, made = plain(0.98), plain(0.9)
    made[..., ::2] = 1.0
    held = with_tone_of(draft, made, disc(100))
    assert float(held.max()) <= 1


def test_texture_is_the_same_in_a_hosts_precision() -> None:
    """Autocast and inference mode, as hosts call `edit`; then what is cached is theirs."""
    given = plain(), plain() + field(0.5) * GRAIN, MASK, Noise(1), 1.0
    octave_bands.cache_clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        hosted = single_precision()(texture)(*given)
    done = texture(*given)
    assert done is not None and hosted is not None and sum(done.added) > 1
    assert torch.equal(done.image, hosted.image.clone())


@pytest.mark.edits
def test_an_edit_is_kept_whatever_becomes_of_its_texture(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photograph(150, 150)
    mask = box_mask(Size(150, 150), Box(50, 50, 100, 100))
    values = {"decoder": "off", "margin": 3.0}
    plain = run(image, mask, **values)
    for error, told, whole in (
        (MemoryError(), "memory ran out for texture", True),
        (KeyboardInterrupt(), "stopped after stage", False),
        (Interrupted("skipped"), "skipped after stage", False),
    ):
        monkeypatch.setattr(pipeline, "texture", Mock(side_effect=error))
        done = run(image, mask, texture=1.0, **values)
        assert torch.equal(done.image, plain.image)
        assert told in " ".join(done.report.notes) and done.report.interrupted != whole
    monkeypatch.setattr(pipeline, "texture", Mock(side_effect=RuntimeError("a fault")))
    with pytest.raises(RuntimeError, match="a fault"):
        run(image, mask, texture=1.0, **values)


def test_without_surroundings_there_is_no_texture() -> None:
    photograph = plain() + field() * GRAIN
    edited = torch.where(MASK > 0, plain(), photograph)
    assert texture(edited, photograph, MASK, Noise(1), 1.0) is None
    assert texture(plain(), photograph, torch.ones_like(MASK), Noise(1), 1.0) is None
