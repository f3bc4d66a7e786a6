"""Edits in the Forge family, on its stand-in: the same bytes as in A1111, and every network where
the host's memory manager has brought it."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from standin import Host, installed
from standin.desk import THREE_STAGES, edited, inside, pixels, reports, request
from standin.fork import KINDS
from standin.model import LatentDiffusion

from msbd.errors import EditError

pytestmark = pytest.mark.edits

EDITS: dict[str, dict[str, Any]] = {
    "draft": {"preset": "draft"},
    "fast": {"preset": "fast"},
    "recommended": {"preset": "recommended"},
    "tiles": {"preset": "fast", "tile_size": 1.0},
    "fine-tune": {"decoder": "fine-tune", "decoder_iterations": 3},
}
MODELS: dict[str, dict[str, Any]] = {
    "eps": {},
    "v": {"parameterization": "v"},
    "inpainting": {"conditioning_key": "hybrid"},
}


@pytest.fixture(params=KINDS)
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with installed(request.param) as started:
        yield started


def result(kind: str, model: dict[str, Any], fields: dict[str, Any]) -> tuple[np.ndarray, Any]:
    with installed(kind) as host:
        host.load(LatentDiffusion(**model), "other")
        host.shared.opts.data["msbd_resolution"] = 32
        processed = edited(host, request(host, **THREE_STAGES), **fields)
        if kind != "a1111":
            assert not host.memory._prepared and host.memory._log["prepare"] > 0
        return pixels(processed.images[0]), processed


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, model", [*((name, "eps") for name in EDITS), ("fast", "v"), ("tiles", "inpainting")]
)
def test_the_same_bytes_as_in_a1111(kind: str, name: str, model: str) -> None:
    expected, _ = result("a1111", MODELS[model], EDITS[name])
    found, processed = result(kind, MODELS[model], EDITS[name])
    assert (found == expected).all()
    if name == "tiles":
        assert (result(kind, MODELS[model], EDITS[name])[0] == found).all()
    assert "Painted in " in processed.comments


def witness(host: Host, attaches: bool) -> tuple[type, list[Any], list[int]]:
    """An always-on script that is told before every sampling, and counts the network's calls that
    pass what it attached."""
    seen, passed = list[Any](), [0]

    class Witness(host.scripts.Script):
        def title(self):
            return "Witness"

        def process_before_every_sampling(self, p, *args, **kwargs):
            seen.append((p.width, p.height, p.init_images[0].size, tuple(kwargs["x"].shape)))
            if not attaches:
                return
            unet = p.sd_model.forge_objects.unet.clone()

            def wrapper(apply_model, given):
                passed[0] += 1
                return apply_model(given["input"], given["timestep"], **given["c"])

            unet.set_model_unet_function_wrapper(wrapper)
            p.sd_model.forge_objects.unet = unet

    return Witness, seen, passed


@pytest.mark.parametrize("tiles", [False, True])
def test_what_a_hook_attaches_is_in_every_call_and_gone_afterwards(host: Host, tiles: bool) -> None:
    kind, seen, passed = witness(host, attaches=True)
    host.shared.opts.data["msbd_resolution"] = 32
    p = request(host, **THREE_STAGES)
    p.scripts, p.script_args = host.scripts.ScriptRunner(), [0]
    p.scripts.alwayson_scripts.append(kind())
    processed = edited(host, p, tile_size=1.0 if tiles else 4.0)
    stages = reports(processed)[0]["plan"]["stages"]
    assert host.errors.exception_records == []
    assert len(seen) == sum(len(stage["tiles"]) for stage in stages)
    assert (len(seen) > len(stages)) == tiles
    for width, height, size, latents in seen:
        assert (width, height) == size and latents[-2:] == (height // 8, width // 8)
    assert passed[0] == len(host.calls) > 0
    assert not host.model.forge_objects.unet.model_options
    assert host.memory._log["prepare"] == host.memory._log["cleanup"]


@functools.cache
def usual() -> np.ndarray:
    return result("a1111", {}, {})[0]


@pytest.mark.parametrize("ends", ["error", "out of memory", "interrupted", "skipped"])
@pytest.mark.parametrize("call", [1, 9])
def test_however_it_ends_the_host_is_as_it_was(host: Host, ends: str, call: int) -> None:
    host.shared.opts.data["msbd_resolution"] = 32
    objects = host.model.forge_objects

    def happens(calls: int) -> None:
        if calls != call:
            return
        if ends == "error":
            raise RuntimeError("the network fails")
        if ends == "out of memory":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        setattr(host.shared.state, ends, True)

    host.before_call(happens)
    p = request(host, **THREE_STAGES)
    try:
        edited(host, p)
    except (EditError, RuntimeError) as error:
        assert ends in ("error", "out of memory"), error
    assert not host.memory._prepared
    assert host.memory._log["prepare"] == host.memory._log["cleanup"]
    assert host.model.forge_objects is objects
    host.before_call(lambda calls: None)
    host.shared.state.interrupted = host.shared.state.skipped = False
    again = edited(host, request(host, **THREE_STAGES))
    assert (pixels(again.images[0]) == usual()).all()


def test_the_unet_is_prepared_once_for_a_run_of_calls(host: Host) -> None:
    """Not for each of the network's calls; left for the autoencoder's."""
    host.shared.opts.data["msbd_resolution"] = 32
    edited(host, request(host, **THREE_STAGES), preset="draft")
    assert host.memory._log["prepare"] < len(host.calls) / 2


def test_nothing_that_happens_after_an_edit_loses_it(host: Host, monkeypatch) -> None:
    from msbd.webui import run

    def fails(*_: Any, **__: Any) -> None:
        raise AttributeError("this host has no such thing")

    for owner, name in ((run.cost, "learn"), (run, "loaded")):
        monkeypatch.setattr(owner, name, fails)
        p = request(host, mask_blur=0)
        processed = edited(host, p)
        kept = ~inside(p)
        assert (pixels(processed.images[0])[kept] == pixels(p.init_images[0])[kept]).all()


def test_a_plan_needs_no_checkpoint_that_was_used_before(host: Host) -> None:
    from msbd.webui.hosts.checkpoint import model_spec

    host.shared.opts.data["msbd_resolution"] = 32
    spec = model_spec("Euler a")
    assert (spec.resolution, spec.multiple, spec.latent_factor) == (32, 16, 8)
    host.shared.opts.data["msbd_resolution"] = 0
    assert model_spec("Euler a").resolution == 512
    host.load(LatentDiffusion(parameterization="v"), "v")
    assert model_spec("Euler a").resolution == 768


def test_the_check_loads_a_checkpoint_that_nobody_has_asked_for(host: Host, monkeypatch) -> None:
    """The forks load one at the first request for pictures, and the check holds the host's lock."""
    from msbd.webui.checking import check
    from msbd.webui.hosts.checkpoint import LOADING_LIMIT

    model, data = host.model, host.sd_models.model_data

    def load() -> Any:
        data.set_sd_model(model)
        return model, True

    host.shared.opts.msbd_clip_model = ""
    monkeypatch.setattr(host.sd_models, "forge_model_reload", load, raising=False)
    data.set_sd_model(None)
    started = time.monotonic()
    with host.call_queue.queue_lock:
        host.begin()
        examination, text = check(["draft"])
    assert not examination.failed, text
    data.set_sd_model(None)
    monkeypatch.setattr(host.sd_models, "forge_model_reload", lambda: 1 / 0)
    with host.call_queue.queue_lock:
        examination, text = check(["draft"])
    assert examination.failed and "choose another checkpoint" in text
    assert time.monotonic() - started < LOADING_LIMIT / 2


def test_nothing_of_neo_is_missed() -> None:
    """Its modules and names that are gone are looked for nowhere, but with something in place."""
    with installed("neo") as host:
        assert sys.modules["modules.lowvram"] is None and not hasattr(host.devices, "NansException")
        for name in ("conflicts", "dry_run", "estimate", "limit", "previews", "run"):
            assert importlib.import_module(f"msbd.webui.{name}")
