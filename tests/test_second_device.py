"""The second device itself, and an edit of the embedded miniature on it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine import box_mask, photograph, run
from fakes import PointwiseBackend
from second_device import OUTSIDE, PACKAGE, Move, SecondDevice
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from msbd.geometry import Box, Size
from msbd.noise import Noise
from msbd.pipeline import edit
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.progress import Callbacks
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE, MINIATURE_CLIP, MINIATURE_UPSCALER
from msbd.standalone.samplers import euler_ancestral


@pytest.fixture
def device() -> Iterator[SecondDevice]:
    with SecondDevice() as entered:
        yield entered


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def changed(x: Tensor, change: Callable[[Tensor], Any]) -> Tensor:
    """A copy, after something was done to it in place."""
    result = x.clone()
    change(result)
    return result


def put(value: Any, *index: Any) -> Callable[[Tensor], None]:
    return lambda x: x.__setitem__(index, value)


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "add to a view": lambda x: changed(x, lambda y: y[..., 1:5].add_(1)),
    "lerp a view": lambda x: changed(x, lambda y: y[:, :, 1:].lerp_(y[:, :, :-1].exp(), 0.3)),
    "put a part": lambda x: changed(x, lambda y: put(y[0] * 2, 1)(y)),
    "view of a view": lambda x: changed(x, lambda y: y[0, 1].T[2:].unsqueeze(0).mul_(3)),
    "chunk and write": lambda x: changed(x, lambda y: y.chunk(2)[1].zero_()),
    "split": lambda x: torch.stack([part.sum() for part in x.split(3, -1)]),
    "copy": lambda x: changed(x, lambda y: y[0].copy_(y[1])),
    "broadcasting copy": lambda x: changed(x, lambda y: y.copy_(y[:1, :1].exp())),
    "number": lambda x: changed(x, put(0.5, 0, 1)),
    "number at a place": lambda x: changed(x, put(0.5, 0, 1, 2, 3)),
    "number under a mask": lambda x: changed(x, lambda y: put(0.5, y > 0)(y)),
    "fill under a mask": lambda x: changed(x, lambda y: y.masked_fill_(y > 0, 2.0)),
    "list of rows": lambda x: x[:, [2, 0]],
    "array of rows": lambda x: x[:, np.array([2, 0])],
    "mask": lambda x: x[x > 0],
    "masked select": lambda x: x.masked_select(x > 0),
    "nonzero": lambda x: (x > 0).nonzero(),
    "where": lambda x: torch.where(x > 0, x, 0),
    "cat": lambda x: torch.cat([x, x.flip(-1)]),
    "shape in place": lambda x: changed(x[:1], lambda y: y.squeeze_(0).transpose_(0, 1)),
    "out": lambda x: torch.add(x, 1, out=x.new_empty(0)),
    "resize": lambda x: F.interpolate(x, (5, 11), mode="bilinear", antialias=True),
    "enlarge": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "convolve": lambda x: F.conv2d(x, numbers(2, 4, 3, 3).to(x), padding=1),
    "unfold": lambda x: F.unfold(x, 3),
    "normalise": lambda x: F.group_norm(x, 2),
    "attend": lambda x: F.scaled_dot_product_attention(x, x, x),
    "solve": lambda x: torch.linalg.solve(x[0, 0, :4, :4] + 9 * torch.eye(4).to(x), x[0, 1, :4]),
    "largest": lambda x: F.max_pool2d(x, 2),
    "largest to size": lambda x: F.adaptive_max_pool2d(x, (3, 5)),
    "repeat the edge": lambda x: F.pad(x, (0, 3, 0, 2), mode="replicate"),
    "statistics": lambda x: torch.stack(torch.var_mean(x, 2, correction=0)),
    "new numbers": lambda x: x + x.new_tensor([0.5]) + x.new_zeros(1) + torch.ones_like(x),
    "double precision": lambda x: x.double().cumsum(-1),
    "channels last": lambda x: x.to(memory_format=torch.channels_last).flatten(1),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_operations_give_what_the_cpu_gives(
    device: SecondDevice, name: str, mode: Callable[[], Any]
) -> None:
    with mode(), sdpa_kernel(SDPBackend.MATH):
        there = OPERATIONS[name](numbers(2, 4, 6, 8).to(device.label))
        here = OPERATIONS[name](numbers(2, 4, 6, 8))
    assert there.device == device.label and here.device.type == "cpu"
    assert there.shape == here.shape and there.stride() == here.stride()
    assert there.dtype == here.dtype and torch.equal(there.cpu(), here)


MIXTURES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "add": lambda here, there: there + here,
    "add in place": lambda here, there: here.add_(there),
    "write to a number": lambda here, there: here.sum().add_(there.sum()),
    "number there, tensor here": lambda here, there: here * there.sum(),
    "two numbers": lambda here, there: torch.addcmul(there, here[0, 0, 0, 0], here[0, 0, 0, 1]),
    "cat": lambda here, there: torch.cat([there, here]),
    "stack numbers": lambda here, there: torch.stack([there.sum(), here.sum()]),
    "lerp": lambda here, there: there.lerp_(here, 0.5),
    "where": lambda here, there: torch.where(here > 0, there, 0),
    "convolve": lambda here, there: F.conv2d(there, here),
    "multiply": lambda here, there: there @ here.mT,
    "into out": lambda here, there: torch.add(there, there, out=here),
    "put a part": lambda here, there: put(here[0], (there > 0)[:, 0, 0, 0])(there),
    "index here by there": lambda here, there: here[there > 0],
    "noise": lambda here, there: there.normal_(generator=torch.Generator()),
    "new noise": lambda here, there: torch.randn(2, device=there.device, generator=_seeded("cpu")),
    "noise here": lambda here, there: torch.randn(2, generator=_seeded(there.device)),
}


def _seeded(device: torch.device | str) -> torch.Generator:
    return torch.Generator(device).manual_seed(1)


@pytest.mark.parametrize("name", MIXTURES)
def test_two_devices_do_not_mix(device: SecondDevice, name: str) -> None:
    here, there = numbers(2, 4, 6, 8), numbers(2, 4, 6, 8).to(device.label)
    with pytest.raises(RuntimeError, match=r"same device|device type"):
        MIXTURES[name](here, there)


def test_a_refusal_says_what_and_where(device: SecondDevice) -> None:
    add = project_function("def add(a, b): return a + b", "add")
    with pytest.raises(RuntimeError, match=r"aten.add.Tensor in invented.py:add: other .*\(3,\)"):
        add(torch.zeros(3, device=device.label), torch.zeros(3))


def test_a_number_and_indices_may_come_from_the_cpu(device: SecondDevice) -> None:
    there = torch.arange(6.0, device=device.label)
    assert (there * torch.tensor(2.0)).tolist() == [0, 2, 4, 6, 8, 10]
    assert torch.where(there > 3, torch.tensor(1.0), torch.tensor(0.0)).sum().item() == 2
    device.moves.clear()
    assert there[torch.tensor([1, 3])].device == device.label
    there[torch.tensor([True, False, False, False, False, True])] = 7.0
    assert [move.bytes for move in device.moves] == [16, 16], "two indices of eight bytes each"
    assert there.tolist() == [7, 1, 2, 3, 4, 7]


def test_numpy_wants_the_cpu(device: SecondDevice) -> None:
    there = torch.ones(3, device=device.label)
    with pytest.raises(TypeError, match="can't convert"):
        there.numpy()
    with pytest.raises(TypeError, match="can't convert"):
        np.asarray(there)
    assert device.moves == []
    assert there.cpu().numpy().tolist() == there.tolist() == [1, 1, 1]
    assert device.bytes_down == 24


def test_tensors_without_data_do_not_pass_for_the_devices(device: SecondDevice) -> None:
    device.__exit__()
    without = torch.empty(3, device=device.label)
    device.__enter__()
    with pytest.raises(RuntimeError, match="without data"):
        torch.ones(3, device=device.label) + without


@pytest.mark.parametrize(
    ("move", "size", "down"),
    [
        (lambda here, there: here.to(there.device), 12, False),
        (lambda here, there: here.to(there.device, torch.float64), 24, False),
        (lambda here, there: here.to(there), 12, False),
        (lambda here, there: here.to(there.device, non_blocking=True), 12, False),
        (lambda here, there: there.copy_(here), 12, False),
        (lambda here, there: there.copy_(here[:1]), 12, False),
        (lambda here, there: put(here[:2], slice(0, 2))(there), 8, False),
        (lambda here, there: torch.tensor([1.0, 2.0], device=there.device), 8, False),
        (lambda here, there: torch.as_tensor(here.numpy(), device=there.device), 12, False),
        (lambda here, there: there.new_tensor([1.0, 2.0]), 8, False),
        (lambda here, there: there.cpu(), 12, True),
        (lambda here, there: there.to("cpu", torch.float64), 12, True),
        (lambda here, there: there[1:].to(here), 8, True),
        (lambda here, there: here.copy_(there), 12, True),
        (lambda here, there: there.tolist(), 12, True),
    ],
)
def test_moves_are_counted(
    device: SecondDevice, move: Callable[[Tensor, Tensor], Any], size: int, down: bool
) -> None:
    here, there = torch.zeros(3), torch.zeros(3, device=device.label)
    assert device.moves == [], "zeros are made where they are wanted"
    move(here, there)
    assert device.moves == [Move(size, down, OUTSIDE)]
    assert (device.bytes_down, device.bytes_up) == ((size, 0) if down else (0, size))
    assert device.synchronisations == 0


@pytest.mark.parametrize(
    "stay",
    [
        lambda here, there: (there.to(there.device), there.double(), there.to(there)),
        lambda here, there: torch.zeros_like(there, device="cpu") + here,
        lambda here, there: here.new_zeros(3, device=there.device) + there,
        lambda here, there: there.copy_(there.flip(0)),
        lambda here, there: put(2.0, slice(1, 3))(there),
        lambda here, there: put(2.0, there > 0)(there),
        lambda here, there: torch.arange(5, device=there.device),
        lambda here, there: f"{there}",
    ],
)
def test_what_stays_where_it_is_is_not_counted(
    device: SecondDevice, stay: Callable[[Tensor, Tensor], Any]
) -> None:
    stay(torch.zeros(3), torch.zeros(3, device=device.label))
    assert device.moves == [] and device.waits == []


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: int(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.equal(x, x),
        lambda x: put(x[:1], x > 0)(x),
        lambda x: f"{x[0]:.3f}",
    ],
)
def test_waits_are_counted(device: SecondDevice, wait: Callable[[Tensor], Any]) -> None:
    wait(torch.tensor([1.0, 0.0]).to(device.label))
    assert device.waits == [OUTSIDE] and len(device.moves) == 1


def project_function(source: str, name: str) -> Callable[..., Any]:
    """A function as if it were written in the package."""
    space: dict[str, Any] = {}
    exec(compile(source, f"{PACKAGE}invented.py", "exec"), space)
    return space[name]


def test_the_place_is_the_projects_innermost_function(device: SecondDevice) -> None:
    inner = project_function("def inner(x): return [y.cpu() for y in x]", "inner")
    outer = project_function("def outer(x, work): return work(x), x.sum().item()", "outer")
    outer(torch.ones(2, 3, device=device.label), inner)
    down = [move for move in device.moves if move.down]
    assert {move.bytes for move in down} == {12} and len(down) == 2
    assert {move.place.partition(":")[0] for move in down} == {"invented.py"}
    assert down[0].place.endswith((":inner", ":<listcomp>")) and device.waits == [
        "invented.py:outer"
    ]
    assert "24 bytes down in     2 moves: invented.py" in str(device)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.GELU(), nn.Conv2d(8, 4, 1)
    made = nn.Sequential(*layers, nn.BatchNorm2d(4))
    made[4].tied = made[4].bias
    return made


def places(module: nn.Module) -> set[str]:
    return {one.device.type for one in chain(module.parameters(), module.buffers())}


def test_modules_move_and_keep_their_parameters(device: SecondDevice) -> None:
    module, untouched = network(), network()
    names, parameters = [name for name, _ in module.named_parameters()], list(module.parameters())
    module.to(device.label)
    assert places(module) == {device.label.type}
    size = sum(one.numel() * one.element_size() for one in untouched.state_dict().values())
    tied = untouched[4].bias.numel() * 4
    assert device.bytes_up == size - tied, "what is shared moves once"
    assert [name for name, _ in module.named_parameters()] == names
    after = list(module.parameters())
    assert all(one is other for one, other in zip(parameters, after, strict=True))
    assert all(isinstance(one, nn.Parameter) and one.requires_grad for one in after)
    module.double().float().to("cpu")
    assert places(module) == {"cpu"} and type(module[0].weight) is nn.Parameter
    same_state(module, untouched)


def same_state(one: nn.Module, other: nn.Module) -> None:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name].cpu(), states[1][name].cpu()) for name in states[0])


def test_modules_are_copied_and_loaded(device: SecondDevice) -> None:
    module = network().to(device.label).requires_grad_(False)
    moves = len(device.moves)
    copied = copy.deepcopy(module)
    assert len(device.moves) == moves and places(copied) == {device.label.type}
    assert copied[4].tied is copied[4].bias and not copied[0].weight.requires_grad
    with torch.no_grad():
        copied[0].weight.add_(1)
    assert not torch.equal(copied[0].weight, module[0].weight)
    copied.load_state_dict(module.state_dict())
    same_state(copied, module)
    here = network()
    here.load_state_dict(module.state_dict())
    copied.load_state_dict(here.state_dict())
    assert places(here) == {"cpu"} and places(copied) == {device.label.type}
    same_state(copied, network())


def trained(at: torch.device, recomputed: bool = False, mode: Any = None) -> list[Tensor]:
    """The parameters after some steps of Adam."""
    module, x = network().to(at), numbers(2, 4, 6, 8).to(at)
    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(3):
        optimiser.zero_grad(set_to_none=True)
        y = checkpoint(module, x, use_reentrant=False) if recomputed else module(x)
        loss = (y - x).square().mean()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            module[0].weight.mul_(0.99)
    assert loss.requires_grad and module[0].weight.grad is not None
    return [one.detach().cpu() for one in module.parameters()]


@pytest.mark.parametrize("recomputed", [False, True])
def test_training_gives_what_the_cpu_gives(device: SecondDevice, recomputed: bool) -> None:
    there, here = trained(device.label, recomputed), trained(torch.device("cpu"), recomputed)
    assert all(torch.equal(one, other) for one, other in zip(there, here, strict=True))
    assert device.synchronisations == 0


def test_training_inside_a_hosts_modes(device: SecondDevice) -> None:
    here = trained(torch.device("cpu"))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        frozen = network().to(device.label)(numbers(1, 4, 6, 8).to(device.label))
        assert frozen.is_inference() and frozen.dtype == torch.float32, "the CPU's autocast only"
        with torch.inference_mode(False), torch.autocast(device.label.type, enabled=False):
            assert torch.is_autocast_enabled("cpu")
            there = trained(device.label)
    assert all(torch.equal(one, other) for one, other in zip(there, here, strict=True))


def test_random_numbers_on_the_device(device: SecondDevice) -> None:
    drawn = torch.randn(3, device=device.label, generator=_seeded(device.label))
    assert drawn.device == device.label
    assert torch.equal(drawn.cpu(), torch.randn(3, generator=_seeded("cpu")))
    assert [move.down for move in device.moves] == [True]


def test_it_ends_with_its_context_and_can_be_entered_again() -> None:
    before, makers = torch.autocast, torch.Generator
    device = SecondDevice()
    with device:
        kept = torch.ones(2, device=device.label)
        with device:
            kept += 1
        assert kept.cpu().tolist() == [2, 2]
    assert (torch.autocast, torch.Generator) == (before, makers)
    assert not torch.__future__.get_swap_module_params_on_conversion()
    assert torch.ones(2, device="meta").is_meta
    with pytest.raises(RuntimeError, match="same device"):
        kept + torch.ones(2)
    with device:
        assert kept.cpu().tolist() == [2, 2] and device.bytes_down == 16


class Elsewhere(PointwiseBackend):
    """The pointwise model with all that it has on its device."""

    @property
    def mean(self) -> Tensor:
        return super().mean.to(self.device)

    def decoder(self) -> Any:
        return super().decoder().to(self.device)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"tile_size": 1.0, "whole_cells": True},
    {"decoder": "last layer", "early_selection": 0.5},
    {"decoder_checkpointing": True, "choose": "first"},
]


@pytest.mark.edits
@pytest.mark.parametrize("values", SETTINGS)
def test_the_pointwise_model_edits_on_it(device: SecondDevice, values: dict[str, Any]) -> None:
    image, mask = photograph(100, 120), box_mask(Size(100, 120), Box(20, 30, 80, 90))
    shown: set[str] = set()
    watch = Callbacks(picture=lambda name, image, *_: shown.add(f"{name} {image.device.type}"))
    fields = {"tint": 0.1, "sampler": euler_ancestral}
    there = run(image, mask, Elsewhere(**fields, device=device.label), watch=watch, **values)
    moves = len(device.moves)
    here = run(image, mask, PointwiseBackend(**fields), **values)
    assert torch.allclose(there.image, here.image, atol=1e-3) and shown
    assert device.bytes_up and device.bytes_down and len(device.moves) == moves


@sdpa_kernel(SDPBackend.MATH)
def edited(at: torch.device | str) -> Tensor:
    """A small edit of the miniature with all networks at work."""
    model = StandaloneModel.load(MINIATURE, MINIATURE_UPSCALER, MINIATURE_CLIP, at)
    quick = {"steps": 2, "candidates": 2, "resampling_steps": 0}
    size, settings = Size(160, 176), preset("recommended").with_values(quick)
    backend = model.bind("a red star on grass", "", 4.0)
    image, mask = photograph(160, 176), box_mask(size, Box(30, 30, 130, 140))
    plan = plan_edit(size, mask, settings, backend.spec)
    assert len(plan.stages) > 1
    done = edit(image, mask, plan, settings, backend, Noise(1))
    assert done.report.parts[0].scores is not None and done.image.device.type == "cpu"
    return done.image


@pytest.mark.edits
def test_the_miniature_edits_on_it(device: SecondDevice) -> None:
    there = edited(device.label)
    weights = MINIATURE.stat().st_size
    assert device.bytes_up > weights and device.bytes_down > there.nbytes, device
    places = {move.place for move in device.moves}
    assert OUTSIDE not in places and "standalone/checkpoint.py:load_checkpoint" in places
    moves = len(device.moves)
    assert torch.equal(there, edited("cpu"))
    assert len(device.moves) == moves
