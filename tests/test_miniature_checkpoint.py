"""The miniature's checkpoint file, shown with random weights of its architecture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from msbd.errors import EditError
from msbd.miniature.checkpoint import BUILDERS, main, schedule_buffers, to_ldm, write_checkpoint
from msbd.miniature.checkpoint_config import write_pipeline_config
from msbd.miniature.files import WEIGHTS, host_config
from msbd.miniature.models import VOCABULARY, alphas_cumprod
from msbd.miniature.vocabulary import encode

CAPTIONS = ["a red star on grass", "a photo of the Eiffel tower at night, 4k", ""]


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    """Random networks whose weights half precision holds exactly."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = {part: build().eval() for part, build in BUILDERS.items()}
    with torch.no_grad():
        for network in built.values():
            for parameter in network.parameters():
                parameter.copy_(parameter.half())
    return built


@pytest.fixture(scope="module")
def directory(networks: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint({part: network.state_dict() for part, network in networks.items()}, path)
    write_pipeline_config(path / "config")
    return path


@pytest.fixture(scope="module")
def pipeline(directory: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_single_file(
        str(directory / "miniature.safetensors"),
        config=str(directory / "config"),
        local_files_only=True,
    )


def assert_same_weights(loaded: nn.Module, original: nn.Module) -> None:
    ours, theirs = original.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(theirs[name], value), name


def test_every_weight_survives_diffusers_loader(
    pipeline: StableDiffusionPipeline, networks: dict[str, nn.Module]
) -> None:
    assert_same_weights(pipeline.unet, networks["unet"])
    assert_same_weights(pipeline.vae, networks["vae"])
    assert_same_weights(pipeline.text_encoder, networks["text"])


def test_parts_load_alone(directory: Path, networks: dict[str, nn.Module]) -> None:
    path, config = str(directory / "miniature.safetensors"), str(directory / "config")
    unet = UNet2DConditionModel.from_single_file(
        path, config=config, subfolder="unet", local_files_only=True
    )
    vae = AutoencoderKL.from_single_file(
        path, config=config, subfolder="vae", local_files_only=True
    )
    assert_same_weights(unet, networks["unet"])
    assert_same_weights(vae, networks["vae"])


@torch.no_grad()
def test_same_outputs(pipeline: StableDiffusionPipeline, networks: dict[str, nn.Module]) -> None:
    generator = torch.Generator().manual_seed(1)
    tokens = pipeline.tokenizer(
        CAPTIONS, padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    context = networks["text"](tokens).last_hidden_state
    assert torch.equal(pipeline.text_encoder(tokens).last_hidden_state, context)
    latents = torch.randn(3, 4, 8, 16, generator=generator)
    times = torch.tensor([0, 500, 999])
    assert torch.equal(
        pipeline.unet(latents, times, context).sample,
        networks["unet"](latents, times, context).sample,
    )
    assert torch.equal(pipeline.vae.decode(latents).sample, networks["vae"].decode(latents).sample)


def test_names_are_stable_diffusions(directory: Path) -> None:
    state = load_file(directory / "miniature.safetensors")
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert shapes["model.diffusion_model.input_blocks.0.0.weight"] == (64, 4, 3, 3)
    assert shapes["model.diffusion_model.input_blocks.2.0.op.weight"] == (64, 64, 3, 3)
    assert shapes[
        "model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    ] == (128, 64)
    assert shapes["first_stage_model.encoder.mid.attn_1.q.weight"] == (128, 128, 1, 1)
    assert shapes["first_stage_model.decoder.up.3.block.1.conv1.weight"] == (128, 128, 3, 3)
    text = "cond_stage_model.transformer.text_model.embeddings"
    assert shapes[f"{text}.token_embedding.weight"] == (VOCABULARY, 64)
    assert state[f"{text}.position_ids"].tolist() == [list(range(77))]
    assert all(
        value.dtype == torch.float16
        for name, value in state.items()
        if name.endswith(("weight", "bias"))
    )


def test_schedule_is_that_of_training() -> None:
    buffers = schedule_buffers()
    assert torch.allclose(buffers["alphas_cumprod"], alphas_cumprod(), rtol=1e-6, atol=0)
    assert all(
        b.shape == (1000,) and b.dtype == torch.float32 and b.isfinite().all()
        for b in buffers.values()
    )
    unit = (
        buffers["sqrt_alphas_cumprod"].square() + buffers["sqrt_one_minus_alphas_cumprod"].square()
    )
    assert torch.allclose(unit, torch.ones(1000))


def test_tokenizer_is_clips(directory: Path) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(str(directory / "tokenizer"))
    assert len(tokenizer) == VOCABULARY
    tokens = tokenizer(
        CAPTIONS, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    assert torch.equal(tokens, encode(CAPTIONS))


def test_host_config_names_the_tokenizer(directory: Path, tmp_path: Path) -> None:
    text = host_config(directory)
    assert f'version: "{(directory / "tokenizer").resolve()}"' in text
    assert "channel_mult: [1, 2, 2]" in text and "ch_mult: [1, 1, 2, 2]" in text
    with pytest.raises(EditError, match="missing"):
        host_config(tmp_path)


def states(networks: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {part: dict(network.state_dict()) for part, network in networks.items()}


def test_refuses_what_does_not_fit(networks: dict[str, nn.Module]) -> None:
    parts = states(networks)
    with pytest.raises(EditError, match="lacks vae"):
        to_ldm({"unet": parts["unet"], "text": parts["text"]})
    parts["unet"]["conv_in.bias"] = torch.zeros(65)
    with pytest.raises(EditError, match="unet does not fit"):
        to_ldm(parts)
    parts = states(networks)
    parts["vae"]["extra"] = torch.zeros(1)
    with pytest.raises(EditError, match="vae does not fit"):
        to_ldm(parts)


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_refuses_weights_that_are_not_finite(networks: dict[str, nn.Module], value: float) -> None:
    parts = states(networks)
    parts["vae"]["decoder.conv_out.bias"] = torch.full((3,), value)
    with pytest.raises(EditError, match="not finite"):
        to_ldm(parts)


def test_command(
    networks: dict[str, nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(states(networks), tmp_path / "states.pt")
    monkeypatch.setattr(
        "sys.argv", ["checkpoint", str(tmp_path / "states.pt"), "-o", str(tmp_path)]
    )
    main()
    assert (tmp_path / "miniature.safetensors").is_file()
    monkeypatch.setattr("sys.argv", ["checkpoint", str(tmp_path / "absent.pt")])
    with pytest.raises(SystemExit):
        main()


def test_the_shipped_file_is_complete() -> None:
    state = load_file(WEIGHTS / "miniature.safetensors")
    expected = to_ldm({part: build().state_dict() for part, build in BUILDERS.items()})
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {
        k: (v.shape, v.dtype) for k, v in expected.items()
    }
    assert all(value.isfinite().all() for value in state.values())
    assert host_config(WEIGHTS)


def test_one_shared_row_for_unknown_words() -> None:
    state = load_file(WEIGHTS / "miniature.safetensors")
    table = state["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"]
    ids = encode(["zebra", "cathedral"])[:, 1]
    assert torch.equal(table[ids[0]], table[ids[1]])
