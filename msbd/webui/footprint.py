"""How much memory a network's work takes: measured on small inputs, scaled to any size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ..checkpointing import checkpointed
from ..layers import is_block

Point = tuple[int, int]
"""A measurement: cells (or pixels), and bytes."""
FLOAT = 4
"""Bytes of a single-precision number."""
PATCHED = 2 * 3 + 1 + 1 + 8
"""Channels of a tile that training on patches keeps: the picture as it is and as it was decoded,
mask and edge, and what is kept of the decoder's middle, which is as large as 8 channels."""
OVERHEAD = 1.1
"""What allocators and libraries take for an activation, in units of its own size."""


@dataclass(frozen=True)
class Growth:
    """Bytes by the number n of latent cells: constant + linear n + quadratic n^2.

    Convolutions are linear. Attention is quadratic where the scores of all pairs are kept at
    once, and linear in the memory-efficient implementations.
    """

    linear: float
    quadratic: float = 0.0
    constant: float = 0.0

    def at(self, cells: int) -> int:
        return round(self.constant + self.linear * cells + self.quadratic * cells**2)

    @classmethod
    def through(cls, small: Point, large: Point) -> Growth:
        """Through two measurements, without a constant; for activations."""
        (n, first), (m, second) = small, large
        quadratic = max(0.0, (second / m - first / n) / (m - n))
        return cls(second / m - quadratic * m, quadratic)

    @classmethod
    def along(cls, small: Point, large: Point) -> Growth:
        """On the straight line through two measurements; where weights are measured as well."""
        (n, first), (m, second) = small, large
        slope = (second - first) / (m - n)
        return cls(slope, 0.0, max(0.0, first - slope * n))


@dataclass(frozen=True)
class Training:
    """What training a decoder takes.

    weights: bytes of its parameters. saved: what one forward pass keeps for the gradient;
    recomputed: the most that is there of it at one time with checkpointing, when a block has been
    computed again. largest: its largest single tensor.
    """

    weights: int
    saved: Growth
    recomputed: Growth
    largest: Growth

    def at(self, cells: int, pixels: int, segments: int, checkpointing: bool = False) -> int:
        """Bytes of training with Adam on `segments` tiles, each of so many cells and pixels.

        Parameters, their gradients and Adam's two moments; what the pass keeps and, on the way
        back, two gradients of the largest layer; every segment's background, mask and first
        decoding, with the copies that training makes of the former two; and the loss of one.
        """
        pictures = (2 * (3 + 1) + 1 + 3) * segments + 5 * 3
        kept = self.recomputed if checkpointing else self.saved
        activations = kept.at(cells) + 2 * self.largest.at(cells)
        return 4 * self.weights + round(OVERHEAD * activations) + pictures * FLOAT * pixels

    def on_patches(self, patches: int, passing: int, pixels: int, segments: int) -> int:
        """The same on patches, of so many cells together, of `segments` tiles.

        passing: bytes of a pass through the decoder with a whole tile, which comes before and
        after. While it is trained, the decoder as it was is there as well.
        """
        activations = self.saved.at(patches) + 2 * self.largest.at(patches)
        most = max(5 * self.weights + activations, self.weights + passing)
        return round(OVERHEAD * most) + PATCHED * segments * FLOAT * pixels


@dataclass(frozen=True)
class Refitting:
    """What solving for a decoder's last layer takes.

    weights: bytes of its parameters. passing: a pass through it. equations: bytes of what is
    solved.
    """

    weights: int
    passing: Growth
    equations: int

    def at(self, cells: int, pixels: int, segments: int) -> int:
        """Bytes of refitting on `segments` tiles, each of so many cells and pixels: as long as a
        pass's pictures are there, with the last layer's inputs, so are the equations."""
        pictures = (3 + 1 + 1) * segments + 3 * 3
        activations = round(OVERHEAD * self.passing.at(cells)) + self.equations
        return self.weights + activations + pictures * FLOAT * pixels


def weight_bytes(*modules: nn.Module) -> int:
    """Bytes of all parameters and buffers of the modules, each counted once."""
    tensors: dict[int, Tensor] = {}
    for module in modules:
        tensors |= {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def training(
    decoder: nn.Module, cells: tuple[int, int], latent: Callable[[int], Tensor]
) -> Training:
    """Measure a trainable decoder by passes over two small latents.

    cells: sides of the square latents, ascending. latent: side -> input. The decoder keeps its
    weights and gets no gradients.
    """
    saved, recomputed, largest = [], [], []
    for side in cells:
        kept, sparing, watch = _Kept(decoder), _Kept(decoder), LiveBytes()
        with torch.inference_mode(False), torch.enable_grad():
            with kept.hooks(), kept.by_block() as inside, watch:
                decoder(latent(side))
            with checkpointed(decoder), sparing.hooks(), sparing.by_block() as before:
                decoder(latent(side))
        blocks = [
            first + end - begin for (begin, end), (first, _) in zip(inside, before, strict=True)
        ]
        saved.append((side**2, kept.bytes))
        recomputed.append((side**2, max([sparing.bytes, *blocks])))
        largest.append((side**2, watch.largest))
    growths = (Growth.through(*points) for points in (saved, recomputed, largest))
    return Training(weight_bytes(decoder), *growths)


def inference(
    run: Callable[[int], Any],
    sides: tuple[int, int],
    surroundings: Callable[[], AbstractContextManager[Any]] = nullcontext,
    fit: Callable[[Point, Point], Growth] = Growth.through,
) -> Growth:
    """Measure `run(side)` without gradients at two sizes, ascending."""
    points = []
    for side in sides:
        with torch.no_grad(), surroundings(), LiveBytes() as live:
            run(side)
        points.append((side**2, live.peak))
    return fit(*points)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made while it is active and not yet freed.

    peak: the most there were at one time. largest: the largest single tensor. What an operation
    uses inside itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = self.largest = 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self._live:
                self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
                self._total += storage.nbytes()
                self.largest = max(self.largest, storage.nbytes())
        if self._total > self.peak:
            # Only now does it matter which of them are still there.
            self._live = {key: one for key, one in self._live.items() if not one[0].expired()}
            self._total = sum(size for _, size in self._live.values())
            self.peak = max(self.peak, self._total)
        return result


class _Kept:
    """The bytes autograd keeps of a pass through a module, its parameters left out."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._own = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self._storages: dict[int, int] = {}

    def hooks(self) -> AbstractContextManager[Any]:
        return torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @contextmanager
    def by_block(self) -> Iterator[list[tuple[int, int]]]:
        """What is kept before and after each block; its inputs count as kept before."""
        passed: list[tuple[int, int]] = []

        def begin(_: nn.Module, inputs: Any) -> None:
            for tensor in _tensors(inputs):
                self._pack(tensor)
            passed.append((self.bytes, 0))

        def end(*_: Any) -> None:
            passed[-1] = passed[-1][0], self.bytes

        blocks = [module for module in self._module.modules() if is_block(module)]
        hooks = [block.register_forward_pre_hook(begin) for block in blocks]
        hooks += [block.register_forward_hook(end) for block in blocks]
        try:
            yield passed
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def bytes(self) -> int:
        return sum(self._storages.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._own:
            self._storages[storage.data_ptr()] = storage.nbytes()
        return tensor


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
