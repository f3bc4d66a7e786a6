"""k-diffusion's samplers on the host's denoiser."""

import inspect

import torch

import k_diffusion.external
import k_diffusion.sampling
from modules import devices, sd_samplers_common, sd_schedulers, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiser
from modules.shared import opts

samplers_k_diffusion = [
    ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], {"scheduler": "karras"}),
    ("DPM++ 2M SDE", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde"],
     {"scheduler": "exponential", "brownian_noise": True}),
    ("DPM++ 2M SDE Heun", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde_heun"],
     {"scheduler": "exponential", "brownian_noise": True, "solver_type": "heun"}),
    ("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
    ("Euler", "sample_euler", ["k_euler"], {}),
    ("LMS", "sample_lms", ["k_lms"], {}),
    ("Heun", "sample_heun", ["k_heun"], {"second_order": True}),
    ("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], {"uses_ensd": True}),
]  # fmt: skip
samplers_data_k_diffusion = [
    sd_samplers_common.SamplerData(
        label, lambda model, funcname=funcname: KDiffusionSampler(funcname, model), aliases, options
    )
    for label, funcname, aliases, options in samplers_k_diffusion
]
_CHURN = ["s_churn", "s_tmin", "s_tmax", "s_noise"]
sampler_extra_params = {
    "sample_euler": _CHURN,
    "sample_heun": _CHURN,
    "sample_dpm_fast": ["s_noise"],
    "sample_dpmpp_2m_sde": ["s_noise"],
}
k_diffusion_samplers_map = {one.name: one for one in samplers_data_k_diffusion}


class CFGDenoiserKDiffusion(CFGDenoiser):
    @property
    def inner_model(self):
        if self.model_wrap is None:
            external = k_diffusion.external
            network = shared.sd_model._network
            by_v = network.parameterization == "v"
            wrap = external.CompVisVDenoiser if by_v else external.CompVisDenoiser
            self.model_wrap = wrap(network, quantize=opts.enable_quantization)
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    def __init__(self, funcname, sd_model, options=None):
        super().__init__(funcname)
        self.extra_params = sampler_extra_params.get(funcname, [])
        self.options = options or {}
        self.func = getattr(k_diffusion.sampling, funcname)
        self.model_wrap_cfg = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p, steps):
        discard = self.config.options.get("discard_next_to_last_sigma", False)
        if opts.always_discard_next_to_last_sigma and not discard:
            discard = True
            p.extra_generation_params["Discard penultimate sigma"] = True
        steps += discard
        name = p.scheduler or "Automatic"
        if name == "Automatic":
            name = self.config.options.get("scheduler")
        scheduler = sd_schedulers.schedulers_map.get(name)
        ends = {"sigma_min": self.model_wrap.sigmas[0].item(),
                "sigma_max": self.model_wrap.sigmas[-1].item()}  # fmt: skip
        if p.sampler_noise_scheduler_override:
            sigmas = p.sampler_noise_scheduler_override(steps)
        elif scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            if scheduler.label != "Automatic":
                p.extra_generation_params["Schedule type"] = scheduler.label
            if scheduler.need_inner_model:
                ends["inner_model"] = self.model_wrap
            sigmas = scheduler.function(n=steps, **ends, device=devices.cpu)
        if discard:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        return sigmas.cpu()

    def sample_img2img(
        self, p, x, noise, conditioning, unconditional_conditioning, steps=None,
        image_conditioning=None,
    ):  # fmt: skip
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps)[steps - t_enc - 1 :]
        start = x + noise * sigmas[0]
        options = self.initialize(p)
        takes = inspect.signature(self.func).parameters
        own = {"sigmas": sigmas, "n": len(sigmas) - 1}
        own |= {"sigma_min": sigmas[-2], "sigma_max": sigmas[0]}
        options |= {name: value for name, value in own.items() if name in takes}
        if self.config.options.get("brownian_noise"):
            options["noise_sampler"] = self.create_noise_sampler(x, sigmas, p)
        if self.config.options.get("solver_type") == "heun":
            options["solver_type"] = "heun"
        self.model_wrap_cfg.init_latent = self.last_latent = x
        self.sampler_extra_args = {
            "cond": conditioning,
            "image_cond": image_conditioning,
            "uncond": unconditional_conditioning,
            "cond_scale": p.cfg_scale,
            "s_min_uncond": self.s_min_uncond,
        }
        samples = self.launch_sampling(
            t_enc + 1,
            lambda: self.func(self.model_wrap_cfg, start, extra_args=self.sampler_extra_args,
                              disable=False, callback=self.callback_state, **options),
        )  # fmt: skip
        self.add_infotext(p)
        return samples
