"""What the Forge family has in place of the checkpoint that is one module: `forge_objects`, each
part of which works only where the host's memory manager has brought it.

The networks are those of `model.LatentDiffusion`, so that the same edit must give the same bytes.
"""

from __future__ import annotations

import copy
import functools
import importlib
import sys
from collections import Counter
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from . import Host

KINDS = ("forge", "reforge", "neo")
"""neo: Forge without some of its modules, with networks that infer only (read, not run)."""


class MemoryManager:
    """What is loaded. `_log` counts its calls."""

    def __init__(self) -> None:
        self._loaded: list[Any] = []
        self._prepared: list[Any] = []
        self._log: Counter[str] = Counter()

    def load_models_gpu(self, models: list[Any], memory_required: float = 0, **_: Any) -> None:
        self._log["load"] += 1
        self._loaded += [one for one in models if one not in self._loaded]

    def free_memory(self, memory_required: float, device: Any, *_: Any, **__: Any) -> None:
        self._log["free"] += 1
        assert not self._prepared, "the UNet is at work"
        self._loaded.clear()

    def get_total_memory(self, dev: Any = None) -> float:
        return 8 * 2.0**30

    def sampling_prepare(self, unet: Any, x: torch.Tensor) -> None:
        self._log["prepare"] += 1
        assert not self._prepared, "prepared twice"
        self.load_models_gpu([unet])
        self._prepared.append(unet)

    def sampling_cleanup(self, unet: Any) -> None:
        self._log["cleanup"] += 1
        self._prepared.remove(unet)

    def _check_unet(self, unet: Any) -> None:
        assert self._prepared == [unet], "the UNet is called without being prepared"

    def _check_autoencoder(self, patcher: Any) -> None:
        assert patcher in self._loaded, "the autoencoder lies elsewhere"
        assert not self._prepared, "the UNet was not left"


class Patcher:
    """A network with what is attached to it; a clone shares the network alone."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.model_options: dict[str, Any] = {}

    def clone(self) -> Patcher:
        other = Patcher(self.model)
        other.model_options = copy.copy(self.model_options)
        return other

    def set_model_unet_function_wrapper(self, wrapper: Any) -> None:
        self.model_options["model_function_wrapper"] = wrapper


class KModel(nn.Module):
    """The UNet as the host samples with it."""

    def __init__(self, plain: Any, scale_in_config: bool) -> None:
        super().__init__()
        self.diffusion_model = plain.model.diffusion_model
        by_v = plain.parameterization == "v"
        self.predictor = SimpleNamespace(prediction_type="v_prediction" if by_v else "epsilon")
        if scale_in_config:
            latents = SimpleNamespace(scale_factor=plain.scale_factor)
            self.model_config = SimpleNamespace(latent_format=latents)
            self.model_type = SimpleNamespace(name="V_PREDICTION" if by_v else "EPS")
            del self.predictor


class Vae:
    def __init__(self, plain: Any, manager: MemoryManager, scale_in_config: bool) -> None:
        self.first_stage_model = plain.first_stage_model
        self.patcher = Patcher(self.first_stage_model)
        self.vae_dtype = torch.float32
        self.device = torch.device("cpu")
        self._manager = manager
        if not scale_in_config:
            self.first_stage_model.scaling_factor = plain.scale_factor
            self.first_stage_model.shift_factor = 0.0

    def memory_used_encode(self, shape: Any, dtype: Any) -> float:
        return 4.0 * shape[-1] * shape[-2]

    def _used(self) -> None:
        self._manager.load_models_gpu([self.patcher])


@dataclass
class ForgeObjects:
    unet: Any
    clip: Any
    vae: Any
    clipvision: Any = None

    def shallow_copy(self) -> ForgeObjects:
        return ForgeObjects(self.unet, self.clip, self.vae, self.clipvision)


@dataclass
class Network:
    """What k-diffusion's denoisers are put round: the UNet of the moment, with its patches."""

    engine: Any

    def __getattr__(self, name: str) -> Any:
        if name in ("parameterization", "alphas_cumprod"):
            return getattr(self.engine._plain, name)
        raise AttributeError(name)

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: Any, **_: Any) -> torch.Tensor:
        unet = self.engine.forge_objects.unet
        self.engine._manager._check_unet(unet)
        wrapper = unet.model_options.get("model_function_wrapper")
        if wrapper is None:
            return self.engine._plain.apply_model(x, t, cond)
        given = {"input": x, "timestep": t, "c": cond}
        return wrapper(lambda x, t, **c: self.engine._plain.apply_model(x, t, c), given)


@dataclass(eq=False)
class Engine:
    """A loaded checkpoint; no module, and without the names that A1111's has."""

    _plain: Any
    _manager: MemoryManager
    _scale_in_config: bool
    forge_objects: Any = None
    forge_objects_after_applying_lora: Any = None
    applied_token_merged_ratio: float = 0.0
    sd_checkpoint_info: Any = None
    sd_model_checkpoint: str = ""
    sd_model_hash: str = "0123456789"
    latent_channels: int = 4
    is_sdxl: bool = False
    is_sd3: bool = False
    is_sd1: bool = True
    is_sd2: bool = False
    lowvram: bool = False

    def __post_init__(self) -> None:
        plain = self._plain
        unet = Patcher(KModel(plain, self._scale_in_config))
        clip = SimpleNamespace(cond_stage_model=plain.cond_stage_model)
        vae = Vae(plain, self._manager, self._scale_in_config)
        self.is_sd1, self.is_sd2 = plain.is_sd1, plain.is_sd2
        self.forge_objects = ForgeObjects(unet, clip, vae)
        self.forge_objects_after_applying_lora = self.forge_objects.shallow_copy()
        parts = (vae.first_stage_model.encoder, vae.first_stage_model.decoder)
        for part in parts:
            part.register_forward_pre_hook(lambda *_: self._manager._check_autoencoder(vae.patcher))

    @property
    def _conditioning_key(self) -> str:
        return str(self._plain.model.conditioning_key)

    @property
    def _network(self) -> Network:
        return Network(self)

    @property
    def _calls(self) -> Any:
        return self._plain._calls

    @property
    def _before_call(self) -> Any:
        return self._plain._before_call

    @_before_call.setter
    def _before_call(self, happens: Any) -> None:
        self._plain._before_call = happens

    def get_learned_conditioning(self, c: list[str]) -> torch.Tensor:
        return self._plain.get_learned_conditioning(c)

    @torch.inference_mode()
    def encode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        """Draws from the posterior, with the global generator."""
        self.forge_objects.vae._used()
        return self._plain.scale_factor * self._plain.first_stage_model.encode(x).sample()

    def get_first_stage_encoding(self, encoding: torch.Tensor) -> torch.Tensor:
        return encoding

    @torch.inference_mode()
    def decode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        self.forge_objects.vae._used()
        return self._plain.first_stage_model.decode(x / self._plain.scale_factor)


class ForkHost(Host):
    """A started WebUI of the family; `memory` is its memory manager."""

    def __init__(self, kind: str) -> None:
        assert kind in KINDS, kind
        self.kind = kind
        self.memory = MemoryManager()
        self._is_adapted = False
        _modules(kind, self.memory)

    def load(self, model: Any, name: str = "standin") -> Any:
        if self.kind == "neo":
            for part in model.first_stage_model.modules():
                part.__class__ = _inferring(type(part))
        engine = Engine(model, self.memory, self.kind == "reforge")
        if not self._is_adapted:
            self._is_adapted = True
            self._adapted()
        return super().load(engine, name)

    def _adapted(self) -> None:
        """The host's own ways round an autoencoder that is no attribute of the checkpoint."""

        assert self.sd_samplers  # whose parts import each other
        common = self.sd_samplers_common
        plain = common.samples_to_images_tensor

        def decoded(sample: Any, approximation: Any = None, model: Any = None) -> Any:
            if approximation is None:
                chosen = self.shared.opts.show_progress_type
                approximation = common.approximation_indexes.get(chosen, 0)
            if approximation:
                return plain(sample, approximation, model)
            return (model or self.model).decode_first_stage(sample).clone()

        def encoded(image: Any, approximation: Any = None, model: Any = None) -> Any:
            return (model or self.model).encode_first_stage(image * 2 - 1).clone()

        common.samples_to_images_tensor = decoded
        self.processing.images_tensor_to_samples = encoded
        self.sd_models.apply_alpha_schedule_override = lambda sd_model, p=None: None
        external = importlib.import_module("k_diffusion.external")
        external.DiscreteSchedule.predictor = property(lambda wrap: "asked by the samplers")
        if self.kind == "neo":
            del self.devices.NansException
            self.devices.test_for_nans = lambda x, where: None
            sys.modules["modules.lowvram"] = None  # type: ignore[assignment]
            del sys.modules["modules"].lowvram


def _inferring(kind: Any) -> Any:
    """A module's class whose outputs never need a gradient."""
    if kind.__module__ == "torch.nn.modules.module" or hasattr(kind.forward, "__wrapped__"):
        return kind
    return type(kind.__name__, (kind,), {"forward": torch.inference_mode()(kind.forward)})


def _modules(kind: str, memory: MemoryManager) -> None:
    """Those that the family has and A1111 has not; and in Neo none of some that A1111 has."""
    manager = ("load_models_gpu", "free_memory", "get_total_memory")
    sampling = ("sampling_prepare", "sampling_cleanup")
    if kind == "reforge":
        _module("ldm_patched.modules.model_management", memory, manager)
        _module("modules_forge.forge_sampler", memory, sampling)
    else:
        _module("backend.memory_management", memory, manager)
        _module("backend.sampling.sampling_function", memory, sampling)
    sampled = importlib.import_module("k_diffusion.sampling")
    plain = sampled.sample_euler_ancestral

    @functools.wraps(plain)
    def sample_euler_ancestral(model: Any, *others: Any, **named: Any) -> Any:
        assert model.inner_model.predictor
        return plain(model, *others, **named)

    sampled.sample_euler_ancestral = sample_euler_ancestral  # type: ignore[attr-defined]


def _module(name: str, owner: Any, functions: tuple[str, ...]) -> None:
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        made = sys.modules.setdefault(path, ModuleType(path))
        if end > 1:
            setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], made)
    for function in functions:
        setattr(sys.modules[name], function, getattr(owner, function))
