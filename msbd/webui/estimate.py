"""What `cost` must be told of the host and its checkpoint."""

from __future__ import annotations

import torch
from modules import shared
from torch import nn

from ..cost import FLOAT, MINIATURE, STABLE_DIFFUSION, Loaded
from ..memory import picture_bytes
from ..plan import EditPlan
from ..settings import EditSettings
from .hosts import which
from .hosts.clip import clip_device
from .hosts.upscaling import HostUpscaler, load_upscaler
from .options import decoder_device, option

_PICTURES, _CROPS = 6, 8
"""Copies of the picture and of the crop that are in main memory at one time."""


def loaded(plan: EditPlan, settings: EditSettings) -> Loaded:
    """The checkpoint as an edit finds it; none of its networks is run."""
    model, device, fitting = shared.sd_model, torch.device(shared.device), decoder_device().type
    networks, apart = which.networks(model), which.one_at_a_time(model)
    network = networks.unet
    parameters = sum(one.numel() for one in network.parameters())
    kind = MINIATURE if parameters < 50_000_000 else STABLE_DIFFUSION
    chooses = settings.ranks_by_clip
    upscaler = load_upscaler(settings.upscaler)
    resident = 0 if apart else sum(map(_weights, networks.all()))
    crop = max((part.crop.size for part in plan.parts), key=lambda size: size.area)
    if device.type == "cpu":
        resident += 3 * FLOAT * (_PICTURES * plan.image.area + _CROPS * crop.area)
        resident += kind.clip * chooses
    elif not (apart or option("memory_limit")):
        resident += picture_bytes(crop, device)
    named = device.type == "cuda" and torch.cuda.is_available()
    machine = torch.cuda.get_device_name(device) if named else device.type
    return Loaded(
        name=f"{parameters} parameters, {plan.resolution} pixels, {machine}, {fitting}",
        kind=kind,
        device=device.type,
        fitting=fitting,
        choosing=clip_device().type if chooses else "",
        resident=resident,
        network=max(map(_weights, _at_once(network))) if apart else 0,
        autoencoder=_weights(networks.autoencoder) if apart else 0,
        number=torch.finfo(which.network_dtype()).bits // 8,
        passes=2 if getattr(shared.opts, "batch_cond_uncond", True) else 1,
        upscaled=(upscaler.tiles[0] or 2**20) if isinstance(upscaler, HostUpscaler) else 0,
    )


def _at_once(network: nn.Module) -> list[nn.Module]:
    """What is on the device by itself: with --lowvram each block."""
    lists = (one if isinstance(one, nn.ModuleList) else [one] for one in network.children())
    blocks = [block for some in lists for block in some]
    return blocks if blocks and getattr(shared.cmd_opts, "lowvram", False) else [network]


def _weights(module: nn.Module) -> int:
    """Bytes of all parameters and buffers, each counted once."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))
