"""What may stay on a device, and what to do when memory runs out: smaller portions of the same."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .backend import Condition
from .geometry import Size

CANVASES = 8
"""Pictures as large as the crop that are there at one time, at the most."""

_SIGNS = (
    "allocate memory",  # PyTorch on Linux and macOS, and these systems themselves
    "not enough memory",  # PyTorch on Windows, and Windows itself
    "error 1455",  # Windows, in the user's language: the paging file is too small
    "out of memory",  # CUDA, HIP, MPS and XPU; Pillow's decoders
    "alloc_failed",  # cuBLAS, cuDNN and their like
    "out_of_device_memory",  # XPU's driver
    "out_of_host_memory",
    "not enough gpu video memory",  # DirectML
    "invalid buffer size",  # MPS: more than its device gives at once
    "bad_alloc",  # C++
    "bad allocation",  # the same on Windows
    "failed to map segment",  # the loader of shared libraries, as an ImportError
)
"""Parts of messages, in small letters."""
_WHOLE_SIGNS = (
    "could not create a primitive",  # oneDNN; what it does not support has a longer message
    "error return without exception set",  # Python 3.11: no room for the frame of a call
    "encoding error 1",  # libwebp, by way of Pillow
    "encoding error 2",
)
"""Messages that say no more than this."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a failed allocation, on whatever device, or was caused by one.

    Libraries tell it by many classes and words; where the first import of one fails for it, the
    error that tells is only the cause of the one that is seen.
    """
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text, cause = str(error).lower(), error.__cause__
    if text in _WHOLE_SIGNS or any(sign in text for sign in _SIGNS):
        return True
    return cause is not None and cause is not error and is_out_of_memory(cause)


T = TypeVar("T")
STAYING = 1 / 4
"""What is kept on a device for later, in units of the memory that is then still free there."""
_lodgers: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()
"""Networks, and their copies on a device that stay there for the next time."""
_sparing = ContextVar("sparing", default=False)


@contextmanager
def sparing(wanted: bool = True) -> Iterator[None]:
    """Meanwhile nothing stays on a device for later, as under a limit of the user's."""
    token = _sparing.set(wanted)
    try:
        yield
    finally:
        _sparing.reset(token)


def room(device: torch.device) -> int:
    """Bytes that new tensors find on a device; 0 where that is not known.

    What PyTorch keeps of freed tensors counts as free, and its limit for this process counts
    where it can be asked.
    """
    if device.type != "cuda":
        return 0
    # PyTorch 2.1 wants an index here.
    index = torch.cuda.current_device() if device.index is None else device.index
    free, total = torch.cuda.mem_get_info(index)
    reserved = torch.cuda.memory_reserved(index)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", lambda index: 1.0)(index)
    return int(min(free, share * total - reserved)) + reserved - torch.cuda.memory_allocated(index)


def capacity(device: torch.device) -> int:
    """Bytes that a device has in all; 0 where that is not known."""
    if device.type != "cuda":
        return 0
    return int(torch.cuda.get_device_properties(device).total_memory)


def may_stay(size: int, device: torch.device) -> bool:
    """Whether so many bytes that lie on a device may stay for later, and leave enough for work."""
    return not _sparing.get() and size <= STAYING * room(device)


def suits(size: int, device: torch.device) -> bool:
    """Whether so many bytes are little for a device; always the same answer for the same one."""
    return not _sparing.get() and size <= capacity(device) / 16


def picture_bytes(crop: Size, device: torch.device) -> int:
    """Bytes that the stages' pictures take on a device; 0 if they lie in main memory.

    Decided by what the device has in all, so that the same edit has the same bytes there.
    """
    size = CANVASES * 3 * 4 * crop.area
    return size if suits(size, device) else 0


def size_of(*tensors: Tensor) -> int:
    """Bytes."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@contextmanager
def lodged(network: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """A network that lies on the CPU, or its copy on another device.

    The copy stays there for the next time if it may; `evict` ends it, without moving anything.
    """
    if device.type == "cpu":
        yield network
        return
    if network not in _lodgers:
        _lodgers[network] = _copied(network, device)
    yield _lodgers[network]
    if not may_stay(size_of(*network.parameters()), device):
        _lodgers.pop(network, None)


def _copied(network: nn.Module, device: torch.device) -> nn.Module:
    """A copy on another device, for inference, which is never there twice."""
    moved: dict[int, Any] = {
        id(one): nn.Parameter(one.to(device), requires_grad=False) for one in network.parameters()
    }
    moved |= {id(one): one.to(device) for one in network.buffers()}
    return copy.deepcopy(network, moved)


def evict() -> bool:
    """Take all lodged networks off their devices; whether there was one."""
    count = len(_lodgers)
    _lodgers.clear()
    return count > 0


@contextmanager
def _kept(failed: list[BaseException]) -> Iterator[None]:
    """A failed allocation ends what is done in it, and no more; it goes into the list."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        failed.append(error)


def attempts(
    way: T, lesser: Callable[[T], T | None] = lambda way: None
) -> Iterator[tuple[T, AbstractContextManager[None]]]:
    """`for way, attempt in attempts(way, lesser): with attempt: ...`, until memory suffices.

    When memory runs out in it, it is tried once more without the lodged networks, then by the way
    that is `lesser` than the one that failed; where that is None the error is raised.
    """
    evicted, failed = False, list[BaseException]()
    while True:
        yield way, _kept(failed)
        if not failed:
            return
        if not (evicted := not evicted and evict()):
            less = lesser(way)
            if less is None:
                raise failed.pop()
            way = less
        failed.clear()  # their tracebacks hold what is to be freed
        release()


def release() -> None:
    """Give back what is kept for later, so that something smaller finds room."""
    evict()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass
class AdaptiveBatches:
    """`denoise` as a sampler's model, for any number of samples: as many at a time as memory
    allows.

    When memory runs out the batch is halved, once and for all, down to single samples; samples do
    not influence each other, so the result stays the same. condition: None, or one for all
    samples or for each [n,...]. most: the largest batch that is tried. advance: is given each
    batch's answer, and the number of its first sample. predicted: the last answer.
    """

    denoise: Callable[..., Tensor]
    condition: Condition
    most: int
    advance: Callable[[int, Tensor], None] = lambda first, predicted: None
    predicted: Tensor = field(init=False)

    def __call__(self, z: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
        parts, given = list[Tensor](), self.condition
        while (done := sum(map(len, parts))) < len(z):
            wanted = min(len(z) - done, self.most)
            for count, attempt in attempts(wanted, lambda count: count // 2 or None):
                with attempt:
                    some = slice(done, done + count)
                    told = given if given is None or len(given) == 1 else given[some]
                    parts.append(self.denoise(z[some], sigma[some], condition=told))
            self.most = self.most if count == wanted else count
            self.advance(done, parts[-1])
        self.predicted = torch.cat(parts)
        return self.predicted
