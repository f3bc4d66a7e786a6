"""Every sampler and every schedule the host offers paints inside the mask, and only there."""

from __future__ import annotations

import pytest

from .client import QUICK, Scene, edited
from .server import Webui

SAMPLERS = [
    "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 2S a", "DPM++ 3M SDE",
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM fast", "DPM adaptive", "Restart",
    "DDIM", "DDIM CFG++", "PLMS", "UniPC", "LCM",
]  # fmt: skip
OLDER = [
    "DPM++ 2M Karras", "DPM++ SDE Karras", "DPM++ 2M SDE Karras", "DPM++ 2M SDE Exponential",
    "DPM++ 2M SDE Heun Karras", "DPM++ 2M SDE Heun Exponential", "DPM++ 3M SDE Karras",
    "DPM++ 3M SDE Exponential", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras",
]  # fmt: skip
SCHEDULERS = [
    "automatic", "uniform", "karras", "exponential", "polyexponential", "sgm_uniform",
    "kl_optimal", "align_your_steps", "simple", "normal", "ddim", "beta", "turbo",
]  # fmt: skip


REPAINTED = {**QUICK, "resampling_steps": 1}
"""The first stage is then many runs of a single step."""


def offered(webui: Webui, what: str) -> list[str]:
    reply = webui.get(f"/sdapi/v1/{what}")
    return [found["name"] for found in reply.json] if reply.status == 200 else []


def test_none_is_forgotten(webui: Webui) -> None:
    assert set(offered(webui, "samplers")) <= {*SAMPLERS, *OLDER}
    assert set(offered(webui, "schedulers")) <= set(SCHEDULERS)


@pytest.mark.parametrize("sampler", [*SAMPLERS, *OLDER])
def test_sampler(webui: Webui, small: Scene, sampler: str) -> None:
    if sampler not in offered(webui, "samplers"):
        pytest.skip("this WebUI does not have it")
    before = webui.probe("state")
    first, again = (edited(webui, small, sampler_name=sampler, steps=5) for _ in range(2))
    assert small.is_edited(first.picture)
    assert (first.picture == again.picture).all()
    repeated = edited(webui, small, REPAINTED, sampler_name=sampler, steps=5)
    assert small.is_edited(repeated.picture)
    after = webui.probe("state")
    assert {k for k in before if before[k] != after[k]} <= {"python rng"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scheduler(webui: Webui, small: Scene, scheduler: str) -> None:
    if scheduler not in offered(webui, "schedulers"):
        pytest.skip("this WebUI does not have it")
    answer = edited(webui, small, sampler_name="DPM++ 2M", scheduler=scheduler, steps=6)
    assert small.is_edited(answer.picture)


def test_schedules_differ(webui: Webui, small: Scene) -> None:
    if "karras" not in offered(webui, "schedulers"):
        pytest.skip("this WebUI has no schedule types")
    one, other = (
        edited(webui, small, sampler_name="Euler", scheduler=name, steps=6)
        for name in ("karras", "uniform")
    )
    assert (one.picture != other.picture).any()


def test_ddim_is_the_papers_equivalent(webui: Webui, small: Scene) -> None:
    """A timestep sampler is replaced by what it is in sigma space, and the user is told."""
    answer = edited(webui, small, sampler_name="DDIM")
    assert any("DDIM" in note and "Euler a" in note for note in answer.report["notes"])


@pytest.mark.parametrize("repeats", [0, 2])
def test_two_calls_a_step(webui: Webui, small: Scene, repeats: int) -> None:
    fields = {"preset": "draft", "upscaler": "Lanczos", "resampling_steps": repeats}
    answer = edited(webui, small, fields, sampler_name="Heun", steps=4)
    assert small.is_edited(answer.picture)
    assert answer.report["model_calls"] == answer.report["plan"]["model_calls"]
