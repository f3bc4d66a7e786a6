"""Decoder optimisation: it must help outside, keep inside, and hurt nothing else."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from fakes import PointwiseBackend, PointwiseDecoder
from torch import Tensor, nn

from msbd.decoder import Segment, nearness, optimise
from msbd.errors import Interrupted
from msbd.noise import Noise
from msbd.settings import DecoderOptimisation


def nothing() -> None:
    return None


def segment(key: int = 0, inside: bool = True) -> Segment:
    """Latents whose true picture is what the untinted decoder makes of them."""
    z = Noise(key)((1, 4, 6, 6), "z") * 0.4
    painted = torch.zeros(1, 1, 48, 48)
    painted[..., 8:24, 8:24] = float(inside)
    with torch.no_grad():
        return Segment(z, PointwiseDecoder(0.0, "nearest")(z), painted, nearness(painted, 8))


def settings(**values) -> DecoderOptimisation:
    return DecoderOptimisation(**{"decoder_iterations": 200, "decoder_rate": 1e-2, **values})


def error_outside(decoder, piece: Segment) -> float:
    with torch.no_grad():
        difference = (decoder(piece.z) - piece.background) * (1 - piece.painted)
    return float(difference.abs().max())


def test_it_learns_the_surroundings_tone():
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    before = error_outside(decoder, piece)
    losses = optimise(decoder, [piece], settings(), nothing)
    assert before == pytest.approx(0.1, abs=1e-5)
    assert error_outside(decoder, piece) < 0.01
    assert losses[-1] < 0.05 * losses[0]


def test_without_weight_on_the_background_nothing_changes():
    decoder = PointwiseDecoder(0.1, "nearest")
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    losses = optimise(decoder, [segment()], settings(decoder_background_weight=0.0), nothing)
    assert losses[0] == 0
    assert all(torch.equal(v, decoder.state_dict()[k]) for k, v in before.items())


def test_the_loss_is_the_papers():
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    losses = optimise(decoder, [piece], settings(decoder_iterations=1), nothing)
    outside = float((1 - piece.painted).mean())
    assert losses == [pytest.approx(100 * 0.1**2 * outside, rel=1e-4)]


def test_segments_together_are_one_picture():
    """Two segments give the step that one picture of both would give."""
    pieces = [segment(0), segment(1)]
    joined = Segment(
        *(
            torch.cat([getattr(p, name) for p in pieces], dim=-1)
            for name in ("z", "background", "painted", "edge")
        )
    )
    apart, together = PointwiseDecoder(0.1, "nearest"), PointwiseDecoder(0.1, "nearest")
    a = optimise(apart, pieces, settings(decoder_iterations=5), nothing)
    b = optimise(together, [joined], settings(decoder_iterations=5), nothing)
    assert a == pytest.approx(b, rel=1e-4)
    for one, other in zip(apart.parameters(), together.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_it_stops_when_the_loss_has_settled():
    patient = optimise(PointwiseDecoder(0.1, "nearest"), [segment()], settings(), nothing)
    early = optimise(
        PointwiseDecoder(0.1, "nearest"), [segment()], settings(decoder_patience=10), nothing
    )
    assert len(patient) == 200
    assert 10 < len(early) < 200
    assert early == patient[: len(early)]


def test_zero_iterations_do_nothing():
    none = settings(decoder_iterations=0)
    assert optimise(PointwiseDecoder(0.1, "nearest"), [segment()], none, nothing) == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(mode):
    decoder, piece = PointwiseDecoder(0.1, "nearest"), segment()
    with mode():
        losses = optimise(decoder, [piece], settings(decoder_iterations=20), nothing)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("error", [None, RuntimeError("boom"), Interrupted()])
def test_the_models_own_decoder_is_never_touched(error):
    class Owner(PointwiseBackend):
        own = PointwiseDecoder(0.1, "nearest").requires_grad_(False)

        def decoder(self):
            return copy.deepcopy(self.own).requires_grad_(True)

    backend = Owner()
    before = {k: v.clone() for k, v in backend.own.state_dict().items()}
    calls = []

    def advance():
        calls.append(1)
        if error and len(calls) == 3:
            raise error

    if error is None:
        optimise(backend.decoder(), [segment()], settings(decoder_iterations=5), advance)
    else:
        with pytest.raises(type(error)):
            optimise(backend.decoder(), [segment()], settings(), advance)
    assert all(torch.equal(v, backend.own.state_dict()[k]) for k, v in before.items())
    assert not any(p.requires_grad or p.grad is not None for p in backend.own.parameters())


def test_the_onlooker_hears_of_every_segment_of_every_step():
    calls = []
    optimise(
        PointwiseDecoder(0.1, "nearest"),
        [segment(0), segment(1)],
        settings(decoder_iterations=7),
        lambda: calls.append(1),
    )
    assert len(calls) == 14


class Attending(nn.Module):
    """A decoder of matrix products, as attention has them, in single precision by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0.1, 0.9, 12).reshape(1, 4, 3))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            colours = torch.bmm(z.flatten(2).transpose(1, 2), self.weight).transpose(1, 2)
            return F.interpolate(colours.unflatten(2, z.shape[2:]), scale_factor=8)


def test_gradients_do_not_follow_the_callers_autocast():
    piece = segment()

    def trained() -> Tensor:
        decoder = Attending()
        optimise(decoder, [piece], settings(decoder_iterations=3), nothing)
        return decoder.weight.detach()

    alone = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(trained(), alone)


def test_no_gradients_stay_behind():
    decoder = PointwiseDecoder(0.1, "nearest")
    optimise(decoder, [segment()], settings(decoder_iterations=2), nothing)
    assert all(parameter.grad is None for parameter in decoder.parameters())
