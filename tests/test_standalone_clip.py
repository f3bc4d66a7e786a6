"""The judge: preprocessing and scores as open_clip's, and no crash whatever happens."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from second_device import SecondDevice

from msbd import memory
from msbd.memory import evict
from msbd.miniature.torchvision_patch import patch_torchvision
from msbd.standalone.clip import ClipModel, ClipRanker, load_clip, prepared
from msbd.standalone.clip_vit import tokenizer

patch_torchvision()
open_clip = pytest.importorskip("open_clip")

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
RESNET = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "resize_mode": "squash", "size": 64}


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def build(config, seed=0, **more):
    torch.manual_seed(seed)
    network = open_clip.CLIP(**config, **more).eval().requires_grad_(False)
    network.token_embedding.weight.normal_()
    return network


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    """A small CLIP as a weights file in half precision with its description beside it."""
    path = tmp_path_factory.mktemp("clip") / "small.safetensors"
    state = build(RESNET).state_dict()
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
    facts = {"model_cfg": RESNET, "preprocess_cfg": PREPROCESS}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def expected_scores(network, images, prompt, mean, std):
    mean, std = (torch.tensor(values)[:, None, None] for values in (mean, std))
    seen = network.encode_image((images - mean) / std, normalize=True)
    return (seen @ network.encode_text(open_clip.tokenize([prompt]), normalize=True).T)[:, 0]


def test_scores_of_a_described_file(described):
    network = build(RESNET)
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    judge, images = ClipRanker(described), pictures(3, 3, 64, 64)
    scores = judge.score(images, "a red circle")
    assert judge.reason is None and scores.shape == (3,) and scores.dtype == torch.float32
    expected = expected_scores(
        network, images, "a red circle", *map(PREPROCESS.get, ("mean", "std"))
    )
    assert torch.allclose(scores, expected, atol=1e-5)
    assert scores.abs().max() <= 1 and not scores.requires_grad


def test_one_picture_s_score_does_not_depend_on_the_others(described):
    judge, images = ClipRanker(described), pictures(4, 3, 80, 70)
    single = torch.cat([judge.score(image, "a cat") for image in images.split(1)])
    assert torch.allclose(judge.score(images, "a cat"), single, atol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", "_archive.pt"])
def test_scores_of_a_file_in_openai_s_layout(tmp_path, suffix):
    network = build(VIT, quick_gelu=True)
    path = tmp_path / f"vit{suffix}"
    if suffix == ".safetensors":
        save_file(network.state_dict(), path)
    elif suffix == ".pt":
        torch.save(network.state_dict(), path)
    else:  # what OpenAI published
        mask = network.attn_mask
        del network.attn_mask  # there, the mask is no buffer, but three numbers are
        network.attn_mask = mask
        for name in ("input_resolution", "context_length", "vocab_size"):
            vars(network).pop(name, None)
            network.register_buffer(name, torch.tensor(32))
        example = torch.zeros(1, 3, 32, 32), open_clip.tokenize(["a"])
        torch.jit.trace(network, example).save(str(path))
    model = load_clip(path)
    assert model.side == 32 and all(p.dtype == torch.float32 for p in model.network.parameters())
    images = pictures(2, 3, 32, 32)
    scores = ClipRanker(path).score(images, "a cat")
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    # The loader passes through half precision, in which OpenAI's weights are.
    assert torch.allclose(scores, expected_scores(network, images, "a cat", mean, std), atol=5e-3)


def test_the_default_s_architecture_fits_openai_s_layout(monkeypatch):
    """ViT-L-14 by name, without its weights: sizes and preprocessing are the published ones."""
    calls = {}

    def create_model(name, pretrained, device):
        calls.update(name=name, pretrained=pretrained)
        return build(VIT)

    monkeypatch.setattr(open_clip, "create_model", create_model)
    model = load_clip("ViT-L-14/openai")
    assert calls == {"name": "ViT-L-14", "pretrained": "openai"}
    assert model.mean == tuple(open_clip.OPENAI_DATASET_MEAN)
    assert model.std == tuple(open_clip.OPENAI_DATASET_STD)
    assert model.tokenize(["a cat"]).shape == (1, 77)


@pytest.fixture
def without_open_clip(monkeypatch):
    """A call after which it cannot be imported, as on a host that has transformers only."""
    return lambda: monkeypatch.setitem(sys.modules, "open_clip", None)


def random_network(seed, described):
    """A vision transformer's CLIP of a shape of its own, with weights that matter.

    described: heads that OpenAI's networks do not have. Returns its arguments too.
    """
    rng = np.random.default_rng(seed)
    head, vision_heads, text_heads = (
        32 if described else 64,
        *(int(n) for n in rng.integers(1, 4, 2)),
    )
    vision_layers, text_layers, grid = (int(n) for n in rng.integers(1, 5, 3))
    vision = {"image_size": 12 * grid, "patch_size": 12, "width": head * vision_heads}
    text = {"context_length": 77, "vocab_size": 49408, "width": head * text_heads}
    config = {
        "embed_dim": int(rng.integers(20, 70)),
        "vision_cfg": vision | {"head_width": head, "layers": vision_layers},
        "text_cfg": text | {"heads": text_heads, "layers": text_layers},
        "quick_gelu": not described or bool(seed % 2),
    }
    network = build(config, seed)
    for value in network.parameters():
        if value.dim() == 1:
            value.add_(torch.rand_like(value), alpha=0.1)
        value.copy_(value.half())  # OpenAI's are, and open_clip makes them so
    return network, config


def generated(seed, count=6):
    """Pictures, and texts of words, signs and other alphabets."""
    rng = np.random.default_rng(seed)
    pieces = [
        *("a cat", "Straße", "(red:1.2)", "it’s", "naïve", "12 000", "中文字", "😀👩‍🚀", "&amp;"),
        *("THE  END", "\n", "don't", "“so”", "x_y-z", "привет", "[a|b]", "<lora:x:1>", "..."),
    ]
    texts = [" ".join(rng.choice(pieces, rng.integers(0, 60))) for _ in range(count)]
    sides = rng.integers(20, 90, 2)
    return torch.from_numpy(rng.random((3, 3, *sides), np.float32)), ["", *texts]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("described", [False, True])
def test_without_open_clip_scores_are_the_same(tmp_path, without_open_clip, described, seed):
    network, config = random_network(seed, described)
    path = tmp_path / "random.safetensors"
    if described:
        facts = {"model_cfg": config, "preprocess_cfg": PREPROCESS}
        path.with_suffix(".json").write_text(json.dumps(facts))
    save_file(network.state_dict(), path)
    images, texts = generated(seed)
    judge = ClipRanker(path)
    expected = torch.stack([judge.score(images, text) for text in texts])
    without_open_clip()
    judge = ClipRanker(path)
    found = [judge.score(images, text) for text in texts]
    assert judge.reason is None
    assert torch.allclose(torch.stack(found), expected, atol=1e-5)
    assert expected.std() > 1e-3, "they tell texts and pictures apart"


def test_without_open_clip_words_are_the_same():
    """But for what fills up behind the end, which the network does not see."""
    tokenize = tokenizer(77)
    for text in (text for seed in range(20) for text in generated(seed)[1]):
        theirs = open_clip.tokenize([text])[0]
        theirs = theirs[: theirs.argmax() + 1]
        assert tokenize([text])[0].tolist() == theirs.tolist(), text


def test_without_ftfy_either_ordinary_words_are_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "ftfy", None)
    text = "THE  END, &amp; a (red:1.2) Straße,\n naïve 中文字 привет 😀"
    theirs = open_clip.tokenize([text])[0]
    assert tokenizer(77)([text])[0].tolist() == theirs[: theirs.argmax() + 1].tolist()


def test_without_open_clip_openai_s_come_from_the_hub(tmp_path, monkeypatch, without_open_clip):
    network, _ = random_network(0, described=False)
    save_file(network.state_dict(), tmp_path / "open_clip_model.safetensors")
    calls = []

    def download(*names):
        calls.append(names)
        return str(tmp_path / names[-1])

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    images = pictures(2, 3, 40, 50)
    expected = ClipRanker(tmp_path / "open_clip_model.safetensors").score(images, "a cat")
    without_open_clip()
    assert torch.allclose(ClipRanker().score(images, "a cat"), expected, atol=1e-5)
    assert calls == [("timm/vit_large_patch14_clip_224.openai", "open_clip_model.safetensors")]


def test_without_open_clip_other_networks_are_refused_in_words(
    tmp_path, monkeypatch, described, without_open_clip
):
    """By name; a ResNet; one with a part that its weights do not show; one that is no CLIP."""
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    network, config = random_network(1, described=True)
    save_file(network.state_dict(), tmp_path / "pooled.safetensors")
    facts = {"model_cfg": config | {"vision_cfg": config["vision_cfg"] | {"pool_type": "avg"}}}
    (tmp_path / "pooled.json").write_text(json.dumps(facts))
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    without_open_clip()
    files = [described, tmp_path / "pooled.safetensors", tmp_path / "other.safetensors"]
    for source in ["ViT-H-14/laion2b_s32b_b79k", "ViT-L-14/laion2b_s32b_b82k", "RN50", *files]:
        judge = ClipRanker(source)
        assert judge.score(pictures(1, 3, 8, 8), "a cat") is None
        what = getattr(source, "name", source)
        words = f"CLIP cannot be used: {what} needs open_clip, which is not installed; install it"
        assert judge.reason.startswith(words)


@pytest.mark.parametrize("shape", [(70, 100), (100, 71), (64, 64), (33, 47)])
def test_preprocessing_is_open_clip_s(shape):
    """Its transform on an 8-bit picture; here nothing is rounded or clipped in between."""
    levels = np.random.default_rng(0).integers(60, 196, (*shape, 3), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    transform = open_clip.transform.image_transform(32, is_train=False, mean=mean, std=std)
    expected = transform(Image.fromarray(levels))
    images = torch.from_numpy(levels).permute(2, 0, 1)[None] / 255
    result = prepared(images, ClipModel(torch.nn.Identity(), open_clip.tokenize, 32, mean, std))
    assert result.shape == (1, 3, 32, 32)
    assert (result[0] - expected).abs().max() < 1.5 / 255 / 0.2


def test_it_loads_once_and_only_when_asked(described, monkeypatch):
    from msbd.standalone import clip

    loads = []
    original = clip.load_clip
    monkeypatch.setattr(clip, "load_clip", lambda s: (loads.append(s), original(s))[1])
    judge = ClipRanker(described)
    assert not loads
    judge.score(pictures(1, 3, 8, 8), "a")
    judge.score(pictures(1, 3, 8, 8), "b")
    assert len(loads) == 1


@pytest.mark.parametrize("case", ["missing", "damaged", "no description", "unknown name", "none"])
def test_no_judge_is_no_crash(case, tmp_path, caplog):
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    source = {
        "missing": tmp_path / "missing.safetensors",
        "damaged": tmp_path / "bad.safetensors",
        "no description": tmp_path / "other.safetensors",
        "unknown name": "ViT-Z-99/openai",
        "none": None,
    }[case]
    judge = ClipRanker(source)
    with caplog.at_level(logging.WARNING, logger="msbd"):
        assert judge.score(pictures(2, 3, 8, 8), "a cat") is None
        assert judge.score(pictures(2, 3, 8, 8), "a cat") is None
    assert judge.reason and "\n" not in judge.reason
    ours = [record for record in caplog.records if record.name.startswith("msbd")]
    assert len(ours) == (0 if case == "none" else 1)


class TestOnADevice:
    """What a GPU would see."""

    @pytest.fixture
    def device(self) -> Iterator[SecondDevice]:
        evict()
        with SecondDevice() as device:
            yield device
        evict()

    def judged(self, judge: ClipRanker, device: SecondDevice) -> tuple[torch.Tensor, int]:
        """Scores of three pictures that lie there, and the bytes that came for that."""
        images, before = pictures(3, 3, 64, 64).to(device.label), device.bytes_up
        scores = judge.score(images, "a cat")
        assert scores is not None and scores.device == device.label
        return scores.cpu(), device.bytes_up - before

    @pytest.mark.parametrize("stays", [True, False])
    def test_the_network_comes_once_while_there_is_room(
        self, described, device, monkeypatch, stays
    ):
        monkeypatch.setattr(memory, "room", lambda where: 10**12 * stays)
        judge = ClipRanker(described, device.label)
        (first, loading), (second, again) = (self.judged(judge, device) for _ in range(2))
        assert torch.equal(first, second)
        weights = memory.size_of(*judge._model.network.parameters())
        assert loading > weights and (again < weights / 10) == stays
        down = device.bytes_down
        assert evict() == stays and not evict()
        assert device.bytes_down == down, "it leaves without moving anything"
        assert all(one.device.type == "cpu" for one in judge._model.network.parameters())

    def test_a_failure_while_judging_is_no_crash_and_frees_the_device(
        self, described, device, monkeypatch
    ):
        monkeypatch.setattr(memory, "room", lambda where: 10**12)
        judge = ClipRanker(described, device.label)
        self.judged(judge, device)
        network = judge._model.network
        monkeypatch.setattr(type(network), "encode_image", lambda *a, **k: 1 / 0)
        assert judge.score(pictures(1, 3, 8, 8), "a cat") is None
        assert "ZeroDivisionError" in judge.reason
        assert not evict()

    def test_without_room_for_it_the_cpu_judges(self, described, device, monkeypatch):
        def full(network: Any, where: torch.device) -> Any:
            raise torch.cuda.OutOfMemoryError

        monkeypatch.setattr(memory, "_copied", full)
        there = self.judged(ClipRanker(described, device.label), device)[0]
        here = ClipRanker(described).score(pictures(3, 3, 64, 64), "a cat")
        assert here is not None and torch.equal(there, here)


def test_scores_that_are_no_numbers_are_none(described):
    judge = ClipRanker(described)
    judge.score(pictures(1, 3, 8, 8), "a cat")
    with torch.no_grad():
        next(judge._model.network.visual.parameters()).fill_(torch.nan)
    assert judge.score(pictures(2, 3, 8, 8), "a cat") is None
    assert judge.reason and "not finite" in judge.reason
