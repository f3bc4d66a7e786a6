"""Layers of a network, found by what they are, and exchanged for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import nn

Place = tuple[nn.Module, str, nn.Module]
"""A layer's owner, the layer's name there, and the layer."""


@contextmanager
def exchanged(layers: Sequence[Place]) -> Iterator[None]:
    """Other layers than a network has. layers: where, under what name, and what."""
    own = [(owner, name, getattr(owner, name)) for owner, name, _ in layers]
    for owner, name, layer in layers:
        setattr(owner, name, layer)
    try:
        yield
    finally:
        for owner, name, layer in own:
            setattr(owner, name, layer)


def outermost(network: nn.Module, wanted: Callable[[nn.Module], bool]) -> Iterator[Place]:
    """The wanted layers of a network that are not in other wanted ones."""
    for name, layer in network.named_children():
        if wanted(layer):
            yield network, name, layer
        else:
            yield from outermost(layer, wanted)


def is_block(module: nn.Module) -> bool:
    """Whether a module is a residual block: has layers of its own that normalise and that look at
    neighbours, and no module in it has."""
    return [part for part in module.modules() if _is_residual(part)] == [module]


def _is_residual(module: nn.Module) -> bool:
    layers = list(module.children())
    neighbours = (isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1 for one in layers)
    return any(isinstance(layer, nn.GroupNorm) for layer in layers) and any(neighbours)
