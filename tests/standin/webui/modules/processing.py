"""One press of Generate, in the host's order of doing things."""

import hashlib
import json
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from modules import (
    devices,
    errors,
    extra_networks,
    images,
    infotext_utils,
    lowvram,
    prompt_parser,
    rng,
    scripts,
    sd_models,
    sd_samplers,
    sd_unet,
    sd_vae,
    shared,
)
from modules.sd_hijack import model_hijack
from modules.sd_samplers_common import (
    approximation_indexes,
    decode_first_stage,
    images_tensor_to_samples,
)
from modules.shared import opts, state

opt_C = 4
opt_f = 8


def create_binary_mask(image, round=True):
    """The mask as a grey picture: its opacity if it has any, else its brightness."""
    if image.mode != "RGBA" or image.getextrema()[3] == (255, 255):
        return image.convert("L")
    alpha = image.getchannel("A")
    return alpha.point(lambda level: 255 * (level > 128)) if round else alpha


def apply_overlay(image, paste_loc, overlay):
    """`image` under `overlay`, and `image` as it was, both as large as the overlay."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        left, top, width, height = paste_loc
        place = Image.new("RGBA", overlay.size)
        place.paste(images.resize_image(1, image, width, height), (left, top))
        image = place
    return Image.alpha_composite(image.convert("RGBA"), overlay).convert("RGB"), image.copy()


def txt2img_image_conditioning(sd_model, x, width, height):
    if sd_model._conditioning_key not in {"hybrid", "concat"}:
        return x.new_zeros(len(x), 5, 1, 1)
    grey = images_tensor_to_samples(torch.full((len(x), 3, height, width), 0.5))
    return torch.cat([torch.ones_like(grey[:, :1]), grey], 1).to(x)


@dataclass(repr=False)
class StableDiffusionProcessing:
    sd_model: object = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    prompt_for_display: str = None
    negative_prompt: str = ""
    styles: list = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    seed_resize_from_h: int = -1
    seed_resize_from_w: int = -1
    seed_enable_extras: bool = True
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict = None
    overlay_images: list = None
    eta: float = None
    do_not_reload_embeddings: bool = False
    denoising_strength: float = None
    ddim_discretize: str = None
    s_min_uncond: float = None
    s_churn: float = None
    s_tmax: float = None
    s_tmin: float = None
    s_noise: float = None
    override_settings: dict = None
    override_settings_restore_afterwards: bool = True
    sampler_index: int = None
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False
    firstpass_image: Any = None

    scripts_value: Any = field(default=None, init=False)
    script_args_value: list = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    cached_uc = [None, None]  # noqa: RUF012
    cached_c = [None, None]  # noqa: RUF012
    comments: dict = None
    sampler: Any = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: tuple = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: tuple = field(default=None, init=False)
    uc: tuple = field(default=None, init=False)
    rng: Any = field(default=None, init=False)
    step_multiplier: int = field(default=1, init=False)
    color_corrections: list = field(default=None, init=False)
    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: str = field(default=None, init=False)
    main_negative_prompt: str = field(default=None, init=False)
    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    extra_network_data: dict = field(default=None, init=False)
    user: str = field(default=None, init=False)
    sd_model_name: str = field(default=None, init=False)
    sd_model_hash: str = field(default=None, init=False)
    sd_vae_name: str = field(default=None, init=False)
    sd_vae_hash: str = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)

    def __post_init__(self):
        self.comments = {}
        self.styles = self.styles or []
        self.sampler_noise_scheduler_override = None
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        self.refiner_checkpoint_info = None
        if not self.seed_enable_extras:
            self.subseed, self.subseed_strength = -1, 0
            self.seed_resize_from_h = self.seed_resize_from_w = 0
        self.cached_uc = StableDiffusionProcessing.cached_uc
        self.cached_c = StableDiffusionProcessing.cached_c

    def fill_fields_from_opts(self):
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    @property
    def sd_model(self):
        return shared.sd_model

    @sd_model.setter
    def sd_model(self, value):
        """Always the loaded one."""

    @property
    def scripts(self):
        return self.scripts_value

    @scripts.setter
    def scripts(self, value):
        self.scripts_value = value
        self._set_up_once()

    @property
    def script_args(self):
        return self.script_args_value

    @script_args.setter
    def script_args(self, value):
        self.script_args_value = value
        self._set_up_once()

    def _set_up_once(self):
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self):
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def comment(self, text):
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x, width=None, height=None):
        key = self.sd_model._conditioning_key
        self.is_using_inpainting_conditioning = key in {"hybrid", "concat"}
        size = width or self.width, height or self.height
        return txt2img_image_conditioning(self.sd_model, x, *size)

    def inpainting_image_conditioning(
        self, source_image, latent_image, image_mask=None, round_image_mask=True
    ):
        """The mask in the latents' size and the picture without what it covers, encoded."""
        self.is_using_inpainting_conditioning = True
        if image_mask is None:
            image_mask = torch.ones(1, 1, *source_image.shape[-2:])
        elif not torch.is_tensor(image_mask):
            levels = np.asarray(image_mask.convert("L"), np.float32) / 255
            image_mask = torch.from_numpy(levels)[None, None]
            image_mask = image_mask.round() if round_image_mask else image_mask
        image_mask = image_mask.to(source_image)
        weight = getattr(self, "inpainting_mask_weight", opts.inpainting_mask_weight)
        hidden = source_image * (1 - image_mask * weight)
        model = self.sd_model
        encoded = model.get_first_stage_encoding(model.encode_first_stage(hidden))
        small = torch.nn.functional.interpolate(image_mask, latent_image.shape[-2:])
        return torch.cat([small.expand(len(encoded), -1, -1, -1), encoded], 1).to(shared.device)

    def img2img_image_conditioning(
        self, source_image, latent_image, image_mask=None, round_image_mask=True
    ):
        source_image = devices.cond_cast_float(source_image)
        if self.sampler.conditioning_key in {"hybrid", "concat"}:
            return self.inpainting_image_conditioning(
                source_image, latent_image, image_mask, round_image_mask
            )
        return latent_image.new_zeros(len(latent_image), 5, 1, 1)

    def init(self, all_prompts, all_seeds, all_subseeds):
        pass

    def sample(
        self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts
    ):
        raise NotImplementedError

    def close(self):
        self.sampler = self.c = self.uc = None
        if not opts.persistent_cond_cache:
            StableDiffusionProcessing.cached_c = [None, None]
            StableDiffusionProcessing.cached_uc = [None, None]

    def get_token_merging_ratio(self, for_hr=False):
        return self.token_merging_ratio or opts.token_merging_ratio

    def setup_prompts(self):
        if isinstance(self.prompt, list):
            prompts = self.prompt
        elif isinstance(self.negative_prompt, list):
            prompts = [self.prompt] * len(self.negative_prompt)
        else:
            prompts = [self.prompt] * (self.batch_size * self.n_iter)
        negative = self.negative_prompt
        if not isinstance(negative, list):
            negative = [negative] * len(prompts)
        if len(prompts) != len(negative):
            raise RuntimeError("Received a different number of prompts and negative prompts")
        known = shared.prompt_styles
        self.all_prompts = [known.apply_styles_to_prompt(x, self.styles) for x in prompts]
        self.all_negative_prompts = [
            known.apply_negative_styles_to_prompt(x, self.styles) for x in negative
        ]
        self.main_prompt = self.all_prompts[0]
        self.main_negative_prompt = self.all_negative_prompts[0]

    def cached_params(
        self, required_prompts, steps, extra_network_data, hires_steps=None,
        use_old_scheduling=False,
    ):  # fmt: skip
        return (
            list(required_prompts),
            steps,
            opts.CLIP_stop_at_last_layers,
            shared.sd_model.sd_checkpoint_info,
            extra_network_data,
            (self.width, self.height),
        )

    def get_conds_with_caching(
        self, function, required_prompts, steps, caches, extra_network_data, hires_steps=None
    ):
        wanted = self.cached_params(required_prompts, steps, extra_network_data)
        for known, conds in caches:
            if known == wanted:
                return conds
        with devices.autocast():
            caches[0][1] = function(shared.sd_model, required_prompts, steps, hires_steps, False)
        caches[0][0] = wanted
        return caches[0][1]

    def setup_conds(self):
        size = {"width": self.width, "height": self.height}
        prompts = prompt_parser.SdConditioning(self.prompts, **size)
        negative = prompt_parser.SdConditioning(
            self.negative_prompts, is_negative_prompt=True, **size
        )
        config = sd_samplers.find_sampler_config(self.sampler_name)
        steps = config.total_steps(self.steps) if config else self.steps
        self.step_multiplier = steps // self.steps
        self.firstpass_steps = steps
        networks = self.extra_network_data
        self.uc = self.get_conds_with_caching(
            prompt_parser.get_learned_conditioning, negative, steps, [self.cached_uc], networks
        )
        self.c = self.get_conds_with_caching(
            prompt_parser.get_multicond_learned_conditioning,
            prompts, steps, [self.cached_c], networks,
        )  # fmt: skip

    def get_conds(self):
        return self.c, self.uc

    def parse_extra_network_prompts(self):
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def save_samples(self) -> bool:
        """Pictures that were interrupted are not saved, unless the settings say so."""
        stopped = state.interrupted or state.skipped
        wanted = opts.samples_save and not self.do_not_save_samples
        return wanted and (opts.save_incomplete_images or not stopped)


class Processed:
    def __init__(
        self, p, images_list, seed=-1, info="", subseed=None, all_prompts=None,
        all_negative_prompts=None, all_seeds=None, all_subseeds=None, index_of_first_image=0,
        infotexts=None, comments="",
    ):  # fmt: skip
        def one(value):
            return value[0] if isinstance(value, list) else value

        self.images = images_list
        self.prompt = one(p.prompt)
        self.negative_prompt = one(p.negative_prompt)
        self.seed = int(one(seed)) if seed is not None else -1
        self.subseed = int(one(subseed)) if subseed is not None else -1
        self.subseed_strength = p.subseed_strength
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        self.width = p.width
        self.height = p.height
        self.sampler_name = p.sampler_name
        self.cfg_scale = p.cfg_scale
        self.steps = p.steps
        self.batch_size = p.batch_size
        self.sd_model_name = p.sd_model_name
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.extra_generation_params = p.extra_generation_params
        self.index_of_first_image = index_of_first_image
        self.styles = p.styles
        self.job_timestamp = state.job_timestamp
        self.clip_skip = opts.CLIP_stop_at_last_layers
        self.is_using_inpainting_conditioning = p.is_using_inpainting_conditioning
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = (
            all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        )
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self):
        kept = (
            *("all_prompts", "all_negative_prompts", "seed", "all_seeds", "subseed"),
            *("all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale"),
            *("steps", "batch_size", "sd_model_name", "denoising_strength"),
            *("extra_generation_params", "index_of_first_image", "infotexts", "styles"),
            *("job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version"),
        )
        values = {name: getattr(self, name) for name in kept}
        values["prompt"] = self.all_prompts[0]
        values["negative_prompt"] = self.all_negative_prompts[0]
        return json.dumps(values, default=lambda value: None)

    def infotext(self, p, index):
        return create_infotext(
            p, self.all_prompts, self.all_seeds, self.all_subseeds,
            position_in_batch=index % self.batch_size, iteration=index // self.batch_size,
        )  # fmt: skip


class DecodedSamples(list):
    already_decoded = True


def decode_latent_batch(model, batch, target_device=None, check_for_nans=False):
    """Latents -> pictures [3,H,W] in [-1,1]; a decoder that fails is tried in float32 once."""
    if check_for_nans:
        devices.test_for_nans(batch, "unet")
    decoded = DecodedSamples()
    for one in batch:
        sample = decode_first_stage(model, one[None])[0]
        try:
            if check_for_nans:
                devices.test_for_nans(sample, "vae")
        except devices.NansException:
            if not opts.auto_vae_precision or devices.dtype_vae == torch.float32:
                raise
            devices.dtype_vae = torch.float32
            model.first_stage_model.to(torch.float32)
            sample = decode_first_stage(model, one[None])[0]
        decoded.append(sample if target_device is None else sample.to(target_device))
    return decoded


def get_fixed_seed(seed):
    try:
        seed = int(seed)
    except (TypeError, ValueError):
        seed = -1
    return random.randrange(2**32 - 2) if seed == -1 else seed


def fix_seed(p):
    p.seed, p.subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)


def program_version():
    import launch

    return launch.git_tag()


def create_infotext(
    p, all_prompts, all_seeds, all_subseeds, comments=None, iteration=0, position_in_batch=0,
    use_main_prompt=False, index=None, all_negative_prompts=None,
):  # fmt: skip
    """Prompt, negative prompt, and `key: value` pairs; values may be lists or functions."""
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    negatives = p.all_negative_prompts if all_negative_prompts is None else all_negative_prompts
    prompt = p.main_prompt if use_main_prompt else all_prompts[index]
    negative = p.main_negative_prompt if use_main_prompt else negatives[index]
    varied = p.subseed_strength != 0
    skip = opts.CLIP_stop_at_last_layers
    facts = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "Variation seed": all_subseeds[index] if varied else None,
        "Variation seed strength": p.subseed_strength if varied else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Clip skip": skip if skip > 1 else None,
        "Init image hash": getattr(p, "init_img_hash", None),
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
    }
    for key, value in facts.items():
        try:
            if isinstance(value, list):
                facts[key] = value[index]
            elif callable(value):
                facts[key] = value(p=p, index=index)
        except Exception:
            errors.record_exception()
            facts[key] = None
    pairs = (f"{k}: {infotext_utils.quote(v)}" for k, v in facts.items() if v is not None)
    second = f"\nNegative prompt: {negative}" if negative else ""
    return f"{prompt}{second}\n{', '.join(pairs)}".strip()


def process_images(p):
    if p.scripts is not None:
        p.scripts.before_process(p)
    stored = {key: opts.data[key] for key in p.override_settings if key in opts.data}
    try:
        wanted = p.override_settings.get("sd_model_checkpoint")
        if sd_models.checkpoint_aliases.get(wanted) is None:
            p.override_settings.pop("sd_model_checkpoint", None)
            sd_models.reload_model_weights()
        for key, value in p.override_settings.items():
            opts.set(key, value, is_api=True, run_callbacks=False)
            if key == "sd_model_checkpoint":
                sd_models.reload_model_weights()
            if key == "sd_vae":
                sd_vae.reload_vae_weights()
        sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio())
        sd_samplers.fix_p_invalid_sampler_and_scheduler(p)
        return process_images_inner(p)
    finally:
        sd_models.apply_token_merging(p.sd_model, 0)
        if p.override_settings_restore_afterwards:
            for key, value in stored.items():
                setattr(opts, key, value)


def process_images_inner(p):
    _set_up(p)
    infotexts, output_images = [], []
    with torch.no_grad():
        with devices.autocast():
            p.init(p.all_prompts, p.all_seeds, p.all_subseeds)
            sd_unet.apply_unet()
        if state.job_count == -1:
            state.job_count = p.n_iter
        for n in range(p.n_iter):
            p.iteration = n
            state.skipped = False
            if state.interrupted or state.stopping_generation:
                break
            _one_batch(p, n, infotexts, output_images)
        infotexts = infotexts or [Processed(p, []).infotext(p, 0)]
        p.color_corrections = None
        index_of_first_image = _add_grid(p, infotexts, output_images)
    if not p.disable_extra_networks and p.extra_network_data:
        extra_networks.deactivate(p, p.extra_network_data)
    result = Processed(
        p, output_images, p.all_seeds[0], infotexts[0], p.all_subseeds[0],
        index_of_first_image=index_of_first_image, infotexts=infotexts,
    )  # fmt: skip
    if p.scripts is not None:
        p.scripts.postprocess(p, result)
    return result


def _set_up(p):
    seed, subseed = get_fixed_seed(p.seed), get_fixed_seed(p.subseed)
    if p.restore_faces is None:
        p.restore_faces = opts.face_restoration
    if p.tiling is None:
        p.tiling = opts.tiling
    if p.refiner_checkpoint not in (None, "", "None", "none"):
        p.refiner_checkpoint_info = sd_models.get_closet_checkpoint_match(p.refiner_checkpoint)
    p.sd_model_name = shared.sd_model.sd_checkpoint_info.name_for_extra
    p.sd_model_hash = shared.sd_model.sd_model_hash
    p.sd_vae_name, p.sd_vae_hash = sd_vae.get_loaded_vae_name(), sd_vae.get_loaded_vae_hash()
    model_hijack.apply_circular(p.tiling)
    model_hijack.clear_comments()
    p.fill_fields_from_opts()
    p.setup_prompts()
    numbers = range(len(p.all_prompts))
    p.all_seeds = [seed + (n if p.subseed_strength == 0 else 0) for n in numbers]
    p.all_subseeds = [subseed + n for n in numbers]
    if p.scripts is not None:
        p.scripts.process(p)


def _one_batch(p, n, infotexts, output_images):
    sd_models.reload_model_weights()
    of_batch = slice(n * p.batch_size, (n + 1) * p.batch_size)

    def take_prompts():
        p.prompts = p.all_prompts[of_batch]
        p.negative_prompts = p.all_negative_prompts[of_batch]

    take_prompts()
    p.seeds, p.subseeds = p.all_seeds[of_batch], p.all_subseeds[of_batch]
    shape = (shared.sd_model.latent_channels, p.height // opt_f, p.width // opt_f)
    p.rng = rng.ImageRNG(
        shape, p.seeds, p.subseeds, p.subseed_strength, p.seed_resize_from_h, p.seed_resize_from_w
    )
    told = {"batch_number": n, "prompts": p.prompts, "seeds": p.seeds, "subseeds": p.subseeds}
    if p.scripts is not None:
        p.scripts.before_process_batch(p, **told)
    if not p.prompts:
        return
    p.parse_extra_network_prompts()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    if p.scripts is not None:
        p.scripts.process_batch(p, **told)
    p.setup_conds()
    p.extra_generation_params.update(model_hijack.extra_generation_params)
    for comment in model_hijack.comments:
        p.comment(comment)
    if p.n_iter > 1:
        state.job = f"Batch {n + 1} out of {p.n_iter}"
    sd_models.apply_alpha_schedule_override(p.sd_model, p)
    with devices.autocast():
        samples = p.sample(
            conditioning=p.c, unconditional_conditioning=p.uc, seeds=p.seeds, subseeds=p.subseeds,
            subseed_strength=p.subseed_strength, prompts=p.prompts,
        )  # fmt: skip
    if p.scripts is not None:
        told_samples = scripts.PostSampleArgs(samples)
        p.scripts.post_sample(p, told_samples)
        samples = told_samples.samples
    if not getattr(samples, "already_decoded", False):
        devices.test_for_nans(samples, "unet")
        samples = decode_latent_batch(p.sd_model, samples, devices.cpu, check_for_nans=True)
    pictures = (torch.stack(samples).float() / 2 + 0.5).clamp(0, 1)
    if lowvram.is_enabled(shared.sd_model):
        lowvram.send_everything_to_cpu()
    state.nextjob()
    if p.scripts is not None:
        p.scripts.postprocess_batch(p, pictures, batch_number=n)
        take_prompts()
        told_pictures = scripts.PostprocessBatchListArgs(list(pictures))
        p.scripts.postprocess_batch_list(p, told_pictures, batch_number=n)
        pictures = told_pictures.images
    saving = p.save_samples()
    for index, picture in enumerate(pictures):
        _one_picture(p, index, picture, saving, infotexts, output_images)


def _one_picture(p, index, picture, saving, infotexts, output_images):
    """Bytes are the number's whole part: the host cuts, it does not round."""
    p.batch_index = index
    text = create_infotext(
        p, p.prompts, p.seeds, p.subseeds, index=index, all_negative_prompts=p.negative_prompts
    )

    def save(image, suffix=""):
        images.save_image(
            image, p.outpath_samples, "", p.seeds[index], p.prompts[index], opts.samples_format,
            info=text, p=p, suffix=suffix,
        )  # fmt: skip

    pixels = (255.0 * np.moveaxis(picture.cpu().numpy(), 0, 2)).astype(np.uint8)
    image = Image.fromarray(pixels)
    told = scripts.PostprocessImageArgs(image)
    if p.scripts is not None:
        p.scripts.postprocess_image(p, told)
    overlays = p.overlay_images if opts.overlay_inpaint else None
    overlay = overlays[index] if overlays and index < len(overlays) else None
    covers = scripts.PostProcessMaskOverlayArgs(
        index, getattr(p, "mask_for_overlay", None), overlay
    )
    if p.scripts is not None:
        p.scripts.postprocess_maskoverlay(p, covers)
    image, alone = apply_overlay(told.image, p.paste_to, covers.overlay_image)
    told = scripts.PostprocessImageArgs(image)
    if p.scripts is not None:
        p.scripts.postprocess_image_after_composite(p, told)
    image = told.image
    if saving:
        save(image)
    infotexts.append(text)
    if opts.enable_pnginfo:
        image.info["parameters"] = text
    output_images.append(image)
    mask = covers.mask_for_overlay
    if mask is None:
        return
    if saving and opts.save_mask:
        save(mask.convert("RGB"), "-mask")
    if opts.return_mask:
        output_images.append(mask.convert("RGB"))
    if opts.return_mask_composite:
        shown = images.resize_image(2, mask, *image.size).convert("L")
        empty = Image.new("RGBA", image.size)
        output_images.append(Image.composite(alone.convert("RGBA"), empty, shown))


def _add_grid(p, infotexts, output_images):
    """Puts a grid first, if one is wanted; the place of the first picture."""
    single = len(output_images) < 2 and opts.grid_only_if_multiple
    if not (opts.return_grid or opts.grid_save) or p.do_not_save_grid or single:
        return 0
    grid = images.image_grid(output_images, p.batch_size)
    text = create_infotext(p, p.prompts, p.seeds, p.subseeds, use_main_prompt=True)
    if opts.grid_save:
        images.save_image(
            grid, p.outpath_grids, "grid", p.all_seeds[0], p.all_prompts[0], opts.grid_format,
            info=text, p=p, grid=True,
        )  # fmt: skip
    if not opts.return_grid:
        return 0
    infotexts.insert(0, text)
    if opts.enable_pnginfo:
        grid.info["parameters"] = text
    output_images.insert(0, grid)
    return 1


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing):
    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Any = None
    force_task_id: str = None

    image_mask: Any = field(default=None, init=False)
    nmask: Any = field(default=None, init=False)
    image_conditioning: Any = field(default=None, init=False)
    init_img_hash: str = field(default=None, init=False)
    mask_for_overlay: Any = field(default=None, init=False)
    init_latent: Any = field(default=None, init=False)

    def __post_init__(self):
        super().__post_init__()
        self.image_mask, self.mask = self.mask, None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = opts.initial_noise_multiplier

    @property
    def mask_blur(self):
        return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

    @mask_blur.setter
    def mask_blur(self, value):
        if isinstance(value, int):
            self.mask_blur_x = self.mask_blur_y = value

    def init(self, all_prompts, all_seeds, all_subseeds):
        """Plain inpainting of the whole picture, resized to the sliders' size."""
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.image_cfg_scale = None
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        size = self.width, self.height
        mask = None
        if self.image_mask is not None:
            mask = create_binary_mask(self.image_mask, round=self.mask_round)
            if self.inpainting_mask_invert:
                mask = ImageOps.invert(mask)
                self.extra_generation_params["Mask mode"] = "Inpaint not masked"
            mask = mask.filter(ImageFilter.GaussianBlur(self.mask_blur_x)).resize(size)
            self.extra_generation_params["Mask blur"] = self.mask_blur
            self.mask_for_overlay = mask
            self.overlay_images = []
        pictures = []
        for given in self.init_images:
            if opts.save_init_img:
                self.init_img_hash = hashlib.md5(given.tobytes()).hexdigest()
            picture = images.flatten(given, opts.img2img_background_color)
            picture = images.resize_image(self.resize_mode, picture, *size)
            if mask is not None:
                covering = picture.convert("RGBA")
                covering.putalpha(ImageOps.invert(mask))
                self.overlay_images.append(covering)
            pictures.append(np.asarray(picture, np.float32) / 255)
        if len(pictures) == 1:
            pictures *= self.batch_size
            self.overlay_images = self.overlay_images and self.overlay_images * self.batch_size
        elif len(pictures) <= self.batch_size:
            self.batch_size = len(pictures)
        else:
            raise RuntimeError(f"bad number of images passed: {len(pictures)}")
        image = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        method = approximation_indexes.get(opts.sd_vae_encode_method)
        self.init_latent = images_tensor_to_samples(image, method, self.sd_model)
        if mask is not None:
            small = mask.resize(self.init_latent.shape[:1:-1])
            levels = torch.from_numpy(np.asarray(small, np.float32) / 255)
            self.nmask = (levels.round() if self.mask_round else levels).expand(4, -1, -1)
            self.mask = 1 - self.nmask
        self.image_conditioning = self.img2img_image_conditioning(
            image * 2 - 1, self.init_latent, mask, self.mask_round
        )

    def sample(
        self, conditioning, unconditional_conditioning, seeds, subseeds, subseed_strength, prompts
    ):
        x = self.rng.next() * self.initial_noise_multiplier
        samples = self.sampler.sample_img2img(
            self, self.init_latent, x, conditioning, unconditional_conditioning,
            image_conditioning=self.image_conditioning,
        )  # fmt: skip
        if self.mask is not None:
            samples = samples * self.nmask + self.init_latent * self.mask
        return samples

    def get_token_merging_ratio(self, for_hr=False):
        return self.token_merging_ratio or opts.token_merging_ratio_img2img
