"""Samplers on timesteps. Only their names are had here: an edit must never run one of them."""

from modules import sd_samplers_common
from modules.sd_samplers_cfg_denoiser import CFGDenoiser

samplers_data_timesteps = [
    sd_samplers_common.SamplerData(name, lambda model: CompVisSampler("ddim", model), [alias], {})
    for name, alias in (("DDIM", "ddim"), ("PLMS", "plms"), ("UniPC", "unipc"))
]


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler):
        super().__init__(sampler)
        self.mask_before_denoising = True


class CompVisSampler(sd_samplers_common.Sampler):
    def __init__(self, funcname, sd_model):
        super().__init__(funcname)
        self.eta_option_field = "eta_ddim"
        self.eta_infotext_field = "Eta DDIM"
        self.eta_default = 0.0
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
