"""The host is left as it was, however an edit ends."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from standin import Host, installed
from standin.desk import THREE_STAGES, edited, pixels, plainly, request

from msbd.errors import EditError

pytestmark = pytest.mark.edits

PER_JOB = {
    *("sampling_step", "sampling_steps", "time_start", "job_timestamp"),
    *("current_image", "current_latent", "id_live_preview"),
}
"""What of the host's state every edit_run leaves in its own way."""


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def of_the_model(model: torch.nn.Module) -> dict[str, Any]:
    """Bytes, types, places and storage of all numbers; attributes of all modules."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    facts: dict[str, Any] = {
        name: (t.numpy().tobytes(), t.dtype, t.device, t.requires_grad, t.grad, t.data_ptr())
        for name, t in tensors.items()
    }
    for name, module in model.named_modules():
        facts[f"{name} attributes"] = sorted(vars(module)), module.training
    return facts


def of_the_host(host: Host) -> dict[str, Any]:
    """Everything that an edit might borrow."""
    import k_diffusion.sampling

    devices, shared, numbers = host.devices, host.shared, np.random.get_state()  # noqa: NPY002
    return {
        "k-diffusion's torch": k_diffusion.sampling.torch,
        "model": of_the_model(shared.sd_model),
        "torch's numbers": torch.get_rng_state().numpy().tobytes(),
        "NumPy's numbers": (numbers[1].tobytes(), numbers[2:]),
        "Python's numbers": random.getstate(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "defaults": (torch.get_default_dtype(), torch.get_num_threads()),
        "options": dict(shared.opts.data),
        "types": (devices.dtype, devices.dtype_vae, devices.dtype_unet, devices.device),
        "callbacks": {name: list(c) for name, c in host.script_callbacks.callback_map.items()},
        "upscalers": [(u.name, u.scaler, u.data_path) for u in shared.sd_upscalers],
        "text": shared.state.textinfo,
        "latents": shared.state.current_latent,
        "previews": shared.parallel_processing_allowed,
    }


def of_the_request(p: Any) -> dict[str, Any]:
    """Every attribute of a request, pictures as their bytes."""

    def frozen(value: Any) -> Any:
        if isinstance(value, Image.Image):
            return value.mode, value.size, value.tobytes(), dict(value.info)
        if isinstance(value, torch.Tensor):
            return value.dtype, value.numpy().tobytes()
        if isinstance(value, dict):
            return {key: frozen(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [frozen(one) for one in value]
        return value

    return {name: frozen(value) for name, value in vars(p).items()}


def changed(p: Any, act: Any) -> set[str]:
    """Names of the request's attributes that `act` changes."""
    then = of_the_request(p)
    act()
    now = of_the_request(p)
    names = then.keys() | now.keys()
    return {name for name in names if then.get(name, name) != now.get(name, name)}


def out_of_memory() -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory")


def failure() -> None:
    raise ZeroDivisionError


def keyboard() -> None:
    raise KeyboardInterrupt


def ending(host: Host, name: str) -> Any:
    """What happens in the middle of an edit."""
    state = host.shared.state
    return {
        "interrupted": state.interrupt,
        "skipped": state.skip,
        "stopped after this picture": state.stop_generating,
        "out of memory": out_of_memory,
        "error": failure,
        "keyboard": keyboard,
    }[name]


ENDINGS = ("interrupted", "skipped", "stopped after this picture", "out of memory", "error",
           "keyboard")  # fmt: skip


def test_after_success(host):
    then = of_the_host(host)
    edited(host, request(host, **THREE_STAGES, batch_size=2, n_iter=2))
    assert of_the_host(host) == then


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("call", [3, 8, 12])
def test_however_it_ends(host, name, call):
    """call: of the network, in the first, the second or the last of three stages."""
    act = ending(host, name)
    host.before_call(lambda calls: act() if calls == call else None)
    then = of_the_host(host)
    p = request(host, **THREE_STAGES)
    try:
        edited(host, p)
    except (ZeroDivisionError, EditError):
        assert name in ("error", "out of memory")
    except KeyboardInterrupt:
        assert name == "keyboard"
    assert of_the_host(host) == then
    assert not {"init", "sample"} & set(vars(p))
    assert (p.width, p.height) == (64, 48)


@pytest.mark.parametrize("name", ENDINGS)
def test_when_it_ends_in_the_decoder_optimisation(host, name, monkeypatch):
    from msbd.webui.hosts import backend

    act, forward = ending(host, name), backend.HostDecoder.forward

    def disturbed(decoder: Any, z: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            act()
        return forward(decoder, z)

    monkeypatch.setattr(backend.HostDecoder, "forward", disturbed)
    then = of_the_host(host)
    try:
        edited(host, request(host))
    except (ZeroDivisionError, EditError):
        assert name in ("error", "out of memory")
    except KeyboardInterrupt:
        assert name == "keyboard"
    assert of_the_host(host) == then


def test_after_a_refusal(host):
    then = of_the_host(host)
    p = request(host, mask=None)
    with pytest.raises(EditError):
        edited(host, p)
    assert of_the_host(host) == then
    assert not {"init", "sample"} & set(vars(p))


@pytest.mark.parametrize("changes", [{}, {"n_iter": 2}, {"batch_size": 2}])
def test_the_request_changes_as_in_the_hosts_own_img2img(host, changes):
    plain, ours = request(host, **changes), request(host, **changes)
    by_host = changed(plain, lambda: plainly(host, plain))
    by_us = changed(ours, lambda: edited(host, ours))
    assert by_us - by_host == set()
    assert vars(ours).keys() - vars(plain).keys() == set()


def test_the_state_ends_as_after_the_hosts_own_img2img(host):
    def left() -> dict[str, Any]:
        facts = {**vars(type(host.shared.state)), **vars(host.shared.state)}
        return {k: v for k, v in facts.items() if k not in PER_JOB and not callable(v)}

    plainly(host, request(host, n_iter=2))
    by_host = left()
    edited(host, request(host, n_iter=2))
    ours = left()
    assert {k: v for k, v in ours.items() if v != by_host[k]} == {}


def test_one_request_can_be_used_again(host):
    p = request(host)
    first = pixels(edited(host, p).images[0])
    assert np.array_equal(pixels(edited(host, p).images[0]), first)
    generated = plainly(host, p).images[0]
    assert generated.size == (64, 48)


def test_gradients_are_off_for_the_network_and_on_again_after(host):
    seen: list[bool] = []
    host.before_call(lambda calls: seen.append(torch.is_grad_enabled()))
    assert torch.is_grad_enabled()
    edited(host, request(host))
    assert seen and not any(seen)
    assert torch.is_grad_enabled()


def test_nothing_of_an_edit_is_kept_alive(host):
    import gc
    import weakref

    p = request(host)
    watched = weakref.ref(edited(host, p).images[0])
    request_ = weakref.ref(p)
    del p
    host.calls.clear()
    host.saved.clear()
    gc.collect()
    assert watched() is None and request_() is None
