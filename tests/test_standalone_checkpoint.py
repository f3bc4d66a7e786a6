"""Loading checkpoints: any width, every tensor, and what is said of files that will not do."""

from __future__ import annotations

import pickle
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from standalone_files import STABLE_DIFFUSION, Widths, write_checkpoint

from msbd.errors import EditError
from msbd.standalone.architecture import UNET, text_arguments, unet_arguments
from msbd.standalone.checkpoint import load_checkpoint
from msbd.standalone.models import MINIATURE
from msbd.standalone.original_config import OriginalConfig, read_original_config
from msbd.standalone.weights import read_weights, tensors_of


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors")


@pytest.fixture(scope="module")
def tensors(file) -> dict[str, torch.Tensor]:
    return load_file(file)


def all_parameters(checkpoint):
    for network in (checkpoint.unet, checkpoint.autoencoder.network, checkpoint.text_encoder):
        yield from network.parameters()


def test_every_tensor_arrives_and_no_other(file, tensors):
    """The networks' parameters are the file's tensors, as multisets of their contents."""
    loaded = load_checkpoint(file)
    arrived = sorted(float(p.double().square().sum()) for p in all_parameters(loaded))
    sent = sorted(
        float(value.double().square().sum())
        for name, value in tensors.items()
        if not name.endswith("position_ids")
    )
    assert arrived == pytest.approx(sent)
    assert not any(p.requires_grad or p.is_meta for p in all_parameters(loaded))
    assert not loaded.unet.training and not loaded.text_encoder.training


def test_sizes_follow_from_the_tensors(file):
    loaded = load_checkpoint(file)
    assert loaded.unet.config.block_out_channels == (32, 64)
    assert loaded.unet.config.down_block_types == ("DownBlock2D", "CrossAttnDownBlock2D")
    assert loaded.unet.config.cross_attention_dim == 64
    assert loaded.text_encoder.config.num_attention_heads == 4
    assert (loaded.resolution, loaded.multiple, loaded.autoencoder.factor) == (512, 16, 8)
    assert loaded.prediction == "epsilon"


@pytest.mark.parametrize(
    "widths",
    [
        Widths(64, (1, 2, 2), 1, (1, 2)),
        Widths(32, (1, 2, 4, 4), 2, (0, 1, 2), vae_levels=(1, 2, 4, 4), vae_layers=2),
        Widths(32, (1, 1), 3, (0, 1), text_layers=1),
        Widths(32, (1,), 2, (0,)),
    ],
    ids=["miniature", "narrow SD1", "deep", "one level"],
)
def test_any_width_and_depth(tmp_path, widths):
    loaded = load_checkpoint(write_checkpoint(tmp_path / "x.safetensors", widths, torch.float16))
    assert len(loaded.text_encoder.state_dict()) > 0
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    context = torch.zeros(1, 77, widths.context)
    with torch.no_grad():
        output = loaded.unet(noise, torch.tensor([500.5]), context).sample
        picture = loaded.autoencoder.decode(noise)
        assert torch.isfinite(output).all() and output.dtype == torch.float32
        assert picture.shape == (1, 3, 128, 128)
        assert loaded.autoencoder.encode(picture).shape == noise.shape


def test_the_same_networks_as_diffusers_and_transformers(tmp_path):
    """The miniature's networks, renamed by its own converter, come back bit by bit."""
    names = pytest.importorskip("msbd.miniature.ldm_names")
    models = pytest.importorskip("msbd.miniature.models")
    torch.manual_seed(0)
    unet, vae, text = models.build_unet(), models.build_autoencoder(), models.build_text_encoder()
    tensors = {UNET + k: v for k, v in names.rename_unet(unet.state_dict()).items()}
    for name, value in names.rename_autoencoder(vae.state_dict()).items():
        tensors["first_stage_model." + name] = value
    for name, value in names.rename_text(text.state_dict()).items():
        tensors["cond_stage_model.transformer." + name] = value
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "x.safetensors")
    loaded = load_checkpoint(tmp_path / "x.safetensors")
    for network in (unet, vae, text):
        network.eval().requires_grad_(False)
    z, ids = torch.randn(2, 4, 8, 8), torch.randint(49408, (2, 77))
    with torch.no_grad():
        context = text(ids).last_hidden_state
        assert torch.equal(loaded.text_encoder(ids).last_hidden_state, context)
        arguments = z, torch.tensor([3.0, 700.0]), context
        assert torch.equal(loaded.unet(*arguments).sample, unet(*arguments).sample)
        network = loaded.autoencoder.network
        assert torch.equal(network.decode(z).sample, vae.decode(z).sample)
        picture = torch.rand(1, 3, 32, 32)
        mean = vae.encode(picture).latent_dist.mean
        assert torch.equal(network.encode(picture).latent_dist.mean, mean)


def test_ckpt_files_and_old_names(tmp_path, tensors):
    old = {name.replace(".text_model.", "."): value for name, value in tensors.items()}
    content = {"state_dict": {**old, "model_ema.decay": torch.ones(())}, "epoch": 3}
    torch.save(content, tmp_path / "old.ckpt")
    loaded = load_checkpoint(tmp_path / "old.ckpt")
    weight = loaded.text_encoder.get_input_embeddings().weight
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    assert torch.equal(weight, tensors[name])


def written(path: Path, tensors: dict[str, torch.Tensor], container: str) -> None:
    """As the programs write them that checkpoints come from; Lightning's hold its callbacks."""
    if container == "safetensors":
        save_file(tensors, path)
    elif container in ("zip", "legacy"):
        torch.save(tensors, path, _use_new_zipfile_serialization=container == "zip")
    else:
        _, zipped, protocol = container.split()
        foreign = ModuleType("pytorch_lightning")
        for name, bases in (("ModelCheckpoint", ()), ("Settings", (dict,)), ("Places", (list,))):
            kind = type(name, bases, {"__module__": foreign.__name__})
            setattr(foreign, name, kind)
        checkpoint: Any = foreign.ModelCheckpoint()
        checkpoint.best_model_score = torch.tensor(0.5)
        content = {
            "epoch": 3,
            "state_dict": {n: torch.nn.Parameter(t, False) for n, t in tensors.items()},
            "callbacks": {foreign.ModelCheckpoint: {"best": np.float64(0.5), "one": checkpoint}},
            "hyper_parameters": foreign.Settings(rate=1e-4),
            "places": foreign.Places([1, 2]),
            "several": {(1, 2), Path("x")},
            "by default": defaultdict(list, {"a": [1]}),
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(sys.modules, foreign.__name__, foreign)
            torch.save(
                content,
                path,
                _use_new_zipfile_serialization=zipped == "zip",
                pickle_protocol=int(protocol),
            )


CONTAINERS = ["safetensors", "zip", "legacy"] + [
    f"Lightning {container} {protocol}" for container in ("zip", "legacy") for protocol in (2, 4, 5)
]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".SAFETENSORS", ".pt", ""])
def test_the_format_is_told_by_content(tmp_path, tensors, container, suffix):
    path = tmp_path / f"x{suffix}"
    written(path, tensors, container)
    found = tensors_of(read_weights(path))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_hosts_may_have_another_function_in_place_of_torchs(
    tmp_path, monkeypatch, tensors, container
):
    written(tmp_path / "x.pt", tensors, container)
    monkeypatch.setattr(torch, "load", lambda path, **_: Path(path).stat())
    assert tensors_of(read_weights(tmp_path / "x.pt")).keys() == tensors.keys()


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_what_is_cut_short_is_damaged(tmp_path, tensors, container, share):
    path = tmp_path / "x.ckpt"
    written(path, tensors, container)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    fails(path, "is damaged")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer"),
        (b"GGUF" + bytes(100), "is a GGUF file"),
        (b'{"error": "sign in"}', "is a JSON document"),
        (b"\x89PNG\r\n\x1a\n", "is a PNG"),
        (b"", "is empty"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, data, words):
    (tmp_path / "x.safetensors").write_bytes(data)
    fails(tmp_path / "x.safetensors", words, "download it again")


def test_archives_and_programs(tmp_path):
    with ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("model.safetensors", b"")
    fails(tmp_path / "x.ckpt", "zip archive", "unpack it")
    torch.jit.script(torch.nn.Linear(2, 3)).save(tmp_path / "y.ckpt")
    assert read_weights(tmp_path / "y.ckpt").keys() == {"weight", "bias"}
    fails(tmp_path / "y.ckpt", "lacks the denoising network")


UNNEEDED = (
    "model_ema.decay",
    "model.diffusion_model.input_blocks.1.0.extra.weight",
    "model.diffusion_model.label_emb.0.0.weight",
    "first_stage_model.loss.logvar",
    "first_stage_model.decoder.extra.bias",
    "cond_stage_model.transformer.text_model.text_projection.weight",
    "cond_stage_model.logit_scale",
    "conditioner.embedders.0.x",
    "lora_te_text_model.alpha",
)


def test_the_miniature_has_nothing_but_what_is_needed():
    assert load_checkpoint(MINIATURE).unused == 0


@pytest.mark.parametrize("name", UNNEEDED)
def test_what_is_not_needed_is_left_out_and_counted(tmp_path, tensors, name):
    expected = load_checkpoint(write_checkpoint(tmp_path / "plain.safetensors"))
    schedule = {"alphas_cumprod": torch.zeros(3)}
    save_file(tensors | schedule | {name: torch.zeros(3)}, tmp_path / "x.safetensors")
    loaded = load_checkpoint(tmp_path / "x.safetensors")
    assert (loaded.unused, expected.unused) == (1, 0)
    for one, other in zip(all_parameters(loaded), all_parameters(expected), strict=True):
        assert torch.equal(one, other)


def test_heads_of_stable_diffusion_and_the_miniature():
    with torch.device("meta"):
        shapes = {
            width: {
                UNET + "input_blocks.0.0.weight": torch.empty(width, 4, 3, 3),
                UNET + "input_blocks.1.0.out_layers.3.weight": torch.empty(width, width, 3, 3),
                UNET + "input_blocks.1.1.norm.weight": torch.empty(width),
                UNET + "input_blocks.1.1.attn2.to_k.weight": torch.empty(width, 768),
                UNET + "out.2.weight": torch.empty(4, width, 3, 3),
            }
            for width in (320, 64)
        }
    assert unet_arguments(shapes[320])["attention_head_dim"] == 8
    assert unet_arguments(shapes[64])["attention_head_dim"] == 4
    assert unet_arguments(shapes[320], heads=5)["attention_head_dim"] == 5


def test_text_heads(tensors):
    assert text_arguments(tensors)["num_attention_heads"] == 4
    prefix = "cond_stage_model.transformer.text_model."
    wide = {
        prefix + "embeddings.token_embedding.weight": torch.empty(10, 768),
        prefix + "embeddings.position_embedding.weight": torch.empty(77, 768),
        prefix + "encoder.layers.0.mlp.fc1.weight": torch.empty(3072, 768),
    }
    assert text_arguments(wide)["num_attention_heads"] == 12


YAML = """
model:
  params:
    image_size: 16
    scale_factor: 0.5
    parameterization: v
    linear_start: 0.001
    timesteps: 500
    unet_config: {params: {num_heads: 2}}
"""


def test_the_yaml_beside_the_checkpoint(tmp_path):
    path = write_checkpoint(tmp_path / "x.safetensors")
    path.with_suffix(".yaml").write_text(YAML)
    facts = read_original_config(path)
    assert facts == OriginalConfig(128, 0.5, "v", 0.001, 0.012, 500, 2)
    loaded = load_checkpoint(path)
    assert (loaded.resolution, loaded.prediction) == (128, "v")
    assert loaded.autoencoder.scale_factor == 0.5
    assert loaded.schedule.last == 499
    assert loaded.unet.config.attention_head_dim == 2


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "model: 3", "a: {b", "model: {params: {image_size: x}}"]
)
def test_a_yaml_that_is_something_else(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(EditError, match=r"x\.yaml is no model configuration"):
        read_original_config(tmp_path / "x.safetensors")


def fails(path: Path, *words: str) -> None:
    """Loading raises one line with these words."""
    with pytest.raises(EditError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 220, message
    assert all(word in message for word in words), message


def test_missing_file(tmp_path):
    fails(tmp_path / "no.safetensors", "not there", ".ckpt")
    fails(tmp_path, "not there")


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 20, b"\x80\x02K\x01."])
def test_damaged_file(tmp_path, suffix, content):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    fails(path, "x" + suffix)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_truncated_file(tmp_path, suffix, tensors):
    path = tmp_path / f"x{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:-1000])
    fails(path, "damaged")


class Intruder:
    def __reduce__(self):
        return Path.touch, (Path("intruded"),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pickled_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.ckpt").write_bytes(pickle.dumps({"state_dict": Intruder()}))
    fails(Path("x.ckpt"), "is damaged")
    for zipped in (True, False):
        torch.save({"state_dict": Intruder()}, "y.ckpt", _use_new_zipfile_serialization=zipped)
        fails(Path("y.ckpt"), "lacks the denoising network")
    assert not Path("intruded").exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("conditioner.embedders.0.transformer.x", "Stable Diffusion XL"),
        ("cond_stage_model.model.transformer.x", "Stable Diffusion 2.x"),
        ("model.diffusion_model.joint_blocks.0.x", "Stable Diffusion 3"),
        ("model.diffusion_model.double_blocks.0.x", "Flux"),
        ("lora_unet_x", "LoRA"),
        ("control_model.x", "ControlNet"),
        ("image_proj.proj.weight", "IP-Adapter"),
        ("emb_params", "textual inversion"),
        ("params_ema.conv_first.weight", "upscaler"),
        ("encoder.down.0.block.0.conv1.weight", "autoencoder"),
        ("visual.conv1.weight", "CLIP"),
        ("text_model.embeddings.token_embedding.weight", "text encoder"),
        ("unet.down_blocks.0.x", "diffusers' layout"),
        ("something", "lacks the denoising network"),
    ],
)
def test_other_families(tmp_path, name, kind):
    save_file({name: torch.zeros(1)}, tmp_path / "x.safetensors")
    fails(tmp_path / "x.safetensors", kind, "choose a plain Stable Diffusion 1.x checkpoint")
    torch.save({name: {"*": torch.zeros(1)}}, tmp_path / "x.pt")
    fails(tmp_path / "x.pt", kind)


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("model.diffusion_model.", "denoising network"),
        ("first_stage_model.", "autoencoder"),
        ("cond_stage_model.", "text encoder"),
    ],
)
def test_missing_parts(tmp_path, tensors, part, what):
    rest = {name: value for name, value in tensors.items() if not name.startswith(part)}
    save_file(rest, tmp_path / "x.safetensors")
    fails(tmp_path / "x.safetensors", what)


def test_one_missing_tensor_is_noticed(tmp_path, tensors):
    """In each network. Above all the text encoder must not silently stay random."""
    for name in (
        "model.diffusion_model.middle_block.0.in_layers.2.bias",
        "first_stage_model.decoder.mid.attn_1.q.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.bias",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ):
        rest = {key: value for key, value in tensors.items() if key != name}
        save_file(rest, tmp_path / "x.safetensors")
        fails(tmp_path / "x.safetensors", "x.safetensors")


def test_one_tensor_of_a_wrong_shape_is_noticed(tmp_path, tensors):
    for name in (
        "model.diffusion_model.middle_block.0.in_layers.2.bias",
        "first_stage_model.decoder.mid.attn_1.norm.weight",
        "cond_stage_model.transformer.text_model.final_layer_norm.weight",
    ):
        save_file(tensors | {name: torch.zeros(7)}, tmp_path / "x.safetensors")
        fails(tmp_path / "x.safetensors", "x.safetensors")


@pytest.mark.parametrize(
    ("channels", "kind"), [(9, "inpainting"), (8, "pix2pix"), (7, "7-channel")]
)
def test_other_inputs(tmp_path, tensors, channels, kind):
    name = "model.diffusion_model.input_blocks.0.0.weight"
    save_file(tensors | {name: torch.zeros(32, channels, 3, 3)}, tmp_path / "x.safetensors")
    fails(tmp_path / "x.safetensors", kind)


def test_the_velocity_mark_of_fine_tuned_models(tmp_path, tensors):
    save_file(tensors | {"v_pred": torch.zeros(0)}, tmp_path / "x.safetensors")
    assert load_checkpoint(tmp_path / "x.safetensors").prediction == "v"


def test_stable_diffusion_s_numbers_of_parameters():
    """What is published of SD 1: 860 M, 84 M and 123 M parameters."""
    tensors = meta_checkpoint()
    count = {
        part: sum(v.numel() for k, v in tensors.items() if k.startswith(part) and "_ids" not in k)
        for part in ("model.", "first_stage_model.", "cond_stage_model.")
    }
    assert list(count.values()) == [859_520_964, 83_653_863, 123_060_480]
    arguments = unet_arguments(tensors)
    assert arguments["block_out_channels"] == (320, 640, 1280, 1280)
    assert arguments["down_block_types"] == ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)


def meta_checkpoint():
    """Stable Diffusion's tensors without their contents."""
    from standalone_files import Maker

    class Hollow(Maker):
        def random(self, name, *shape):
            self.tensors[self.prefix + name] = torch.empty(shape, device="meta")

    maker = Hollow(STABLE_DIFFUSION)
    maker.unet()
    maker.vae()
    maker.text()
    return maker.tensors
