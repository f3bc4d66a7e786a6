"""Gradient checkpointing: training in less memory, for the time of one more pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from .layers import exchanged, is_block, outermost


@contextmanager
def checkpointed(network: nn.Module) -> Iterator[None]:
    """What a block computes on the way is not kept for the gradient, but computed again for it.

    Blocks are an autoencoder's residual blocks. Results and gradients stay the same, bit by bit
    where the device computes alike twice (Chen et al. 2016, section 3). The blocks must be free of
    randomness, as they are in evaluation mode. Attention is left as it is: hosts may cut it into
    portions by the memory that is free just then.
    """
    blocks = outermost(network, is_block)
    with exchanged([(owner, name, _Checkpointed(block)) for owner, name, block in blocks]):
        yield


class _Checkpointed(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return checkpoint(
            self.block, *args, use_reentrant=False, preserve_rng_state=False, **kwargs
        )
