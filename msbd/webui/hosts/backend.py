"""The engine's backend round the host's loaded checkpoint."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from modules import (
    devices,
    extra_networks,
    processing,
    prompt_parser,
    sd_samplers_common,
    shared,
)
from torch import Tensor, nn

from ...backend import Condition, Decoder, ModelSpec, Sampler
from ...errors import EditError, Interrupted
from ...geometry import Box, Size
from ...precision import single_precision
from . import which
from .hooks import Hooks
from .networks import Networks
from .sampling import HostSampler, own_randomness
from .upscaling import Enlarge

logger = logging.getLogger(__name__)
UPCAST = "upcast_attn"
"""The host's setting "Upcast cross attention layer to float32"."""


class HostBackend:
    """One picture's prompts, bound to the checkpoint, sampler and autoencoder of the host.

    Everything runs through the host's own denoiser, so emphasis, prompt editing, extra networks,
    hypernetworks, live previews and interruption work as in any generation. The checkpoint is
    only read.

    The denoiser and the autoencoder run in the host's precision, which `edit` has left; where
    that is not enough for finite numbers they run in single precision, as far as the host can.
    notes: what the user should know of that. details: see `Backend`.
    """

    details: HostBackend | None = None

    def __init__(
        self,
        p: Any,
        index: int,
        spec: ModelSpec,
        sampler: HostSampler,
        enlarge: Enlarge,
        rank: Callable[[Tensor], Tensor | None],
        decoder_device: torch.device,
        hooks: Hooks,
    ) -> None:
        """index: of the picture in the batch. rank: see `Backend.score`."""
        self.spec = spec
        self.device = torch.device(shared.device)
        self.sampler: Sampler = sampler
        self._sampling = sampler
        self._p = p
        self._networks = which.networks(shared.sd_model)
        self._networks.make_room()
        self._prompt = p.c.batch[index]
        self._negative = p.uc[index] if p.uc is not None else None
        self._seed = p.seeds[index]
        self._hooks = hooks
        self.tile_by_tile = hooks.wanted
        self._enlarge = enlarge
        self._rank = rank
        self._decoder_device = decoder_device
        self._schedule = torch.zeros(1)
        self._upcast = bool(getattr(shared.opts, UPCAST, True))
        self._autoencoder_in_single = False
        self.notes: list[str] = []

    def bind_details(self, text: str) -> None:
        """Let later stages follow another prompt. Extra networks in it are left out."""
        words, networks = extra_networks.parse_prompt(text)
        if networks:
            self._tell("extra networks in the prompt for details are ignored: name them in the "
                       "prompt")  # fmt: skip
        p, steps = self._p, self._sampling.host.config.total_steps(self._p.steps)
        told = prompt_parser.SdConditioning([words], width=p.width, height=p.height)
        with devices.autocast():
            model = shared.sd_model
            made = prompt_parser.get_multicond_learned_conditioning(model, told, steps)
        self.details = copy.copy(self)
        self.details._prompt = made.batch[0]

    def sigmas(self, steps: int) -> Tensor:
        self._schedule = self._sampling.sigmas(steps)
        denoiser = self._sampling.host.model_wrap_cfg
        denoiser.steps = steps
        denoiser.total_steps = self._sampling.host.config.total_steps(steps)
        return self._schedule

    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> AbstractContextManager[Condition]:
        """Tells the host's image conditioning, meaningful for inpainting checkpoints.

        Meanwhile the network is as the host's own sampling would have it, with what other
        extensions attach to it, which see the tile as the whole picture. What these draw while
        they take part is seeded.
        """
        attach = partial(self._hooks.call, image, painted, source, noise, place)
        condition = self._condition(image, painted, source)
        return self._patched(condition, attach if self.tile_by_tile else None)

    @contextmanager
    def _patched(self, condition: Tensor, attach: Callable[[], None] | None) -> Iterator[Condition]:
        with self._networks.patched(self._p), own_randomness():
            if attach:
                torch.manual_seed(self._seed)
                attach()
            yield condition

    def _condition(self, image: Tensor, painted: Tensor, source: Tensor) -> Tensor:
        p = self._p

        def told() -> Tensor:
            picture = (image * 2 - 1).to(self.device, devices.dtype_vae)
            p.inpainting_image_conditioning = self._without_painted
            try:
                with own_randomness(), _autoencoders_precision():
                    torch.manual_seed(0)  # for what hosts draw of other kinds of checkpoints
                    made: Tensor = p.img2img_image_conditioning(picture, source, painted)
            finally:
                del p.inpainting_image_conditioning
            return made[:1]

        return self._by_autoencoder(told)

    def _without_painted(
        self,
        source_image: Tensor,
        latent_image: Tensor,
        image_mask: Tensor,
        round_image_mask: bool = True,
    ) -> Tensor:
        """In place of the host's: what inpainting checkpoints are told, [1,5,h,w].

        The mask in the latents' size, and the picture without what it covers, encoded. Of that some
        hosts draw from the posterior and some take its mean; here it is the mean.
        """
        self._p.is_using_inpainting_conditioning = True
        weight = getattr(self._p, "inpainting_mask_weight", shared.opts.inpainting_mask_weight)
        mask = image_mask.to(source_image)
        encoded = self._networks.encoded(source_image * (1 - weight * mask))
        small = F.interpolate(mask, size=latent_image.shape[-2:])
        return torch.cat([small.to(encoded), encoded], 1).to(self.device, which.network_dtype())

    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Any = None
    ) -> Tensor:
        count = len(z)
        arguments = {
            "cond": prompt_parser.MulticondLearnedConditioning((count,), [self._prompt] * count),
            "uncond": [self._negative] * count if self._negative is not None else None,
            "image_cond": condition.expand(count, *condition.shape[1:]),
            "cond_scale": self._p.cfg_scale * guidance,
            "s_min_uncond": self._sampling.host.s_min_uncond,
        }
        predicted = self._predicted(z, sigma, arguments)
        if predicted is None and not self._upcast:
            self._upcast = True
            predicted = self._predicted(z, sigma, arguments)
            if predicted is not None:
                self._tell(
                    "this checkpoint's attention needed single precision: turn on “Upcast cross "
                    "attention layer to float32” in the settings"
                )
        if predicted is None:
            half = which.network_dtype() != torch.float32
            advice = "start the WebUI with --no-half, or " if half else ""
            raise EditError(
                "the denoising network gives NaN, with the setting “Upcast cross attention layer "
                f"to float32” too: {advice}choose another checkpoint"
            )
        return predicted

    def _predicted(self, z: Tensor, sigma: Tensor, arguments: dict[str, Any]) -> Tensor | None:
        """The host's denoiser's prediction; None if not all of it is finite."""
        self._networks.prepare(z)
        denoiser = self._sampling.host.model_wrap_cfg
        denoiser.step = self._step(float(sigma.max()))
        denoiser.init_latent = z
        self._sampling.host.sampler_extra_args = arguments
        try:
            with devices.autocast(), _upcast_attention(self._upcast):
                return _finite(denoiser(z, sigma, **arguments).float())
        except which.NANS:
            return None
        except sd_samplers_common.InterruptedException:
            raise Interrupted(which.stopped_how()) from None

    def _tell(self, note: str) -> None:
        logger.warning(note)
        self.notes.append(note)

    def _step(self, sigma: float) -> int:
        """The host's count of network calls at a noise level; prompt editing goes by it."""
        done = int((self._schedule[1:-1] >= sigma * (1 - 1e-4)).sum())
        return done * int(self._sampling.host.config.total_steps(1))

    def encode(self, image: Tensor) -> Tensor:
        def encoded() -> Tensor:
            pixels = image.to(self.device, devices.dtype_vae) * 2 - 1
            with _autoencoders_precision():
                return self._networks.encoded(pixels).to(self.device).float()

        return self._by_autoencoder(encoded)

    def decode(self, z: Tensor) -> Tensor:
        def decoded() -> Tensor:
            pictures = processing.decode_latent_batch(shared.sd_model, z, check_for_nans=True)
            images = torch.stack(list(pictures))
            if images.shape[-1] != z.shape[-1] * self.spec.latent_factor:
                # Once interrupted, the host may decode by its previews' method.
                raise Interrupted(which.stopped_how())
            return images.to(self.device).float() / 2 + 0.5

        return self._by_autoencoder(decoded).clamp(0, 1)

    def _by_autoencoder(self, work: Callable[[], Tensor]) -> Tensor:
        """What the autoencoder makes, in single precision from when its own did not suffice."""
        self._networks.leave()
        result = None if self._autoencoder_in_single else _finite_or_none(work)
        if result is None and devices.dtype_vae != torch.float32:
            with self._networks.autoencoder_in_single_precision():
                result = _finite_or_none(work)
            if result is not None and not self._autoencoder_in_single:
                self._autoencoder_in_single = True
                self._tell("the VAE needed single precision: start the WebUI with --no-half-vae")
        if result is None:
            raise EditError(
                "the autoencoder gives NaN in single precision too: choose another VAE, or another "
                "checkpoint"
            )
        return result

    def decoder(self) -> HostDecoder:
        """A float32 copy of the decoder, on the device that the settings panel names."""
        self._networks.make_room()
        return HostDecoder(self._networks, self._decoder_device)

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        self._networks.make_room()
        return self._enlarge(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        # CLIP is built with random weights before its own are loaded.
        with own_randomness():
            return self._rank(images)


class HostDecoder(Decoder):
    """A trainable float32 copy of the loaded autoencoder's decoder.

    It lies on `device`; its images lie on the latents'. Other extensions that replace the
    decoder's `forward`, such as Tiled VAE, do not reach the copy: it has the class's own, through
    which gradients flow. It computes in its caller's precision.
    """

    def __init__(self, networks: Networks, device: torch.device) -> None:
        super().__init__()
        network = networks.autoencoder
        self.scale, self.shift = networks.scale, networks.shift
        self.place = device
        with single_precision():
            self.entrance: Any = copy.deepcopy(getattr(network, "post_quant_conv", None))
            self.decoder: Any = copy.deepcopy(network.decoder)
            self.to(device, torch.float32).eval().requires_grad_(True)
        for module in self.modules():
            for name in ("forward", "original_forward"):
                module.__dict__.pop(name, None)
            kind: Any = type(module)
            if hasattr(kind.forward, "__wrapped__"):
                module.__class__ = _undecorated(kind)

    @property
    def last(self) -> nn.Conv2d:
        return cast(nn.Conv2d, self.decoder.conv_out)

    def forward(self, z: Tensor) -> Tensor:
        latents = z.to(self.place, torch.float32) / self.scale + self.shift
        if self.entrance is not None:
            latents = self.entrance(latents)
        return cast(Tensor, (0.5 * self.decoder(latents) + 0.5).to(z.device))


@cache
def _undecorated(kind: Any) -> Any:
    """A module's class with the `forward` that was decorated, as by `torch.inference_mode`."""
    return type(kind.__name__, (kind,), {"forward": kind.forward.__wrapped__})


def _finite(result: Tensor) -> Tensor | None:
    return result if bool(torch.isfinite(result).all()) else None


def _finite_or_none(work: Callable[[], Tensor]) -> Tensor | None:
    """The result, or None if not all of it is finite, whether the host looks at that or not."""
    try:
        return _finite(work())
    except which.NANS:
        return None


def _autoencoders_precision() -> Any:
    """What the host encodes in: autocast only where the autoencoder is in half precision."""
    return devices.autocast(disable=devices.dtype_vae != torch.float16)


@contextmanager
def _upcast_attention(upcast: bool) -> Iterator[None]:
    """The host's setting of this name, lent."""
    data = shared.opts.data
    kept = data.get(UPCAST)
    if not upcast or kept:
        yield
        return
    data[UPCAST] = True
    try:
        yield
    finally:
        if kept is None:
            del data[UPCAST]
        else:
            data[UPCAST] = kept


@contextmanager
def without_casts() -> Iterator[None]:
    """Outside the casts that the host makes itself on cards without autocast: for those it
    exchanges the `forward` of PyTorch's layers while it generates. `devices.autocast()` enters
    them again."""
    casting = [(kind, kind.forward) for kind in which.casting_layers()]
    for kind, _ in casting:
        kind.forward = kind.org_forward
        del kind.org_forward
    try:
        yield
    finally:
        for kind, cast_forward in casting:
            kind.org_forward = kind.forward
            kind.forward = cast_forward
