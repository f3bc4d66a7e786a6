"""Edits through /sdapi/v1/img2img: what may be asked, and what comes back."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msbd import __version__
from msbd.presets import PRESETS
from msbd.settings import SETTINGS
from msbd.webui.fields import CONTROLS, OLD_CONTROLS

from . import models
from .client import QUICK, Scene, decoded, disc, edited, encoded, scene
from .server import Installation, Webui


def test_an_edit_changes_the_mask_and_nothing_else(webui: Webui, small: Scene) -> None:
    answer = edited(webui, small)
    assert len(answer.pictures) == 1
    assert small.is_edited(answer.picture)


def test_the_answer_holds_the_report(webui: Webui, small: Scene) -> None:
    answer = edited(webui, small, {**QUICK, "margin": 1.5})
    report = answer.report
    assert len(answer.info["msbd"]) == 1
    assert report["version"] == __version__ and report["seed"] == answer.info["seed"] == 1
    assert report["settings"]["margin"] == 1.5 and report["settings"]["steps"] == 4
    assert report["outside_max_difference"] == 0 and not report["interrupted"]
    assert [stage["name"] for stage in report["stages"]][-1] == "final"
    assert report["plan"]["image"] == {"height": 208, "width": 256}
    assert report["seconds"] > 0 and report["model_calls"] == report["plan"]["model_calls"] > 0
    assert (answer.info["width"], answer.info["height"]) == (256, 208)


def test_the_infotext_says_what_was_chosen(webui: Webui, small: Scene) -> None:
    answer = edited(webui, small, {**QUICK, "growth": 1.5}, mask_blur=7)
    text = answer.info["infotexts"][0]
    for words in (
        "Script: Multi-Stage Blended Diffusion",
        f"MSBD version: {__version__}",
        "MSBD preset: draft",
        "MSBD upscaler: Lanczos",
        "MSBD growth per stage: 1.5",
        "Mask blur: 7",
        "Size: 256x208",
        "Sampler: Euler a",
    ):
        assert words in text
    assert "MSBD margin" not in text, "the preset's own values need not be said"


def test_arguments_by_position_and_by_name_are_the_same(webui: Webui, small: Scene) -> None:
    named = edited(webui, small, {"preset": "draft", "candidates": 2, "resampling_steps": 1})
    placed = edited(webui, small, "draft", 2, 1)
    floats = edited(webui, small, "draft", 2.0, 1.0)
    assert (named.picture == placed.picture).all() and (named.picture == floats.picture).all()
    assert named.report["settings"] == placed.report["settings"]


def test_all_positions_may_be_given(webui: Webui, small: Scene) -> None:
    info = webui.get("/sdapi/v1/script-info").json
    ours = [i for i in info if "multi-stage" in i["name"]]
    assert len(ours) == 1 and ours[0]["is_img2img"] and not ours[0]["is_alwayson"]
    values = {a["label"]: a.get("value") for a in ours[0]["args"]}
    chosen = ["draft", 1, 0, 1.3, 0.25, "Lanczos", "off"]
    rest = dict(zip(CONTROLS, values.values(), strict=True))
    rest = {name: rest[name] for name in CONTROLS[len(chosen) :]}
    assert rest["show_candidates"] is False
    answer = edited(webui, small, *chosen, *rest.values())
    assert small.is_edited(answer.picture)
    # A position that is given is a choice, also of what the preset would have otherwise.
    named = edited(webui, small, {**QUICK, **rest})
    assert (answer.picture == named.picture).all()


def test_all_positions_of_an_older_version_may_be_given(webui: Webui, small: Scene) -> None:
    values = dict.fromkeys(OLD_CONTROLS) | {"preset": "draft", "upscaler": "Lanczos"}
    values |= {"growth": 1.2, "repaint_repeats": 1, "repaint_until": 0.5, "decoder_refit": True}
    placed = edited(webui, small, *values.values())
    fields = {"growth": 1.2, "resampling_steps": 1, "repaint_until": 0.5, "decoder": "last layer"}
    named = edited(webui, small, {**QUICK, **fields})
    assert placed.report["settings"] == named.report["settings"]
    assert (placed.picture == named.picture).all()


def test_no_arguments_are_the_panels_preset(webui: Webui, small: Scene) -> None:
    body = small.request(override_settings={"msbd_preset": "draft"}) | {"script_args": []}
    reply = webui.post("/sdapi/v1/img2img", body)
    assert reply.status == 200, reply.reason
    report = json.loads(reply.json["info"])["msbd"][0]
    expected = {name: s.default for name, s in SETTINGS.items()} | PRESETS["draft"]
    for name in ("candidates", "resampling_steps", "decoder", "margin", "upscaler"):
        assert report["settings"][name] == expected[name]


@pytest.mark.parametrize(
    ("height", "width"), [(613, 877), (1000, 333), (130, 97), (64, 300), (128, 128)]
)
def test_odd_sizes(webui: Webui, height: int, width: int) -> None:
    odd = scene(height, width, radius=min(height, width) * 0.2)
    assert odd.is_edited(edited(webui, odd).picture)


def test_the_sliders_size_means_nothing(webui: Webui, small: Scene) -> None:
    usual = edited(webui, small)
    other = edited(webui, small, width=512, height=64, resize_mode=2, denoising_strength=0.1)
    assert (usual.picture == other.picture).all()
    fancy = edited(webui, small, inpaint_full_res=True, inpainting_fill=2)
    assert (usual.picture == fancy.picture).all()


@pytest.mark.parametrize("blur", [0, 8])
def test_mask_blur_is_the_soft_edge(webui: Webui, small: Scene, blur: int) -> None:
    answer = edited(webui, small, mask_blur=blur)
    assert small.is_edited(answer.picture, blur)
    if blur:
        rim = small.touched(blur) & ~small.touched(0)
        assert (answer.picture != small.picture)[rim].any()


def test_an_inverted_mask_keeps_what_is_white(webui: Webui, small: Scene) -> None:
    body = small.request(inpainting_mask_invert=1) | {"mask": encoded(255 - small.mask)}
    reply = webui.post("/sdapi/v1/img2img", body)
    assert reply.status == 200, reply.reason
    assert small.is_edited(decoded(reply.json["images"][0]))
    assert "Mask mode: Inpaint not masked" in json.loads(reply.json["info"])["infotexts"][0]


def test_pictures_with_an_alpha_channel(webui: Webui, small: Scene) -> None:
    opaque = np.dstack([small.picture, np.full(small.mask.shape, 255, np.uint8)])
    plain = edited(webui, small)
    same = edited(webui, small, init_images=[encoded(opaque)])
    assert (plain.picture == same.picture).all()
    glass = opaque.copy()
    glass[:20, :, 3] = 0
    answer = edited(webui, small, init_images=[encoded(glass)])
    assert (answer.picture[:20] == 255).all(), "the host fills with its background colour"
    assert (answer.picture[20:] == plain.picture[20:]).mean() > 0.5
    assert any("transparent" in note for note in answer.report["notes"])


@pytest.mark.parametrize("mode", ["L", "P", "LA"])
def test_other_kinds_of_pictures(webui: Webui, small: Scene, mode: str) -> None:
    image = Image.fromarray(small.picture).convert(mode)
    expected = Scene(np.asarray(image.convert("RGB")), small.mask)
    answer = edited(webui, small, init_images=[encoded(image)])
    assert expected.is_edited(answer.picture)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "1"])
def test_other_kinds_of_masks(webui: Webui, small: Scene, mode: str) -> None:
    mask = Image.fromarray(small.mask)
    if mode == "RGBA":
        layers = [Image.new("L", mask.size, 0)] * 3
        image = Image.merge("RGBA", [*layers, mask])
    else:
        image = mask.convert(mode)
    answer = edited(webui, small, mask=encoded(image))
    assert (answer.picture == edited(webui, small).picture).all()


def test_a_batch_is_its_pictures_one_by_one(webui: Webui, small: Scene) -> None:
    batch = edited(webui, small, batch_size=2, n_iter=2, seed=40)
    assert len(batch.pictures) == 4 and len(batch.info["msbd"]) == 4
    assert batch.info["all_seeds"] == [40, 41, 42, 43]
    for number, picture in enumerate(batch.pictures):
        alone = edited(webui, small, seed=40 + number)
        assert (picture == alone.picture).all(), f"picture {number}"
        assert batch.info["msbd"][number]["seed"] == 40 + number


def test_several_pictures_in_one_request(webui: Webui, small: Scene) -> None:
    other = Scene(np.ascontiguousarray(small.picture[::-1]), small.mask)
    answer = edited(
        webui, small, init_images=[encoded(small.picture), encoded(other.picture)], batch_size=2
    )
    first, second = answer.pictures
    assert small.is_edited(first) and other.is_edited(second)


def test_a_seed_names_the_picture(webui: Webui, small: Scene) -> None:
    one, again, other = (edited(webui, small, seed=seed) for seed in (5, 5, 6))
    assert (one.picture == again.picture).all()
    assert (one.picture != other.picture).any()
    assert one.info["infotexts"] == again.info["infotexts"]


def test_a_random_seed_is_told_and_can_be_repeated(webui: Webui, small: Scene) -> None:
    some = edited(webui, small, seed=-1)
    assert some.info["seed"] >= 0
    again = edited(webui, small, seed=some.info["seed"])
    assert (some.picture == again.picture).all()


def test_the_variation_seed(webui: Webui, small: Scene) -> None:
    plain = edited(webui, small, seed=5)
    none = edited(webui, small, seed=5, subseed=9, subseed_strength=0)
    some = edited(webui, small, seed=5, subseed=9, subseed_strength=0.3)
    others = edited(webui, small, seed=5, subseed=10, subseed_strength=0.3)
    whole = edited(webui, small, seed=5, subseed=9, subseed_strength=1)
    nine = edited(webui, small, seed=9)
    assert (plain.picture == none.picture).all() and (plain.picture != some.picture).any()
    assert (some.picture != others.picture).any()
    inside = small.mask > 0
    distance = np.abs(whole.picture.astype(int) - nine.picture)[inside].mean()
    apart = np.abs(plain.picture.astype(int) - nine.picture)[inside].mean()
    assert distance < 0.2 * apart, "at strength 1 the variation seed is the seed"


@pytest.mark.parametrize("candidates", [1, 3])
def test_candidates_are_scored_by_clip(webui: Webui, small: Scene, candidates: int) -> None:
    answer = edited(webui, small, {**QUICK, "candidates": candidates, "choose": "clip"})
    scores = answer.report["parts"][0]["scores"]
    if candidates == 1:
        assert not scores
    else:
        assert len(scores) == 3 and answer.report["parts"][0]["chosen"] == int(np.argmax(scores))


def test_without_clip_the_first_candidate_goes_on(webui: Webui, small: Scene) -> None:
    body = {**QUICK, "candidates": 2}
    gone = {"msbd_clip_weights": "/nowhere/clip.safetensors"}
    answer = edited(webui, small, body, override_settings=gone)
    assert small.is_edited(answer.picture)
    assert answer.report["parts"][0]["chosen"] == 0 and not answer.report["parts"][0]["scores"]
    assert any("CLIP" in note for note in answer.report["notes"])


def test_the_decoder_is_optimised(webui: Webui, small: Scene) -> None:
    fields = {**QUICK, "decoder": "fine-tune", "decoder_iterations": 5, "decoder_rate": 1e-5}
    answer = edited(webui, small, fields)
    assert small.is_edited(answer.picture)
    for stage, planned in zip(
        answer.report["stages"], answer.report["plan"]["stages"], strict=True
    ):
        before, after = stage["decoder_loss"]
        assert planned["decoder_iterations"] == 5 and after <= before
    assert (answer.picture != edited(webui, small).picture).any()


def test_the_decoders_last_layer_is_solved_for(webui: Webui, small: Scene) -> None:
    answer = edited(webui, small, {**QUICK, "decoder": "last layer"})
    assert small.is_edited(answer.picture)
    for stage, planned in zip(
        answer.report["stages"], answer.report["plan"]["stages"], strict=True
    ):
        before, after = stage["decoder_loss"]
        assert planned["decoder_iterations"] == 0 and after < before
    assert (answer.picture != edited(webui, small).picture).any()


def test_the_decoder_is_trained_with_checkpointing(webui: Webui, small: Scene) -> None:
    """The same picture, byte by byte: only memory and time differ."""
    fields = {**QUICK, "decoder": "fine-tune", "decoder_iterations": 5}
    plain, sparing = (
        edited(webui, small, {**fields, "decoder_checkpointing": on}) for on in (False, True)
    )
    assert sparing.report["settings"]["decoder_checkpointing"]
    assert (plain.picture == sparing.picture).all()
    losses = [[stage["decoder_loss"] for stage in one.report["stages"]] for one in (plain, sparing)]
    assert losses[0] == losses[1] and all(after != before for before, after in losses[0])
    assert plain.report["notes"] == sparing.report["notes"]


@pytest.mark.parametrize(
    ("folder", "package"),
    [("stable-diffusion-stability-ai", "ldm"), ("generative-models", "sgm")],
)
def test_what_is_checkpointed_of_the_hosts_decoders(
    installation: Installation, folder: str, package: str
) -> None:
    """All residual blocks, and nothing else."""
    repository = installation.folder / "repositories" / folder
    if not repository.is_dir():
        pytest.skip("this WebUI has no such decoder")
    code = (
        f"from {package}.modules.diffusionmodules.model import Decoder\n"
        "from msbd.decoder.fine_tune import is_block\n"
        "sizes = dict(in_channels=3, resolution=16, z_channels=4, out_ch=3, ch=32)\n"
        "made = Decoder(**sizes, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=[])\n"
        "print(*(name for name, part in made.named_modules() if is_block(part)))\n"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (root, repository)))}
    found = subprocess.run(
        [installation.python, "-c", code], check=True, capture_output=True, text=True,
        env=environment,
    )  # fmt: skip
    up = {f"up.{level}.block.{index}" for level in (0, 1) for index in (0, 1)}
    assert set(found.stdout.splitlines()[-1].split()) == {"mid.block_1", "mid.block_2", *up}


def test_what_is_checkpointed_of_the_loaded_decoder(webui: Webui, small: Scene) -> None:
    edited(webui, small)
    found = webui.probe("decoder_blocks")
    assert found["checkpointed"] == found["residual"] and len(found["residual"]) > 4


@pytest.mark.parametrize("upscaler", ["R-ESRGAN 4x+", "Bilinear", "Bicubic", "None", "Nearest"])
def test_upscalers(webui: Webui, small: Scene, upscaler: str) -> None:
    answer = edited(webui, small, {**QUICK, "upscaler": upscaler})
    assert small.is_edited(answer.picture)
    assert (answer.picture != edited(webui, small).picture).any(), "Lanczos is another upscaler"


def test_extra_pictures_come_after_the_result(webui: Webui, small: Scene) -> None:
    shown = {"msbd_candidates": "show", "msbd_stages": "show", "msbd_sheet": "show"}
    fields = {**QUICK, "candidates": 2}
    plain = edited(webui, small, fields)
    answer = edited(webui, small, fields, override_settings=shown)
    stages = len(answer.report["stages"])
    assert len(answer.pictures) == 1 + 2 + stages + 1
    assert (answer.picture == plain.picture).all()
    assert len(answer.info["infotexts"]) == len(answer.pictures)


def test_what_is_saved(webui: Webui, small: Scene) -> None:
    folder = webui.data / "outputs" / "img2img"
    before = set(folder.rglob("*.png"))
    saved = {"msbd_stages": "show and save", "msbd_candidates": "show"}
    answer = edited(webui, small, save_images=True, override_settings=saved)
    new = sorted(set(folder.rglob("*.png")) - before)
    assert len(new) == 1 + len(answer.report["stages"])
    results = [p for p in new if (np.asarray(Image.open(p).convert("RGB")).shape[:2] == (208, 256))]
    with Image.open(results[0]) as picture:
        assert "MSBD version" in picture.info["parameters"]


def test_results_on_disk_equal_the_answer(webui: Webui, small: Scene) -> None:
    folder = webui.data / "outputs" / "img2img"
    before = set(folder.rglob("*.png"))
    answer = edited(webui, small, save_images=True)
    (new,) = set(folder.rglob("*.png")) - before
    assert (np.asarray(Image.open(new).convert("RGB")) == answer.picture).all()


def test_overridden_settings_act(webui: Webui, small: Scene) -> None:
    plain = edited(webui, small)
    options = webui.get("/sdapi/v1/options").json
    for changed in (
        {"CLIP_stop_at_last_layers": 2},
        *([] if webui.installation.kind == "forge" else [{"sd_vae": models.OTHER_VAE}]),
        {"msbd_tile_size": 1.0},
        {"eta_ancestral": 0.3},
        {"sd_model_checkpoint": models.PERTURBED},
    ):
        other = edited(webui, small, override_settings=changed)
        assert small.is_edited(other.picture), changed
        if "msbd_tile_size" in changed:
            assert other.report["settings"]["tile_size"] == 1.0
        else:
            assert (plain.picture != other.picture).any(), f"{changed} changed nothing"
    assert (plain.picture == edited(webui, small).picture).all()
    assert webui.get("/sdapi/v1/options").json == options


def test_a_soft_mask_is_blended(webui: Webui, small: Scene) -> None:
    grey = np.where(disc(208, 256, 52) > 0, 100, 0).astype(np.uint8)
    grey[disc(208, 256, 40) > 0] = 255
    soft = edited(webui, small, mask=encoded(grey), mask_blur=0, mask_round=False)
    rim = (grey == 100) & (disc(208, 256, 50) > 0)
    assert (soft.picture != small.picture)[rim].any()
    assert (soft.picture == small.picture)[grey == 0].all()
