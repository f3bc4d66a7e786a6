"""Mixed precision: training with most products in bfloat16, in less time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .layers import exchanged, is_block, outermost

NARROW = 4
"""Channels of latents, and more than pictures have."""


@contextmanager
def mixed_precision(network: nn.Module) -> Iterator[None]:
    """An autoencoder's residual blocks and convolutions between them compute in bfloat16.

    Weights, their gradients, the loss, attention, and the layers that take latents or give
    pictures stay in single precision, and products are summed up in it (Micikevicius et al. 2018,
    section 3). What blocks hand on is rounded and then in single precision again. bfloat16 has
    single precision's range, so that losses need no scaling.
    """
    layers = outermost(network, _is_wide)
    with exchanged([(owner, name, _Autocast(layer)) for owner, name, layer in layers]):
        yield


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device does so itself, as far as is known: others do it by way of single
    precision, which takes longer."""
    if device.type == "cuda":
        return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # newer PyTorch
    return device.type == "cpu" and known is not None and bool(known())


def _is_wide(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        between = min(layer.in_channels, layer.out_channels) > NARROW
        return between and max(layer.kernel_size) > 1
    return is_block(layer)


class _Autocast(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, first: Tensor, *others: Any, **named: Any) -> Tensor:
        # A cache of rounded weights would outlive the step that changes them.
        with torch.autocast(first.device.type, torch.bfloat16, cache_enabled=False):
            result: Tensor = self.layer(first, *others, **named)
        return result.float()
