"""Which numbers the engine computes with: float32, whatever its caller has chosen; and bfloat16
where training the decoder asks for it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .errors import EditError
from .layers import exchanged, is_block, outermost

logger = logging.getLogger(__name__)
NARROW = 4
"""Channels of latents, and more than pictures have."""


@contextmanager
def single_precision() -> Iterator[None]:
    """float32, ordinary tensors and no gradients, whatever autocast or inference mode the caller
    is in.

    A backend enters its host's precision again round its networks. Tensors made here can be
    trained on. Casts that a host makes without autocast are its backend's to leave.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.cuda.is_available():
            stack.enter_context(torch.autocast("cuda", enabled=False))
        yield


def has_double(device: torch.device) -> bool:
    """Whether a device is known to compute in double precision."""
    return device.type in ("cpu", "cuda")


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Products of float32 in float32, even if a host allows CUDA to round their factors (TF32)."""
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    # Since PyTorch 2.9 the older name fails where the newer one has been used.
    newer = hasattr(products, "fp32_precision")
    name, exact = ("fp32_precision", "ieee") if newer else ("allow_tf32", False)
    allowed = getattr(products, name)
    setattr(products, name, exact)
    try:
        yield
    finally:
        setattr(products, name, allowed)


def finite(numbers: Tensor, source: str, instead: str = "checkpoint") -> Tensor:
    """The very tensor, all of whose numbers are finite; `EditError` if not, so that what is not
    a number never becomes a picture. source: what made it. instead: of what to choose another."""
    if bool(torch.isfinite(numbers).all()):
        return numbers
    raise EditError(f"{source} gave numbers that are not finite (NaN): choose another {instead}")


def finite_in_single(
    network: Any, run: Callable[[], Tensor], name: str, instead: str = "checkpoint"
) -> Tensor:
    """`run()`, once more in single precision if a network in half precision overflows.

    network: what `run` asks, in its own precision; it is turned to float32 for good when that
    is needed. name: its own, for the log. instead: see `finite`, whose `EditError` is raised if
    that does not help.
    """
    result, dtype = run(), network.dtype
    if bool(torch.isfinite(result).all()):
        return result
    if dtype != torch.float32:
        logger.warning("%s overflows in half precision and goes on in single precision", name)
        try:
            network.float()
        except BaseException:
            network.to(dtype)  # memory may not suffice for all of it
            raise
        result = run()
    return finite(result, name, instead)


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
