"""The check of an installation, with the host's loaded checkpoint and by its `process_images`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from modules import devices, processing, scripts, shared
from PIL import Image

from ..check.block import block
from ..check.environment import device_in_words, versions
from ..check.examination import Made, Wrap, examine
from ..check.finding import Examination, found
from ..check.subject import Subject, drawn
from ..errors import Interrupted
from ..presets import PRESETS
from .downloads import fetch_clip
from .fields import PANEL, Choice, chosen
from .hosts import which
from .hosts.checkpoint import ensure_loaded, loaded_model, model_spec
from .hosts.clip import ranker
from .hosts.upscaling import load_upscaler
from .inputs import tensor_of
from .options import defaults, option
from .progress import said
from .run import EditRun

logger = logging.getLogger(__name__)
SAMPLER, GUIDANCE, SEED, BLUR = "Euler a", 7.5, 7, 4
_FLAGS = (
    *("lowvram", "medvram", "medvram_sdxl", "no_half", "no_half_vae", "precision"),
    *("upcast_sampling", "disable_nan_check", "device_id", "use_cpu", "use_ipex", "xformers"),
    *("force_enable_xformers", "xformers_flash_attention", "disable_opt_split_attention"),
    *("opt_split_attention", "opt_split_attention_v1", "opt_split_attention_invokeai"),
    *("opt_sub_quad_attention", "opt_sdp_attention", "opt_sdp_no_mem_attention"),
    "opt_channelslast",
)
"""Flags of the host on which an edit may depend."""
_OPTIONS = ("clip_device", "decoder_device", "memory_limit", "resolution")
_HOST_OPTIONS = (
    "ESRGAN_tile",
    "ESRGAN_tile_overlap",
    "upcast_attn",
    "sd_vae",
    "token_merging_ratio",
)


def check(presets: Sequence[str] = (), upscaler: str | None = None) -> tuple[Examination, str]:
    """Edit a drawn picture by presets (all unless some are named), and the block of text about it.

    For callers that hold the host's lock and have begun its state. upscaler: in place of the
    presets'. Raises `EditError` for names that are not known.
    """
    names = list(dict.fromkeys(presets)) or list(PRESETS)
    for name in names:
        load_upscaler(_choice(upscaler, name).settings.upscaler)
    shared.state.job_count = len(names)
    ready = found("model", _model)
    examination = Examination([ready], [], len(names))
    if ready.ok:
        subject = drawn(model_spec(SAMPLER).resolution)
        fetch_clip(ranker())
        with said("checking this installation"):
            perform = partial(_edited, subject, upscaler)
            examination = examine(names, subject, perform, _say, [ready])
    return examination, block(examination, _about())


def _choice(upscaler: str | None, preset: str) -> Choice:
    return chosen([{"preset": preset, "upscaler": upscaler}], defaults())


def _say(text: str) -> None:
    shared.state.textinfo = text
    logger.info(text)


def _model() -> str:
    """The loaded checkpoint's name. Raises `EditError` if it is unsuitable."""
    ensure_loaded()
    spec, info = model_spec(SAMPLER), loaded_model().sd_checkpoint_info
    return f"{Path(info.name).name} [{info.shorthash}], trained at {spec.resolution} pixels"


def _edited(subject: Subject, upscaler: str | None, preset: str, wrap: Wrap) -> Made:
    """An img2img request with our script engaged. Raises `Interrupted` if the user stops it."""
    choice = _choice(upscaler, preset)
    with closing(_request(subject, choice.settings.steps)) as p:
        edit_run = EditRun(p, lambda: choice, lambda backend: wrap(backend, edit_run.ranker))
        with edit_run.patched():
            processed = processing.process_images(p)
    if which.stop_requested() or not edit_run.results:
        raise Interrupted("interrupted")
    picture = processed.images[processed.index_of_first_image].convert("RGB")
    return Made(tensor_of(picture), edit_run.results[0].report)


def _request(subject: Subject, steps: int) -> Any:
    """As the host makes it, with the other scripts' controls as they are at first."""
    p = processing.StableDiffusionProcessingImg2Img(
        prompt=subject.prompt,
        init_images=[Image.fromarray(subject.picture)],
        mask=Image.fromarray(subject.mask),
        seed=SEED,
        steps=steps,
        cfg_scale=GUIDANCE,
        sampler_name=SAMPLER,
        mask_blur=BLUR,
        width=subject.size.width,
        height=subject.size.height,
        do_not_save_samples=True,
        do_not_save_grid=True,
        outpath_samples=shared.opts.outdir_img2img_samples,
        outpath_grids=shared.opts.outdir_img2img_grids,
    )
    p.scripts = scripts.scripts_img2img
    p.script_args = tuple(getattr(one, "value", None) for one in p.scripts.inputs)
    return p


def _about() -> list[str]:
    """Versions, device, flags and options."""
    precision = f"unet {which.network_dtype()}, vae {devices.dtype_vae}".replace("torch.", "")
    clip = Path(option("clip_weights") or "").name or option("clip_model") or "none"
    used = {name: defaults()[name] for name in PANEL} | {name: option(name) for name in _OPTIONS}
    used |= {name: getattr(shared.opts, name, None) for name in _HOST_OPTIONS}
    return [
        f"WebUI {which.version()}",
        *versions(),
        f"device {device_in_words(torch.device(shared.device), precision)}",
        f"flags: {' '.join(_flags()) or 'none'}; optimisation in use: {which.attention()}",
        f"options: CLIP {clip}, {', '.join(f'{name} {value}' for name, value in used.items())}",
    ]


def _flags() -> list[str]:
    """The host's flags, as they are typed."""
    typed = []
    for name in _FLAGS:
        value = getattr(shared.cmd_opts, name, None)
        if value and value != "autocast":
            words = value if isinstance(value, list) else [] if value is True else [value]
            typed.append(" ".join([f"--{name.replace('_', '-')}", *map(str, words)]))
    return typed
