"""Single precision, whatever a host computes with round an edit."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine import box_mask, photograph, run
from fakes import PointwiseBackend, PointwiseDecoder

from msbd.geometry import Box, Size
from msbd.precision import exact_products

WAYS: list[dict[str, Any]] = [{}, {"decoder": "last layer"}, {"decoder_checkpointing": True}]
"""To optimise the decoder."""


class Loud(PointwiseDecoder):
    """Its last layer takes numbers beyond what half precision holds, and gives moderate ones."""

    def __init__(self, tint: float, mode: str) -> None:
        super().__init__(tint, mode)
        with torch.no_grad():
            self.last.weight.mul_(1e-6)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(1e6 * z)


class LoudBackend(PointwiseBackend):
    def decoder(self) -> Any:
        return Loud(self.tint, self.mode)


@pytest.mark.edits
@pytest.mark.parametrize("values", WAYS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("modes", [(True, False), (False, True), (True, True)])
def test_a_hosts_modes_have_no_effect_on_an_edit(
    values: dict[str, Any], dtype: torch.dtype, modes: tuple[bool, bool]
) -> None:
    """Not even where half precision overflows: beyond 65,504."""

    def edited() -> torch.Tensor:
        backend = LoudBackend(tint=0.1)
        done = run(photograph(100, 120), box_mask(Size(100, 120), Box(20, 30, 80, 90)), backend,
                   tile_size=1, **values)  # fmt: skip
        assert all(stage.decoder_loss for stage in done.report.stages)
        return done.image

    expected = edited()
    casting, inferring = modes
    with torch.inference_mode(inferring), torch.autocast("cpu", dtype, enabled=casting):
        half = Loud(0.0, "nearest")(torch.ones(1, 4, 2, 2))
        assert bool(torch.isfinite(half).all()) != (casting and dtype == torch.float16)
        result = edited()
        assert torch.is_autocast_enabled("cpu") == casting
        assert torch.is_inference_mode_enabled() == inferring
    assert torch.equal(result, expected)


class Inferring(PointwiseBackend):
    """It answers in inference mode, as the autoencoders of some hosts do."""

    encode = torch.inference_mode()(PointwiseBackend.encode)
    decode = torch.inference_mode()(PointwiseBackend.decode)
    denoise = torch.inference_mode()(PointwiseBackend.denoise)
    upscale = torch.inference_mode()(PointwiseBackend.upscale)


@pytest.mark.edits
@pytest.mark.parametrize("values", WAYS)
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_decoder_is_fitted_to_what_was_made_in_inference_mode(
    values: dict[str, Any], strength: float
) -> None:
    image, mask = photograph(100, 120), box_mask(Size(100, 120), Box(20, 30, 80, 90))
    plain, inferred = (
        run(image, mask, backend, final_strength=strength, **values)
        for backend in (PointwiseBackend(tint=0.1), Inferring(tint=0.1))
    )
    assert all(stage.decoder_loss for stage in inferred.report.stages)
    assert torch.equal(plain.image, inferred.image)


class OldProducts(SimpleNamespace):
    """PyTorch 2.1's, which says so of a name it does not know."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"Unknown attribute {name}")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("kind", [SimpleNamespace, OldProducts])
def test_products_are_exact_meanwhile_and_then_as_a_host_wants_them(
    monkeypatch: pytest.MonkeyPatch, kind: type[SimpleNamespace], newer: bool, fails: bool
) -> None:
    """By the name that PyTorch has for it."""
    name, exact, allowed = (
        ("fp32_precision", "ieee", "tf32") if newer else ("allow_tf32", False, True)
    )
    products = kind(**{name: allowed})
    monkeypatch.setattr(torch.backends.cuda, "matmul", products)
    ends = pytest.raises(ZeroDivisionError) if fails else nullcontext()
    with ends, exact_products():
        assert vars(products) == {name: exact}
        assert 1 / (not fails)
    assert vars(products) == {name: allowed}
