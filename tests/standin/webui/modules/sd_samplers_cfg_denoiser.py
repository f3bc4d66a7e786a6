"""Classifier-free guidance round the network, for a batch with a prompt each."""

import torch

from modules import prompt_parser, sd_samplers_common
from modules.script_callbacks import (
    AfterCFGCallbackParams,
    CFGDenoisedParams,
    CFGDenoiserParams,
    cfg_after_cfg_callback,
    cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


class CFGDenoiser(torch.nn.Module):
    def __init__(self, sampler):
        super().__init__()
        self.model_wrap = None
        self.mask = None
        self.nmask = None
        self.init_latent = None
        self.steps = None
        self.total_steps = None
        self.step = 0
        self.image_cfg_scale = None
        self.padded_cond_uncond = False
        self.padded_cond_uncond_v0 = False
        self.sampler = sampler
        self.p = None
        self.cond_scale_miltiplier = 1.0
        self.need_last_noise_uncond = False
        self.last_noise_uncond = None
        self.mask_before_denoising = False

    @property
    def inner_model(self):
        raise NotImplementedError

    def combine_denoised(self, x_out, conds_list, uncond, cond_scale):
        without = x_out[-uncond.shape[0] :]
        guided = without.clone()
        for picture, conds in enumerate(conds_list):
            for place, weight in conds:
                guided[picture] += (x_out[place] - without[picture]) * weight * cond_scale
        return guided

    def get_pred_x0(self, x_in, x_out, sigma):
        return x_out

    def update_inner_model(self):
        self.model_wrap = None
        extra = self.sampler.sampler_extra_args
        extra["cond"], extra["uncond"] = self.p.get_conds()

    def _blended(self, x):
        return x * self.nmask + self.init_latent * self.mask

    def forward(self, x, sigma, uncond, cond, cond_scale, s_min_uncond, image_cond):
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]
        conds_list, text = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self._blended(x)

        owners = [picture for picture, conds in enumerate(conds_list) for _ in conds]
        owners += range(len(conds_list))
        told = CFGDenoiserParams(
            x[owners], image_cond[owners], sigma[owners], state.sampling_step,
            state.sampling_steps, text, uncond, self,
        )  # fmt: skip
        cfg_denoiser_callback(told)
        x_in, sigma_in, image_in = told.x, told.sigma, told.image_cond
        text, uncond = told.text_cond, told.text_uncond

        early = opts.skip_early_cond and self.step / self.total_steps <= opts.skip_early_cond
        alternate = self.step % 2 or opts.s_min_uncond_all
        skip_uncond = early or (alternate and s_min_uncond > max(sigma[0], 0))
        context = text if skip_uncond else torch.cat([text, uncond])
        count = len(context)
        x_out = self.inner_model(
            x_in[:count],
            sigma_in[:count],
            cond={"c_crossattn": [context], "c_concat": [image_in[:count]]},
        )
        first = [conds[0][0] for conds in conds_list]
        if skip_uncond:
            x_out = torch.cat([x_out, x_out[first]])
        cfg_denoised_callback(
            CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model)
        )
        scale = 1.0 if skip_uncond else cond_scale * self.cond_scale_miltiplier
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self._blended(denoised)
        self.sampler.last_latent = self.get_pred_x0(x_in[first], x_out[first], sigma)
        sd_samplers_common.store_latent(
            self.sampler.last_latent if opts.live_preview_content == "Prompt" else denoised
        )
        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x
