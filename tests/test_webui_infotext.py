"""What the infotext says of an edit comes back when it is pasted.

`written` and `read` spell out what the WebUI does with an infotext's parameters; the host tests
do the same with the WebUI itself.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_webui_fields import PAPER, requests

from msbd import __version__
from msbd.presets import PRESETS
from msbd.settings import SETTINGS
from msbd.webui.fields import CONTROLS, FIELDS, PANEL, THIS_RUN, chosen
from msbd.webui.infotext import VERSION, key, parameters, parsed, paste_fields

_NAME = r"\s*(?P<name>\w[\w /-]+):\s*"
_VALUE = r'(?P<value>"(?:[^\\"]|\\.)+"|[^,]*)(?:,|$)'


def written(params: dict[str, str]) -> str:
    """An infotext with these parameters, by the WebUI's rules."""

    def quoted(value: str) -> str:
        return json.dumps(value, ensure_ascii=False) if set(value) & set(",\n:") else value

    host = {"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Size": "768x640"}
    pairs = {"Script": "Multi-Stage Blended Diffusion", **host, **params, "Version": "v1.10.1"}
    text = ", ".join(f"{k}: {quoted(v)}" for k, v in pairs.items())
    return f"a red star\nNegative prompt: blurry, MSBD version: 0\n{text}".strip()


def read(text: str) -> dict[str, str]:
    """The parameters in an infotext, by the WebUI's rules."""
    params = {}
    for found in re.finditer(_NAME + _VALUE, text.strip().split("\n")[-1]):
        name, value = found["name"], found["value"]
        if value and value[0] == value[-1] == '"':
            with contextlib.suppress(ValueError):
                value = json.loads(value)
        if size := re.match(r"^(\d+)x(\d+)$", value):
            params |= {f"{name}-1": size[1], f"{name}-2": size[2]}
        else:
            params[name] = value
    return params


@given(requests)
@example({"upscaler": "4x: Ultra, sharp"})
@example({"upscaler": '"quoted"'})
@example({"upscaler": '"quoted", twice: "so"'})
@example({"upscaler": "back\\slash, \\"})
@example({"upscaler": "512x512"})
@example({"upscaler": " spaces at both ends "})
@example({"upscaler": "two\nlines: one, two"})
@example({"upscaler": "100%25 %"})
@example({"upscaler": ""})
@example({"upscaler": '"'})
@example({"upscaler": "4x-UltraSharp.pth"})
@example({"decoder_rate": 1e-6})
@example({"preset": "draft", "lowpass_background": False, "choose": "first"})
def test_a_choice_survives_its_infotext(values):
    choice = chosen([values], PAPER)
    plain = chosen((), {})
    unshown = replace(choice, **{name: getattr(plain, name) for name in THIS_RUN})
    assert parsed(read(written(parameters(choice)))) == unshown
    assert parameters(choice) == parameters(unshown), "the picture is the same"


def test_only_what_differs_from_the_preset_is_written():
    assert parameters(chosen([], PAPER)) == {VERSION: __version__, "MSBD preset": "paper"}
    draft = chosen([{"preset": "draft", "candidates": 1, "margin": 1.5}], PAPER)
    assert parameters(draft) == {
        VERSION: __version__,
        "MSBD preset": "draft",
        "MSBD margin": "1.5",
    }


def test_the_panels_tiles_are_written_if_they_are_not_the_usual_ones():
    panel = PAPER | {"tile_size": 2.0, "tile_overlap": 0.125}
    texts = parameters(chosen([], panel))
    assert (texts["MSBD tile size"], texts["MSBD tile overlap"]) == ("2.0", "0.125")


def test_a_key_never_changes_whatever_the_controls_are_called():
    assert {name: key(name) for name in FIELDS} == {
        "preset": "MSBD preset",
        "candidates": "MSBD candidates",
        "candidate": "MSBD candidate",
        "details": "MSBD details",
        "resampling_steps": "MSBD repaint repeats",
        "margin": "MSBD margin",
        "final_strength": "MSBD detail strength",
        "upscaler": "MSBD upscaler",
        "decoder": "MSBD decoder optimisation",
        "whole_cells": "MSBD whole latent cells only",
        "early_selection": "MSBD choose after",
        "guidance_later": "MSBD guidance in later stages",
        "context": "MSBD tile context",
        "tile_size": "MSBD tile size",
        "start": "MSBD start",
        "mask_shape": "MSBD mask shape",
        "grow": "MSBD grow",
        "parts": "MSBD parts",
        "texture": "MSBD texture",
    }


def test_keys_are_unique_and_the_host_can_read_them():
    keys = [key(name) for name in FIELDS]
    assert len({VERSION, *keys}) == len(keys) + 1
    for name in keys:
        assert re.fullmatch(r"MSBD [a-z][a-z \-]+", name, re.ASCII | re.IGNORECASE), name


class Target:
    """Stands for a control."""


def pasted(params: dict[str, str]) -> dict[str, object]:
    """What pasting sets each control to; None leaves it alone."""
    controls = {name: Target() for name in CONTROLS}
    fields, names = paste_fields(controls), [name for name in CONTROLS if name not in THIS_RUN]
    assert [component for component, _ in fields] == [controls[name] for name in names]
    return {name: read(params) for name, (_, read) in zip(names, fields, strict=True)}


def test_pasting_sets_every_control():
    params = read(written(parameters(chosen([{"preset": "fast", "candidates": 7}], PAPER))))
    values = pasted(params)
    expected = chosen([{"preset": "fast", "candidates": 7}], PAPER).values()
    assert values == {name: expected[name] for name in CONTROLS if name not in THIS_RUN}
    assert None not in values.values()
    assert all(type(values[n]) is SETTINGS[n].type for n in CONTROLS if n in SETTINGS)


def test_an_infotext_of_something_else_changes_nothing():
    assert set(pasted(read(written({}))).values()) == {None}


@pytest.mark.parametrize(
    ("params", "preset", "changed"),
    [
        ({"MSBD preset": "unheard of", "MSBD candidates": "3"}, "paper", {"candidates": 3}),
        ({"MSBD candidates": "3"}, "paper", {"candidates": 3}),
        ({"MSBD preset": "draft", "MSBD candidates": "many"}, "draft", {}),
        ({"MSBD preset": "draft", "MSBD margin": "1000"}, "draft", {}),
        ({"MSBD preset": "draft", "MSBD something new": "1"}, "draft", {}),
    ],
)
def test_another_versions_infotext_is_read_as_far_as_it_goes(params, preset, changed):
    choice = parsed({VERSION: "9.9"} | params)
    assert choice == chosen([{"preset": preset} | changed], PAPER)


@given(st.sampled_from(list(PRESETS)), requests)
def test_no_value_looks_like_a_size(preset, values):
    for text in parameters(chosen([values | {"preset": preset}], PAPER)).values():
        assert not re.match(r"^(\d+)x(\d+)$", text)


def test_the_panel_is_restored_by_the_hosts_own_means():
    """The keys of tile size and overlap belong to options, not to controls."""
    assert not set(PANEL) & set(CONTROLS)
