"""A latent diffusion model that is arithmetic, under the attribute names of the host's own.

Latents are red, green and blue of 8x8 cells in [-1,1] and a nought, times the scale factor.
Conditionings name a colour: pictures come out in the first colour that the text mentions, in
grey if it mentions none, spread by `SPREAD` round it.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn

SPREAD = 0.1
TOKENS, WIDTH = 7, 4
COLOURS = {
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.9, 0.1),
    "blue": (0.1, 0.1, 0.9),
    "white": (0.9, 0.9, 0.9),
    "black": (0.1, 0.1, 0.1),
}


class UNetModel(nn.Module):
    """Predicts eps or v exactly, for latents that are Gaussian round the conditioning's colour."""

    def __init__(self, levels: int, scale_factor: float) -> None:
        super().__init__()
        self.image_size = 32
        self.in_channels = 4
        self.channel_mult = (1,) * levels
        self._brightness = nn.Parameter(torch.ones(()))
        self._scale_factor = scale_factor

    def forward(self, x, timesteps=None, context=None, y=None, **kwargs):
        """x: the latents, then the inpainting conditioning if the model takes one."""
        x = x[:, :4]
        sigma = kwargs["sigma"].reshape(-1, 1, 1, 1).to(x)
        signal, noise = (SPREAD * self._scale_factor) ** 2, sigma**2
        colour = context.mean(1)[:, :, None, None] * self._brightness
        mean = colour * self._scale_factor
        z = x * (1 + noise).sqrt()
        return (signal * z + noise * mean) / (signal + noise)


class DiffusionWrapper(nn.Module):
    def __init__(self, unet: UNetModel, conditioning_key: str) -> None:
        super().__init__()
        self.diffusion_model = unet
        self.conditioning_key = conditioning_key


class DiagonalGaussianDistribution:
    """The encoder's answer; `sample` draws from the global generator, as the host's does."""

    def __init__(self, parameters: torch.Tensor, deterministic: bool = False) -> None:
        self.parameters = parameters
        self.mean, self.logvar = parameters.chunk(2, 1)
        self.std = (self.logvar / 2).exp()

    def sample(self) -> torch.Tensor:
        return self.mean + self.std * torch.randn(self.mean.shape)

    def mode(self) -> torch.Tensor:
        return self.mean


class Encoder(nn.Module):
    """Means of 8x8 pixels, and a small variance."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, 8, 8, stride=8)
        with torch.no_grad():
            self.conv_in.weight.zero_()
            self.conv_in.bias.zero_()
            self.conv_in.bias[4:] = -9.0
            for channel in range(3):
                self.conv_in.weight[channel, channel] = 1 / 64

    def forward(self, x):
        return self.conv_in(x)


class Middle(nn.Module):
    """A decoder's middle blocks, which together undo what comes before them."""

    def __init__(self) -> None:
        super().__init__()
        self.block_1 = Block(2.0, 0.3)
        self.attn_1 = Attention()
        self.block_2 = Block(0.5, -0.5)


class Block(nn.Module):
    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x, embedding):
        assert embedding is None
        return self.scale * x + self.shift


class Attention(nn.Module):
    def forward(self, x):
        return 2 * x


class Entry(nn.Module):
    def forward(self, x):
        return x / 2 + 0.1


class Decoder(nn.Module):
    """A cell's colour, a little too bright, enlarged; the decoder optimisation can mend it."""

    def __init__(self, tint: float) -> None:
        super().__init__()
        self.conv_in = Entry()
        self.mid = Middle()
        self.conv_out = nn.Conv2d(4, 3, 1)
        with torch.no_grad():
            self.conv_out.weight.copy_(torch.eye(3, 4)[:, :, None, None])
            self.conv_out.bias.fill_(tint)

    def forward(self, z):
        middle = self.mid.block_1(self.conv_in(z), None)
        middle = self.mid.block_2(self.mid.attn_1(middle), None)
        return self.conv_out(F.interpolate(middle, scale_factor=8))


class AutoencoderKL(nn.Module):
    def __init__(self, tint: float) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.decoder = Decoder(tint)
        self.quant_conv = nn.Conv2d(8, 8, 1)
        self.post_quant_conv = nn.Conv2d(4, 4, 1)
        self._encoded: list[tuple[int, ...]] = []
        for layer in (self.quant_conv, self.post_quant_conv):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def dtype(self):
        return self.quant_conv.weight.dtype

    @property
    def device(self):
        return self.quant_conv.weight.device

    def encode(self, x):
        self._encoded.append(tuple(x.shape))
        return DiagonalGaussianDistribution(self.quant_conv(self.encoder(x)))

    def decode(self, z):
        return self.decoder(self.post_quant_conv(z))


class LatentDiffusion(nn.Module):
    """A loaded checkpoint.

    levels: of the network; sides must be multiples of 8 * 2 ** (levels - 1). resolution: the
    side it was trained at. conditioning_key: "hybrid" for an inpainting checkpoint.
    `_calls` records what the network was given: shapes, contexts and image conditionings;
    `_before_call` is called with their number before each.
    """

    def __init__(
        self,
        resolution: int = 32,
        levels: int = 2,
        parameterization: str = "eps",
        conditioning_key: str = "crossattn",
        scale_factor: float = 0.5,
        tint: float = 0.02,
        name: str = "standin",
    ) -> None:
        super().__init__()
        self.parameterization = parameterization
        self.image_size = resolution // 8
        self.channels = 4
        self.cond_stage_key = "txt"
        self.scale_factor = scale_factor
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        alphas_cumprod = (1 - betas).cumprod(0).float()
        self.register_buffer("alphas_cumprod", alphas_cumprod)
        self.alphas_cumprod_original = alphas_cumprod
        self.model = DiffusionWrapper(UNetModel(levels, scale_factor), conditioning_key)
        self.first_stage_model = AutoencoderKL(tint)
        self.cond_stage_model = nn.Identity()
        self.cond_stage_model_empty_prompt = torch.zeros(1, TOKENS, WIDTH)
        self.latent_channels = 4
        self.lowvram = False
        self.is_sdxl = self.is_sdxl_inpaint = self.is_sd3 = self.is_ssd = False
        self.is_sd2 = parameterization == "v"
        self.is_sd1 = not self.is_sd2
        self.sd_model_hash = "0123456789"
        self.sd_model_checkpoint = f"/models/{name}.safetensors"
        self.sd_checkpoint_info = None
        self.used_config = "/models/standin.yaml"
        self._calls: list[SimpleNamespace] = []
        self._before_call = lambda calls: None
        self.requires_grad_(False)

    @property
    def device(self):
        return self.alphas_cumprod.device

    @property
    def dtype(self):
        return self.alphas_cumprod.dtype

    @property
    def _conditioning_key(self):
        return self.model.conditioning_key

    @property
    def _network(self):
        """What k-diffusion's denoisers are put round."""
        return self

    @contextmanager
    def ema_scope(self, context=None):
        yield

    def get_learned_conditioning(self, c):
        return torch.stack([_context(text) for text in c])

    def encode_first_stage(self, x):
        with torch.no_grad():
            return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, encoder_posterior):
        return self.scale_factor * encoder_posterior.sample()

    def decode_first_stage(self, z, predict_cids=False, force_not_quantize=False):
        with torch.no_grad():
            return self.first_stage_model.decode(z / self.scale_factor)

    def apply_model(self, x_noisy, t, cond, return_ids=False):
        """eps or v of x at timesteps `t`, which may lie between two whole ones."""
        (context,), concat = cond["c_crossattn"], cond["c_concat"][0]
        self._before_call(len(self._calls))
        multiple = 2 ** (len(self.model.diffusion_model.channel_mult) - 1)
        assert not any(side % multiple for side in x_noisy.shape[-2:]), x_noisy.shape
        if self.model.conditioning_key == "hybrid":
            assert concat.shape == (len(x_noisy), 5, *x_noisy.shape[-2:]), concat.shape
        self._calls.append(SimpleNamespace(shape=tuple(x_noisy.shape), context=context.clone(),
                                          concat=concat.clone(), t=t.clone()))  # fmt: skip
        sigma = self._sigma(t).reshape(-1, 1, 1, 1)
        clean = self.model.diffusion_model(x_noisy, t, context, sigma=sigma)
        c_in = (1 + sigma**2).rsqrt()
        eps = (x_noisy / c_in - clean) / sigma
        return eps if self.parameterization == "eps" else c_in * (eps - sigma * clean)

    def _sigma(self, t):
        logs = (1 / self.alphas_cumprod - 1).sqrt().log()
        t = t.float().clamp(0, len(logs) - 1)
        return torch.lerp(logs[t.floor().long()], logs[t.ceil().long()], t.frac()).exp()


def _context(text: str) -> torch.Tensor:
    """[TOKENS, WIDTH], whose mean over the tokens is the colour's latents before scaling."""
    words = "".join(c if c.isalpha() else " " for c in text.lower()).split()
    colour = next((COLOURS[word] for word in words if word in COLOURS), (0.5, 0.5, 0.5))
    latents = torch.tensor([*(2 * level - 1 for level in colour), 0.0])
    return latents.expand(TOKENS, WIDTH).clone()
