"""Checkpoints in the original layout, of any width, with random weights.

Names and shapes follow CompVis' `UNetModel`, `Encoder`, `Decoder` and transformers' CLIP text
model, and are written down here anew, so that the loader is tested against something that is not
its own inverse. At Stable Diffusion 1's widths the parameters number what they do there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Widths:
    """Sizes of a checkpoint; the defaults are about the smallest that exist."""

    unet: int = 32
    unet_levels: tuple[int, ...] = (1, 2)
    unet_layers: int = 1
    attending: tuple[int, ...] = (1,)
    context: int = 64
    vae: int = 32
    vae_levels: tuple[int, ...] = (1, 1, 2, 2)
    vae_layers: int = 1
    text_layers: int = 2
    words: int = 49408


STABLE_DIFFUSION = Widths(320, (1, 2, 4, 4), 2, (0, 1, 2), 768, 128, (1, 2, 4, 4), 2, 12)


class Maker:
    """Collects random tensors by name, scaled to keep activations near unit size."""

    def __init__(self, widths: Widths, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        self.widths = widths
        self.tensors: dict[str, Tensor] = {}
        self.draws = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.prefix = ""

    def random(self, name: str, *shape: int) -> None:
        values = torch.randn(shape, generator=self.draws) / math.prod(shape[1:]) ** 0.5
        self.tensors[self.prefix + name] = values.to(self.dtype)

    def norm(self, name: str, width: int) -> None:
        self.tensors[f"{self.prefix}{name}.weight"] = torch.ones(width, dtype=self.dtype)
        self.tensors[f"{self.prefix}{name}.bias"] = torch.zeros(width, dtype=self.dtype)

    def layer(self, name: str, into: int, out: int, side: int = 0, bias: bool = True) -> None:
        """A linear layer, or with a side a convolution."""
        self.random(f"{name}.weight", out, into, *[side] * 2 if side else ())
        if bias:
            self.random(f"{name}.bias", out)

    def unet(self) -> None:
        w = self.widths
        self.prefix = "model.diffusion_model."
        self.layer("time_embed.0", w.unet, 4 * w.unet)
        self.layer("time_embed.2", 4 * w.unet, 4 * w.unet)
        self.layer("input_blocks.0.0", 4, w.unet, 3)
        width, index, kept = w.unet, 1, [w.unet]
        for level, factor in enumerate(w.unet_levels):
            for _ in range(w.unet_layers):
                self._unet_block(f"input_blocks.{index}", width, factor * w.unet, level)
                width = factor * w.unet
                kept.append(width)
                index += 1
            if level < len(w.unet_levels) - 1:
                self.layer(f"input_blocks.{index}.0.op", width, width, 3)
                kept.append(width)
                index += 1
        self._residual("middle_block.0", width, width)
        self._transformer("middle_block.1", width)
        self._residual("middle_block.2", width, width)
        index = 0
        for level, factor in reversed(list(enumerate(w.unet_levels))):
            for layer in range(w.unet_layers + 1):
                self._unet_block(
                    f"output_blocks.{index}", width + kept.pop(), factor * w.unet, level
                )
                width = factor * w.unet
                if level and layer == w.unet_layers:
                    place = 2 if level in w.attending else 1
                    self.layer(f"output_blocks.{index}.{place}.conv", width, width, 3)
                index += 1
        self.norm("out.0", width)
        self.layer("out.2", width, 4, 3)

    def _unet_block(self, name: str, into: int, out: int, level: int) -> None:
        self._residual(f"{name}.0", into, out)
        if level in self.widths.attending:
            self._transformer(f"{name}.1", out)

    def _residual(self, name: str, into: int, out: int) -> None:
        self.norm(f"{name}.in_layers.0", into)
        self.layer(f"{name}.in_layers.2", into, out, 3)
        self.layer(f"{name}.emb_layers.1", 4 * self.widths.unet, out)
        self.norm(f"{name}.out_layers.0", out)
        self.layer(f"{name}.out_layers.3", out, out, 3)
        if into != out:
            self.layer(f"{name}.skip_connection", into, out, 1)

    def _transformer(self, name: str, width: int) -> None:
        self.norm(f"{name}.norm", width)
        self.layer(f"{name}.proj_in", width, width, 1)
        inner = f"{name}.transformer_blocks.0"
        for attention, source in (("attn1", width), ("attn2", self.widths.context)):
            self.layer(f"{inner}.{attention}.to_q", width, width, bias=False)
            self.layer(f"{inner}.{attention}.to_k", source, width, bias=False)
            self.layer(f"{inner}.{attention}.to_v", source, width, bias=False)
            self.layer(f"{inner}.{attention}.to_out.0", width, width)
        self.layer(f"{inner}.ff.net.0.proj", width, 8 * width)
        self.layer(f"{inner}.ff.net.2", 4 * width, width)
        for number in (1, 2, 3):
            self.norm(f"{inner}.norm{number}", width)
        self.layer(f"{name}.proj_out", width, width, 1)

    def vae(self) -> None:
        w = self.widths
        self.prefix = "first_stage_model."
        levels = [factor * w.vae for factor in w.vae_levels]
        self.layer("encoder.conv_in", 3, w.vae, 3)
        width = w.vae
        for level, out in enumerate(levels):
            for layer in range(w.vae_layers):
                self._vae_block(f"encoder.down.{level}.block.{layer}", width, out)
                width = out
            if level < len(levels) - 1:
                self.layer(f"encoder.down.{level}.downsample.conv", width, width, 3)
        self._vae_middle("encoder", width, 8)
        self.layer("quant_conv", 8, 8, 1)
        self.layer("post_quant_conv", 4, 4, 1)
        self.layer("decoder.conv_in", 4, width, 3)
        for level, out in reversed(list(enumerate(levels))):
            for layer in range(w.vae_layers + 1):
                self._vae_block(f"decoder.up.{level}.block.{layer}", width, out)
                width = out
            if level:
                self.layer(f"decoder.up.{level}.upsample.conv", width, width, 3)
        self._vae_middle("decoder", levels[-1], 3, width)

    def _vae_middle(self, half: str, width: int, out: int, last: int | None = None) -> None:
        """The middle blocks, at the deepest width, and the last layers."""
        self._vae_block(f"{half}.mid.block_1", width, width)
        self.norm(f"{half}.mid.attn_1.norm", width)
        for part in ("q", "k", "v", "proj_out"):
            self.layer(f"{half}.mid.attn_1.{part}", width, width, 1)
        self._vae_block(f"{half}.mid.block_2", width, width)
        self.norm(f"{half}.norm_out", last or width)
        self.layer(f"{half}.conv_out", last or width, out, 3)

    def _vae_block(self, name: str, into: int, out: int) -> None:
        self.norm(f"{name}.norm1", into)
        self.layer(f"{name}.conv1", into, out, 3)
        self.norm(f"{name}.norm2", out)
        self.layer(f"{name}.conv2", out, out, 3)
        if into != out:
            self.layer(f"{name}.nin_shortcut", into, out, 1)

    def text(self) -> None:
        w = self.widths
        self.prefix = "cond_stage_model.transformer.text_model."
        self.random("embeddings.token_embedding.weight", w.words, w.context)
        self.random("embeddings.position_embedding.weight", 77, w.context)
        self.tensors[self.prefix + "embeddings.position_ids"] = torch.arange(77)[None]
        for index in range(w.text_layers):
            name = f"encoder.layers.{index}"
            for part in ("q", "k", "v", "out"):
                self.layer(f"{name}.self_attn.{part}_proj", w.context, w.context)
            self.norm(f"{name}.layer_norm1", w.context)
            self.layer(f"{name}.mlp.fc1", w.context, 4 * w.context)
            self.layer(f"{name}.mlp.fc2", 4 * w.context, w.context)
            self.norm(f"{name}.layer_norm2", w.context)
        self.norm("final_layer_norm", w.context)


def random_checkpoint(
    widths: Widths = Widths(), dtype: torch.dtype = torch.float32, seed: int = 0
) -> dict[str, Tensor]:
    """All tensors of a checkpoint in the original layout."""
    maker = Maker(widths, seed, dtype)
    maker.unet()
    maker.vae()
    maker.text()
    return maker.tensors


def write_checkpoint(
    path: Path, widths: Widths = Widths(), dtype: torch.dtype = torch.float32
) -> Path:
    save_file(random_checkpoint(widths, dtype), path)
    return path
