"""A model's eps or v prediction as a denoiser of x = x0 + sigma * noise."""

import torch
from torch import nn

from . import sampling, utils


class DiscreteSchedule(nn.Module):
    """Noise levels of a model's timesteps, interpolated in the logarithm between them."""

    def __init__(self, sigmas, quantize):
        super().__init__()
        self.register_buffer("sigmas", sigmas)
        self.register_buffer("log_sigmas", sigmas.log())
        self.quantize = quantize

    @property
    def sigma_min(self):
        return self.sigmas[0]

    @property
    def sigma_max(self):
        return self.sigmas[-1]

    def get_sigmas(self, n=None):
        last = len(self.sigmas) - 1
        times = torch.arange(last, -1, -1) if n is None else torch.linspace(last, 0, n)
        return sampling.append_zero(self.t_to_sigma(times))

    def sigma_to_t(self, sigma, quantize=None):
        wanted = sigma.log().reshape(-1)
        if self.quantize if quantize is None else quantize:
            nearest = (wanted[:, None] - self.log_sigmas).abs().argmin(1)
            return nearest.reshape(sigma.shape)
        above = torch.searchsorted(self.log_sigmas, wanted).clamp(1, len(self.log_sigmas) - 1)
        low, high = self.log_sigmas[above - 1], self.log_sigmas[above]
        share = ((wanted - low) / (high - low)).clamp(0, 1)
        return (above - 1 + share).reshape(sigma.shape)

    def t_to_sigma(self, t):
        t = torch.as_tensor(t).float()
        return torch.lerp(
            self.log_sigmas[t.floor().long()], self.log_sigmas[t.ceil().long()], t.frac()
        ).exp()


class DiscreteEpsDDPMDenoiser(DiscreteSchedule):
    def __init__(self, model, alphas_cumprod, quantize):
        super().__init__((1 / alphas_cumprod - 1).sqrt(), quantize)
        self.inner_model = model
        self.sigma_data = 1.0

    def get_scalings(self, sigma):
        return -sigma, (sigma**2 + 1).rsqrt()

    def get_eps(self, *args, **kwargs):
        return self.inner_model(*args, **kwargs)

    def forward(self, input, sigma, **kwargs):
        c_out, c_in = (utils.append_dims(c, input.ndim) for c in self.get_scalings(sigma))
        return input + c_out * self.get_eps(input * c_in, self.sigma_to_t(sigma), **kwargs)


class CompVisDenoiser(DiscreteEpsDDPMDenoiser):
    def __init__(self, model, quantize=False, device="cpu"):
        super().__init__(model, model.alphas_cumprod, quantize=quantize)

    def get_eps(self, *args, **kwargs):
        return self.inner_model.apply_model(*args, **kwargs)


class DiscreteVDDPMDenoiser(DiscreteSchedule):
    def __init__(self, model, alphas_cumprod, quantize):
        super().__init__((1 / alphas_cumprod - 1).sqrt(), quantize)
        self.inner_model = model
        self.sigma_data = 1.0

    def get_scalings(self, sigma):
        total = sigma**2 + 1
        return 1 / total, -sigma * total.rsqrt(), total.rsqrt()

    def get_v(self, *args, **kwargs):
        return self.inner_model(*args, **kwargs)

    def forward(self, input, sigma, **kwargs):
        scalings = (utils.append_dims(c, input.ndim) for c in self.get_scalings(sigma))
        c_skip, c_out, c_in = scalings
        v = self.get_v(input * c_in, self.sigma_to_t(sigma), **kwargs)
        return c_skip * input + c_out * v


class CompVisVDenoiser(DiscreteVDDPMDenoiser):
    def __init__(self, model, quantize=False, device="cpu"):
        super().__init__(model, model.alphas_cumprod, quantize=quantize)

    def get_v(self, x, t, cond, **kwargs):
        return self.inner_model.apply_model(x, t, cond)
