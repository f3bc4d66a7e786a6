"""The host's model, sampler, upscalers and ranker as the engine wants them."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from standin import Host, installed
from standin.desk import mask_of, photograph, request
from standin.model import COLOURS, SPREAD, LatentDiffusion

from msbd.decoder.fine_tune import Segment, fine_tune
from msbd.errors import EditError, Interrupted
from msbd.geometry import Box, Size
from msbd.setting import Ablation

ZEROS = torch.zeros(1, 5, 1, 1)
BOX = (slice(10, 20), slice(15, 35))


@pytest.fixture
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


def ready(host: Host, prompt: Any = "a red star", **changes: Any) -> Any:
    """A request as it is when the host calls `p.sample`."""
    p = request(host, prompt=prompt, batch_size=len(prompt) if isinstance(prompt, list) else 1,
                **changes)  # fmt: skip
    p.fill_fields_from_opts()
    p.setup_prompts()
    p.prompts, p.negative_prompts = p.all_prompts, p.all_negative_prompts
    p.seeds = p.all_seeds = [p.seed + n for n in range(p.batch_size)]
    p.rng = host.rng.ImageRNG((4, 8, 8), p.seeds)
    p.parse_extra_network_prompts()
    p.setup_conds()
    p.sampler = host.sd_samplers.create_sampler(p.sampler_name, host.model)
    host.begin()
    return p


def backend_of(host: Host, p: Any, index: int = 0, **changes: Any) -> Any:
    from msbd.webui.hosts.backend import HostBackend
    from msbd.webui.hosts.checkpoint import model_spec
    from msbd.webui.hosts.hooks import Hooks
    from msbd.webui.hosts.sampling import HostSampler
    from msbd.webui.hosts.upscaling import load_upscaler

    facts: dict[str, Any] = {
        "spec": model_spec(p.sampler_name),
        "sampler": HostSampler(p),
        "enlarge": load_upscaler("R-ESRGAN 4x+"),
        "rank": lambda images: images.mean((1, 2, 3)),
        "decoder_device": torch.device("cpu"),
        "hooks": Hooks(p),
    }
    backend = HostBackend(p, index, **{**facts, **changes})
    backend.sigmas(p.steps)
    return backend


def latents_of(host: Host, colour: str) -> torch.Tensor:
    levels = torch.tensor([*(2 * c - 1 for c in COLOURS[colour]), 0.0])
    return (levels * host.model.scale_factor)[None, :, None, None]


def exact(host: Host, z: torch.Tensor, sigma: float, mean: torch.Tensor) -> torch.Tensor:
    """The posterior mean of latents that are Gaussian round `mean`."""
    signal = (SPREAD * host.model.scale_factor) ** 2
    return (signal * z + sigma**2 * mean) / (signal + sigma**2)


class TestDenoising:
    def test_it_is_the_models_own_guided_prediction(self, host):
        p = ready(host, negative_prompt="blue", cfg_scale=3.0)
        z, sigma = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 2, 2.0
        got = backend_of(host, p).denoise(z, torch.full((2,), sigma), condition=ZEROS)
        red, blue = (exact(host, z, sigma, latents_of(host, c)) for c in ("red", "blue"))
        assert torch.allclose(got, blue + 3 * (red - blue), atol=1e-4)

    def test_no_guidance_leaves_the_prompt_out(self, host):
        p = ready(host, negative_prompt="blue", cfg_scale=3.0)
        z = torch.ones(1, 4, 4, 4)
        got = backend_of(host, p).denoise(z, torch.ones(1), 0.0, ZEROS)
        assert torch.allclose(got, exact(host, z, 1.0, latents_of(host, "blue")), atol=1e-4)

    def test_samples_of_a_batch_do_not_influence_each_other(self, host):
        backend = backend_of(host, ready(host))
        z, sigma = torch.randn(3, 4, 4, 4), torch.tensor([3.0, 3.0, 3.0])
        together = backend.denoise(z, sigma, condition=ZEROS)
        alone = [backend.denoise(one[None], sigma[:1], condition=ZEROS) for one in z]
        assert torch.allclose(together, torch.cat(alone), atol=1e-5)

    def test_it_is_the_chosen_pictures_prompt(self, host):
        p = ready(host, ["a red star", "a blue star"], negative_prompt=["green", "white"])
        for index, colours in enumerate((("red", "green"), ("blue", "white"))):
            backend_of(host, p, index).denoise(
                torch.ones(2, 4, 4, 4), torch.ones(2), condition=ZEROS
            )
            context = host.calls[-1].context.mean(1) * host.model.scale_factor
            for seen, colour in zip(context.chunk(2), colours, strict=True):
                assert torch.allclose(seen, latents_of(host, colour)[..., 0, 0].expand(2, 4))

    def test_prompts_change_where_the_user_says_also_in_later_stages(self, host):
        p = ready(host, "a [red:blue:2] star", steps=4, sampler_name="Euler")
        backend = backend_of(host, p)
        sigmas = backend.sigmas(4)
        colours = []
        for sigma in (*sigmas[:4], sigmas[2], sigmas[3], sigmas[0]):
            backend.denoise(torch.ones(1, 4, 4, 4), sigma[None], condition=ZEROS)
            colours.append("red" if host.calls[-1].context[0, 0, 0] > 0 else "blue")
        assert colours == ["red", "red", "red", "blue", "red", "blue", "red"]

    def test_parts_joined_by_and_have_their_weights(self, host):
        p = ready(host, "red :0.5 AND blue :0.5", cfg_scale=1.0)
        z = torch.ones(1, 4, 4, 4)
        got = backend_of(host, p).denoise(z, torch.ones(1), condition=ZEROS)
        mean = (latents_of(host, "red") + latents_of(host, "blue")) / 2
        assert torch.allclose(got, exact(host, z, 1.0, mean), atol=1e-4)

    @pytest.mark.parametrize("ask", ["interrupt", "skip"])
    def test_it_ends_when_the_user_stops(self, host, ask):
        backend = backend_of(host, ready(host))
        getattr(host.shared.state, ask)()
        with pytest.raises(Interrupted):
            backend.denoise(torch.ones(1, 4, 4, 4), torch.ones(1), condition=ZEROS)

    def test_callbacks_of_others_are_heard_and_their_changes_kept(self, host):
        steps: list[int] = []
        host.script_callbacks.on_cfg_denoiser(lambda told: steps.append(told.denoiser.step))
        host.script_callbacks.on_cfg_after_cfg(lambda told: setattr(told, "x", told.x + 1))
        backend = backend_of(host, ready(host))
        z = torch.zeros(1, 4, 4, 4)
        got = backend.denoise(z, torch.ones(1), condition=ZEROS)
        assert len(steps) == 1
        assert torch.allclose(got, exact(host, z, 1.0, latents_of(host, "red")) + 1, atol=1e-4)

    def test_the_live_preview_gets_its_latents(self, host):
        backend = backend_of(host, ready(host))
        backend.denoise(torch.ones(1, 4, 4, 4), torch.ones(1), condition=ZEROS)
        state = host.shared.state
        assert state.current_latent.shape == (1, 4, 4, 4)
        state.do_set_current_image()
        assert state.current_image is not None and not host.errors.exception_records


class TestAutoencoder:
    def test_encoding_takes_the_mean_and_no_random_numbers(self, host):
        backend = backend_of(host, ready(host))
        image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1))
        state = torch.get_rng_state()
        z = backend.encode(image)
        assert torch.equal(torch.get_rng_state(), state)
        cells = torch.nn.functional.avg_pool2d(image, 8) * 2 - 1
        assert torch.allclose(z[:, :3], cells * host.model.scale_factor, atol=1e-6)
        assert z.dtype == torch.float32 and z.shape == (1, 4, 4, 6)

    def test_decoding_is_the_models_own_in_range(self, host):
        backend = backend_of(host, ready(host))
        z = latents_of(host, "red").expand(2, 4, 3, 5).contiguous()
        picture = backend.decode(z)
        assert picture.shape == (2, 3, 24, 40)
        assert torch.allclose(picture[0, :, 0, 0], torch.tensor([0.91, 0.11, 0.11]), atol=1e-5)
        assert backend.decode(z * 100).max() == 1

    def test_the_trainable_decoder_is_a_copy_that_does_the_same(self, host):
        backend = backend_of(host, ready(host))
        z = torch.randn(1, 4, 3, 5) / 4
        decoder = backend.decoder()
        assert torch.allclose(decoder(z).clamp(0, 1), backend.decode(z), atol=1e-6)
        parameters = list(decoder.parameters())
        assert len(parameters) == 4  # the decoder's and the convolution before it
        assert all(one.requires_grad and one.dtype == torch.float32 for one in parameters)
        ours = {one.data_ptr() for one in parameters}
        assert not ours & {one.data_ptr() for one in host.model.parameters()}
        decoder(z).sum().backward()
        assert not any(one.requires_grad for one in host.model.parameters())

    def test_the_copy_is_float32_if_the_models_is_not(self, host):
        backend = backend_of(host, ready(host))
        host.model.first_stage_model.to(torch.float16)
        assert {one.dtype for one in backend.decoder().parameters()} == {torch.float32}
        assert host.model.first_stage_model.dtype == torch.float16

    def test_the_copy_has_no_part_in_tiled_vae(self, host):
        network = host.model.first_stage_model.decoder
        network.original_forward = network.forward
        network.forward = lambda z: torch.zeros(1, 3, 24, 40)
        decoder = backend_of(host, ready(host)).decoder()
        assert decoder(torch.randn(1, 4, 3, 5)).requires_grad
        assert "forward" in vars(network)

    def test_the_copy_has_no_part_in_casts_that_the_host_makes_itself(self, host, monkeypatch):
        """Neither on the way there nor, where checkpointing computes again, on the way back."""
        from msbd.webui.hosts.backend import without_casts

        host.model.first_stage_model.decoder = Normalising()
        background, painted = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
        segment = Segment(torch.randn(1, 4, 4, 4), background, painted, painted)

        def trained(sparing: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
            decoder, steps = backend_of(host, ready(host)).decoder(), Ablation(decoder_iterations=3)
            losses = fine_tune(decoder, [segment], steps, sparing, lambda: None)
            return losses, decoder.state_dict()

        losses, weights = trained(sparing=False)
        casting_in_half_precision(monkeypatch, host.devices, torch.nn.Conv2d, torch.nn.GroupNorm)
        # A copy, because casting rounds the weights as well.
        half = copy.deepcopy(host.model.first_stage_model.decoder)(torch.randn(1, 4, 4, 4))
        assert torch.equal(half, half.half().float()), "the host casts"
        casting = {kind: kind.forward for kind in (torch.nn.Conv2d, torch.nn.GroupNorm)}
        for sparing in (False, True):
            with without_casts():
                same, others = trained(sparing)
            assert same == losses
            assert all(torch.equal(weights[name], one) for name, one in others.items())
        assert all(kind.forward is cast for kind, cast in casting.items()), "they are back"

    @pytest.mark.parametrize("casting", [False, True])
    def test_the_copy_is_gone_as_soon_as_it_is_dropped(self, host, monkeypatch, casting):
        """Its weights must not wait for Python's collector."""
        host.model.first_stage_model.decoder = Normalising()
        kinds = (torch.nn.Conv2d, torch.nn.GroupNorm)
        monkeypatch.setattr(host.devices, "patch_module_list", list(kinds), raising=False)
        if casting:
            casting_in_half_precision(monkeypatch, host.devices, *kinds)
        decoder = backend_of(host, ready(host)).decoder()
        assert torch.equal(copy.deepcopy(decoder)(ZEROS[:, :4]), decoder(ZEROS[:, :4]))
        weights = [weakref.ref(one) for one in decoder.parameters()]
        gc.disable()
        try:
            del decoder
            assert len(weights) > 4 and not any(one() is not None for one in weights)
        finally:
            gc.enable()

    def test_what_is_not_a_number_is_told_with_the_hosts_advice(self, host):
        backend = backend_of(host, ready(host))
        with pytest.raises(EditError, match="NaN"):
            backend.encode(torch.full((1, 3, 32, 32), torch.nan))
        with pytest.raises(EditError, match="NaN"):
            backend.decode(torch.full((1, 4, 4, 4), torch.nan))

    def test_with_medvram_the_copy_finds_the_gpu_empty(self, host, monkeypatch):
        sent = []
        monkeypatch.setattr(host.lowvram, "send_everything_to_cpu", lambda: sent.append(True))
        host.model.lowvram = True
        backend_of(host, ready(host)).decoder()
        assert sent


def spoilt(result: torch.Tensor, value: float) -> torch.Tensor:
    """With one number that is none, where the host does not look: it sees the first."""
    result = result.clone()
    result.flatten()[-1] = value
    return result


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("looks", [True, False])
class TestNotANumber:
    """Whether the host looks for it (`--disable-nan-check`) or not."""

    @pytest.fixture(autouse=True)
    def _flags(self, host: Host, looks: bool) -> None:
        host.shared.cmd_opts.disable_nan_check = not looks

    @pytest.mark.parametrize("everywhere", [True, False])
    def test_the_network_is_asked_again_with_attention_in_single_precision(
        self, host, monkeypatch, value, everywhere
    ):
        network = host.model.model.diffusion_model
        own, asked = network.forward, []

        def forward(*given: Any, **named: Any) -> torch.Tensor:
            asked.append(host.shared.opts.upcast_attn)
            result = own(*given, **named)
            if asked[-1]:
                return result
            return torch.full_like(result, value) if everywhere else spoilt(result, value)

        z, sigma = torch.randn(2, 4, 4, 4), torch.full((2,), 2.0)
        backend = backend_of(host, ready(host))
        expected = backend.denoise(z, sigma, condition=ZEROS)
        monkeypatch.setattr(network, "forward", forward)
        for _ in range(2):
            assert torch.equal(backend.denoise(z, sigma, condition=ZEROS), expected)
        assert asked == [False, True, True], "the next call knows"
        assert host.shared.opts.upcast_attn is False
        assert len(backend.notes) == 1 and "single precision" in backend.notes[0]

    @pytest.mark.parametrize("half", [True, False])
    def test_a_network_that_gives_no_numbers_is_named_with_what_to_do(
        self, host, monkeypatch, value, half
    ):
        if half:
            monkeypatch.setattr(host.devices, "dtype_unet", torch.float16)
        network = host.model.model.diffusion_model
        own = network.forward
        monkeypatch.setattr(network, "forward", lambda *a, **k: spoilt(own(*a, **k), value))
        backend = backend_of(host, ready(host))
        with pytest.raises(EditError, match=r"Upcast cross attention layer to float32") as told:
            backend.denoise(torch.ones(1, 4, 4, 4), torch.ones(1), condition=ZEROS)
        assert ("--no-half" in str(told.value)) == half and "checkpoint" in str(told.value)
        assert not backend.notes
        assert host.shared.opts.upcast_attn is False

    @pytest.mark.parametrize("part", ["encode", "decode"])
    @pytest.mark.parametrize("rescued", [True, False])
    def test_the_autoencoder_is_asked_again_in_single_precision(
        self, host, monkeypatch, value, part, rescued
    ):
        network = host.model.first_stage_model
        layer = network.encoder if part == "encode" else network.decoder
        own, bits = layer.forward, []

        def forward(x: torch.Tensor) -> torch.Tensor:
            bits.append(x.dtype)
            result = own(x)
            whole = x.dtype == torch.float32 and rescued
            return result if whole else spoilt(result, value)

        network.half()
        before = {name: one.clone() for name, one in network.state_dict().items()}
        monkeypatch.setattr(host.devices, "dtype_vae", torch.float16)
        host.shared.opts.auto_vae_precision = False
        monkeypatch.setattr(layer, "forward", forward)
        backend = backend_of(host, ready(host))
        given = torch.full((1, 3, 32, 32), 0.5) if part == "encode" else torch.ones(1, 4, 4, 4)
        if rescued:
            for _ in range(2):
                assert bool(torch.isfinite(getattr(backend, part)(given)).all())
            assert len(backend.notes) == 1 and "--no-half-vae" in backend.notes[0]
            assert bits == [torch.float16, torch.float32, torch.float32]
        else:
            with pytest.raises(EditError, match="autoencoder gives NaN in single precision too"):
                getattr(backend, part)(given)
            assert bits == [torch.float16, torch.float32] and not backend.notes
        assert host.devices.dtype_vae == torch.float16 and network.dtype == torch.float16
        after = network.state_dict()
        assert all(torch.equal(one, after[name]) for name, one in before.items())


def test_without_memory_for_single_precision_the_hosts_autoencoder_stays(host, monkeypatch):
    from msbd.webui.hosts.a1111 import A1111Networks

    network = host.model.first_stage_model.half()
    monkeypatch.setattr(host.devices, "dtype_vae", torch.float16)
    own = torch.nn.Module.to

    def to(module: torch.nn.Module, kind: torch.dtype) -> Any:
        if kind == torch.float32:
            own(module.encoder, kind)
            raise torch.cuda.OutOfMemoryError
        return own(module, kind)

    lent = A1111Networks(host.model).autoencoder_in_single_precision
    monkeypatch.setattr(type(network), "to", to)
    with pytest.raises(torch.cuda.OutOfMemoryError), lent():
        pass
    assert {one.dtype for one in network.parameters()} == {torch.float16}
    assert host.devices.dtype_vae == torch.float16


def test_an_inpainting_condition_is_made_again_in_single_precision(host, monkeypatch):
    host.load(LatentDiffusion(conditioning_key="hybrid"), "inpainting")
    network = host.model.first_stage_model.half()
    own = network.encoder.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        return own(x) if x.dtype == torch.float32 else spoilt(own(x), torch.nan)

    monkeypatch.setattr(host.devices, "dtype_vae", torch.float16)
    monkeypatch.setattr(network.encoder, "forward", forward)
    backend = backend_of(host, ready(host))
    picture, painted = torch.full((1, 3, 32, 32), 0.5), torch.ones(1, 1, 32, 32)
    latents = torch.ones(1, 4, 4, 4)
    with backend.sampling(picture, painted, latents, latents, Box(0, 0, 32, 32)) as told:
        pass
    assert bool(torch.isfinite(told).all()) and len(backend.notes) == 1


class Normalising(torch.nn.Module):
    """A decoder with a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.block = torch.nn.Sequential(
            torch.nn.GroupNorm(2, 4), torch.nn.SiLU(), torch.nn.Conv2d(4, 4, 3, padding=1)
        )
        self.conv_out = torch.nn.Conv2d(4, 3, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.conv_out(torch.nn.functional.interpolate(self.block(z), scale_factor=8))


def casting_in_half_precision(monkeypatch: Any, devices: Any, *kinds: Any) -> None:
    """Layers as the host has them while it generates on a card without autocast."""

    def cast(own: Any) -> Any:
        def forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
            layer.half()
            result = own(layer, x.half())
            layer.float()
            return result.float()

        return forward

    monkeypatch.setattr(devices, "patch_module_list", list(kinds), raising=False)
    for kind in kinds:
        monkeypatch.setattr(kind, "org_forward", kind.forward, raising=False)
        monkeypatch.setattr(kind, "forward", cast(kind.forward))


def told(backend: Any, image: torch.Tensor, painted: torch.Tensor) -> torch.Tensor:
    source, place = backend.encode(image), Box.of(Size(*image.shape[-2:]))
    with backend.sampling(image, painted, source, source, place) as condition:
        return condition


class TestConditioning:
    def test_of_ordinary_checkpoints_is_a_dummy(self, host):
        image, painted = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
        got = told(backend_of(host, ready(host)), image, painted)
        assert got.shape == (1, 5, 1, 1) and not got.any()

    def test_of_inpainting_checkpoints_is_the_mask_and_the_picture_without_it(self, host):
        host.load(LatentDiffusion(conditioning_key="hybrid"), "inpainting")
        backend = backend_of(host, ready(host))
        image, painted = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
        painted[..., :16, :] = 1
        state = torch.get_rng_state()
        got = told(backend, image, painted)
        assert torch.equal(torch.get_rng_state(), state)
        assert torch.equal(got, told(backend, image, painted))
        assert got.shape == (1, 5, 4, 4)
        assert got[0, 0, :2].eq(1).all() and got[0, 0, 2:].eq(0).all()
        assert got[0, 1:4, :2].abs().max() < 0.05
        kept = torch.nn.functional.avg_pool2d(image, 8)[0, :, 2:] * 2 - 1
        assert (got[0, 1:4, 2:] - kept * host.model.scale_factor).abs().max() < 0.05


class TestSampler:
    @pytest.mark.parametrize("name", ["Euler a", "Heun", "DPM++ 2M", "DPM++ 2M SDE", "DDIM"])
    @pytest.mark.parametrize("scheduler", ["Automatic", "Karras", "Exponential", "SGM Uniform"])
    def test_levels_fall_strictly_to_nought(self, host, name, scheduler):
        backend = backend_of(host, ready(host, sampler_name=name, scheduler=scheduler))
        for steps in (1, 2, 20):
            sigmas = backend.sigmas(steps)
            assert sigmas.shape == (steps + 1,) and sigmas.dtype == torch.float32
            assert (sigmas.diff() < 0).all() and sigmas[-1] == 0

    def test_levels_are_the_hosts_own(self, host):
        p = ready(host, sampler_name="Euler", scheduler="Karras")
        backend = backend_of(host, p)
        assert torch.allclose(backend.sigmas(7), p.sampler.get_sigmas(p, 7))

    def test_odd_schedules_are_mended(self, host):
        from msbd.webui.hosts.sampling import strictly_descending

        repeated = torch.tensor([9.0, 9.0, 3.0, 3.0, 1.0, 0.0])
        assert strictly_descending(repeated, 3).tolist() == [9, 3, 1, 0]
        five = strictly_descending(repeated, 5)
        assert len(five) == 6 and (five.diff() < 0).all() and five[0] == 9 and five[-1] == 0
        plain = torch.tensor([9.0, 3.0, 1.0, 0.0])
        assert torch.equal(strictly_descending(plain, 3), plain)

    @pytest.mark.parametrize("name", ["Euler a", "DPM++ 2M SDE", "Euler", "Heun"])
    def test_all_its_noise_is_ours(self, host, name):
        import k_diffusion.sampling

        host.shared.opts.s_churn = 5.0
        backend = backend_of(host, ready(host, sampler_name=name))
        asked = []

        def noise(sigma: Any, sigma_next: Any) -> torch.Tensor:
            asked.append(True)
            return torch.ones(3, 4, 6, 2)

        def run() -> torch.Tensor:
            return backend.sampler(
                lambda z, sigma, **extra: z * 0.5,
                torch.ones(3, 4, 6, 2),
                backend.sigmas(4),
                noise_sampler=noise,
                disable=True,
            )

        state = torch.get_rng_state()
        assert torch.equal(run(), run()) and asked
        assert torch.equal(torch.get_rng_state(), state)
        assert k_diffusion.sampling.torch is torch

    def test_k_diffusion_gets_its_torch_back_after_an_error(self, host):
        import k_diffusion.sampling

        backend = backend_of(host, ready(host))

        def fail(*_: Any, **__: Any) -> torch.Tensor:
            raise Interrupted

        with pytest.raises(Interrupted):
            backend.sampler(fail, torch.ones(1, 4, 4, 4), backend.sigmas(2))
        assert k_diffusion.sampling.torch is torch

    def test_ddims_eta_is_ddims(self, host):
        def spread(**changes: Any) -> float:
            backend = backend_of(host, ready(host, sampler_name="DDIM", **changes))
            noise = torch.Generator().manual_seed(0)
            z = backend.sampler(
                lambda z, sigma, **extra: z * 0,
                torch.zeros(1, 4, 16, 16),
                torch.tensor([2.0, 1.0]),
                noise_sampler=lambda *_: torch.randn(1, 4, 16, 16, generator=noise),
            )
            return float(z.std())

        assert spread() == 0.0  # its default: no fresh noise
        assert spread(eta=1.0) > 0.5

    def test_calls_per_step(self, host):
        from msbd.webui.hosts.sampling import calls_per_step

        assert [calls_per_step(name) for name in ("Euler a", "Heun", "DDIM")] == [1, 2, 1]


class TestSpec:
    def spec(self, host: Host, **changes: Any) -> Any:
        from msbd.webui.hosts.checkpoint import model_spec

        host.load(LatentDiffusion(**changes))
        return model_spec("Euler a")

    def test_are_the_checkpoints(self, host):
        spec = self.spec(host, resolution=128, levels=3)
        assert (spec.resolution, spec.multiple, spec.latent_factor) == (128, 32, 8)

    def test_of_sd2_with_v_prediction(self, host):
        assert self.spec(host, parameterization="v").resolution == 768

    def test_of_ordinary_sd1(self, host):
        spec = self.spec(host, resolution=512, levels=4)
        assert (spec.resolution, spec.multiple) == (512, 64)

    def test_the_panel_may_say_otherwise(self, host):
        from msbd.webui import options

        options.register()
        host.shared.opts.msbd_resolution = 640
        assert self.spec(host).resolution == 640

    @pytest.mark.parametrize("family, words", [("is_sdxl", "SDXL"), ("is_sd3", "Diffusion 3")])
    def test_other_families_are_refused(self, host, family, words):
        from msbd.webui.hosts.checkpoint import model_spec

        setattr(host.model, family, True)
        with pytest.raises(EditError, match=words):
            model_spec("Euler a")


class TestUpscalers:
    def enlarged(self, name: str, size: Size, side: int = 24) -> torch.Tensor:
        from msbd.webui.hosts.upscaling import load_upscaler

        pixels = np.asarray(photograph(side, side + 8), np.float32) / 255
        return load_upscaler(name)(torch.from_numpy(pixels).permute(2, 0, 1)[None], size)

    @pytest.mark.parametrize("name", ["R-ESRGAN 4x+", "r-esrgan 4X+", "Nearest"])
    def test_the_hosts_is_used_by_its_name(self, host, name):
        large = self.enlarged(name, Size(96, 128))
        wanted = np.asarray(photograph(24, 32), np.float32).repeat(4, 0).repeat(4, 1) / 255
        got = large[0].permute(1, 2, 0).numpy()
        assert np.abs(got - wanted).max() <= 1.01 / 255  # the network adds a shade of contrast

    def test_pictures_smaller_than_the_hosts_tiles_come_out_the_same(self, host):
        small = self.enlarged("R-ESRGAN 4x+", Size(40, 50))
        host.shared.opts.ESRGAN_tile = 192
        assert torch.equal(self.enlarged("R-ESRGAN 4x+", Size(40, 50)), small)

    @pytest.mark.parametrize("size", [Size(37, 51), Size(24, 32), Size(95, 127)])
    def test_any_size_is_had(self, host, size):
        large = self.enlarged("R-ESRGAN 4x+", size)
        assert large.shape == (1, 3, size.height, size.width)
        assert large.min() >= 0 and large.max() <= 1

    @pytest.mark.parametrize("name", ["Bilinear", "bicubic", "Lanczos"])
    def test_plain_interpolation_needs_no_upscaler(self, host, name):
        host.shared.sd_upscalers.clear()
        assert self.enlarged(name, Size(40, 50)).shape == (1, 3, 40, 50)

    def test_one_that_fails_in_silence_is_refused(self, host):
        from msbd.webui.hosts.upscaling import ensure_it_works, load_upscaler

        data = next(u for u in host.shared.sd_upscalers if u.name == "R-ESRGAN 4x+")
        data.local_data_path = None
        with pytest.raises(EditError, match=r"R-ESRGAN 4x\+.*weights are missing"):
            ensure_it_works(load_upscaler("R-ESRGAN 4x+"))

    def test_one_that_raises_is_refused(self, host, monkeypatch):
        from msbd.webui.hosts.upscaling import ensure_it_works, load_upscaler

        def fail(*_: Any) -> Image.Image:
            raise ValueError("damaged")

        realesrgan = host.realesrgan_model.UpscalerRealESRGAN
        monkeypatch.setattr(realesrgan, "do_upscale", fail)
        with pytest.raises(EditError, match="does not work"):
            ensure_it_works(load_upscaler("R-ESRGAN 4x+"))

    def test_an_unknown_one_is_refused_with_the_names_there_are(self, host):
        from msbd.webui.hosts.upscaling import load_upscaler

        with pytest.raises(EditError, match=r"'4x-Other'.*R-ESRGAN 4x\+"):
            load_upscaler("4x-Other")

    def test_an_interruption_is_not_taken_for_a_result(self, host):
        from msbd.webui.hosts.upscaling import load_upscaler

        upscale = load_upscaler("R-ESRGAN 4x+")
        host.shared.state.interrupt()
        with pytest.raises(Interrupted):
            upscale(torch.zeros(1, 3, 16, 16), Size(32, 32))


class TestJudge:
    @pytest.mark.parametrize(
        "prompt, words",
        [
            ("a red star", "a red star"),
            ("a ((red)) (star:1.3) [blue]", "a red star blue"),
            ("a [red:blue:3] star", "a blue star"),
            ("a red star AND a moon :0.5", "a red star, a moon"),
            ("a red BREAK star", "a red star"),
        ],
    )
    def test_words_of_a_prompt(self, host, prompt, words):
        from msbd.webui.hosts.clip import plain_text

        assert plain_text(prompt, 10) == words

    def test_it_is_kept_until_the_panel_says_otherwise(self, host):
        from msbd.webui import options
        from msbd.webui.hosts.clip import ranker

        options.register()
        first = ranker()
        assert ranker() is first
        host.shared.opts.msbd_clip_weights = "/other.pt"
        assert ranker() is not first and str(ranker().source) == "/other.pt"

    def test_one_that_failed_is_tried_again(self, host):
        from msbd.webui.hosts.clip import ranker

        first = ranker()
        first.reason = "no such file"
        assert ranker() is not first


class TestInputs:
    def prepared(self, host: Host, **changes: Any) -> Any:
        from msbd.webui.inputs import prepared

        facts = {"pictures": [photograph(40, 50)], "mask": mask_of((40, 50), BOX), "invert": False}
        return prepared(**{**facts, **changes})

    def test_pictures_and_mask_as_they_are(self, host):
        inputs = self.prepared(host)
        assert inputs.size == Size(40, 50)
        assert np.array_equal(np.asarray(inputs.pictures[0]), np.asarray(photograph(40, 50)))
        assert inputs.mask.dtype == np.float32 and inputs.mask.sum() == 10 * 20
        assert inputs.tensor(0).shape == (1, 3, 40, 50)

    def test_an_inverted_mask(self, host):
        assert self.prepared(host, invert=True).mask.sum() == 40 * 50 - 10 * 20

    def test_soft_masks_are_kept_if_asked_for(self, host):
        grey = Image.fromarray(np.full((40, 50), 51, np.uint8))
        soft = self.prepared(host, mask=grey, round_mask=False)
        assert np.allclose(soft.mask, 0.2)

    def test_transparent_parts_are_filled_and_it_is_said(self, host):
        clear = photograph(40, 50).convert("RGBA")
        clear.putalpha(0)
        inputs = self.prepared(host, pictures=[clear])
        assert inputs.pictures[0].getextrema() == ((255, 255),) * 3
        assert any("transparent" in note for note in inputs.notes)

    def test_pictures_of_different_sizes_are_refused(self, host):
        pictures = [photograph(40, 50), photograph(50, 40)]
        with pytest.raises(EditError, match="same size"):
            self.prepared(host, pictures=pictures)
