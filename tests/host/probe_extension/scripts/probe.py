"""A test extension: routes that show the WebUI's inner state and make chosen calls fail.

Only the host tests link it into a WebUI; it is no part of the product.
"""

import gc
import hashlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import k_diffusion.sampling
import numpy as np
import psutil
import torch
from fastapi import Body, FastAPI
from modules import (
    call_queue,
    devices,
    prompt_parser,
    script_callbacks,
    scripts,
    sd_models,
    sd_samplers,
    shared,
)

UPSCALER = "R-ESRGAN 4x+"


@dataclass
class Trap:
    """Makes one call of a function fail, until it is disarmed."""

    owner: Any
    name: str
    error: str
    left: int
    own: bool = False
    original: Any = None

    def arm(self) -> None:
        self.own = self.name in vars(self.owner)
        self.original = getattr(self.owner, self.name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            with self.sprung() if self.left == 0 else nullcontext():
                return self.original(*args, **kwargs)

        setattr(self.owner, self.name, counted)

    @contextmanager
    def sprung(self) -> Iterator[None]:
        if self.error == "oom":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. (the probe's)")
        if self.error != "nan":
            raise RuntimeError("the probe made this fail")
        hook = torch.nn.modules.module.register_module_forward_pre_hook(spoil)
        try:
            yield
        finally:
            hook.remove()

    def disarm(self) -> bool:
        """Whether it was sprung."""
        if self.own:
            setattr(self.owner, self.name, self.original)
        else:
            delattr(self.owner, self.name)
        return self.left <= 0


@dataclass
class Probe:
    """The routes; one object for each start of the user interface."""

    app: FastAPI
    traps: list[Trap] = field(default_factory=list)
    casts: tuple[Any, Any] | None = None
    slowed: list[tuple[Any, str, Any]] = field(default_factory=list)
    noted: list[tuple[str | None, int]] = field(default_factory=list)

    def ready(self) -> dict[str, Any]:
        return {"ready": sd_models.model_data.sd_model is not None}

    def arm(self, where: str, error: str = "error", call: int = 1) -> dict[str, Any]:
        """where: see below. error: error, oom, or nan, which networks are then given in place of
        pictures or latents. call: which call shall fail, from 1 on."""
        owner, name = {
            **calls(loaded()),
            "optimise": (torch.optim.Adam, "step"),
            "upscale": (upscaler().scaler, "upscale"),
        }[where]
        trap = Trap(owner, name, error, call)
        trap.arm()
        self.traps.append(trap)
        return {}

    def disarm(self) -> dict[str, Any]:
        sprung = [self.traps.pop().disarm() for _ in range(len(self.traps))]
        return {"sprung": sprung}

    def slow(self, seconds: float) -> dict[str, Any]:
        """Every network takes so much longer from now on, and is noted with what the user is told
        before it; as ever with 0. What was noted until now."""
        from modules import upscaler_utils  # since 1.8

        from msbd.standalone import clip  # once the extension is there

        while self.slowed:
            owner, name, original = self.slowed.pop()
            setattr(owner, name, original)
        autoencoder = networks(loaded())[2]
        denoising, call = calls(loaded())["denoise"]
        for owner, name in (
            (type(autoencoder.encoder), "forward"),
            (type(autoencoder.decoder), "forward"),
            (type(denoising), call),
            (upscaler_utils, "upscale_pil_patch"),
            (clip, "similarity"),
        ):
            if seconds:
                self.slowed.append((owner, name, getattr(owner, name)))
                setattr(owner, name, self.slower(getattr(owner, name), seconds))
        noted, self.noted = self.noted, []
        return {"noted": noted}

    def slower(self, function: Any, seconds: float) -> Any:
        def slept(*args: Any, **kwargs: Any) -> Any:
            self.noted.append((shared.state.textinfo, shared.state.sampling_step))
            time.sleep(seconds)
            return function(*args, **kwargs)

        return slept

    def cast(self, on: bool) -> dict[str, Any]:
        """The host's autocast, which only GPUs have, is the CPU's from now on, or its own again."""
        if on and not self.casts:
            self.casts = devices.autocast, devices.without_autocast
            devices.autocast, devices.without_autocast = cpu_autocast, without_cpu_autocast
        elif self.casts and not on:
            devices.autocast, devices.without_autocast = self.casts
            self.casts = None
        with devices.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        return {"bits": torch.finfo(product.dtype).bits}

    def hide(self, seconds: float) -> dict[str, Any]:
        """The checkpoint is away for so long, as when it is changed for another."""
        away = threading.Event()

        def change() -> None:
            data = sd_models.model_data
            with call_queue.queue_lock:
                model, data.sd_model = data.sd_model, None
                away.set()
                time.sleep(seconds)
                data.sd_model = model

        threading.Thread(target=change).start()
        away.wait()
        return {}

    def stop(self) -> dict[str, Any]:
        """What the first click on Interrupt does while several jobs are to come."""
        shared.state.stop_generating()
        return {}

    def reload_ui(self) -> dict[str, Any]:
        shared.state.request_restart()
        return {}

    def parsed(self, texts: list[str] = Body(embed=True)) -> list[Any]:
        """Prompts, as the host divides and weighs them."""
        return [prompt_parser.parse_prompt_attention(text) for text in texts]

    def registrations(self) -> dict[str, Any]:
        """What this project has left in the host's lists; must not grow by Reload UI."""
        callbacks = Counter(
            category
            for category, found in script_callbacks.callback_map.items()
            for callback in found
            if "blended" in str(callback.script)
        )
        paths = [getattr(route, "path", "") for route in self.app.routes]
        return {
            "callbacks": callbacks,
            "options": sorted(k for k in shared.opts.data_labels if k.startswith("msbd_")),
            "axes": axes(),
            "routes": sorted(path for path in paths if path.startswith("/msbd/")),
        }


class FaceRestorer:
    """Changes every pixel."""

    def name(self) -> str:
        return "probe"

    def restore(self, pixels: Any) -> Any:
        return 255 - pixels


def mount(_: Any, app: FastAPI) -> None:
    probe = Probe(app)
    for route in (probe.ready, state, memory, decoder_blocks, probe.registrations):
        app.get(f"/msbd-probe/{route.__name__}")(route)
    changes = (
        *(probe.arm, probe.disarm, probe.cast, probe.hide, probe.slow, probe.stop),
        probe.reload_ui,
        probe.parsed,
    )
    for route in changes:
        app.post(f"/msbd-probe/{route.__name__}")(route)


def memory() -> dict[str, Any]:
    """Resident bytes, and how many of the objects that an edit makes are alive."""
    gc.collect()
    decoder = type(shared.sd_model.first_stage_model.decoder)
    kinds = [type(found) for found in gc.get_objects()]
    return {
        "resident": psutil.Process(os.getpid()).memory_info().rss,
        "decoders": sum(issubclass(kind, decoder) for kind in kinds),
        "modules": sum(issubclass(kind, torch.nn.Module) for kind in kinds),
        "tensors": sum(issubclass(kind, torch.Tensor) for kind in kinds),
        "threads": threading.active_count(),
    }


def cpu_autocast(disable: bool = False) -> Any:
    return nullcontext() if disable else torch.autocast("cpu", torch.bfloat16)


def without_cpu_autocast(disable: bool = False) -> Any:
    there = torch.is_autocast_cpu_enabled() and not disable
    return torch.autocast("cpu", enabled=False) if there else nullcontext()


def upscaler() -> Any:
    return next(u for u in shared.sd_upscalers if u.name == UPSCALER)


def spoil(_: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """A forward hook: pictures [B,3,H,W] and latents lose their numbers on the way into a
    network."""
    first, *others = inputs or (None,)
    if not isinstance(first, torch.Tensor) or first.ndim != 4 or first.shape[1] not in (3, 4):
        return None
    return torch.full_like(first, float("nan")), *others


def axes() -> list[str]:
    """Labels of this project's axes of the XYZ plot, as often as they are there."""
    modules = [data.module for data in scripts.scripts_data if hasattr(data.module, "axis_options")]
    labels = [axis.label for module in modules for axis in module.axis_options]
    return sorted(label for label in labels if "MSBD" in label)


def loaded() -> Any:
    """The checkpoint, which some hosts load at the first request for pictures."""
    reload = getattr(sd_models, "forge_model_reload", None)
    return reload()[0] if reload else sd_models.model_data.sd_model


def networks(model: Any) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    """The UNet, the text encoder and the autoencoder."""
    objects = getattr(model, "forge_objects", None)
    if objects is None:
        return model.model, model.cond_stage_model, model.first_stage_model
    return objects.unet.model, objects.clip.cond_stage_model, objects.vae.first_stage_model


def calls(model: Any) -> dict[str, tuple[Any, str]]:
    """Through what every call of the networks goes: an object, and its function's name."""
    unet, _, autoencoder = networks(model)
    if not hasattr(model, "forge_objects"):
        return {
            "encode": (autoencoder, "encode"),
            "denoise": (model, "apply_model"),
            "decode": (autoencoder, "decode"),
        }
    return {
        "encode": (autoencoder.encoder, "forward"),
        "denoise": (unet, "apply_model"),
        "decode": (autoencoder.decoder, "forward"),
    }


def decoder_blocks() -> dict[str, Any]:
    """Names of the loaded decoder's residual blocks, and of what is checkpointed of it."""
    from msbd.decoder.fine_tune import is_block

    parts = list(networks(shared.sd_model)[2].decoder.named_modules())
    return {
        "residual": [name for name, part in parts if "Resnet" in type(part).__name__],
        "checkpointed": [name for name, part in parts if is_block(part)],
    }


def schedule(model: Any) -> str:
    """Digest of the noise levels, where they are the checkpoint's own."""
    buffers = getattr(model, "buffers", lambda recurse: ())(recurse=False)
    return digest(*(value.cpu().numpy().tobytes() for value in buffers))


def digest(*parts: Any) -> str:
    total = hashlib.sha1()
    for part in parts:
        total.update(part if isinstance(part, bytes) else repr(part).encode())
    return total.hexdigest()


def weights(module: torch.nn.Module) -> str:
    """Digest of every parameter and buffer: name, type, device, gradients, bytes."""
    parts: list[Any] = []
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        parts += [name, value.dtype, str(value.device), value.requires_grad, value.grad is None]
        plain = value.detach().cpu().contiguous().reshape(-1)
        parts.append(plain.view(torch.uint8).numpy().tobytes())
    return digest(*parts)


def attachments(module: torch.nn.Module) -> str:
    """Digest of what hangs on modules besides weights: hooks, replaced functions, mode."""
    parts = []
    for name, part in module.named_modules():
        own = vars(part)
        functions = sorted(key for key, value in own.items() if callable(value))
        hooks = [(key, len(value)) for key, value in own.items() if key.endswith("_hooks")]
        parts.append((name, functions, hooks, part.training))
    return digest(*parts)


def state() -> dict[str, Any]:
    """Everything an edit could leave behind, as short values that can be compared."""
    model = loaded()
    unet, text, vae = networks(model)
    whole = [model] if isinstance(model, torch.nn.Module) else [unet, text, vae]
    noise = k_diffusion.sampling
    samplers = sorted((k, id(v)) for k, v in vars(noise).items() if callable(v))
    network = upscaler()
    return {
        "unet": weights(unet),
        "text": weights(text),
        "vae": weights(vae),
        "schedule": schedule(model),
        "attachments": [attachments(one) for one in whole],
        "parameterization": getattr(model, "parameterization", None),
        "dtypes": [str(getattr(devices, n, None)) for n in ("dtype", "dtype_vae", "dtype_unet")],
        "noise source": type(noise.torch).__name__,
        "sampling functions": digest(samplers),
        "samplers": [(s.name, s.aliases) for s in sd_samplers.all_samplers],
        "upscalers": [u.name for u in shared.sd_upscalers],
        "upscaler": [sorted(k for k in vars(o)) for o in (network, network.scaler)],
        "options": digest(json.dumps(shared.opts.data, sort_keys=True, default=str)),
        "job": [shared.state.job_count, shared.state.job, shared.state.textinfo],
        "precision": str(torch.get_default_dtype()),
        "torch rng": digest(torch.get_rng_state().numpy().tobytes()),
        "numpy rng": digest(np.random.get_state()),  # noqa: NPY002 - what other code draws from
        "python rng": digest(random.getstate()),
    }


if "probe" not in {one.name() for one in shared.face_restorers}:
    shared.face_restorers.append(FaceRestorer())
script_callbacks.on_app_started(mount)
