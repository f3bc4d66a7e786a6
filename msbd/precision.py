"""Which numbers the engine computes with: float32, whatever its caller has chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from .errors import EditError

logger = logging.getLogger(__name__)


@contextmanager
def single_precision() -> Iterator[None]:
    """float32, ordinary tensors and no gradients, whatever autocast or inference mode the caller
    is in.

    A backend enters its host's precision again round its networks. Tensors made here can be
    trained on. Casts that a host makes without autocast are its backend's to leave.
    """
    gpu = torch.autocast("cuda", enabled=False) if torch.cuda.is_available() else nullcontext()
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False), gpu:
        yield


def has_double(device: torch.device) -> bool:
    """Whether a device is known to compute in double precision."""
    return device.type in ("cpu", "cuda")


@contextmanager
def exact_products() -> Iterator[None]:
    """Products of float32 in float32, even if a host allows CUDA to round their factors (TF32)."""
    products = torch.backends.cuda.matmul
    # Since PyTorch 2.9 the older name fails where the newer one has been used; an unknown one is an
    # `AssertionError` in PyTorch 2.1.
    try:
        name, allowed = "fp32_precision", products.fp32_precision
    except (AttributeError, AssertionError):
        name, allowed = "allow_tf32", products.allow_tf32
    setattr(products, name, "ieee" if name == "fp32_precision" else False)
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
    if dtype != torch.float32 and not bool(torch.isfinite(result).all()):
        logger.warning("%s overflows in half precision and goes on in single precision", name)
        try:
            network.float()
        except BaseException:
            network.to(dtype)  # memory may not suffice for all of it
            raise
        result = run()
    return finite(result, name, instead)
