"""CLIP's vision transformers (Radford et al. 2021, §2.4) by transformers, without open_clip."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from functools import reduce
from importlib import import_module
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..miniature.files import WEIGHTS

_HEAD = 64
"""Channels of an attention head in all of OpenAI's networks."""
_DESCRIBED = {
    *("embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "layers", "width", "mlp_ratio"),
    *("image_size", "patch_size", "head_width", "context_length", "vocab_size", "heads"),
}
"""Arguments of `open_clip.CLIP`, and of its two halves, that this network honours."""
_NAMES = {
    "visual.proj": "visual_projection.weight",
    "visual.conv1": "vision_model.embeddings.patch_embedding",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
    "token_embedding": "text_model.embeddings.token_embedding",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "transformer.resblocks": "text_model.encoder.layers",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn": "self_attn",
    "c_fc": "fc1",
    "c_proj": "fc2",
}
"""Parts of names, OpenAI's to transformers', in the order in which they are replaced."""
_NUMBERS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""What OpenAI's files hold besides weights."""


class VitClip(nn.Module):
    """`transformers.CLIPModel`, called as open_clip's networks are.

    weights: in OpenAI's layout. described: arguments of `open_clip.CLIP`; None: OpenAI's own.
    Raises KeyError, ValueError or RuntimeError where they are of another kind of network.
    """

    def __init__(self, weights: Mapping[str, Tensor], described: Mapping[str, Any] | None) -> None:
        from transformers import CLIPConfig, CLIPModel

        super().__init__()
        config: Any = CLIPConfig(**_sizes(weights, described))
        self.visual = config.vision_config  # it knows the image_size
        self.context_length = config.text_config.max_position_embeddings
        self.clip: Any = CLIPModel(config)
        # Before its version 4.31 transformers counts these among the weights.
        own = {k: v for k, v in self.clip.state_dict().items() if k.endswith("position_ids")}
        self.clip.load_state_dict(own | _renamed(weights))

    def encode_image(self, images: Tensor, normalize: bool = False) -> Tensor:
        """Normalised pictures [B,3,side,side] -> [B,E]."""
        seen = self.clip.visual_projection(self.clip.vision_model(images).pooler_output)
        return F.normalize(seen, dim=-1) if normalize else seen

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Token ids [B,L] -> [B,E]."""
        read = self.clip.text_projection(self.clip.text_model(tokens).pooler_output)
        return F.normalize(read, dim=-1) if normalize else read


def tokenizer(length: int) -> Callable[[list[str]], Tensor]:
    """Texts -> token ids [B,L<=length], by the word list that the miniature brings along."""
    from transformers import AutoTokenizer

    try:
        fix = import_module("ftfy").fix_text
    except ImportError:  # it repairs garbled letters: most prompts have none
        fix = str
    encode: Any = AutoTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    form = {"padding": True, "truncation": True, "max_length": length, "return_tensors": "pt"}

    def tokenize(texts: list[str]) -> Tensor:
        plain = [html.unescape(html.unescape(fix(text))) for text in texts]
        return encode(plain, **form)["input_ids"]

    return tokenize


def _sizes(weights: Mapping[str, Tensor], described: Mapping[str, Any] | None) -> dict[str, Any]:
    """Arguments of `CLIPConfig`: only heads and activation cannot be read off the weights."""
    width, _, patch, _ = weights["visual.conv1.weight"].shape
    places = len(weights["visual.positional_embedding"]) - 1
    words, text_width = weights["token_embedding.weight"].shape
    openai = {"quick_gelu": True, "vision_cfg": {}, "text_cfg": {"heads": text_width // _HEAD}}
    facts: Any = described or openai
    foreign = ({*facts} | {*facts["vision_cfg"]} | {*facts["text_cfg"]}) - _DESCRIBED
    if foreign:
        raise ValueError(f"the network has {', '.join(sorted(foreign))}")
    both = {"hidden_act": "quick_gelu" if facts.get("quick_gelu") else "gelu"}
    vision = {
        "num_attention_heads": width // facts["vision_cfg"].get("head_width", _HEAD),
        "image_size": round(places**0.5) * patch,
        "patch_size": patch,
    }
    text = {
        "num_attention_heads": facts["text_cfg"].get("heads", 8),
        "vocab_size": words,
        "max_position_embeddings": len(weights["positional_embedding"]),
    }
    return {
        "vision_config": both | vision | _blocks(weights, "visual.transformer.resblocks."),
        "text_config": both | text | _blocks(weights, "transformer.resblocks."),
        "projection_dim": weights["text_projection"].shape[1],
    }


def _blocks(weights: Mapping[str, Tensor], start: str) -> dict[str, int]:
    """Sizes of the residual blocks whose names start so, and how many there are."""
    inner, width = weights[f"{start}0.mlp.c_fc.weight"].shape
    count = len({name[len(start) :].split(".")[0] for name in weights if name.startswith(start)})
    return {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": count}


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As `CLIPModel` names them: q, k and v on their own, projections transposed."""
    renamed = {}
    for name, value in weights.items():
        ours = reduce(lambda known, pair: known.replace(*pair), _NAMES.items(), name)
        if "in_proj_" in name:
            for one, part in zip("qkv", value.chunk(3), strict=True):
                renamed[ours.replace("in_proj_", f"{one}_proj.")] = part
        elif name not in _NUMBERS:
            renamed[ours] = value.T if ours.endswith("_projection.weight") else value
    return renamed
