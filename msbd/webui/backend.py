"""The engine's backend round the host's loaded checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, cast

import torch
from modules import devices, lowvram, processing, prompt_parser, sd_samplers_common, shared
from torch import Tensor, nn

from ..backend import Decoder, ModelFacts, Sampler
from ..errors import EditError, Interrupted
from ..geometry import Size
from ..layers import exchanged
from ..standalone.clip import ClipJudge
from .sampling import HostSampler, own_randomness
from .upscale import Enlarge


class HostBackend:
    """One picture's prompts, bound to the checkpoint, sampler and autoencoder of the host.

    Everything runs through the host's own denoiser, so emphasis, prompt editing, extra networks,
    hypernetworks, live previews and interruption work as in any generation. The checkpoint is
    only read.
    """

    def __init__(
        self,
        p: Any,
        index: int,
        facts: ModelFacts,
        sampler: HostSampler,
        enlarge: Enlarge,
        judge: ClipJudge,
        judged_by: str,
        decoder_device: torch.device,
    ) -> None:
        """index: of the picture in the batch. judged_by: the prompt's words for the judge."""
        self.facts = facts
        self.device = torch.device(shared.device)
        self.sampler: Sampler = sampler
        self._sampling = sampler
        self._p = p
        self._prompt = p.c.batch[index]
        self._negative = p.uc[index]
        self._enlarge = enlarge
        self._judge = judge
        self._judged_by = judged_by
        self._decoder_device = decoder_device
        self._schedule = torch.zeros(1)

    def sigmas(self, steps: int) -> Tensor:
        self._schedule = self._sampling.sigmas(steps)
        denoiser = self._sampling.host.model_wrap_cfg
        denoiser.steps = steps
        denoiser.total_steps = self._sampling.host.config.total_steps(steps)
        return self._schedule

    def condition(self, image: Tensor, painted: Tensor, source: Tensor) -> Tensor:
        """The host's image conditioning, [1,...]; meaningful for inpainting checkpoints."""
        picture = (image * 2 - 1).to(self.device, devices.dtype_vae)
        with own_randomness(), _own_precision():
            torch.manual_seed(0)  # the host draws from the autoencoder's posterior
            return self._p.img2img_image_conditioning(picture, source, painted)[:1]

    @torch.no_grad()
    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Any = None
    ) -> Tensor:
        denoiser, count = self._sampling.host.model_wrap_cfg, len(z)
        denoiser.step = self._step(float(sigma.max()))
        denoiser.init_latent = z
        self._sampling.host.sampler_extra_args = arguments = {
            "cond": prompt_parser.MulticondLearnedConditioning((count,), [self._prompt] * count),
            "uncond": [self._negative] * count,
            "image_cond": condition.expand(count, *condition.shape[1:]),
            "cond_scale": self._p.cfg_scale * guidance,
            "s_min_uncond": self._sampling.host.s_min_uncond,
        }
        try:
            with _hosts_advice():
                predicted = denoiser(z, sigma, **arguments)
                devices.test_for_nans(predicted, "unet")
        except sd_samplers_common.InterruptedException:
            raise Interrupted("interrupted while denoising") from None
        return predicted.float()

    def _step(self, sigma: float) -> int:
        """The host's count of network calls at a noise level; prompt editing goes by it."""
        done = int((self._schedule[1:-1] >= sigma * (1 - 1e-4)).sum())
        return done * int(self._sampling.host.config.total_steps(1))

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        model = shared.sd_model
        model.first_stage_model.to(devices.dtype_vae)
        with _own_precision():
            posterior = model.encode_first_stage(image.to(self.device, devices.dtype_vae) * 2 - 1)
        z = model.scale_factor * getattr(posterior, "mode", lambda: posterior)()
        with _hosts_advice():
            devices.test_for_nans(z, "vae")
        return z.to(self.device).float()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        with _hosts_advice():
            decoded = processing.decode_latent_batch(shared.sd_model, z, check_for_nans=True)
        images = torch.stack(list(decoded))
        if images.shape[-1] != z.shape[-1] * self.facts.latent_factor:
            # Once interrupted, the host may decode by its previews' method.
            raise Interrupted("interrupted while decoding")
        return (images.to(self.device).float() / 2 + 0.5).clamp(0, 1)

    def decoder(self) -> HostDecoder:
        """A float32 copy of the decoder, on the device that the settings panel names."""
        make_room()
        return HostDecoder(shared.sd_model, self._decoder_device)

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        make_room()
        return self._enlarge(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        # CLIP is built with random weights before its own are loaded.
        with own_randomness(), _single_precision():
            return self._judge.score(images, self._judged_by)


class HostDecoder(Decoder):
    """A trainable float32 copy of the loaded autoencoder's decoder.

    It lies on `device`; its images lie on the latents'. `head` ends with the middle blocks. Other
    extensions that replace the decoder's `forward`, such as Tiled VAE, do not reach the copy: it
    has the class's own, through which gradients flow. Nor do the casts that the host makes itself
    on cards without autocast, on the way back either, where checkpointing computes again.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        super().__init__()
        network = model.first_stage_model
        self.scale_factor = float(model.scale_factor)
        self.entrance = copy.deepcopy(network.post_quant_conv)
        self.decoder = copy.deepcopy(network.decoder)
        for module in self.modules():
            for name in ("forward", "original_forward"):
                module.__dict__.pop(name, None)
            for kind in getattr(devices, "patch_module_list", ()):
                if type(module).forward is kind.forward:
                    own = getattr(kind, "org_forward", kind.forward)
                    of: Any = type(module)
                    module.__class__ = _with_forward(of, own)
        self.place = device
        self.to(device, torch.float32).eval().requires_grad_(True)

    @property
    def last(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self.decoder.conv_out)

    def forward(self, z: Tensor) -> Tensor:
        with devices.without_autocast():
            return (0.5 * self.decoder(self._entered(z)) + 0.5).to(z.device)

    def head(self, z: Tensor) -> Tensor:
        middle = self.decoder.mid
        with devices.without_autocast():
            first = middle.block_1(self.decoder.conv_in(self._entered(z)), None)
            return cast(Tensor, middle.block_2(middle.attn_1(first), None))

    def tail(self, middle: Tensor) -> Tensor:
        with devices.without_autocast(), _passed_over(self.decoder):
            return 0.5 * self.decoder(middle) + 0.5

    def _entered(self, z: Tensor) -> Tensor:
        return cast(Tensor, self.entrance(z.to(self.place, torch.float32) / self.scale_factor))


@cache
def _with_forward(kind: type, forward: Any) -> type:
    """A class like `kind` that keeps this `forward`, whatever becomes of that of `kind`.

    A method of the object's own would be a reference to itself, which keeps its weights until
    Python looks for such.
    """
    return type(kind.__name__, (kind,), {"forward": forward})


class _Same(nn.Module):
    """Hands on the first of whatever it is given."""

    def forward(self, first: Tensor, *others: Any) -> Tensor:
        return first


def _passed_over(decoder: Any) -> AbstractContextManager[None]:
    """The decoder begins after its middle blocks."""
    middle = ((decoder.mid, name) for name in ("block_1", "attn_1", "block_2"))
    return exchanged([(owner, name, _Same()) for owner, name in ((decoder, "conv_in"), *middle)])


def make_room() -> None:
    """Whatever the host keeps on the GPU one at a time leaves it."""
    if lowvram.is_enabled(shared.sd_model):
        lowvram.send_everything_to_cpu()


@contextmanager
def _hosts_advice() -> Iterator[None]:
    """What is not a number is an `EditError` that says what the host says to do about it."""
    try:
        yield
    except devices.NansException as error:
        raise EditError(str(error)) from error


@contextmanager
def _own_precision() -> Iterator[None]:
    """The autoencoder in the precision the host chose for it, as when the host decodes."""
    with devices.without_autocast(disable=devices.dtype_vae == torch.float16):
        yield


@contextmanager
def _single_precision() -> Iterator[None]:
    """Neither autocast, nor the casts that the host does itself on cards without it.

    For those it exchanges the `forward` of PyTorch's layers while it generates.
    """
    exchanged = [
        (kind, kind.forward)
        for kind in getattr(devices, "patch_module_list", ())
        if hasattr(kind, "org_forward")
    ]
    for kind, _ in exchanged:
        kind.forward = kind.org_forward
    try:
        with devices.without_autocast():
            yield
    finally:
        for kind, forward in exchanged:
            kind.forward = forward
