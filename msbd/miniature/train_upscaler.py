"""Training and measurement of the miniature's super-resolution network."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import EditError
from .degradation import KERNELS, degrade, reduce
from .files import WEIGHTS, halve
from .models import Network, build_autoencoder
from .pictures import HELD_OUT_PHOTOS, draw_batch, load_photo
from .rrdb import SCALE, RRDBNet
from .training import Plan, Team, fit, generators, save
from .world import BASE, draw_scene, draw_window

FILE = WEIGHTS / "miniature_x4.pth"
FIRST = Plan(steps=1000, peak=6e-4, seed=31, decay=0.0, hold=0.16, floor=0.38)
SECOND = Plan(steps=300, peak=3e-4, seed=32, decay=0.0, hold=0.0)
FIRST_BATCH = (4, 128)
"""Pictures in one part of a batch and their side in pixels, after enlargement."""
SECOND_BATCH = (2, 192)
PHOTOS = 0.3
DECODED = 0.5
"""Share of the second run's batches whose pictures went through the autoencoder."""
SOFTENING = 1e-3
EDGE, EDGE_WEIGHT = 4, 8.0
"""Pixels along the border, and how much more they count in the second run: the network must learn
to tell the zeros that its convolutions pad with from a dark neighbourhood."""
HELD_OUT_SEED = 77


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 [B,H,W,3] -> float32 [B,3,H,W] in [0,1]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255


def charbonnier(output: Tensor, target: Tensor, edge_weight: float = 1.0) -> Tensor:
    """Mean absolute error, rounded at zero (Lai et al. 2017, equation 2), the border weighted."""
    error = ((output - target).square() + SOFTENING**2).sqrt()
    weight = torch.full_like(error, edge_weight)
    weight[..., EDGE:-EDGE, EDGE:-EDGE] = 1.0
    return (weight * error).sum() / weight.sum()


@torch.no_grad()
def _decode(network: Network, images: Tensor) -> Tensor:
    latents = network.encode(2 * images - 1).latent_dist.mean
    return (network.decode(latents).sample / 2 + 0.5).clamp(0, 1)


def _loss(
    network: RRDBNet, autoencoder: Network | None, team: Team, seed: int, step: int, slot: int
) -> Tensor:
    rng, _ = generators(seed, step, slot)
    large = draw_batch(rng, *(SECOND_BATCH if autoencoder else FIRST_BATCH), PHOTOS)
    small = to_tensor(np.stack([degrade(rng, image) for image in large])).to(team.device)
    with torch.autocast(team.device, torch.bfloat16):
        if autoencoder is not None and rng.uniform() < DECODED:
            small = _decode(autoencoder, small).float()
        output = network(small)
    target = to_tensor(large).to(team.device)
    return charbonnier(output.float(), target, EDGE_WEIGHT if autoencoder else 1.0)


def _train(
    team: Team,
    out: Path,
    plan: Plan,
    before: Path | None,
    autoencoder: Network | None,
    after: Path,
) -> None:
    network = RRDBNet().to(team.device)
    if before is not None:
        network.load_state_dict(torch.load(before))
    if autoencoder is not None:
        autoencoder.to(team.device).eval().requires_grad_(False)
    fit(
        network,
        lambda step, slot: _loss(network, autoencoder, team, plan.seed, step, slot),
        plan,
        out / f"{after.stem}_run.pt",
        team,
    )
    if team.rank == 0:
        save(network.cpu().state_dict(), after)


def train_first(team: Team, out: Path) -> None:
    """Train on reduced pictures of the world and of photographs; writes ``upscaler_first.pt``."""
    _train(team, out, FIRST, None, None, out / "upscaler_first.pt")


def train_second(team: Team, out: Path) -> None:
    """Go on with pictures half of which the autoencoder decoded; writes ``upscaler.pt``.

    Wants ``upscaler_first.pt`` and ``autoencoder.pt`` in ``out``.
    """
    autoencoder = build_autoencoder()
    autoencoder.load_state_dict(torch.load(out / "autoencoder.pt"))
    _train(team, out, SECOND, out / "upscaler_first.pt", autoencoder, out / "upscaler.pt")


def export_upscaler(state: dict[str, Tensor], path: Path = FILE) -> None:
    """Write a state dict in half precision under Real-ESRGAN's top-level key ``params_ema``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the older layout, since the WebUI's check of archives refuses newer PyTorch's entries.
    torch.save({"params_ema": halve(state)}, path, _use_new_zipfile_serialization=False)


def load_upscaler(path: Path = FILE) -> RRDBNet:
    """The network of an exported file, float32, ready to use."""
    if not path.is_file():
        raise EditError(f"{path} is missing; train it with python -m msbd.miniature.train")
    network = RRDBNet()
    network.load_state_dict(torch.load(path, weights_only=True)["params_ema"])
    return network.float().eval()


def psnr(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0,1], over all pixels and channels."""
    return float(-10 * torch.log10((output.double() - target.double()).square().mean()))


@torch.no_grad()
def _gain(network: RRDBNet, image: np.ndarray, kernel: Image.Resampling) -> tuple[float, float]:
    """PSNR of the network and of bicubic enlargement for one picture (uint8 [4H,4W,3])."""
    small = reduce(image, kernel)
    bicubic = Image.fromarray(small).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    target = to_tensor(image[None])
    output = network(to_tensor(small[None])).clamp(0, 1)
    return psnr(output, target), psnr(to_tensor(np.asarray(bicubic)[None]), target)


def measure_upscaler(path: Path = FILE, count: int = 12) -> dict[str, float]:
    """How an exported file does on pictures it never saw; PSNR in dB, network and bicubic.

    world: whole scenes at four times the base frame, reduced to it; detail: partial views at
    1-4x zoom; photo: held-out photographs. Half of the pictures are reduced by the area
    average, half by the bicubic kernel. seconds: one enlargement from 192 to 768 px.
    """
    network = load_upscaler(path)
    rng = np.random.default_rng(HELD_OUT_SEED)
    side = SCALE * BASE
    pictures = {
        "world": [draw_scene(rng, side, side, side)[0] for _ in range(count)],
        "detail": [draw_window(rng)[0] for _ in range(count)],
        "photo": [load_photo(name, 256)[:256, :256] for name in HELD_OUT_PHOTOS],
    }
    figures: dict[str, float] = {}
    for name, images in pictures.items():
        pairs = [_gain(network, image, KERNELS[i % 2]) for i, image in enumerate(images)]
        ours, bicubic = np.mean(pairs, 0)
        figures |= {
            f"{name}_psnr": float(ours),
            f"{name}_bicubic": float(bicubic),
            f"{name}_gain": float(ours - bicubic),
        }
    small = torch.zeros(1, 3, 192, 192)
    with torch.no_grad():
        network(small)
        began = time.perf_counter()
        network(small)
    return figures | {"seconds": time.perf_counter() - began}
