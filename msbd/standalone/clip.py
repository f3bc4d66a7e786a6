"""Rank pictures by CLIP: cosine similarity of picture and text (Radford et al. 2021)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import EditError
from ..memory import is_out_of_memory, lodged, release
from ..miniature.torchvision_patch import patch_torchvision
from ..precision import finite, single_precision
from .clip_vit import VitClip, tokenizer
from .downloads import FILES, on_the_hub
from .weights import read_weights, tensors_of

logger = logging.getLogger(__name__)
OPENAI = "ViT-L-14/openai"
"""The paper's ranker, by open_clip's names of architecture and weights; 1.7 GB, downloaded once."""
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
Tokenize = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class ClipModel:
    """A CLIP network, float32 on the CPU, and what it wants to see.

    tokenize: texts -> token ids [B,L]. side: of its square pictures, in pixels. mean, std: of
    the three channels, for normalising. squash: whether pictures are deformed to be square
    instead of cut.
    """

    network: nn.Module
    tokenize: Tokenize
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    squash: bool = False


class ClipRanker:
    """Scores pictures against a prompt; loads CLIP at the first use and keeps it.

    source: "architecture/weights" by open_clip's names, as OPENAI, which is downloaded unless it
    is in a cache; or the path of a weights file: one in OpenAI's layout, or `.safetensors` with a
    `.json` of the same name beside it that holds `open_clip.CLIP`'s arguments. None: no ranker.
    Where open_clip is missing, transformers serves the vision transformers among them.

    CLIP is a convenience: whatever goes wrong, `score` is None and `reason` says why.
    """

    def __init__(
        self, source: str | Path | None = OPENAI, device: torch.device | str = "cpu"
    ) -> None:
        self.source = source
        self.device = torch.device(device)
        self.reason: str | None = None if source else "no CLIP model is chosen"
        self._model: ClipModel | None = None

    def prepare(self) -> None:
        """Load CLIP now instead of at the first score; Ctrl-C leaves it out."""
        try:
            self._model = load_clip(self.source or OPENAI)
        except KeyboardInterrupt:
            self.reason = "CLIP's download was stopped"
        except Exception as error:
            self._give_up(error)

    def score(self, images: Tensor, prompt: str) -> Tensor | None:
        """Cosine similarities [B], float32, of images [B,3,H,W] in [0,1] to the prompt; or None."""
        if self.reason is not None:
            return None
        try:
            if self._model is None:
                self._model = load_clip(self.source or OPENAI)
            try:
                return similarity(self._model, images, prompt, self.device)
            except (MemoryError, RuntimeError) as error:
                if self.device.type == "cpu" or not is_out_of_memory(error):
                    raise
            release()
            return similarity(self._model, images, prompt, torch.device("cpu"))
        except Exception as error:  # never let the ranker end an edit
            self._give_up(error)
            return None

    def _give_up(self, error: Exception) -> None:
        release()
        kind = "" if isinstance(error, EditError) else f"{type(error).__name__}: "
        summary = f"{kind}{next(iter(str(error).splitlines()), '')}"
        if is_out_of_memory(error):
            summary = "there is not enough memory for it"
        self.reason = f"CLIP cannot be used: {summary}"
        logger.warning("%s; the first candidate is taken", self.reason)


@single_precision()
def similarity(model: ClipModel, images: Tensor, prompt: str, device: torch.device) -> Tensor:
    """Cosine similarities [B], by the network on `device`, see `lodged`."""
    tokens = model.tokenize([prompt]).to(device)
    network: Any
    with lodged(model.network, device) as network:
        seen = network.encode_image(prepared(images.to(device), model), normalize=True)
        read = network.encode_text(tokens, normalize=True)
    return finite((seen @ read.T)[:, 0], "CLIP", "CLIP").to(images.device)


def prepared(images: Tensor, model: ClipModel) -> Tensor:
    """CLIP's preprocessing: the shorter side to the model's, the middle square, normalised.

    Bicubic, antialiased and clamped, as Pillow's resizing of 8-bit pictures.
    """
    side = model.side
    sides = images.shape[-2:]
    shape = [side if model.squash else length * side // min(sides) for length in sides]
    resized = F.interpolate(images.float(), shape, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (round((length - side) / 2) for length in shape)
    square = resized[..., top : top + side, left : left + side]
    mean, std = (square.new_tensor(values)[:, None, None] for values in (model.mean, model.std))
    return (square - mean) / std


def load_clip(source: str | Path) -> ClipModel:
    """The network of a `ClipRanker`'s source. Raises whatever goes wrong."""
    patch_torchvision()
    try:
        import_module("open_clip")
    except ImportError:
        return _by_transformers(source)
    path = Path(source)
    if path.suffix not in FILES:
        return _by_name(str(source))
    facts = _facts(path)
    return _described(facts, path) if facts else _in_openai_layout(path)


def _facts(path: Path) -> dict[str, Any]:
    """The description beside a weights file, as open_clip's `open_clip_config.json`; or empty."""
    description = path.with_suffix(".json")
    return json.loads(description.read_text(encoding="utf-8")) if description.is_file() else {}


def _by_name(source: str) -> ClipModel:
    import open_clip

    architecture, _, weights = source.partition("/")
    network = open_clip.create_model(architecture, pretrained=weights or "openai", device="cpu")
    return _ready(network, open_clip.get_tokenizer(architecture))


def _described(facts: Mapping[str, Any], path: Path) -> ClipModel:
    """facts: "model_cfg" and "preprocess_cfg", see `_facts`."""
    import open_clip
    from safetensors.torch import load_file

    network = open_clip.CLIP(**facts["model_cfg"])
    network.load_state_dict(load_file(path), strict=True)
    return _ready(network, _tokenizer_for(network), **facts.get("preprocess_cfg", {}))


def _in_openai_layout(path: Path) -> ClipModel:
    """Sizes are read from the shapes of the weights."""
    from open_clip.model import build_model_from_openai_state_dict

    network = build_model_from_openai_state_dict(dict(_weights(path)), cast_dtype=torch.float32)
    return _ready(network, _tokenizer_for(network))


def _by_transformers(source: str | Path) -> ClipModel:
    """A vision transformer: a file, or one of OpenAI's from the Hugging Face hub."""
    path = Path(source)
    if path.suffix not in FILES:
        path = _fetched(str(source))
    weights, facts = _weights(path), _facts(path)
    try:
        network = VitClip(weights, facts.get("model_cfg"))
    except (KeyError, ValueError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        logger.debug("loading %s", path, exc_info=True)
        raise _needs_open_clip(path.name) from error
    return _ready(network, tokenizer(network.context_length), **facts.get("preprocess_cfg", {}))


def _fetched(source: str) -> Path:
    repository = on_the_hub(source)
    if repository is None:
        raise _needs_open_clip(source)
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, "open_clip_model.safetensors"))


def _needs_open_clip(what: str) -> EditError:
    advice = f"install it, or choose {OPENAI} or another of OpenAI's ViT models"
    return EditError(f"{what} needs open_clip, which is not installed; {advice}")


def _weights(path: Path) -> Mapping[str, Tensor]:
    """Of OpenAI's archive, or saved on their own."""
    return tensors_of(read_weights(path))


def _tokenizer_for(network: nn.Module) -> Tokenize:
    import open_clip

    return partial(open_clip.tokenize, context_length=network.context_length)


def _ready(network: nn.Module, tokenize: Tokenize, **preprocessing: Any) -> ClipModel:
    """A network in float32, with its own preprocessing unless another is given."""
    visual: Any = network.float().eval().requires_grad_(False).visual
    side = visual.image_size if isinstance(visual.image_size, int) else visual.image_size[0]
    mean = preprocessing.get("mean") or getattr(visual, "image_mean", None) or _MEAN
    std = preprocessing.get("std") or getattr(visual, "image_std", None) or _STD
    squash = preprocessing.get("resize_mode") == "squash"
    return ClipModel(network, tokenize, side, tuple(mean), tuple(std), squash)
