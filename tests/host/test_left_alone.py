"""The WebUI is left as it was: after success, refusal, interruption, error, lack of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import models
from .client import Answer, Scene, asked, edited, painted
from .server import Webui
from .watching import Once, in_stage, watched

WHOLE = {
    "preset": "draft",
    "candidates": 2,
    "resampling_steps": 1,
    "decoder": "fine-tune",
    "decoder_iterations": 1,
}
"""Everything an edit can use: candidates and CLIP, the super-resolution network, the decoder."""
SWIFT = {**WHOLE, "upscaler": "Lanczos"}
DRAWN_FROM = {"python rng"}
"""The WebUI names every task by a random text."""


@contextmanager
def unchanged(webui: Webui) -> Iterator[None]:
    """Same options, same inner state, same pictures by text-to-image, before and after."""
    picture = painted(webui)
    options = webui.get("/sdapi/v1/options").json
    before = webui.probe("state")
    yield
    after = webui.probe("state")
    differences = {key for key in before if before[key] != after[key]} - DRAWN_FROM
    assert not differences, {key: (before[key], after[key]) for key in differences}
    assert webui.get("/sdapi/v1/options").json == options
    assert (painted(webui) == picture).all()


@contextmanager
def failing(webui: Webui, where: str, error: str, call: int) -> Iterator[None]:
    """The host's `where` raises at its call number `call`."""
    webui.probe("arm", where=where, error=error, call=call)
    try:
        yield
    finally:
        sprung = webui.probe("disarm")["sprung"]
    assert all(sprung), f"{where} was not called {call} times"


def test_after_success(webui: Webui, small: Scene) -> None:
    edited(webui, small, WHOLE)
    with unchanged(webui):
        assert small.is_edited(edited(webui, small, WHOLE).picture)
        edited(webui, small, SWIFT, batch_size=2)


def test_the_global_generators_are_not_drawn_from(webui: Webui, small: Scene) -> None:
    """Plain img2img draws from them, and draws the same whether there was an edit or not."""
    before, after = plain(webui, small), plain(webui, small)
    if webui.installation.kind != "reforge":  # which draws nothing
        assert (before.picture != after.picture).any(), "the first had another state to draw from"
    edited(webui, small, SWIFT)
    again = plain(webui, small)
    assert (after.picture == again.picture).all()


def test_after_overridden_settings(webui: Webui, small: Scene) -> None:
    changes = {
        "CLIP_stop_at_last_layers": 2,
        "msbd_preset": "fast",
        "msbd_tile_overlap": 0.125,
        "sd_vae": models.OTHER_VAE,
    }
    edited(webui, small, override_settings=changes)  # the first change of the VAE leaves traces
    with unchanged(webui):
        edited(webui, small, override_settings=changes)


def test_after_interruption(webui: Webui, small: Scene) -> None:
    once = Once(in_stage(2), lambda: webui.post("/sdapi/v1/interrupt"))
    with unchanged(webui):
        reply, _ = watched(webui, small.request(SWIFT, steps=20), once)
        assert reply.status == 200


@pytest.mark.parametrize(
    ("where", "call"),
    [("encode", 1), ("denoise", 2), ("decode", 1), ("optimise", 2)],
)
def test_after_an_error(webui: Webui, small: Scene, where: str, call: int) -> None:
    with unchanged(webui):
        with failing(webui, where, "error", call):
            reply = webui.post("/sdapi/v1/img2img", small.request(SWIFT))
        assert reply.status == 500 and "the probe made this fail" in reply.reason
        progress = webui.get("/sdapi/v1/progress").json
        assert not progress["state"]["job"] and progress["state"]["job_count"] == 0


@pytest.mark.parametrize("where", ["encode", "denoise", "decode"])
def test_out_of_memory_in_the_first_stage(webui: Webui, small: Scene, where: str) -> None:
    if where == "decode" and webui.installation.is_fork:
        pytest.skip("this WebUI then decodes in tiles of its own")
    with unchanged(webui):
        with failing(webui, where, "oom", 1):
            # More candidates would be made in smaller portions, and the decoder in another way.
            alone = {**SWIFT, "candidates": 1, "decoder": "off"}
            reply = webui.post("/sdapi/v1/img2img", small.request(alone))
        assert reply.status == 422 and "memory" in reply.reason, reply.reason
    assert small.is_edited(edited(webui, small).picture)


def test_without_memory_for_it_the_decoder_is_trained_with_checkpointing(
    webui: Webui, small: Scene
) -> None:
    plain = edited(webui, small, SWIFT)
    with unchanged(webui):
        with failing(webui, "optimise", "oom", 1):
            answer = edited(webui, small, SWIFT)
        assert (answer.picture == plain.picture).all()
    (note,) = set(answer.report["notes"]) - set(plain.report["notes"])
    assert "memory ran out" in note and "done again more sparingly" in note


def test_without_memory_even_then_the_decoder_is_left_as_it_is(webui: Webui, small: Scene) -> None:
    with unchanged(webui):
        with failing(webui, "optimise", "oom", 1), failing(webui, "optimise", "oom", 1):
            answer = edited(webui, small, SWIFT)
        assert small.is_edited(answer.picture)
    assert any("was left out in stage" in note for note in answer.report["notes"])
    assert not answer.report["interrupted"]


def test_an_upscaler_that_fails_at_once_is_refused(webui: Webui, small: Scene) -> None:
    with unchanged(webui):
        with failing(webui, "upscale", "error", 1):
            reply = webui.post("/sdapi/v1/img2img", small.request(WHOLE))
        assert reply.status == 422 and "R-ESRGAN 4x+" in reply.reason


def test_an_upscaler_that_fails_later_keeps_the_stage_that_is_done(
    webui: Webui, small: Scene
) -> None:
    """The first call is the trial, the second enlarges the first stage's picture."""
    with unchanged(webui):
        with failing(webui, "upscale", "error", 2):
            answer = edited(webui, small, WHOLE)
        assert small.is_edited(answer.picture)
    assert answer.report["interrupted"] and len(answer.report["stages"]) == 1
    assert any("the probe made this fail" in note for note in answer.report["notes"])


def test_out_of_memory_later_keeps_the_stages_that_are_done(webui: Webui, small: Scene) -> None:
    with unchanged(webui):
        with failing(webui, "upscale", "oom", 2):
            answer = edited(webui, small, WHOLE)
        assert small.is_edited(answer.picture)
        assert answer.report["interrupted"] and len(answer.report["stages"]) == 1
        assert any("memory ran out" in note for note in answer.report["notes"])


def test_plain_img2img_is_none_of_our_business(webui: Webui, small: Scene) -> None:
    """The script is there but not chosen."""
    answer = plain(webui, small)
    assert "msbd" not in answer.info and "MSBD" not in answer.info["infotexts"][0]


def plain(webui: Webui, small: Scene) -> Answer:
    """The host's own img2img; the autoencoder's noise comes from the global generator."""
    body = small.request(width=256, height=208, denoising_strength=0.5)
    return asked(webui, "img2img", body | {"script_name": None, "script_args": []})


def test_reload_ui_twice(webui: Webui, small: Scene) -> None:
    picture = edited(webui, small, SWIFT).picture
    before = webui.probe("registrations")
    assert before["options"] and before["routes"] and before["callbacks"]
    for _ in range(2):
        reload(webui)
        assert webui.probe("registrations") == before
        assert (edited(webui, small, SWIFT).picture == picture).all()
    with unchanged(webui):
        edited(webui, small)


def reload(webui: Webui) -> None:
    """Reload UI, as the button in the settings does."""
    start = webui.log.stat().st_size
    webui.probe("reload_ui")
    webui.wait(start)


def test_switching_checkpoints(webui: Webui, small: Scene) -> None:
    def after_switching(name: str) -> Answer:
        reply = webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name})
        assert reply.status == 200, reply.reason
        return edited(webui, small, SWIFT)

    after_switching(models.PERTURBED)  # reForge keeps an overridden VAE until then
    first = after_switching(models.PLAIN)
    other = after_switching(models.PERTURBED)
    again = after_switching(models.PLAIN)
    assert (first.picture != other.picture).any()
    assert (first.picture == again.picture).all()
