"""Prints what prompts and samplers come to, in the host or in its stand-in, as JSON.

Run with either on the path; both must agree.
"""

from __future__ import annotations

import json
import sys

import torch
from k_diffusion import external, sampling
from modules import prompt_parser

PROMPTS = (
    "a red star",
    "a [red:blue:3] star",
    "a [blue:0.5] star",
    "a [red::4] star [big:2]",
    "a [red:blue:0.25] star AND a moon :0.5",
    "((red)) (star:1.3) [blue] and\n(open",
    "a red BREAK star",
    "red AND green AND red :2",
)
LEVELS = torch.tensor([9.0, 4.0, 1.5, 0.5, 0.0])


class Model:
    """A model that halves what it sees, and its schedule."""

    alphas_cumprod = torch.linspace(0.999, 0.005, 1000)

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        return x / 2 + t[:, None, None, None] / 1000 * cond

    def get_learned_conditioning(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([[[float(len(text))]] for text in texts])


def prompts() -> dict[str, object]:
    schedules = prompt_parser.get_learned_conditioning_prompt_schedules(list(PROMPTS[:5]), 10)
    multi = prompt_parser.get_multicond_learned_conditioning(Model(), list(PROMPTS), 10)
    plain = prompt_parser.get_learned_conditioning(Model(), list(PROMPTS[:5]), 10)
    rebuilt = [prompt_parser.reconstruct_multicond_batch(multi, step) for step in (0, 3, 4, 10, 12)]
    return {
        "schedules": schedules,
        "parts": prompt_parser.get_multicond_prompt_list(list(PROMPTS))[0],
        "attention": [prompt_parser.parse_prompt_attention(text) for text in PROMPTS],
        "of pictures": [(places, tensor.flatten().tolist()) for places, tensor in rebuilt],
        "negative": [prompt_parser.reconstruct_cond_batch(plain, n).tolist() for n in (0, 5, 11)],
    }


def levels() -> dict[str, object]:
    found: dict[str, object] = {}
    for wrap in (external.CompVisDenoiser, external.CompVisVDenoiser):
        wrapped = wrap(Model())
        x, sigma = torch.arange(8.0).reshape(2, 1, 2, 2), torch.tensor([0.7, 3.0])
        denoised = wrapped(x, sigma, cond=torch.ones(()))
        found[wrap.__name__] = [wrapped.get_sigmas(5).tolist(), denoised.tolist(),
                                wrapped.sigma_to_t(sigma).tolist()]  # fmt: skip
    for name in ("karras", "exponential", "polyexponential"):
        found[name] = getattr(sampling, f"get_sigmas_{name}")(6, 0.03, 14.6).tolist()
    return found


def samplers() -> dict[str, object]:
    """What runs come to, where they call the model and report, and how much they drew."""
    return {name: run(name) for name in ("euler", "heun", "euler_ancestral", "dpmpp_2m")}


def run(name: str) -> list[object]:
    calls: list[float] = []
    told: list[int] = []

    def model(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append(float(sigma[0]))
        return torch.tanh(x / (1 + sigma[:, None, None, None]))

    def callback(state: dict[str, object]) -> None:
        told.append(state["i"])

    torch.manual_seed(0)
    x = torch.linspace(-9, 9, 8).reshape(2, 1, 2, 2)
    result = getattr(sampling, f"sample_{name}")(model, x, LEVELS, disable=True, callback=callback)
    return [result.tolist(), calls, told, float(torch.randn(()))]


if __name__ == "__main__":
    json.dump({"prompts": prompts(), "levels": levels(), "samplers": samplers()}, sys.stdout)
