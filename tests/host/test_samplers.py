"""Every sampler and every schedule the host offers paints inside the mask, and only there.

Some are replaced by a relative, which the report tells, and some refused in words.
"""

from __future__ import annotations

import pytest

from .client import QUICK, Scene, edited, painted, refused
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
FORKS = [
    "HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "DDPM",
    "Euler Dy", "Euler SMEA Dy", "Euler Negative", "Euler Negative Dy",
    "DPM++ 2M DY", "DPM++ 3M DY", "DPM++ 3M SDE DY", "DPM++ SDE Classic",
    "ER SDE", "SEEDS 2 DP", "SEEDS 3 DP", "SA-Solver", "SA-Solver-Pece", "Kohaku_LoNyu_Yog",
    "RES Solver", "RES Multistep", "RES Multistep Ancestral", "Gradient Estimation",
    "Euler CFG++", "Euler Ancestral CFG++", "Euler DY CFG++", "Euler SMEA DY CFG++",
    "Euler A DY CFG++", "DPM++ 2S Ancestral CFG++", "DPM++ 2S Ancestral CFG++ Dyn",
    "DPM++ 2S Ancestral CFG++ Intern", "DPM++ SDE CFG++", "DPM++ 2M CFG++", "DPM++ 2M DY CFG++",
    "DPM++ 3M SDE CFG++", "RES Multistep CFG++", "RES Multistep Ancestral CFG++",
    "Gradient Estimation CFG++",
    "ODE (Bosh3)", "ODE (Fehlberg2)", "ODE (Adaptive Heun)", "ODE (Dopri5)", "ODE Custom",
    "Euler A Turbo", "DPM++ 2M Turbo", "DPM++ 2M SDE Turbo",
    "Euler Comfy", "Euler A Comfy", "Euler A Comfy RF", "Heun Comfy", "DPM++ SDE Comfy",
    "DPM++ 2S Ancestral Comfy", "DPM++ 2S Ancestral Comfy RF", "DPM++ 2M Comfy",
    "DPM++ 2M SDE Comfy", "DPM++ 3M SDE Comfy", "Custom Sampler",
]  # fmt: skip
"""What Forge and reForge have besides."""
REPLACED = {
    "Euler Dy": "Euler", "Euler SMEA Dy": "Euler", "Euler Negative": "Euler",
    "Euler Negative Dy": "Euler", "Euler CFG++": "Euler", "Euler Ancestral CFG++": "Euler a",
    "Euler DY CFG++": "Euler", "Euler SMEA DY CFG++": "Euler", "Euler A DY CFG++": "Euler a",
    "DPM++ 2S Ancestral CFG++": "DPM++ 2S a", "DPM++ 2S Ancestral CFG++ Dyn": "DPM++ 2S a",
    "DPM++ 2S Ancestral CFG++ Intern": "DPM++ 2S a", "DPM++ SDE CFG++": "DPM++ SDE",
    "DPM++ 2M CFG++": "DPM++ 2M", "DPM++ 2M DY CFG++": "DPM++ 2M DY",
    "DPM++ 3M SDE CFG++": "DPM++ 3M SDE", "RES Multistep CFG++": "RES Multistep",
    "RES Multistep Ancestral CFG++": "RES Multistep Ancestral",
    "Gradient Estimation CFG++": "Gradient Estimation", "Euler A Comfy RF": "Euler A Comfy",
    "DPM++ 2S Ancestral Comfy RF": "DPM++ 2S Ancestral Comfy",
    "DDIM": "Euler a", "DDIM CFG++": "Euler a", "PLMS": "LMS", "UniPC": "DPM++ 2M",
    "DPM fast": "DPM++ 2M", "DPM adaptive": "DPM++ 2M",
}  # fmt: skip
REFUSED = {
    "Kohaku_LoNyu_Yog", "SA-Solver", "SA-Solver-Pece", "RES Solver",
    "ODE (Bosh3)", "ODE (Fehlberg2)", "ODE (Adaptive Heun)", "ODE (Dopri5)", "ODE Custom",
}  # fmt: skip
SCHEDULERS = [
    "automatic", "uniform", "karras", "exponential", "polyexponential", "sgm_uniform",
    "kl_optimal", "align_your_steps", "simple", "normal", "ddim", "beta", "turbo",
    "align_your_steps_GITS", "align_your_steps_11", "align_your_steps_32",
    "align_your_steps_custom", "sinusoidal_sf", "invcosinusoidal_sf", "react_cosinusoidal_dynsf",
    "cosine", "cosine-exponential blend", "phi", "laplace", "karras dynamic",
]  # fmt: skip


REPAINTED = {**QUICK, "resampling_steps": 1}
"""The first stage is then many runs of a single step."""


@pytest.fixture(scope="module", autouse=True)
def _used(webui: Webui) -> None:
    """Some hosts finish loading with the first picture of their own."""
    painted(webui)


def offered(webui: Webui, what: str) -> list[str]:
    reply = webui.get(f"/sdapi/v1/{what}")
    return [found["name"] for found in reply.json] if reply.status == 200 else []


def test_none_is_forgotten(webui: Webui) -> None:
    assert set(offered(webui, "samplers")) <= {*SAMPLERS, *OLDER, *FORKS}
    assert set(offered(webui, "schedulers")) <= set(SCHEDULERS)


@pytest.mark.parametrize("sampler", [*SAMPLERS, *OLDER, *FORKS])
def test_sampler(webui: Webui, small: Scene, sampler: str) -> None:
    if sampler not in offered(webui, "samplers"):
        pytest.skip("this WebUI does not have it")
    if sampler in REFUSED:
        status, reason = refused(webui, small.request(sampler_name=sampler))
        assert status == 422 and f"{sampler} does not work in stages: choose another" in reason
        return
    before = webui.probe("state")
    first, again = (edited(webui, small, sampler_name=sampler, steps=5) for _ in range(2))
    assert small.is_edited(first.picture)
    assert (first.picture == again.picture).all()
    repeated = edited(webui, small, REPAINTED, sampler_name=sampler, steps=5)
    assert small.is_edited(repeated.picture)
    notes = [note for note in first.report["notes"] if "in place of" in note]
    if sampler in REPLACED:
        assert f"{REPLACED[sampler]} is used in place of {sampler}: " in notes[0]
    else:
        assert not notes
    after = webui.probe("state")
    assert {k for k in before if before[k] != after[k]} <= {"python rng"}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_scheduler(webui: Webui, small: Scene, scheduler: str) -> None:
    if scheduler not in offered(webui, "schedulers"):
        pytest.skip("this WebUI does not have it")
    answer = edited(webui, small, sampler_name="DPM++ 2M", scheduler=scheduler, steps=6)
    assert small.is_edited(answer.picture)


@pytest.mark.parametrize("sampler", ["Euler", "Euler Comfy"])
def test_schedules_differ(webui: Webui, small: Scene, sampler: str) -> None:
    if "karras" not in offered(webui, "schedulers"):
        pytest.skip("this WebUI has no schedule types")
    if sampler not in offered(webui, "samplers"):
        pytest.skip("this WebUI does not have it")
    one, other = (
        edited(webui, small, sampler_name=sampler, scheduler=name, steps=6)
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
