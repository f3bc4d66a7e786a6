"""The miniature's judge: its files, its pictures and captions, its answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from msbd.errors import EditError
from msbd.miniature.clip_measures import CHOICES, distractors, measure_clip, similarity
from msbd.miniature.clip_model import CONFIG, FILE, build_clip, export_clip, load_clip, to_input
from msbd.miniature.clip_pictures import SIDE, Facts, draw_view, draw_views, is_true, say, truth
from msbd.miniature.train_clip import calibrate, contrast
from msbd.miniature.vocabulary import encode
from msbd.miniature.world import HELD_OUT
from msbd.standalone import clip as judge


def test_file_is_open_clips() -> None:
    settings = json.loads(FILE.with_suffix(".json").read_text())
    assert settings == CONFIG
    state = load_file(FILE)
    model = build_clip()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    assert all(v.isfinite().all() for v in state.values())
    assert FILE.stat().st_size < 7_000_000


def test_ranks_the_true_caption_first() -> None:
    figures = measure_clip(count=80)
    assert figures["captions"] >= 0.95
    assert figures["pictures"] >= 0.9


@torch.no_grad()
def test_the_extensions_judge_agrees() -> None:
    views = np.stack([draw_view(np.random.default_rng(i), empty=0.0)[0] for i in range(4)])
    images = torch.from_numpy(views.transpose(0, 3, 1, 2).copy()).float() / 255
    theirs = judge.ClipRanker(FILE).score(images, "a red star on grass")
    ours = similarity(load_clip(), views, ["a red star on grass"])[:, 0]
    assert theirs is not None and torch.allclose(theirs, ours, atol=1e-4)


def test_tells_a_bare_background() -> None:
    rng, model = np.random.default_rng(5), load_clip()
    views = [draw_view(rng, "red", "star", empty=0.0)[0] for _ in range(8)]
    scores = similarity(
        model, np.stack(views), ["a red star", "a red star on grass", "empty grass"]
    )
    assert (scores[:, 0] > scores[:, 2]).float().mean() >= 0.9
    assert (scores[:, 1] > scores[:, 2]).float().mean() >= 0.9


def test_padding_does_not_matter() -> None:
    model = load_clip()
    padded = encode(["a red star on grass"])
    end = padded[0].tolist().index(49407)
    zeros = torch.where(torch.arange(77) <= end, padded, 0)
    with torch.no_grad():
        assert torch.equal(model.encode_text(padded), model.encode_text(zeros))


def test_views_show_training_pairs_only() -> None:
    pictures = draw_views(0, 200)
    assert pictures.images.shape == (200, SIDE, SIDE, 3) and pictures.images.dtype == np.uint8
    pairs = {(f.colour, f.shape) for f in pictures.facts if f}
    assert not pairs & set(HELD_OUT) and (None, None) in pairs


def test_captions_say_what_is_true() -> None:
    rng = np.random.default_rng(0)
    shown = Facts("grass", "red", "star")
    for _ in range(30):
        words, said = say(rng, shown)
        assert "red star" in words and is_true(said, shown)
        assert (said.background is not None) == ("grass" in words)
    assert not is_true(Facts(None, "red", "star"), Facts("grass", "blue", "star"))
    assert not is_true(Facts("sea", "red", "star"), shown)
    assert not is_true(Facts("grass"), shown)
    assert not is_true(Facts(None, "red", "star"), None)
    assert truth([Facts(None, "red", "star"), Facts("sea")], [shown, None]).tolist() == [
        [True, False],
        [False, False],
    ]


def test_distractors_differ() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        others = distractors(rng, "red", "star")
        assert len(set(others)) == CHOICES - 1 and ("red", "star") not in others
        assert sum(colour == "red" for colour, _ in others) == 2
        assert sum(shape == "star" for _, shape in others) == 2


def test_contrast_is_least_for_true_partners() -> None:
    eye = torch.eye(4)
    true = eye.bool()
    scale = torch.tensor(50.0)
    assert contrast(eye, eye, true, scale) < 1e-4
    assert contrast(eye, eye.roll(1, 0), true, scale) > 10
    doubled = torch.cat([true, true])
    assert contrast(torch.cat([eye, eye]), eye, doubled, scale) == pytest.approx(
        np.log(2) / 2, abs=1e-3
    )
    lone = torch.cat([true, torch.zeros(1, 4, dtype=torch.bool)])
    far = torch.cat([eye, -eye.sum(0, keepdim=True)])
    assert contrast(far, eye, lone, scale) < 1e-4


def test_export_fills_what_training_leaves_out(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_clip(24)
    calibrate(model, draw_views(0, 8).images)
    path = tmp_path / "clip.safetensors"
    export_clip(model.state_dict(), path)
    loaded = load_clip(path)
    tokens = encode(["a red star"])
    with torch.no_grad():
        assert torch.allclose(
            loaded.encode_text(tokens), model.encode_text(tokens[:, :24]), atol=1e-2
        )
        images = to_input(draw_views(1, 2).images)
        assert torch.allclose(loaded.encode_image(images), model.encode_image(images), atol=2e-2)
    table = loaded.token_embedding.weight
    assert torch.equal(table[encode(["zebra"])[0, 1]], table[encode(["cathedral"])[0, 1]])
    with pytest.raises(EditError, match="missing"):
        load_clip(tmp_path / "absent.safetensors")
