"""A Stable Diffusion 1.x model with upscaler and ranker, and the `Backend` it makes of a prompt."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..backend import Backend, Condition, ModelSpec, Sampler
from ..errors import EditError
from ..geometry import Box, Size
from ..precision import finite_in_single, single_precision
from ..settings import EditSettings
from . import prompt as prompts
from .autoencoder import Autoencoder, TrainableDecoder
from .checkpoint import Checkpoint, load_checkpoint
from .clip import OPENAI, ClipRanker
from .discrete import denoised
from .offloading import Offloading
from .prompt_syntax import plain_words
from .samplers import SAMPLERS
from .upscaler import Upscaler, load_upscaler

PAPER = EditSettings()


def best_device() -> torch.device:
    """CUDA or Apple's accelerator where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


class StandaloneModel:
    """Networks loaded once; `bind` makes backends of them, as many as there are prompts.

    notes: what was found in the checkpoint's file, in sentences.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        upscaler: Upscaler,
        ranker: ClipRanker,
        device: torch.device,
        offload: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.upscaler = upscaler
        self.ranker = ranker
        self.device = device
        unused = checkpoint.unused
        networks = checkpoint.unet, checkpoint.autoencoder.network, checkpoint.text_encoder
        self.notes = [f"{unused} of its tensors are not needed and left out"] if unused else []
        self._offloading = Offloading(device, networks) if offload else None

    def bring(self, network: Any) -> None:
        """Have one of the checkpoint's networks on the device."""
        if self._offloading is not None:
            self._offloading.bring(network)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        upscaler: str | Path = "none",
        clip: str | Path | None = OPENAI,
        device: torch.device | str | None = None,
        offload: bool = False,
    ) -> StandaloneModel:
        """Load from files, in half precision on CUDA and single precision elsewhere.

        checkpoint: see `load_checkpoint`. upscaler: see `load_upscaler`. clip: see `ClipRanker`;
        loaded when first used. device: the best there is unless given. offload: keep only that of
        the checkpoint's networks on it which is at work. Raises `EditError`.
        """
        place = best_device() if device is None else torch.device(device)
        dtype = torch.float16 if place.type == "cuda" else torch.float32
        enlarge, ranker = load_upscaler(upscaler, place), ClipRanker(clip, place)
        loaded = load_checkpoint(checkpoint, "cpu" if offload else place, dtype)
        return cls(loaded, enlarge, ranker, place, offload)

    def bind(
        self,
        prompt: str,
        negative: str = "",
        guidance: float = PAPER.guidance,
        sampler: str = PAPER.ablation.sampler,
        spacing: str = "uniform",
        details: str = "",
    ) -> Backend:
        """The backend for a prompt, see `prompt_syntax`, encoded here and now.

        guidance: classifier-free guidance scale; at 1 the negative prompt has no effect and costs
        nothing. sampler: a name in SAMPLERS. spacing: see `NoiseSchedule.levels`. details: the
        prompt of later stages, if it is another.
        """
        if sampler not in SAMPLERS:
            raise EditError(f"unknown sampler {sampler!r}; known are {', '.join(SAMPLERS)}")
        encoder = self.checkpoint.text_encoder
        self.bring(encoder)

        def bound(text: str) -> BoundModel:
            contexts = prompts.encode(encoder, (negative, text))
            return BoundModel(self, plain_words(text), contexts, guidance, sampler, spacing)

        made = bound(prompt)
        made.details = bound(details) if details.strip() else None
        return made


class BoundModel:
    """A `Backend`: a model bound to a prompt.

    words: what pictures are ranked by. contexts: [2,77 n,C], the negative prompt's and the
    prompt's.
    """

    tile_by_tile = False
    details: BoundModel | None = None

    def __init__(
        self,
        model: StandaloneModel,
        words: str,
        contexts: Tensor,
        guidance: float,
        sampler: str,
        spacing: str,
    ) -> None:
        checkpoint = model.checkpoint
        function, calls = SAMPLERS[sampler]
        self.device = model.device
        self.sampler: Sampler = function
        self.spec = ModelSpec(
            resolution=checkpoint.resolution,
            multiple=checkpoint.multiple,
            latent_factor=checkpoint.autoencoder.factor,
            upscale_factor=model.upscaler.factor,
            calls_per_step=calls,
        )
        self._model = model
        self._checkpoint = checkpoint
        self._words = words
        self._contexts = contexts
        self._guidance = guidance
        self._spacing = spacing
        self._schedule = checkpoint.schedule.to(model.device)

    def sigmas(self, steps: int) -> Tensor:
        return self._checkpoint.schedule.levels(steps, self._spacing)

    def sampling(
        self, image: Tensor, painted: Tensor, source: Tensor, noise: Tensor, place: Box
    ) -> AbstractContextManager[None]:
        """Text-to-image checkpoints are told nothing."""
        return nullcontext()

    @single_precision()
    def denoise(
        self, z: Tensor, sigma: Tensor, guidance: float = 1.0, condition: Condition = None
    ) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022), both halves in one pass.

        At a scale of 0 or 1 only the half that counts is evaluated.
        """
        scale = self._guidance * guidance
        needed = {0.0: self._contexts[:1], 1.0: self._contexts[1:]}.get(scale, self._contexts)
        kinds = len(needed)
        contexts = needed.repeat_interleave(len(z), 0)

        def network(x: Tensor, timestep: Tensor) -> Tensor:
            unet = self._checkpoint.unet
            self._model.bring(unet)

            def run() -> Tensor:
                told = contexts.to(unet.dtype)
                return cast(Tensor, unet(x.to(unet.dtype), timestep, told).sample.float())

            return finite_in_single(unet, run, "the denoising network")

        wide, sigmas = z.repeat(kinds, 1, 1, 1), sigma.repeat(kinds)
        prediction = self._checkpoint.prediction
        predicted = denoised(network, self._schedule, prediction, wide, sigmas)
        if kinds == 1:
            return predicted
        without, given = predicted.chunk(2)
        return without + scale * (given - without)

    def encode(self, image: Tensor) -> Tensor:
        return self._autoencoder.encode(image)

    def decode(self, z: Tensor) -> Tensor:
        return self._autoencoder.decode(z)

    def decoder(self) -> TrainableDecoder:
        return self._autoencoder.decoder()

    @property
    def _autoencoder(self) -> Autoencoder:
        self._model.bring(self._checkpoint.autoencoder.network)
        return self._checkpoint.autoencoder

    def upscale(self, image: Tensor, size: Size) -> Tensor:
        return self._model.upscaler(image, size)

    def score(self, images: Tensor) -> Tensor | None:
        return self._model.ranker.score(images, self._words)
