"""What the panel says below the quality preset: the page's own functions, run by node."""

from __future__ import annotations

import html
import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from standin import Host, installed

from msbd.presets import PRESETS
from msbd.settings import SETTINGS
from msbd.webui.fields import chosen, label

BY_PRESET = [
    *("candidates", "resampling_steps", "margin", "final_strength", "upscaler", "decoder"),
    *("whole_cells", "early_selection", "guidance_later", "context", "start", "parts", "texture"),
]

SCRIPT = Path(__file__).parent.parent / "javascript" / "msbd_preset.js"
RUN = """
const { readFileSync } = require("fs");
require("vm").runInThisContext(readFileSync(process.argv[1], "utf8"));
const calls = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(calls.map(([name, ...given]) => globalThis[name](...given))));
"""
PAPERS = ("Euler a", 50, "Automatic")
Call = tuple[Any, ...]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


@pytest.fixture(scope="module")
def facts(host: Host) -> dict[str, Any]:
    from msbd.webui.panel.status import facts

    return facts()


def called(*calls: Call) -> list[Any]:
    """What the page's functions answer, called one after the other on one page."""
    if not shutil.which("node"):
        pytest.skip("needs node")
    done = subprocess.run(
        ["node", "-e", RUN, str(SCRIPT)],
        input=json.dumps(calls),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def status(facts: Any, preset: str, host: tuple[Any, ...] = PAPERS, **changed: Any) -> Call:
    values = facts["presets"][preset] | changed
    outputs = ["html", "button"]  # gradio hands over the present ones, too
    return ("msbd_preset_status", facts, preset, *values.values(), *host, *outputs)


def press(facts: Any, preset: str, host: tuple[Any, ...]) -> Call:
    return ("msbd_preset_sampling", facts, preset, *host, *host)


def others(name: str, value: Any) -> list[Any]:
    """Values of a control unlike one."""
    setting = SETTINGS[name]
    if setting.choices:
        values = list(setting.choices)
    elif setting.type is bool:
        values = [False, True]
    elif setting.type is str:
        values = ["Lanczos", '4x: "sharp" <& soft>']
    else:
        steps = range(round((setting.high - setting.low) / setting.step) + 1)
        values = [setting.type(round(setting.low + n * setting.step, 6)) for n in steps]
    return [other for other in values if other != value]


def words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return value if isinstance(value, str) else f"{value:g}"


def test_the_page_knows_every_preset(facts):
    filled = called(*(("msbd_preset_values", facts, name) for name in PRESETS))
    for name, given in zip(PRESETS, filled, strict=True):
        values = chosen(({"preset": name},), {}).values()
        expected = [values[control] for control in BY_PRESET]
        assert list(facts["presets"][name].values()) == given == expected
    assert list(facts["labels"]) == BY_PRESET


def test_a_preset_was_measured_with_its_steps_and_the_papers_sampler(facts):
    steps = {name: values.get("steps", 50) for name, values in PRESETS.items()}
    expected = {name: ("Euler a", n, "Automatic") for name, n in steps.items()}
    assert facts["sampling"] == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_a_changed_control_is_named_and_nothing_else(facts, preset):
    own = facts["presets"][preset]
    changes = [(name, value) for name in own for value in others(name, own[name])]
    told = called(*(status(facts, preset, **dict([change])) for change in changes))
    for (name, value), (said, _) in zip(changes, told, strict=True):
        line = f"{preset}, but: {label(name)} {words(value)} instead of {words(own[name])}"
        assert html.unescape(said) == f"<p>{line}</p>"
        assert said.count("<") == 2, "a name can carry no markup"
    assert {name for name, _ in changes} == set(own)


@pytest.mark.parametrize("preset", PRESETS)
def test_several_changes_are_told_in_the_order_of_the_controls(facts, preset):
    own, dice = facts["presets"][preset], random.Random(preset)
    drawn = [dice.sample(list(own), size) for size in range(len(own) + 1)]
    calls = [
        status(facts, preset, **{name: dice.choice(others(name, own[name])) for name in names})
        for names in drawn
    ]
    for names, (told, _) in zip(drawn, called(*calls), strict=True):
        said = html.unescape(told)
        places = [said.find(f"{label(name)} ") for name in own if name in names]
        assert places == sorted(places) and -1 not in places
        assert said.count("instead of") == len(names)
        assert bool(said) == bool(names)


def test_an_emptied_number_is_the_presets(facts):
    assert called(status(facts, "draft", candidates=None))[0][0] == ""


def test_the_note_on_repaint_is_there_as_soon_as_it_applies(facts):
    noted = {"DPM++ 2M": True, "UniPC": True, "LMS": True, "PLMS": True, "Euler a": False,
             "Heun": False, "DDIM": False, "a sampler of another extension": False}  # fmt: skip
    cases = [*itertools.product(noted, {"draft": 0, "recommended": 1, "paper": 5}.items())]
    told = called(*(status(facts, name, (sampler, 20)) for sampler, (name, _) in cases))
    for (sampler, (_, repeats)), (said, _) in zip(cases, told, strict=True):
        applies = noted[sampler] and repeats > 0
        assert ("cannot build on earlier steps" in said) == applies, sampler


class TestSampling:
    """The button that sets the host's sampler and steps."""

    @staticmethod
    def offer(answer: list[Any]) -> str:
        button = answer[1]
        assert button["visible"] == bool(button["value"])
        return button["value"]

    def test_nothing_is_offered_where_all_is_as_measured(self, facts):
        measured = facts["sampling"].items()
        calls = [status(facts, name, values[:size]) for name, values in measured for size in (2, 3)]
        assert {self.offer(answer) for answer in called(*calls)} == {""}

    @pytest.mark.parametrize(
        ("now", "use", "undo"),
        [
            (("DPM++ 2M", 20, "Automatic"), "Euler a, 25 steps", "DPM++ 2M, 20 steps"),
            (("DPM++ 2M", 20), "Euler a, 25 steps", "DPM++ 2M, 20 steps"),
            (("Euler a", 20, "Automatic"), "Euler a, 25 steps", "Euler a, 20 steps"),
            (("Euler a", 25, "Karras"),
             "Euler a, 25 steps, schedule Automatic", "Euler a, 25 steps, schedule Karras"),
        ],
    )  # fmt: skip
    def test_it_says_what_it_would_set(self, facts, now, use, undo):
        measured = tuple(facts["sampling"]["recommended"][: len(now)])
        before, set_to, after, back = called(
            status(facts, "recommended", now),
            press(facts, "recommended", now),
            status(facts, "recommended", measured),
            press(facts, "recommended", measured),
        )
        assert self.offer(before) == f"Use {use}"
        assert self.offer(after) == f"Undo: back to {undo}"
        assert (tuple(set_to), tuple(back)) == (measured, now)

    @pytest.mark.parametrize("seed", range(5))
    def test_undo_brings_back_what_was_there_whatever_happens_between(self, facts, seed):
        dice = random.Random(seed)
        calls: list[Call] = []
        expected: list[Any] = []
        now, before = ("DPM++ 2M", 20, "Automatic"), None
        for _ in range(60):
            preset = dice.choice(list(PRESETS))
            measured = tuple(facts["sampling"][preset])
            calls.append(status(facts, preset, now))
            offer = "" if now == measured and before is None else "Use "
            expected.append("Undo: " if now == measured and before else offer)
            if expected[-1] and dice.random() < 0.7:
                calls.append(press(facts, preset, now))
                now, before = (before, None) if now == measured else (measured, now)
                expected.append(list(now))
            elif dice.random() < 0.5:
                now = (dice.choice(["Heun", "Euler a"]), dice.choice([20, 25]), "Automatic")
        for found, wanted in zip(called(*calls), expected, strict=True):
            if isinstance(wanted, str):
                assert self.offer(found).startswith(wanted) and bool(wanted) == found[1]["visible"]
            else:
                assert found == wanted


def test_notes_cannot_carry_markup(host, monkeypatch):
    from msbd.webui.panel import status as panel

    monkeypatch.setattr(panel, "conflicts", lambda *_: ["<b>1</b>", "2"])
    assert panel.show_note("Euler a") == "<p>&lt;b&gt;1&lt;/b&gt;</p><p>2</p>"
