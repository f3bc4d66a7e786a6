"""Networks that take turns on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..memory import release


class Offloading:
    """Keeps one of several networks on a device at a time, the others on the CPU.

    networks: all that may ever be brought; they are moved in place.
    """

    def __init__(self, device: torch.device, networks: Sequence[Any]) -> None:
        self._device = device
        self._there: Any = None
        for network in networks:
            network.to("cpu")

    def bring(self, network: Any) -> None:
        """Have this network on the device, and none of the others."""
        if network is self._there:
            return
        if self._there is not None:
            self._there.to("cpu")
            release()
        self._there = None
        try:
            network.to(self._device)
        except BaseException:
            # A part of it may be there already.
            network.to("cpu")
            raise
        self._there = network
