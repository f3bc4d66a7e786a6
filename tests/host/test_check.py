"""The check of an installation, by the API and by the button in the settings panel."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from msbd.check.block import BEGIN, END

from .server import Webui
from .test_browser import Play, browser, play
from .test_left_alone import failing, unchanged

__all__ = ["browser", "play"]
CHECK = "/msbd/v1/check"


@pytest.mark.timeout(600)
def test_the_api_checks_and_leaves_the_host_alone(webui: Webui) -> None:
    with unchanged(webui):
        reply = webui.post(CHECK, {"presets": ["draft", "fast"]})
    assert reply.status == 200, reply.reason
    answer = reply.json
    assert answer["ok"], answer["text"]
    assert list(answer["presets"]) == ["draft", "fast"] and answer["text"].endswith(END)
    attention = "sdp" if webui.installation.kind == "a1111" else "attention_pytorch"
    for words in ("WebUI ", "--no-half --precision full", f"in use: {attention}"):
        assert words in answer["text"], answer["text"]
    assert str(webui.data) not in answer["text"] and "ESRGAN_tile" in answer["text"]
    assert answer["presets"]["fast"]["seconds"]["denoising"] > 0
    assert not list(webui.data.glob("outputs/**/*red star*"))


@pytest.mark.parametrize(
    ("where", "error", "name", "words"),
    [
        ("denoise", "oom", "memory", "denoising ran out of memory"),
        ("encode", "error", "autoencoder", "the probe made this fail"),
        ("upscale", "error", "edit", "does not work"),
    ],
)
def test_what_fails_is_named(webui: Webui, where: str, error: str, name: str, words: str) -> None:
    with failing(webui, where, error, 1):
        reply = webui.post(CHECK, {"presets": ["draft"]})
    assert reply.status == 200 and not reply.json["ok"]
    found = {one["name"]: one for one in reply.json["presets"]["draft"]["findings"]}
    assert not found[name]["ok"] and words in found[name]["detail"], reply.json["text"]


def test_what_is_not_known_is_refused(webui: Webui) -> None:
    for body, word in (
        ({"presets": ["best"]}, "best"),
        ({"upscaler": "Nonesuch"}, "Nonesuch"),
        ({"preset": "draft"}, "preset"),
    ):
        reply = webui.post(CHECK, body)
        assert reply.status == 422 and word in reply.reason


@pytest.mark.timeout(900)
def test_the_button_shows_the_block(webui: Webui, play: Play, tmp_path: Path) -> None:
    found = play("check", presets=["draft"], upscaler="Lanczos")
    assert found["text"].startswith(BEGIN) and "verdict: ok, 1 of 1 presets" in found["text"]
    assert re.search(r"\d of \d", found["progress"]), found["progress"]
    assert found["copied"] == found["text"] and found["kept"] == ""
    shot = tmp_path / "check.png"
    assert shot.stat().st_size > 10_000
    if folder := os.environ.get("MSBD_SCREENSHOTS"):
        shutil.copy(shot, Path(folder) / "webui-check.png")
