"""Enlarging: networks in tiles, interpolations against Pillow, and files that will not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from msbd.errors import EditError
from msbd.geometry import Size
from msbd.miniature.torchvision_patch import patch_torchvision
from msbd.settings import EditSettings
from msbd.standalone import models
from msbd.standalone.upscaler import SuperResolution, bilinear, load_upscaler
from msbd.standalone.weights import read_weights

patch_torchvision()  # basicsr imports it
rrdb = pytest.importorskip("msbd.miniature.rrdb")


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    module = rrdb.RRDBNet().eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.add_(0.01 * torch.randn_like(parameter))
    return module


@pytest.fixture(scope="module")
def file(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("upscaler") / "x4.pth"
    torch.save({"params_ema": network.state_dict()}, path)
    return path


def test_the_network_s_own_output(network, file):
    upscaler = load_upscaler(file)
    assert upscaler.factor == 4.0
    image = picture(20, 28)
    large = upscaler(image, Size(80, 112))
    assert large.shape == (1, 3, 80, 112) and large.dtype == torch.float32
    assert torch.allclose(large, network(image).clamp(0, 1), atol=1e-5)


def test_safetensors(network, file, tmp_path):
    save_file(network.state_dict(), tmp_path / "x4.safetensors")
    image = picture(9, 9)
    expected = load_upscaler(file)(image, Size(36, 36))
    assert torch.equal(load_upscaler(tmp_path / "x4.safetensors")(image, Size(36, 36)), expected)


def test_the_result_is_reduced_with_antialiasing(file):
    upscaler, image = load_upscaler(file), picture(20, 28)
    whole = upscaler(image, Size(80, 112))
    assert torch.allclose(upscaler(image, Size(33, 47)), bilinear(whole, Size(33, 47)), atol=1e-6)
    assert torch.allclose(upscaler(image, Size(20, 28)), bilinear(whole, Size(20, 28)), atol=1e-6)


@pytest.mark.parametrize("shape", [(50, 130), (130, 50), (64, 64), (65, 64), (33, 200)])
def test_tiles_agree_with_the_whole(file, shape):
    whole, tiled = load_upscaler(file), load_upscaler(file)
    assert isinstance(tiled, SuperResolution)
    tiled.tile, tiled.overlap = 64, 48
    image, size = picture(*shape), Size(4 * shape[0], 4 * shape[1])
    # A random network of 34 layers reaches some 20 pixels; 24 lie between seam and tile's edge.
    assert torch.allclose(tiled(image, size), whole(image, size), atol=2e-4)


def test_tiles_are_bounded(file, monkeypatch):
    upscaler = load_upscaler(file)
    upscaler.tile = 64
    seen = []
    network = upscaler.network
    monkeypatch.setattr(
        type(network), "__call__", lambda self, x: (seen.append(x.shape), x.repeat(1, 1, 4, 4))[1]
    )
    upscaler(picture(100, 300), Size(300, 900))
    assert len(seen) > 5 and all(max(shape[-2:]) <= 64 for shape in seen)


@pytest.mark.parametrize("most", [256, 128, 100, 64, 63])
def test_tiles_that_do_not_fit_are_halved_once_and_for_all(file, monkeypatch, most):
    upscaler, seen = load_upscaler(file), []

    def network(self, image):
        seen.append(max(image.shape[-2:]))
        if seen[-1] > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return image.repeat_interleave(4, -1).repeat_interleave(4, -2)

    monkeypatch.setattr(type(upscaler.network), "__call__", network)
    image = picture(100, 300)
    if most < 64:
        with pytest.raises(RuntimeError, match="can't allocate"):
            upscaler(image, Size(400, 1200))
        return
    for _ in range(2):
        large = upscaler(image, Size(400, 1200))
        assert torch.equal(large[..., ::4, ::4], image)
        assert all(side <= most for side in seen[-3:])
    assert sum(side > most for side in seen) == (most < 256) + (most < 128)


def test_enlargement_beyond_the_factor_is_the_planner_s_fault(file):
    with pytest.raises(AssertionError):
        load_upscaler(file)(picture(8, 8), Size(33, 32))


@pytest.mark.parametrize("name", ["bilinear", "Bilinear", "bicubic", "Lanczos", "none", "NONE"])
@pytest.mark.parametrize("size", [Size(41, 77), Size(9, 11), Size(20, 28)])
def test_interpolations_are_pillow_s(name, size):
    """Up and down, and nothing, on floating-point pixels."""
    image = picture(20, 28)
    kind = {"none": "bilinear"}.get(name.lower(), name.lower())
    filters = Image.Resampling
    resample = {
        "bilinear": filters.BILINEAR,
        "bicubic": filters.BICUBIC,
        "lanczos": filters.LANCZOS,
    }
    channels = [
        np.array(Image.fromarray(channel).resize((size.width, size.height), resample[kind]))
        for channel in image[0].numpy()
    ]
    upscaler = load_upscaler(name)
    result = upscaler(image, size)
    expected = torch.from_numpy(np.stack(channels))[None].clamp(0, 1)
    assert upscaler.factor == 4.0
    assert torch.allclose(result, expected, atol=2e-6), (result - expected).abs().max()


def test_missing_file(tmp_path):
    with pytest.raises(EditError, match="bilinear, bicubic, lanczos, none"):
        load_upscaler(tmp_path / "x.pth")
    with pytest.raises(EditError, match="R-ESRGAN"):
        load_upscaler("R-ESRGAN 4x+")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".txt"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 20])
def test_damaged_file(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(EditError, match=r"empty|not a file of weights"):
        load_upscaler(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".PTH", ".bin"])
@pytest.mark.parametrize("wrapped", ["", "params", "params_ema", "state_dict"])
def test_the_format_is_told_by_content(file, tmp_path, suffix, wrapped):
    weights = read_weights(file)
    path = tmp_path / f"x{suffix}"
    torch.save({wrapped: weights} if wrapped else weights, path)
    image = torch.rand(1, 3, 12, 9)
    found, expected = (load_upscaler(one)(image, Size(48, 36)) for one in (path, file))
    assert torch.equal(found, expected)


def test_truncated_file(file, tmp_path):
    path = tmp_path / "short.pth"
    path.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(EditError, match=r"short\.pth is damaged"):
        load_upscaler(path)


def test_other_networks(tmp_path):
    torch.save({"weight": torch.zeros(3, 3)}, tmp_path / "x.pth")
    with pytest.raises(EditError, match="no upscaler"):
        load_upscaler(tmp_path / "x.pth")


def of_factor(folder: Path, factor: int) -> str:
    """The path of a network that enlarges so many times: it packs pixels into channels first."""
    state = rrdb.RRDBNet().state_dict()
    first = state["conv_first.weight"]
    state["conv_first.weight"] = first.repeat(1, (4 // factor) ** 2, 1, 1)
    torch.save(state, folder / f"x{factor}.pth")
    return str(folder / f"x{factor}.pth")


@pytest.mark.parametrize("upscaler", [2, 4, "lanczos", "none", "embedded"])
def test_a_plan_is_made_with_the_facts_of_the_edit(tmp_path: Path, upscaler: int | str) -> None:
    """What is read from names and files is what the loaded model says, whatever the factor."""
    name = of_factor(tmp_path, upscaler) if isinstance(upscaler, int) else upscaler
    changes = {} if name == "embedded" else {"upscaler": name}
    settings = EditSettings().with_values(changes)
    chosen = models.choose(settings, clip="none")
    bound = models.load(chosen).bind("a star", "", 4.0, settings.ablation.sampler)
    assert models.spec(chosen, settings) == bound.spec
    if isinstance(upscaler, int):
        assert bound.spec.upscale_factor == upscaler


@pytest.mark.crosscheck
def test_equal_to_basicsr(tmp_path):
    """realesrgan-x4plus' architecture at its real size, with random weights."""
    arch = pytest.importorskip("basicsr.archs.rrdbnet_arch")
    torch.manual_seed(0)
    theirs = arch.RRDBNet(3, 3, scale=4, num_feat=64, num_block=23, num_grow_ch=32).eval()
    torch.save({"params_ema": theirs.state_dict()}, tmp_path / "x4plus.pth")
    image = picture(24, 40)
    with torch.no_grad():
        expected = theirs(image).clamp(0, 1)
    ours = load_upscaler(tmp_path / "x4plus.pth")(image, Size(96, 160))
    assert torch.allclose(ours, expected, atol=1e-5)


@pytest.mark.crosscheck
def test_equal_to_realesrgan(tmp_path):
    """Its RealESRGANer, on 8-bit pictures, to rounding."""
    realesrgan = pytest.importorskip("realesrgan")
    arch = pytest.importorskip("basicsr.archs.rrdbnet_arch")
    torch.manual_seed(0)
    network = arch.RRDBNet(3, 3, scale=4, num_feat=64, num_block=23, num_grow_ch=32).eval()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "x4plus.pth")
    levels = (picture(24, 40)[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    theirs = realesrgan.RealESRGANer(
        4, str(tmp_path / "x4plus.pth"), model=network, pre_pad=0, half=False
    )
    expected, _ = theirs.enhance(np.ascontiguousarray(levels[..., ::-1]), outscale=4)
    image = torch.from_numpy(levels).permute(2, 0, 1)[None] / 255
    ours = load_upscaler(tmp_path / "x4plus.pth")(image, Size(96, 160))
    ours_levels = (ours[0].permute(1, 2, 0).numpy() * 255).round().astype(int)
    assert np.abs(ours_levels[..., ::-1] - expected).max() <= 1
