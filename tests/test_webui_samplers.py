"""Samplers that nobody knows yet: they work, a relative does in their place, or words say why not.

Here they are made up, each with another fault; the host's own are in test_webui_backend.py.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from standin import Host, installed
from standin.desk import edited, reports, request

from msbd.errors import EditError

Step = Callable[..., torch.Tensor]
HALF = torch.nn.AvgPool2d(2)


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def by_steps(step: Step) -> Any:
    """A sampler of k-diffusion's signature. step: ask(x), x, level, next level -> next x."""

    def sample(
        model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None,
        disable: Any = None,
    ) -> torch.Tensor:  # fmt: skip
        for level, following in itertools.pairwise(sigmas):

            def ask(z: torch.Tensor, sigma: Any = level) -> torch.Tensor:
                return model(z, sigma * z.new_ones(len(z)), **extra_args)

            x = step(ask, x, level, following)
        return x

    return sample


def euler(ask: Any, x: Any, level: Any, following: Any) -> torch.Tensor:
    denoised = ask(x)
    return denoised + (x - denoised) * following / level


def own_steps(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None,
    disable: Any = None,
) -> torch.Tensor:  # fmt: skip
    """Five steps between the first level and the last."""
    levels = torch.linspace(float(sigmas[0]), float(sigmas[-1]), 6)
    return by_steps(euler)(model, x, levels, extra_args)


def without_prompt(
    model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None,
    disable: Any = None,
) -> torch.Tensor:  # fmt: skip
    """CFG++ as ComfyUI has it: Euler's method towards what a function after guidance is told."""
    unguided = [torch.zeros(())]
    after = [lambda told: unguided.append(told["uncond_denoised"])]
    options = {"model_options": {"sampler_post_cfg_function": after}}

    def step(ask: Any, x: Any, level: Any, following: Any) -> torch.Tensor:
        return ask(x) + (x - unguided[-1]) * following / level

    return by_steps(step)(model, x, sigmas, {**extra_args, **options})


def timesteps(model: Any, x: Any, timesteps: Any, extra_args: Any = None) -> torch.Tensor:
    return x


def fails(ask: Any, x: Any, level: Any, following: Any) -> torch.Tensor:
    return ask(x).nonesuch


def at_half_size(ask: Any, x: Any, level: Any, following: Any) -> torch.Tensor:
    denoised = torch.nn.functional.interpolate(ask(HALF(x)), scale_factor=2.0)
    return denoised + (x - denoised) * following / level


FAULTS = {
    "fails": by_steps(fails),
    "works on timesteps": timesteps,
    "asks at another size": by_steps(at_half_size),
    "leaves no noise": by_steps(lambda ask, x, level, following: ask(x)),
    "leaves all noise": by_steps(lambda ask, x, level, following: x + 0 * ask(x)),
    "leaves no number": by_steps(lambda ask, x, level, following: ask(x) * torch.nan),
    "turns signs": by_steps(lambda *given: -euler(*given)),
    "chooses its own steps": own_steps,
    "needs the prediction without prompt": without_prompt,
}


def offer(host: Host, name: str, function: Any) -> None:
    """The host has one more sampler from now on."""

    def construct(model: Any) -> Any:
        made = host.sd_samplers.create_sampler("Euler", model)
        made.func, made.extra_params = function, []
        return made

    config = type(host.sd_samplers.all_samplers[0])(name, construct, [], {})
    host.sd_samplers.all_samplers.append(config)
    host.sd_samplers.all_samplers_map[name] = config


@pytest.mark.edits
@pytest.mark.parametrize("fault", FAULTS)
class TestFaults:
    def test_a_relative_is_used_and_told(self, host, fault):
        offer(host, "Euler Odd", FAULTS[fault])
        processed = edited(host, request(host, sampler_name="Euler Odd"))
        plain = edited(host, request(host, sampler_name="Euler"))
        assert processed.images[0].tobytes() == plain.images[0].tobytes()
        told = "Euler is used in place of Euler Odd: that one does not work in stages."
        assert told in reports(processed)[0]["notes"]

    def test_without_a_relative_it_is_refused_before_the_network_is_called(self, host, fault):
        offer(host, "Oddity", FAULTS[fault])
        with pytest.raises(EditError, match="Oddity does not work in stages: choose another"):
            edited(host, request(host, sampler_name="Oddity"))
        assert not host.calls


def test_where_none_works_it_is_the_checkpoint(host, monkeypatch):
    from msbd.webui.hosts.sampling import try_sampler

    monkeypatch.setattr(host.sd_samplers, "create_sampler", lambda name, model: 1 / 0)
    for name in ("Euler a", "DPM++ 2M"):
        with pytest.raises(EditError, match="no sampler works with this checkpoint"):
            try_sampler(name)


class TestTrial:
    def test_the_nearest_relative_that_works_is_used(self, host):
        from msbd.webui.hosts.sampling import replaced_sampler, try_sampler

        offer(host, "Euler Ancestral Odd CFG++", FAULTS["fails"])
        offer(host, "Euler a Odd", FAULTS["turns signs"])
        try_sampler("Euler Ancestral Odd CFG++")
        used, note = replaced_sampler("Euler Ancestral Odd CFG++")
        assert used == "Euler a" and "CFG scale as for Euler a" in str(note)

    def test_is_made_anew_for_every_edit(self, host):
        from msbd.webui.hosts.sampling import replaced_sampler, try_sampler

        offer(host, "Euler Odd", FAULTS["fails"])
        try_sampler("Euler Odd")
        assert replaced_sampler("Euler Odd")[0] == "Euler"
        offer(host, "Euler Odd", by_steps(euler))
        try_sampler("Euler Odd")
        assert replaced_sampler("Euler Odd") == ("Euler Odd", None)

    def test_counts_the_calls_of_a_step(self, host):
        from msbd.webui.hosts.checkpoint import model_spec

        def thrice(ask: Any, *given: Any) -> torch.Tensor:
            return ask(given[0]) * 0 + ask(given[0]) * 0 + euler(ask, *given)

        offer(host, "Thrice", by_steps(thrice))
        assert model_spec("Thrice").calls_per_step == 3

    def test_the_hosts_own_pass(self, host):
        from msbd.webui.hosts.sampling import REPLACED, replaced_sampler, try_sampler

        for name in {sampler.name for sampler in host.sd_samplers.all_samplers} - set(REPLACED):
            try_sampler(name)
            assert replaced_sampler(name) == (name, None)

    def test_waits_while_the_host_is_at_work(self, host):
        """Its own samplers may be drawing noise."""
        from modules import call_queue

        from msbd.webui.hosts.checkpoint import model_spec

        offer(host, "Oddity", FAULTS["fails"])
        with call_queue.queue_lock:
            assert model_spec("Oddity").calls_per_step == 1
        with pytest.raises(EditError, match="Oddity does not work"):
            model_spec("Oddity")

    def test_the_dry_run_tells_what_it_found(self, host):
        from msbd.webui.conflicts import conflicts

        offer(host, "Euler Odd", FAULTS["fails"])
        offer(host, "Oddity", FAULTS["fails"])
        assert "Euler is used in place of Euler Odd" in "\n".join(conflicts("Euler Odd", None))
        assert "Oddity does not work in stages" in "\n".join(conflicts("Oddity", None))


class TestInAnEdit:
    """What a trial could not foresee."""

    def late(self, act: Any) -> Any:
        """Euler's method, but for levels that no trial has."""
        return by_steps(
            lambda ask, x, level, following: (act if level > 8 else euler)(ask, x, level, following)
        )

    @pytest.mark.edits
    @pytest.mark.parametrize("act", [fails, at_half_size])
    def test_a_samplers_error_is_told_with_its_name(self, host, act):
        offer(host, "Late", self.late(act))
        with pytest.raises(EditError, match=r"Late fails \(.+\): choose another sampler"):
            edited(host, request(host, sampler_name="Late"))

    @pytest.mark.parametrize("error", [KeyError("mine"), MemoryError(), EditError("mine")])
    def test_the_networks_errors_stay_what_they_are(self, host, error):
        sampler = host.sd_samplers.create_sampler("Euler", host.model)
        from msbd.webui.hosts.kdiffusion import integrated

        def model(*_: Any, **__: Any) -> Any:
            raise error

        with pytest.raises(type(error)) as raised:
            integrated(sampler, {}, model, torch.ones(1, 4, 4, 4), torch.tensor([2.0, 1.0]), None)
        assert raised.value is error

    @pytest.mark.edits
    def test_noise_that_a_sampler_draws_itself_is_ours(self, host):
        before = torch

        def drawing(ask: Any, x: Any, level: Any, following: Any) -> torch.Tensor:
            fresh = (torch.randn_like(x) + torch.randn(x.shape, device=x.device)) / 2**0.5
            return ask(x) + following * fresh

        offer(host, "Drawing", by_steps(drawing))
        state = torch.get_rng_state()
        made = [edited(host, request(host, sampler_name="Drawing")) for _ in range(2)]
        assert made[0].images[0].tobytes() == made[1].images[0].tobytes()
        assert torch.equal(torch.get_rng_state(), state)
        assert sys.modules[__name__].torch is before


@pytest.mark.edits
@pytest.mark.parametrize("levels", [None, [float("nan")] * 5, [0.0] * 5])
def test_a_schedule_that_fails_is_told_with_its_name(host, monkeypatch, levels):
    kind = type(host.sd_samplers.create_sampler("Euler", host.model))
    monkeypatch.setattr(kind, "get_sigmas", lambda *_: levels and torch.tensor(levels))
    with pytest.raises(EditError, match=r"schedule type Karras fails .* choose another"):
        edited(host, request(host, scheduler="Karras"))
