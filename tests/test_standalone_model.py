"""The standalone backend keeps the engine's Protocol, on a checkpoint of random weights."""

from __future__ import annotations

import copy
import logging
import re
import resource
import time

import pytest
import torch
from standalone_files import STABLE_DIFFUSION, Widths, write_checkpoint
from torch import nn

from msbd.backend import Backend
from msbd.errors import EditError
from msbd.geometry import Size
from msbd.standalone import prompt as prompts
from msbd.standalone.model import StandaloneModel


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> StandaloneModel:
    path = write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors")
    return StandaloneModel.load(path, clip=None, device="cpu")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_facts(model):
    backend: Backend = model.bind("a cat", sampler="heun")
    facts = backend.spec
    assert (facts.resolution, facts.multiple, facts.latent_factor) == (512, 16, 8)
    assert (facts.upscale_factor, facts.calls_per_step) == (4.0, 2)
    assert backend.device == torch.device("cpu")
    assert backend.sigmas(10).shape == (11,) and backend.sigmas(10)[-1] == 0


def test_guidance_is_classifier_free(model):
    """without + scale * (given - without), each half as the network alone predicts it."""
    z, sigma = draw(2, 4, 8, 8) * 3, torch.tensor([3.0, 2.0])
    given = model.bind("a cat", guidance=1).denoise(z, sigma)
    without = model.bind("rain", guidance=1).denoise(z, sigma)
    both = model.bind("a cat", "rain", guidance=4.0).denoise(z, sigma)
    assert torch.allclose(both, without + 4 * (given - without), atol=1e-4)
    assert not torch.allclose(given, without, atol=1e-3)


def test_guidance_can_be_lowered_for_one_call(model):
    z, sigma = draw(1, 4, 8, 8) * 3, torch.tensor([2.0])
    bound = model.bind("a cat", "rain", guidance=4.0)
    for share, prompt in ((0.0, "rain"), (0.25, "a cat")):
        alone = model.bind(prompt, guidance=1).denoise(z, sigma)
        assert torch.allclose(bound.denoise(z, sigma, guidance=share), alone, atol=1e-5)


def test_guidance_one_costs_one_evaluation(model, monkeypatch):
    seen = []
    forward = model.checkpoint.unet.forward
    monkeypatch.setattr(
        model.checkpoint.unet,
        "forward",
        lambda x, *rest, **more: (seen.append(len(x)), forward(x, *rest, **more))[1],
    )
    z, sigma = draw(3, 4, 8, 8), torch.ones(3)
    model.bind("a", "b", guidance=1).denoise(z, sigma)
    model.bind("a", "b", guidance=2).denoise(z, sigma)
    assert seen == [3, 6]


def test_samples_do_not_depend_on_their_batch(model):
    backend = model.bind("a cat")
    z, sigma = draw(5, 4, 8, 8) * 4, torch.tensor([14.0, 5.0, 1.0, 0.3, 0.03])
    images = picture(3, 3, 32, 64)
    single = torch.cat([backend.denoise(z[i : i + 1], sigma[i : i + 1]) for i in range(5)])
    error = (backend.denoise(z, sigma) - single).abs().amax((1, 2, 3))
    # Guidance and the noise level multiply the network's float error of some 1e-6.
    assert (error < 1e-4 * (1 + sigma)).all(), error
    for work, batch in ((backend.encode, images), (backend.decode, z)):
        parts = torch.cat([work(one) for one in batch.split(1)])
        assert torch.equal(work(batch), parts)


def test_encode_is_the_scaled_mean(model):
    backend = model.bind("a cat")
    image = picture(1, 3, 48, 64)
    with torch.no_grad():
        posterior = model.checkpoint.autoencoder.network.encode(image * 2 - 1).latent_dist
    latents = backend.encode(image)
    assert latents.shape == (1, 4, 6, 8) and latents.dtype == torch.float32
    assert torch.allclose(latents, posterior.mean * 0.18215)
    assert torch.equal(latents, backend.encode(image))


def test_decode_is_clamped_and_the_decoder_is_not(model):
    backend = model.bind("a cat")
    z = draw(2, 4, 4, 6) * 0.18215
    image, decoder = backend.decode(z), backend.decoder()
    free = decoder(z)
    assert image.shape == free.shape == (2, 3, 32, 48)
    assert image.min() >= 0 and image.max() <= 1
    assert free.min() < 0 or free.max() > 1
    assert torch.allclose(image, free.clamp(0, 1), atol=1e-4)
    whole = decoder.decoder(decoder.entrance(z / decoder.scale_factor))
    assert torch.allclose(free, whole / 2 + 0.5, atol=1e-5)


def test_the_decoder_is_a_copy_that_trains(model):
    backend = model.bind("a cat")
    network = model.checkpoint.autoencoder.network
    before = copy.deepcopy(network.state_dict())
    decoder = backend.decoder()
    assert isinstance(decoder, nn.Module)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in decoder.parameters())
    optimiser = torch.optim.Adam(decoder.parameters(), lr=1e-2)
    z, goal = draw(1, 4, 4, 4), torch.full((1, 3, 32, 32), 0.5)
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        loss = (decoder(z) - goal).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in decoder.parameters())
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert torch.allclose(backend.decoder()(z), backend.decoder()(z))


def test_half_precision_that_overflows_is_rescued(tmp_path, caplog):
    """A decoder whose activations exceed float16 decodes as in single precision, from then on."""
    model = StandaloneModel.load(write_checkpoint(tmp_path / "x.safetensors"), clip=None)
    autoencoder = model.checkpoint.autoencoder
    with torch.no_grad():
        autoencoder.network.decoder.conv_in.weight.mul_(60000)
    z = draw(2, 4, 4, 4) * 0.18215 * 100
    right = autoencoder.decode(z)
    autoencoder.network.half()
    with caplog.at_level(logging.INFO, logger="msbd"):
        rescued = autoencoder.decode(z)
    assert "single precision" in caplog.text
    assert torch.isfinite(rescued).all() and autoencoder.network.dtype == torch.float32
    assert torch.allclose(rescued, right, atol=0.05)


def test_autocast_of_the_caller_has_no_effect(model):
    z, sigma, image = draw(1, 4, 8, 8), torch.ones(1), draw(1, 3, 64, 64).clamp(0, 1)

    def answers() -> list[torch.Tensor]:
        backend = model.bind("a cat")
        return [backend.denoise(z, sigma), backend.decode(z), backend.encode(image)]

    plain = answers()
    with torch.autocast("cpu", torch.bfloat16):
        inside = answers()
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


def test_a_decoder_copied_in_inference_mode_can_be_trained(model):
    with torch.inference_mode():
        decoder = model.bind("a cat").decoder()
    decoder(draw(1, 4, 8, 8)).sum().backward()
    assert all(bool(torch.isfinite(one.grad).all()) for one in decoder.parameters())


def test_every_sampler_runs(model):
    for name in ("euler_ancestral", "euler", "heun", "dpmpp_2m"):
        backend = model.bind("a cat", sampler=name)
        levels = backend.sigmas(3)
        result = backend.sampler(
            backend.denoise,
            draw(1, 4, 8, 8) * levels[0],
            levels,
            noise_sampler=lambda a, b: draw(1, 4, 8, 8),
        )
        assert torch.isfinite(result).all() and not result.requires_grad


def test_unknown_names(model):
    with pytest.raises(EditError, match="euler_ancestral, euler, heun, dpmpp_2m"):
        model.bind("a cat", sampler="plms")
    with pytest.raises(EditError, match="karras"):
        model.bind("a cat", spacing="cosine").sigmas(5)


def test_upscale_and_score(model):
    backend = model.bind("a cat")
    large = backend.upscale(picture(1, 3, 16, 24), Size(50, 70))
    assert large.shape == (1, 3, 50, 70)
    assert backend.score(picture(2, 3, 16, 16)) is None
    assert model.ranker.reason == "no CLIP model is chosen"


def test_binding_does_not_change_other_bindings(model):
    z, sigma = draw(1, 4, 8, 8), torch.ones(1)
    cat = model.bind("a cat")
    before = cat.denoise(z, sigma)
    model.bind("a dog", guidance=1.0).denoise(z, sigma)
    assert torch.equal(cat.denoise(z, sigma), before)


def test_tokens_are_the_original_s(tmp_path):
    """The same ids as transformers' CLIPTokenizer, which the original uses."""
    tokenizer = pytest.importorskip("msbd.miniature.tokenizer")
    from transformers import CLIPTokenizer

    tokenizer.write_tokenizer(tmp_path)
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    texts = [
        "",
        "a photograph of an astronaut riding a horse",
        "  Ünïcode, (brackets:1.3) and   spaces!? 1234 it's <b>bold</b>",
        "a " * 75,
    ]
    for text in texts:
        padded = theirs(text, padding="max_length", max_length=77, truncation=True)
        escaped = re.sub(r"([\\()\[\]])", r"\\\1", text)
        (chunk,) = prompts.chunks(escaped)
        assert chunk == [(token, 1.0) for token in padded["input_ids"]]


def test_loading_reports_the_user_s_errors(tmp_path):
    with pytest.raises(EditError, match="not there"):
        StandaloneModel.load(tmp_path / "x.safetensors", device="cpu")
    path = write_checkpoint(tmp_path / "x.safetensors", Widths(text_layers=1))
    with pytest.raises(EditError, match="no upscaler"):
        StandaloneModel.load(path, upscaler="esrgan.pth", device="cpu")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_checkpoint_of_stable_diffusion_s_size(tmp_path):
    """Random weights at SD 1's widths, float16 on disk, through the same code, at 64 px."""
    path = write_checkpoint(tmp_path / "sd1.safetensors", STABLE_DIFFUSION, torch.float16)
    start = time.monotonic()
    model = StandaloneModel.load(path, clip=None, device="cpu")
    loaded = time.monotonic() - start
    backend = model.bind("a photograph of an astronaut", "blurry")
    assert (backend.spec.resolution, backend.spec.multiple) == (512, 64)
    z = backend.encode(picture(1, 3, 64, 128))
    assert z.shape == (1, 4, 8, 16)
    denoised = backend.denoise(z + 5 * draw(1, 4, 8, 16), torch.tensor([5.0]))
    assert torch.isfinite(denoised).all() and torch.isfinite(backend.decode(denoised)).all()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    total = time.monotonic() - start
    logging.info("loaded in %.0f s, all in %.0f s, peak %.1f GiB", loaded, total, peak)
    assert peak < 10
    path.unlink()


@pytest.mark.gpu
def test_half_precision_on_cuda(tmp_path):
    """float16 on the accelerator agrees with float32 on the CPU to half's precision."""
    path = write_checkpoint(tmp_path / "x.safetensors")
    image, z = picture(1, 3, 64, 64), draw(2, 4, 8, 8) * 3
    results = []
    for device in ("cpu", "cuda"):
        backend = StandaloneModel.load(path, clip=None, device=device).bind("a cat", "rain")
        sigma = torch.tensor([3.0, 2.0], device=device)
        parts = (
            backend.denoise(z.to(device), sigma),
            backend.encode(image.to(device)),
            backend.decode(z.to(device) / 10),
            backend.decoder()(z.to(device) / 10).clamp(0, 1).detach(),
            backend.sampler(
                backend.denoise,
                z.to(device) * 5,
                backend.sigmas(4),
                noise_sampler=lambda a, b, device=device: torch.zeros_like(z).to(device),
            ),
        )
        assert all(part.dtype == torch.float32 for part in parts)
        results.append([part.cpu() for part in parts])
    for cpu, cuda in zip(*results, strict=True):
        assert (cpu - cuda).abs().max() < 0.05 * cpu.abs().max()
