"""How requests name the settings, what is refused, and the schema that says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msbd.errors import EditError
from msbd.presets import PRESETS, preset
from msbd.settings import SETTINGS
from msbd.webui.fields import (
    CANDIDATES_ONLY,
    CONTINUE_FROM,
    CONTROLS,
    EDIT_ID,
    FIELDS,
    FIRST_SIGHT,
    FOLDED,
    HOST_OWNED,
    OLD_CONTROLS,
    PANEL,
    SHOW_CANDIDATES,
    THIS_RUN,
    Choice,
    chosen,
    schema,
)

PAPER = {"preset": "paper", "tile_size": 1.5, "tile_overlap": 0.25}


others = {
    "preset": st.sampled_from(list(PRESETS)),
    SHOW_CANDIDATES: st.booleans(),
    CANDIDATES_ONLY: st.booleans(),
    EDIT_ID: st.sampled_from(["", "last", "0123456789abcdef" * 2]),
    CONTINUE_FROM: st.integers(0, 9),
}


def one_value(name: str) -> st.SearchStrategy:
    """Any allowed value of a field."""
    if name in others:
        return others[name]
    setting = SETTINGS[name]
    if setting.type is bool:
        return st.booleans()
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.type is str:
        return st.from_regex(setting.pattern[0], fullmatch=True) if setting.pattern else st.text()
    if setting.type is int:
        return st.integers(int(setting.low), int(setting.high))
    return st.floats(setting.low, setting.high)


requests = st.fixed_dictionaries(
    {}, optional={name: one_value(name) for name in (*FIELDS, *THIS_RUN)}
)


def test_every_setting_is_a_control_or_in_the_panel_or_the_hosts():
    controls = [*FIRST_SIGHT, *(name for names in FOLDED.values() for name in names)]
    ours = ["preset", *SETTINGS, "sampler", *THIS_RUN]
    assert sorted([*controls, *PANEL, *HOST_OWNED]) == sorted(ours)
    assert len(SETTINGS) <= 22 and len(FIRST_SIGHT) <= 7
    assert sorted(controls) == sorted(CONTROLS)
    assert [*FIELDS] == [*(name for name in CONTROLS if name not in THIS_RUN), *PANEL]


def test_the_order_of_positional_arguments_never_changes():
    assert CONTROLS[:17] == (
        *("preset", "candidates", "resampling_steps", "margin", "final_strength", "upscaler"),
        *("decoder", "whole_cells", "early_selection", "guidance_later", "context"),
        *(SHOW_CANDIDATES, "start", "mask_shape", "grow", "parts", "texture"),
    )


@pytest.mark.parametrize("module", ["fields", "infotext", "panel.specification"])
def test_it_needs_neither_the_host_nor_torch(module):
    code = (
        f"import sys, msbd.webui.{module};"
        "sys.exit(bool({'torch', 'gradio', 'modules'} & set(sys.modules)))"
    )
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize("args", [(), [], ({},), (None,), (None,) * len(CONTROLS)])
def test_nothing_given_is_all_defaults(args):
    assert chosen(args, PAPER) == Choice("paper", preset("paper"))


@pytest.mark.parametrize("name", PRESETS)
def test_the_defaults_of_a_request_are_its_presets(name):
    assert chosen([{"preset": name}], PAPER) == Choice(name, preset(name))
    assert chosen([name], PAPER) == chosen([{"preset": name}], PAPER)
    assert chosen([], PAPER | {"preset": name}) == Choice(name, preset(name))


def test_the_panel_decides_what_a_request_leaves_out():
    panel = {"preset": "draft", "tile_size": 2.0, "tile_overlap": 0.125}
    settings = chosen([{"tile_overlap": 0.5}], panel).settings
    assert (settings.tile_size, settings.ablation.tile_overlap) == (2.0, 0.5)
    assert chosen(["paper"], panel).settings.candidates == 5


def test_null_is_the_default():
    assert chosen([{"preset": None, "candidates": None, "margin": 2}], PAPER) == chosen(
        [{"margin": 2.0}], PAPER
    )


def test_sliders_send_whole_numbers_as_floats():
    settings = chosen(["paper", 3.0, 0.0], PAPER).settings
    assert (settings.candidates, settings.resampling_steps) == (3, 0)
    assert type(settings.candidates) is int


def test_what_the_host_lets_slide_in_behind_a_dictionary_is_not_looked_at():
    assert chosen([{"margin": 2.0}, "other", None, 7], PAPER) == chosen([{"margin": 2.0}], PAPER)


@given(requests)
def test_a_choice_written_out_is_the_same_choice(values):
    choice = chosen([values], PAPER)
    assert chosen([choice.values()], {}) == choice
    assert values.items() <= choice.values().items()
    positional = [choice.values()[name] for name in CONTROLS]
    panel = {name: choice.values()[name] for name in PANEL}
    assert chosen(positional, panel) == choice


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"candidat": 3}, ["unknown field 'candidat'", "candidates", "tile_size"]),
        ({1: 3}, ["unknown field 1"]),
        ({"steps": 20}, ["steps is set by the request's own field 'steps'"]),
        ({"guidance": 7}, ["guidance", "'cfg_scale'"]),
        ({"sampler": "euler"}, ["sampler", "'sampler_name'"]),
        ({"feather": 8}, ["feather", "'mask_blur'"]),
        (
            {"preset": "best"},
            ["preset must be one of paper, recommended, fast, draft, remove, not 'best'"],
        ),
        ({"preset": ["paper"]}, ["preset must be one of"]),
        ({"preset": 1}, ["preset must be one of"]),
        ({"candidates": 0}, ["candidates must be a whole number from 1 to 16, not 0"]),
        ({"candidates": 2.5}, ["candidates", "2.5"]),
        ({"candidates": True}, ["candidates", "True"]),
        ({"candidates": "many"}, ["candidates", "'many'"]),
        ({"candidate": "0"}, ["candidate must be best, a number", "'0'"]),
        ({"candidate": "1:2,3"}, ["candidate must be best, a number", "'1:2,3'"]),
        ({"candidates": [3]}, ["candidates", "[3]"]),
        ({"margin": float("nan")}, ["margin", "from 1 to 4"]),
        ({"margin": float("inf")}, ["margin"]),
        ({"margin": {}}, ["margin"]),
        ({"choose": "best"}, ["choose must be one of clip, fit, first"]),
        ({"upscaler": 4}, ["upscaler must be a text"]),
        ({"lowpass_background": "maybe"}, ["lowpass_background must be true or false"]),
        ({"tile_size": 0}, ["tile_size"]),
        ({"show_candidates": "yes"}, ["show_candidates must be true or false, not 'yes'"]),
        ({"show_candidates": 1}, ["show_candidates must be true or false, not 1"]),
    ],
)
def test_what_is_not_allowed_is_refused_by_name(values, words):
    with pytest.raises(EditError) as refusal:
        chosen([values], PAPER)
    for word in words:
        assert word in str(refusal.value)


def test_positional_values_are_refused_by_name_too():
    with pytest.raises(EditError, match="resampling_steps must be"):
        chosen(["paper", 5, 99], PAPER)
    with pytest.raises(EditError, match="repaint_repeats is now resampling_steps"):
        chosen([{"repaint_repeats": 99}], PAPER)
    with pytest.raises(EditError, match=f"at most {len(CONTROLS)} values"):
        chosen([None] * (len(OLD_CONTROLS) + 1), PAPER)


@given(st.lists(st.none(), max_size=len(OLD_CONTROLS)))
def test_nothing_in_a_list_of_any_length_is_all_defaults(values):
    assert chosen(values, PAPER) == Choice("paper", preset("paper"))


@given(requests, st.integers(1, len(CONTROLS)))
def test_the_end_of_a_list_may_be_missing(values, length):
    written = chosen([values], PAPER).values()
    first = [written[name] for name in CONTROLS[:length]]
    named = {name: written[name] for name in CONTROLS[:length]}
    assert chosen(first, PAPER) == chosen([named], PAPER)


class TestSchema:
    """The JSON schema, read the way JSON Schema's draft 7 says."""

    described = schema(PAPER, ["R-ESRGAN 4x+", "Lanczos"])
    properties = described["properties"]

    def test_it_has_every_field_once_with_its_default(self):
        assert list(self.properties) == [*FIELDS, *THIS_RUN]
        assert self.described["additionalProperties"] is False
        defaults = {name: facts["default"] for name, facts in self.properties.items()}
        assert defaults == chosen([], PAPER).values()
        assert defaults | {"preset": None} == {
            **{name: SETTINGS[name].default if name in SETTINGS else None for name in FIELDS},
            **{SHOW_CANDIDATES: False, CANDIDATES_ONLY: False, EDIT_ID: "", CONTINUE_FROM: 0},
        }

    def test_the_defaults_are_those_of_the_panel(self):
        panel = {"preset": "draft", "tile_size": 2.0, "tile_overlap": 0.125}
        facts = schema(panel, [])["properties"]
        assert facts["preset"]["default"] == "draft"
        assert facts["candidates"]["default"] == PRESETS["draft"]["candidates"]
        assert facts["tile_size"]["default"] == 2.0

    def test_upscalers_are_listed_if_they_are_known(self):
        assert self.properties["upscaler"]["enum"] == ["R-ESRGAN 4x+", "Lanczos"]
        assert "enum" not in schema(PAPER, [])["properties"]["upscaler"]

    def test_every_field_is_explained_with_the_papers_section(self):
        for name in FIELDS[1:]:
            setting, facts = SETTINGS[name], self.properties[name]
            assert facts["title"] == setting.label
            assert facts["description"].startswith(setting.help)
            assert setting.paper in facts["description"]

    @given(st.data())
    def test_what_it_allows_is_accepted(self, data):
        name = data.draw(st.sampled_from(FIELDS))
        facts = schema(PAPER, [])["properties"][name]
        kinds = {
            "boolean": st.booleans(),
            "string": st.text(),
            "integer": st.integers(facts.get("minimum"), facts.get("maximum")),
            "number": st.floats(facts.get("minimum"), facts.get("maximum"), allow_nan=False),
        }
        values = st.sampled_from(facts["enum"]) if "enum" in facts else kinds[facts["type"]]
        if "pattern" in facts:
            values = st.from_regex(facts["pattern"], fullmatch=True).map(str.strip)
        chosen([{name: data.draw(values)}], PAPER)

    @given(st.sampled_from(FIELDS), st.booleans())
    def test_what_is_beyond_its_bounds_is_refused(self, name, below):
        facts = self.properties[name]
        if "minimum" not in facts:
            return
        value = facts["minimum"] - 1 if below else facts["maximum"] + 1
        with pytest.raises(EditError, match=name):
            chosen([{name: value}], PAPER)
