"""The host reads the prompts: emphasis, editing, styles, extra networks, negative prompt."""

from __future__ import annotations

import random
from typing import Any

import pytest

from msbd.standalone.prompt_syntax import weighted_parts

from . import models
from .client import QUICK, Scene, edited
from .server import Webui


@pytest.mark.parametrize(
    "prompt",
    [
        "a (red:1.4) star",
        "a [red:blue:0.5] star",
        "a [red|blue] star",
        "a red star AND a blue ring :0.6",
        "a red star BREAK on grass",
        "a ((red)) [star]",
        "((unbalanced [prompt",
        "",
        "star, " * 60,
    ],
)
def test_prompt_syntax(webui: Webui, small: Scene, prompt: str) -> None:
    usual = edited(webui, small)
    answer = edited(webui, small, prompt=prompt)
    assert small.is_edited(answer.picture)
    assert (answer.picture != usual.picture).any()


def test_the_command_line_divides_and_weighs_as_the_host(webui: Webui) -> None:
    signs = ["(", ")", "[", "]", ":1.3)", ": -.5 )", ":", "\\", "\\(", "\\]", " BREAK ", "BREAK"]
    draws = random.Random(0)
    pieces = [
        draws.choices([*signs, "red", " ", ", star"], k=draws.randrange(12)) for _ in range(2000)
    ]
    texts = ["".join(one) for one in pieces]
    theirs = webui.post("/msbd-probe/parsed", {"texts": texts}).json
    for text, expected in zip(texts, theirs, strict=True):
        (found, weights), (words, theirs_weights) = spelled(weighted_parts(text)), spelled(expected)
        assert found == words, text
        assert weights == pytest.approx(theirs_weights), text


def spelled(parts: Any) -> tuple[list[str], list[float]]:
    """Each character with its weight: hosts join neighbours whose weights are the same to the last
    bit, which depends on the order of multiplications."""
    pieces = [
        (piece, weight)
        for words, weight in parts
        for piece in ([words] if words == "BREAK" else words)
    ]
    return [piece for piece, _ in pieces], [weight for _, weight in pieces]


def test_the_negative_prompt(webui: Webui, small: Scene) -> None:
    usual, other = (edited(webui, small, negative_prompt=text) for text in ("", "a red star"))
    assert small.is_edited(other.picture) and (usual.picture != other.picture).any()


def test_guidance_of_one_needs_no_negative_prompt(webui: Webui, small: Scene) -> None:
    answer = edited(webui, small, cfg_scale=1)
    assert small.is_edited(answer.picture)


def test_styles(webui: Webui, small: Scene) -> None:
    style, text, _ = models.STYLE
    styled = edited(webui, small, prompt="on grass", styles=[style])
    written = edited(webui, small, prompt=text.replace("{prompt}", "on grass"))
    assert (styled.picture == written.picture).all()


def test_lora(webui: Webui, small: Scene) -> None:
    usual = edited(webui, small)
    changed = edited(webui, small, prompt=f"a red star <lora:{models.LORA}:1>")
    again = edited(webui, small)
    assert small.is_edited(changed.picture)
    assert (changed.picture != usual.picture).any() and (again.picture == usual.picture).all()
    unknown = edited(webui, small, prompt="a red star <lora:unknown:1>")
    assert (unknown.picture == usual.picture).all()


def test_hypernetwork(webui: Webui, small: Scene) -> None:
    if webui.installation.is_fork:
        pytest.skip("hypernetworks have no effect in this WebUI")
    usual = edited(webui, small)
    changed = edited(webui, small, prompt=f"a red star <hypernet:{models.HYPERNETWORK}:1>")
    again = edited(webui, small)
    assert small.is_edited(changed.picture)
    assert (changed.picture != usual.picture).any() and (again.picture == usual.picture).all()


def test_textual_inversion(webui: Webui, small: Scene) -> None:
    usual = edited(webui, small)
    changed = edited(webui, small, prompt=f"a red {models.EMBEDDING}")
    assert small.is_edited(changed.picture) and (changed.picture != usual.picture).any()


def test_clip_judges_the_words_and_not_their_syntax(webui: Webui, small: Scene) -> None:
    fields = {**QUICK, "candidates": 2}
    plain = edited(webui, small, fields, prompt="a red star").report["parts"][0]["scores"]
    dressed = edited(
        webui, small, fields, prompt=f"a red star <lora:{models.LORA}:0>", seed=1
    ).report["parts"][0]["scores"]
    assert plain == pytest.approx(dressed, abs=1e-4)
