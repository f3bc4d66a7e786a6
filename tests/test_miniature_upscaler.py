"""The miniature's super-resolution network: its file, its loaders, its gain over bicubic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from msbd.errors import EditError
from msbd.miniature.degradation import KERNELS, compress, degrade, reduce
from msbd.miniature.pictures import draw_batch
from msbd.miniature.rrdb import RRDBNet
from msbd.miniature.torchvision_patch import patch_torchvision
from msbd.miniature.train_upscaler import (
    FILE,
    export_upscaler,
    load_upscaler,
    measure_upscaler,
    psnr,
    to_tensor,
)
from msbd.miniature.world import draw_scene


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upscaler") / "x4.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        export_upscaler(RRDBNet().state_dict(), path)
    return path


def test_file_is_real_esrgans() -> None:
    state = torch.load(FILE, weights_only=True)
    assert list(state) == ["params_ema"]
    modules = {name.split(".")[0] for name in state["params_ema"]}
    assert modules == {
        "conv_first",
        "body",
        "conv_body",
        "conv_up1",
        "conv_up2",
        "conv_hr",
        "conv_last",
    }
    assert state["params_ema"]["body.0.rdb1.conv1.weight"].shape == (32, 32, 3, 3)
    assert all(value.dtype == torch.float16 for value in state["params_ema"].values())
    assert FILE.stat().st_size < 2_500_000


@torch.no_grad()
@pytest.mark.parametrize("shipped", [False, True])
def test_spandrel_agrees(random_file: Path, shipped: bool) -> None:
    patch_torchvision()
    import spandrel

    path = FILE if shipped else random_file
    described = spandrel.ModelLoader(device="cpu").load_from_file(path)
    assert described.architecture.id == "ESRGAN"
    assert (described.scale, described.input_channels, described.output_channels) == (4, 3, 3)
    image = torch.rand(1, 3, 17, 24, generator=torch.Generator().manual_seed(1))
    ours = load_upscaler(path)(image)
    assert ours.shape == (1, 3, 68, 96)
    assert torch.allclose(described.model.float()(image), ours, atol=1e-5)


@torch.no_grad()
def test_starts_as_smooth_enlargement() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RRDBNet()
    image = to_tensor(draw_batch(np.random.default_rng(0), 1, 64, 0.0))
    small = torch.nn.functional.avg_pool2d(image, 4)
    inside = (..., slice(8, -8), slice(8, -8))
    repeated = torch.nn.functional.interpolate(small, scale_factor=4)[inside]
    assert psnr(network(small)[inside], repeated) > 22


def test_beats_bicubic() -> None:
    figures = measure_upscaler(count=2)
    assert figures["world_gain"] >= 1.5
    assert figures["detail_gain"] > 0
    assert figures["photo_gain"] > 0


@torch.no_grad()
@pytest.mark.parametrize("colour", ["red", "yellow", "black"])
def test_keeps_colours_and_range(colour: str) -> None:
    image = draw_scene(np.random.default_rng(3), 64, 64, 64, colour=colour, shape="circle")[0]
    small = to_tensor(image[None])
    large = load_upscaler()(small)
    assert large.min() > -0.1 and large.max() < 1.1
    assert torch.allclose(large.mean((2, 3)), small.mean((2, 3)), atol=1.5 / 255)


@torch.no_grad()
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_stays_flat(level: float) -> None:
    large = load_upscaler()(torch.full((1, 3, 32, 32), level))[..., 32:-32, 32:-32]
    assert (large - level).abs().max() < 4 / 255


def test_measures_are_checked(tmp_path: Path) -> None:
    assert psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)) == pytest.approx(
        20.0, abs=1e-5
    )
    with pytest.raises(EditError, match="missing"):
        load_upscaler(tmp_path / "absent.pth")


def test_export_refuses_overflow(tmp_path: Path) -> None:
    with pytest.raises(EditError, match="not finite"):
        export_upscaler({"conv_first.weight": torch.full((1,), 1e6)}, tmp_path / "x.pth")


def test_degradations() -> None:
    image = draw_scene(np.random.default_rng(0))[0]
    for kernel in KERNELS:
        assert reduce(image, kernel).shape == (32, 32, 3)
    averages = image.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(reduce(image, KERNELS[0]) - averages).max() <= 1
    results = [degrade(np.random.default_rng(i), image) for i in range(30)]
    assert all(r.shape == (32, 32, 3) and r.dtype == np.uint8 for r in results)
    assert len({r.tobytes() for r in results}) > 10
    assert all(
        np.array_equal(r, degrade(np.random.default_rng(i), image)) for i, r in enumerate(results)
    )
    assert np.abs(compress(image, 95).astype(int) - image).mean() < 5
