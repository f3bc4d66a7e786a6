"""Gradient checkpointing: training in less memory, for the time of one more pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


@contextmanager
def checkpointed(network: nn.Module) -> Iterator[None]:
    """What a block computes on the way is not kept for the gradient, but computed again for it.

    Blocks are an autoencoder's residual blocks. Results and gradients stay the same, bit by bit
    where the device computes alike twice (Chen et al. 2016, section 3). The blocks must be free of
    randomness, as they are in evaluation mode. Attention is left as it is: hosts may cut it into
    portions by the memory that is free just then.
    """
    blocks = [
        (owner, name, _Checkpointed(block))
        for owner in network.modules()
        for name, block in owner.named_children()
        if is_block(block)
    ]
    with exchanged(blocks):
        yield


@contextmanager
def exchanged(layers: Sequence[tuple[nn.Module, str, nn.Module]]) -> Iterator[None]:
    """Other layers than a network has. layers: where, under what name, and what."""
    own = [(owner, name, getattr(owner, name)) for owner, name, _ in layers]
    for owner, name, layer in layers:
        setattr(owner, name, layer)
    try:
        yield
    finally:
        for owner, name, layer in own:
            setattr(owner, name, layer)


def is_block(module: nn.Module) -> bool:
    """Whether a module has layers of its own that normalise and that look at neighbours, and no
    module in it has."""
    return [part for part in module.modules() if _is_residual(part)] == [module]


def _is_residual(module: nn.Module) -> bool:
    layers = list(module.children())
    neighbours = (isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1 for one in layers)
    return any(isinstance(layer, nn.GroupNorm) for layer in layers) and any(neighbours)


class _Checkpointed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(
            self.block, *args, use_reentrant=False, preserve_rng_state=False, **kwargs
        )
