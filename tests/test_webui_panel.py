"""Settings panel, X/Y/Z axes and the dry run's button, on the stand-in of the WebUI."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from recorded import assert_means, recorded, then_of
from standin import Host, installed
from standin.desk import QUICK, inside, mask_of, photograph, pixels, plainly, request

from msbd.errors import EditError
from msbd.legacy import GONE
from msbd.presets import DEFAULT_PRESET, PRESETS, preset
from msbd.settings import SETTINGS
from msbd.webui.fields import CONTROLS, TITLE, chosen, label


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        components = ModuleType("modules.ui_components")
        components.FormRow = None
        sys.modules["modules.ui_components"] = components
        yield started


class TestSettingsPanel:
    def test_what_mirrors_a_setting_is_the_settings(self, host):
        from msbd.webui.fields import PANEL
        from msbd.webui.options import known

        for name in PANEL:
            option, setting = known()[name], SETTINGS[name]
            assert (option.default, option.label) == (setting.default, setting.label)
            bounds = {"minimum": setting.low, "maximum": setting.high, "step": setting.step}
            assert option.arguments == ({} if setting.type is bool else bounds)
            assert setting.help.rstrip(".") in option.help
            assert (setting.paper or "") in option.help

    def test_everything_is_registered_under_our_prefix_and_section(self, host):
        from msbd.webui.options import known, option, register

        before = {name: option(name) for name in known()}
        register()
        labels = host.shared.opts.data_labels
        assert {name for name in labels if name.startswith("msbd_")} == {
            f"msbd_{name}" for name in known()
        }
        for name in known():
            assert labels[f"msbd_{name}"].section == ("msbd", "Multi-Stage Blended Diffusion")
        assert {name: option(name) for name in known()} == before

    def test_the_host_restores_the_tiles_from_our_infotext_keys(self, host):
        from msbd.webui.infotext import key
        from msbd.webui.options import register

        register()
        labels = host.shared.opts.data_labels
        restored = {info.infotext: name for name, info in labels.items() if "msbd" in name}
        assert restored[key("tile_size")] == "msbd_tile_size"
        assert restored[key("tile_overlap")] == "msbd_tile_overlap"

    def test_requests_take_their_defaults_from_it(self, host):
        from msbd.webui.options import defaults, register

        register()
        del host.shared.opts.data["msbd_preset"]
        panel = {"tile_size": 1.5, "show_candidates": False}
        assert defaults() == {"preset": DEFAULT_PRESET} | panel
        host.shared.opts.msbd_preset = "draft"
        host.shared.opts.msbd_tile_size = 2
        assert defaults() == panel | {"preset": "draft", "tile_size": 2}
        host.shared.opts.msbd_preset = "of a later version"
        assert defaults()["preset"] == DEFAULT_PRESET

    @pytest.mark.parametrize("registered", [False, True])
    def test_what_an_older_version_stored_counts(self, host, registered):
        from msbd.webui.options import defaults, option, register

        stored = recorded("options.json")
        if registered:
            register()
        host.shared.opts.data.update(stored["config"])
        for name, value in stored["options"].items():
            assert name in GONE or option(name) == value
        assert_means(chosen((), defaults()).settings, stored["settings"])

    @pytest.mark.parametrize("name", ["growth", "tile_guidance", "repaint_from", "choose"])
    def test_a_pasted_infotext_keeps_what_has_no_control(self, host, name):
        """The host hands it on as an override of the option whose infotext key it is."""
        from msbd.webui import infotext
        from msbd.webui.options import defaults, register

        value = {"growth": 2.0, "tile_guidance": 0.75, "repaint_from": 0.25, "choose": "first"}[
            name
        ]
        made = chosen(({"preset": "draft", name: value},), {})
        text = infotext.parameters(made)
        register()
        labels = host.shared.opts.data_labels
        for option, info in labels.items():
            if info.infotext in text:
                setattr(host.shared.opts, option, text[info.infotext])
        again = infotext.parsed(text)
        controls = {key: again.values()[key] for key in CONTROLS}
        assert chosen((controls,), defaults()).settings == made.settings == again.settings


class Axis:
    """As the X/Y/Z plot's own."""

    def __init__(self, label: str, type: Any, apply: Any, **more: Any) -> None:
        self.label, self.type, self.apply = label, type, apply
        self.confirm, self.choices = more["confirm"], more["choices"]


@pytest.fixture
def axes(host: Host) -> dict[str, Axis]:
    """Our axes, by label, after they were added twice."""
    from msbd.webui.xyz import add_axes

    plot = SimpleNamespace(axis_options=[], AxisOptionImg2Img=Axis)
    path = str(Path("scripts", "xyz_grid.py"))
    host.scripts.scripts_data = [
        SimpleNamespace(path=str(Path("scripts", "other.py")), module=SimpleNamespace()),
        SimpleNamespace(path=path, module=plot),
    ]
    add_axes()
    add_axes()
    labels = [axis.label for axis in plot.axis_options]
    assert len(set(labels)) == len(labels)
    return {axis.label: axis for axis in plot.axis_options}


class TestAxes:
    def test_there_is_one_for_every_field(self, axes):
        from msbd.webui.fields import FIELDS

        assert list(axes)[: len(FIELDS)] == [f"[MSBD] {label(name)}" for name in FIELDS]

    @pytest.mark.parametrize(
        ("name", "field"),
        [
            *[("Preset", "preset"), ("Guidance in later stages", "guidance_later")],
            *[("Whole latent cells only", "whole_cells"), ("Decoder optimisation", "decoder")],
        ],
    )
    def test_so_are_those_that_came_with_0_2(self, axes, name, field):
        p = SimpleNamespace()
        axes[f"[MSBD] {name}"].apply(p, "a value", [])
        axes[f"[MSBD] {label(field)}"].apply(p, "another", [])
        assert p.msbd_values == {field: "another"}

    @pytest.mark.parametrize("axis", recorded("axes.json"), ids=lambda axis: axis["field"])
    def test_those_of_older_versions_set_what_they_set(self, axes, host, axis):
        from msbd.webui import run
        from msbd.webui.xyz import patch_cell

        choices: list[Any] = []
        run.patch = lambda p, choice: choices.append(choice)
        del host.shared.opts.data["msbd_preset"]
        assert axes[axis["label"]].type is {"int": int, "float": float}.get(axis["type"], str)
        for value, changes in zip(axis["values"], axis["changes"], strict=True):
            p = request(host)
            p.scripts = SimpleNamespace(scripts=[SimpleNamespace(args_to=0)], selectable_scripts=[])
            axes[axis["label"]].apply(p, value, [value])
            patch_cell(p)
            base = chosen(({"preset": "recommended"},), {}).settings
            assert_means(choices.pop().settings, then_of(base) | changes)

    def test_choices_are_offered_where_there_are_any(self, axes, host):
        assert axes["[MSBD] Preset"].choices() == list(PRESETS)
        assert axes["[MSBD] Choose by"].choices() == ["clip", "fit", "first"]
        assert "R-ESRGAN 4x+" in axes["[MSBD] Upscaler"].choices()
        assert "None" not in axes["[MSBD] Upscaler"].choices()
        assert axes["[MSBD] Low-pass the background"].choices() == ["True", "False"]
        assert axes["[MSBD] Candidates"].choices is None
        assert (axes["[MSBD] Candidates"].type, axes["[MSBD] Detail"].type) == (int, float)

    def test_values_are_checked_before_the_plot_starts(self, axes, host):
        p = SimpleNamespace(is_api=False)
        axes["[MSBD] Candidates"].confirm(p, [1, 16])
        with pytest.raises(EditError, match="candidates must be"):
            axes["[MSBD] Candidates"].confirm(p, [1, 17])
        p.is_api = True
        with pytest.raises(sys.modules["fastapi"].HTTPException) as refusal:
            axes["[MSBD] Preset"].confirm(p, ["best"])
        assert refusal.value.status_code == 422

    def test_cells_do_not_share_their_values(self, axes):
        first, second = SimpleNamespace(msbd_values={"margin": 2.0}), SimpleNamespace()
        shared = first.msbd_values
        axes["[MSBD] Candidates"].apply(first, 3, [3, 4])
        axes["[MSBD] Candidates"].apply(second, 4, [3, 4])
        assert first.msbd_values == {"margin": 2.0, "candidates": 3}
        assert second.msbd_values == {"candidates": 4}
        assert shared == {"margin": 2.0}

    @pytest.mark.edits
    def test_a_cell_with_a_value_is_edited_and_others_are_not(self, axes, host):
        from msbd.webui.xyz import patch_cell

        p = request(host)
        patch_cell(p)
        assert "init" not in vars(p)

        p = request(host)
        p.scripts = None
        p.extra_generation_params["MSBD margin"] = "another cell's"
        for name, value in QUICK.items():
            axes[f"[MSBD] {label(name)}"].apply(p, value, [value])
        axes["[MSBD] Preset"].apply(p, "draft", ["draft"])
        patch_cell(p)
        processed = plainly(host, p)
        source = pixels(p.init_images[0])
        assert processed.images[0].size == p.init_images[0].size
        changed = (pixels(processed.images[0]) != source).any(-1)
        assert changed[inside(p)].mean() > 0.5
        assert "MSBD candidates: 2" in processed.infotexts[0]
        assert "MSBD margin" not in processed.infotexts[0]
        assert f"Script: {TITLE}" in processed.infotexts[0], "pasting it selects the script"

    def test_the_scripts_own_controls_say_the_rest_unless_a_preset_does(self, axes, host):
        from msbd.webui import run
        from msbd.webui.fields import CONTROLS
        from msbd.webui.xyz import patch_cell

        choices = []
        run.patch = lambda p, choice: choices.append(choice)
        ours = SimpleNamespace(args_from=2, args_to=2 + len(CONTROLS), title=lambda: TITLE)
        runner = SimpleNamespace(scripts=[ours], selectable_scripts=[ours])
        values = ["fast", 4] + [None] * (len(CONTROLS) - 2)
        for applied in ({"margin": 2.0}, {"margin": 2.0, "preset": "paper"}):
            for args in ([0, 1, *values], [0, 1, *values[:-1]]):
                p = SimpleNamespace(
                    msbd_values=applied,
                    scripts=runner,
                    script_args=args,
                    extra_generation_params={},
                )
                patch_cell(p)
        seen = [(c.preset, c.settings.candidates, c.settings.margin) for c in choices]
        assert seen == [("fast", 4, 2.0), *[("paper", 5, 2.0)] * 3]

    def test_what_is_wrong_is_said_when_the_cell_is_made(self, axes, host):
        from msbd.webui.xyz import patch_cell

        p = request(host)
        p.scripts = None
        p.msbd_values = {"preset": "best"}
        patch_cell(p)
        with pytest.raises(EditError, match="preset must be"):
            plainly(host, p)


INPAINT, SKETCH, UPLOAD, BATCH = 2, 3, 4, 5


def dry_run(mode: int, *pictures: Any, mask_mode: int = 0, **fields: Any) -> tuple[Any, str]:
    """What the button shows. pictures: of the tab's five components, and the Batch's folders."""
    from msbd.webui.fields import CONTROLS
    from msbd.webui.panel.dry_run import show_dry_run

    host_controls = [2, 0, mask_mode, 4, "Euler a", 2, 1, [], 0.75, 1, "a star"]
    ours = [({"preset": "draft"} | fields).get(name) for name in CONTROLS]
    given = [*pictures, *[None] * (5 - len(pictures)), "", ""][:7]
    picture, text = show_dry_run(mode, *given, *host_controls, *ours)
    return picture["value"], text


class TestDryRun:
    scene = photograph(70, 96)
    mask = mask_of((70, 96), (slice(20, 50), slice(30, 66)))

    @pytest.fixture(autouse=True)
    def planned(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What was to be planned; the plan itself says only where the mask is."""
        from msbd.webui.panel import dry_run as dry_run_panel

        calls = []

        def plan(inputs: Any, choice: Any, **more: Any) -> Any:
            calls.append((inputs, choice, more))
            rows, columns = np.nonzero(inputs.mask)
            text = f"mask {np.ptp(columns) + 1}x{np.ptp(rows) + 1} <plan>"
            picture = inputs.pictures[0]
            return SimpleNamespace(picture=picture, headline=text, lines=["<1>"], notes=["<2>"])

        monkeypatch.setattr(dry_run_panel, "dry_run", plan)
        return calls

    def test_upload(self, planned):
        drawing, text = dry_run(UPLOAD, None, None, None, self.scene, self.mask, margin=2.0)
        assert drawing is not None
        for told in ("<b>mask 36x30 &lt;plan&gt;</b>", "<li>&lt;1&gt;</li>", "<p>&lt;2&gt;</p>"):
            assert told in text
        ((_, settings, more),) = planned
        draft = preset("draft").with_values({"margin": 2.0, "steps": 4, "feather": 2})
        assert settings == draft.decided(False, "a star")
        assert more == {"sampler_name": "Euler a", "count": 2}

    def test_inpaint(self):
        painted = Image.merge("RGBA", [self.mask] * 3 + [Image.new("L", self.mask.size, 255)])
        _, text = dry_run(INPAINT, {"image": self.scene.convert("RGBA"), "mask": painted})
        assert "mask 36x30" in text

    def test_inverted(self):
        _, text = dry_run(UPLOAD, None, None, None, self.scene, self.mask, mask_mode=1)
        assert "mask 96x70" in text

    def test_sketch(self):
        sketch = np.array(self.scene)
        sketch[10:20, 40:70] ^= 255
        _, text = dry_run(SKETCH, None, Image.fromarray(sketch), self.scene)
        assert "mask 30x10" in text

    @pytest.mark.parametrize(
        ("mode", "pictures", "words"),
        [
            (0, (), "Inpaint upload"),
            (INPAINT, (), "no picture"),
            (SKETCH, (), "no picture"),
            (SKETCH, (None, scene, None), "mask is empty"),
            (UPLOAD, (None, None, None, scene), "no mask"),
            (UPLOAD, (None, None, None, scene, Image.new("L", scene.size)), "mask is empty"),
        ],
    )
    def test_what_is_missing_is_said_in_plain_words(self, mode, pictures, words):
        drawing, text = dry_run(mode, *pictures)
        assert drawing is None
        assert "msbd-error" in text
        assert words in text

    def test_the_batch_shows_its_first_picture_that_has_a_mask(self, planned, tmp_path):
        pictures, masks = tmp_path / "pictures", tmp_path / "masks"
        for folder in (pictures, masks):
            folder.mkdir()
        for name in ("1.png", "10.png", "9.png"):
            self.scene.save(pictures / name)
        for name in ("9.png", "10.webp"):
            self.mask.save(masks / name)
        drawing, text = dry_run(BATCH, *[None] * 5, str(pictures), str(masks))
        assert drawing is not None and "mask 36x30" in text
        assert "First of 2 pictures: 9.png. Pictures left out, without a mask: 1." in text
        ((_, _, more),) = planned
        assert more["count"] == 2 * 2

    def test_the_batch_without_folders(self):
        _, text = dry_run(BATCH)
        assert "Input directory: name a folder" in text

    def test_what_takes_long_is_said_first(self, host):
        from msbd.webui.panel.dry_run import begin

        assert begin()[1] == ""
        host.sd_models.model_data.sd_model = None
        assert "The checkpoint is loaded first" in begin()[1]

    def test_a_bad_value_is_named(self):
        _, text = dry_run(UPLOAD, None, None, None, self.scene, self.mask, margin=9.0)
        assert "margin must be a number from 1 to 4" in text

    def test_a_pasted_tile_size_counts(self, host):
        from msbd.webui.panel.dry_run import _overridden

        assert _overridden(["MSBD tile size: 2.0", "Clip skip: 2"]) == {"tile_size": "2.0"}
        assert _overridden(None) == {}


def test_the_tab_tells_once_when_nothing_is_missing(host):
    from msbd.webui.panel import tab as tabs

    sys.modules["gradio"].State = type("State", (), {})
    names = [name for name in tabs.NEEDED if "original" not in name]
    told = []
    tab = tabs.Tab()
    tab.saw(sys.modules["gradio"].State())
    tab.when_complete(lambda: told.append("complete"))
    for name in names:
        tab.saw(SimpleNamespace(elem_id=name))
        tab.saw(SimpleNamespace(elem_id="something else"))
    assert not told
    original = sys.modules["gradio"].State()
    tab.saw(original)
    tab.saw(sys.modules["gradio"].State())
    assert told == ["complete"]
    assert tab.components["inpaint_sketch_original"] is original
    tab.when_seen([tabs.GALLERY], lambda: told.append("gallery"))
    tab.saw(SimpleNamespace(elem_id="something else"))
    assert told == ["complete"]
    for _ in range(2):
        tab.saw(SimpleNamespace(elem_id=tabs.GALLERY))
        assert told == ["complete", "gallery"]


def test_the_result_moves_to_the_gallery(host):
    from msbd.webui.panel.dry_run import Panel

    below, column = SimpleNamespace(children=[]), SimpleNamespace(children=[])
    result, gallery = SimpleNamespace(parent=below), SimpleNamespace(parent=column)
    below.children += ["controls", result, "more"]
    column.children += ["progress", gallery, "buttons"]
    Panel(*[None] * 2, result, *[None] * 4).stand_before(gallery)
    assert below.children == ["controls", "more"]
    assert column.children == ["progress", result, gallery, "buttons"] and result.parent is column
