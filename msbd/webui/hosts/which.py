"""Which WebUI this is: the adapter for its networks, and what its version has."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from modules import devices, sd_models, sd_samplers, shared

if TYPE_CHECKING:
    from .networks import Networks

try:
    from modules_forge.forge_canvas.canvas import LogicalImage
except ImportError:
    LogicalImage = None
"""Of what Forge's canvas is made of, two texts that hold pictures; None elsewhere."""

_ATTENTION = (
    ("backend.attention", "attention_function"),
    ("ldm_patched.ldm.modules.attention", "optimized_attention"),
)
"""Modules of the forks, and their names for it."""
NANS: Any = getattr(devices, "NansException", ())
"""What a host raises where a network gives NaN; some raise nothing."""


def networks(model: Any) -> Networks:
    """The adapter for a loaded checkpoint; another kind of host would be told apart here."""
    if hasattr(model, "forge_objects"):
        from .forge import ForgeNetworks

        return ForgeNetworks(model)
    from .a1111 import A1111Networks

    return A1111Networks(model)


def preprocessors() -> dict[str, Any]:
    """ControlNet's by name, where it is the host's own."""
    try:
        from modules_forge.shared import supported_preprocessors
    except ImportError:
        return {}
    return dict(supported_preprocessors)


def loaded_model() -> Any:
    """The checkpoint that is there, or None; nothing is loaded for it."""
    model = sd_models.model_data.sd_model
    fake = getattr(sd_models, "FakeInitialModel", ())
    return None if loads_first() or isinstance(model, fake) else model


def loads_first() -> bool:
    """Whether the host's first checkpoint is being loaded just now, which may be half there."""
    lock = getattr(sd_models.model_data, "lock", None)
    return lock is not None and lock.locked()


def load() -> Any:
    """The chosen checkpoint, or None; to ask for it is to load it where that was not yet done."""
    reload = getattr(sd_models, "forge_model_reload", None)
    return reload()[0] if reload else shared.sd_model


def one_at_a_time(model: Any) -> bool:
    """Whether the checkpoint's networks lie on the GPU one after the other (--medvram)."""
    try:
        from modules import lowvram
    except ImportError:
        return False
    return bool(lowvram.is_enabled(model))


def attention() -> str:
    """Which implementation of attention is in use, by the host's name for it."""
    for module, name in _ATTENTION:
        if function := getattr(sys.modules.get(module), name, None):
            return str(function.__name__)
    hijack = getattr(sys.modules.get("modules.sd_hijack"), "model_hijack", None)
    return getattr(hijack, "optimization_method", None) or "none"


def version() -> str:
    """As its launcher tells it."""
    try:
        from modules import launch_utils

        return str(launch_utils.git_tag())
    except Exception:  # a launcher of another kind
        return "of unknown version"


def stop_requested() -> bool:
    """Whether no further picture shall be begun; before 1.8 there is only the stop at once."""
    return shared.state.interrupted or getattr(shared.state, "stopping_generation", False)


def stopped_how() -> str:
    """In a word, what the user has pressed."""
    return "stopped" if shared.state.interrupted else "skipped"


def sampler_of(name: str, scheduler: str | None) -> str:
    """A request's sampler; since 1.9 a schedule's name is taken off its end."""
    separate = getattr(sd_samplers, "get_sampler_and_scheduler", None)
    return str(separate(name, scheduler)[0]) if separate else name


def rounds_masks(p: Any) -> bool:
    """Whether a request's mask is cut at half; before 1.8 all are."""
    return bool(getattr(p, "mask_round", True))


def network_dtype() -> torch.dtype:
    """The numbers of the denoising network."""
    return getattr(devices, "dtype_unet", torch.float32)


def casting_layers() -> list[Any]:
    """PyTorch's layers whose `forward` is exchanged just now, on cards without autocast."""
    listed = getattr(devices, "patch_module_list", ())
    return [kind for kind in listed if hasattr(kind, "org_forward")]
