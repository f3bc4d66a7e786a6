"""What all samplers have in common, and pictures to latents and back."""

import inspect
from collections import namedtuple

import numpy as np
import torch
from PIL import Image

import k_diffusion.sampling
from modules import devices, images, sd_models, sd_samplers, sd_vae_approx, shared
from modules.shared import opts, state

SamplerDataTuple = namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])
approximation_indexes = {"Full": 0, "Approx NN": 1, "Approx cheap": 2, "TAESD": 3}


class SamplerData(SamplerDataTuple):
    def total_steps(self, steps):
        return steps * (2 if self.options.get("second_order", False) else 1)


class InterruptedException(BaseException):
    pass


def setup_img2img_steps(p, steps=None):
    strength = min(p.denoising_strength, 0.999)
    if opts.img2img_fix_steps or steps is not None:
        wanted = steps or p.steps
        return int(wanted / strength) if strength > 0 else 0, wanted - 1
    return p.steps, int(strength * p.steps)


def samples_to_images_tensor(sample, approximation=None, model=None):
    """Latents -> [B,3,H,W] in [-1,1]; approximations are an eighth of the size."""
    if approximation is None:
        approximation = approximation_indexes.get(opts.show_progress_type, 0)
    if approximation == 2:
        return sd_vae_approx.cheap_approximation(sample)
    if approximation:
        return sd_vae_approx.model()(sample)
    model = model or shared.sd_model
    with torch.no_grad(), devices.without_autocast():
        return model.decode_first_stage(sample.to(model.first_stage_model.dtype))


def single_sample_to_image(sample, approximation=None):
    levels = samples_to_images_tensor(sample[None], approximation)[0] / 2 + 0.5
    pixels = levels.clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255.0
    return Image.fromarray(pixels.astype(np.uint8))


def decode_first_stage(model, x):
    method = approximation_indexes.get(opts.sd_vae_decode_method, 0)
    return samples_to_images_tensor(x.to(devices.dtype_vae), method, model)


def sample_to_image(samples, index=0, approximation=None):
    return single_sample_to_image(samples[index], approximation)


def samples_to_image_grid(samples, approximation=None):
    return images.image_grid([single_sample_to_image(one, approximation) for one in samples])


def images_tensor_to_samples(image, approximation=None, model=None):
    """[B,3,H,W] in [0,1] -> latents, drawn from the posterior with unseeded noise."""
    model = model or shared.sd_model
    model.first_stage_model.to(devices.dtype_vae)
    image = image.to(shared.device, devices.dtype_vae) * 2 - 1
    return torch.cat(
        [model.get_first_stage_encoding(model.encode_first_stage(one[None])) for one in image]
    )


def store_latent(decoded):
    """Offers latents for the preview; drawn here only where no browser may fetch it meanwhile."""
    state.current_latent = decoded
    period = opts.show_progress_every_n_steps
    due = opts.live_previews_enable and period > 0 and state.sampling_step % period == 0
    if due and not shared.parallel_processing_allowed:
        state.assign_current_image(sample_to_image(decoded))


def is_sampler_using_eta_noise_seed_delta(p):
    config = sd_samplers.find_sampler_config(p.sampler_name)
    return p.eta != 0 and config.options.get("uses_ensd", False)


def apply_refiner(cfg_denoiser, sigma=None):
    """Changes the checkpoint when so much of the schedule is done as the request says."""
    p = cfg_denoiser.p
    if opts.refiner_switch_by_sample_steps or sigma is None:
        done = cfg_denoiser.step / cfg_denoiser.total_steps
        p.extra_generation_params["Refiner switch by sampling steps"] = True
    else:
        distances = (cfg_denoiser.inner_model.sigmas.to(sigma.device) - sigma.max()).abs()
        done = (999 - int(distances.argmin())) / 1000
    switch, info = p.refiner_switch_at, p.refiner_checkpoint_info
    if (switch is not None and done < switch) or info in (None, shared.sd_model.sd_checkpoint_info):
        return False
    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = switch
    sd_models.reload_model_weights(info=info)
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True


class TorchHijack:
    """`torch` for k-diffusion; its `randn_like` draws per picture, whatever it is given."""

    def __init__(self, p):
        self.rng = p.rng

    def __getattr__(self, item):
        return getattr(torch, item)

    def randn_like(self, x):
        return self.rng.next()


class Sampler:
    def __init__(self, funcname):
        self.funcname = funcname
        self.func = funcname
        self.extra_params = []
        self.stop_at = None
        self.eta = None
        self.config = None
        self.last_latent = None
        self.s_min_uncond = None
        self.s_churn = 0.0
        self.s_tmin = 0.0
        self.s_tmax = float("inf")
        self.s_noise = 1.0
        self.eta_option_field = "eta_ancestral"
        self.eta_infotext_field = "Eta"
        self.eta_default = 1.0
        self.conditioning_key = shared.sd_model._conditioning_key
        self.p = None
        self.model_wrap_cfg = None
        self.sampler_extra_args = None
        self.options = {}

    def callback_state(self, d):
        step = d["i"]
        if self.stop_at is not None and step > self.stop_at:
            raise InterruptedException
        state.sampling_step = step
        shared.total_tqdm.update()

    def launch_sampling(self, steps, func):
        """Runs `func`; an interruption gives the latest latents."""
        self.model_wrap_cfg.steps = state.sampling_steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_step = 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def initialize(self, p):
        """Binds the request; the options that the sampling function takes, by name."""
        self.p = self.model_wrap_cfg.p = p
        self.model_wrap_cfg.mask = getattr(p, "mask", None)
        self.model_wrap_cfg.nmask = getattr(p, "nmask", None)
        self.model_wrap_cfg.step = 0
        self.model_wrap_cfg.image_cfg_scale = getattr(p, "image_cfg_scale", None)
        self.eta = getattr(opts, self.eta_option_field, 0.0) if p.eta is None else p.eta
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        k_diffusion.sampling.torch = TorchHijack(p)

        takes = inspect.signature(self.func).parameters
        given = {}
        for name in self.extra_params:
            if name in takes and hasattr(p, name):
                given[name] = getattr(p, name)
        if "eta" in takes:
            given["eta"] = self.eta
            if self.eta != self.eta_default:
                p.extra_generation_params[self.eta_infotext_field] = self.eta
        words = {"s_churn": "churn", "s_tmin": "tmin", "s_tmax": "tmax", "s_noise": "noise"}
        for name, word in words.items():
            if name not in given:
                continue
            value = getattr(opts, name) or getattr(self, name)
            if value != getattr(self, name):
                given[name] = value
                setattr(p, name, value)
                p.extra_generation_params[f"Sigma {word}"] = value
        return given

    def create_noise_sampler(self, x, sigmas, p):
        if opts.no_dpmpp_sde_batch_determinism:
            return None
        start = p.iteration * p.batch_size
        seeds = p.all_seeds[start : start + p.batch_size]
        return k_diffusion.sampling.BrownianTreeNoiseSampler(
            x, sigmas[sigmas > 0].min(), sigmas.max(), seed=seeds
        )

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None,
        image_conditioning=None,
    ):  # fmt: skip
        raise NotImplementedError

    def add_infotext(self, p):
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
