"""The normal equations of a convolution are those of its inputs laid out one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from msbd.decoder import regression
from msbd.decoder.regression import ConvolutionRegression
from msbd.noise import Noise

CPU = torch.device("cpu")


def solved(
    side: int, pictures: list[tuple[Tensor, Tensor, Tensor]], ridge: float = 1e-9
) -> tuple[Tensor, float, float]:
    """The solution, what is left and what there was."""
    made = ConvolutionRegression(len(pictures[0][0]), 3, side, CPU)
    for inputs, wanted, weights in pictures:
        made.add(inputs, wanted, weights)
    change = made.solution(ridge)
    return change, made.error(change), made.square


def laid_out(side: int, inputs: Tensor) -> Tensor:
    """[H * W, K] in double precision: place of the kernel by place, and a 1."""
    rows = F.unfold(inputs[None], side, padding=side // 2)[0].T.double()
    rows = rows.reshape(len(rows), len(inputs), side**2).transpose(1, 2).flatten(1)
    return torch.cat([rows, torch.ones(len(rows), 1)], 1)


def picture(key: int, height: int, width: int, channels: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = Noise(key)
    weights = 1 + 99 * (draw((1, height, width), "weights") > 0.5).float()
    weights[:, : height // 3, : width // 2] = 0
    return draw((channels, height, width), "f"), draw((3, height, width), "y"), weights


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(6, 20),
    width=st.integers(6, 20),
    channels=st.integers(1, 4),
    side=st.sampled_from([1, 3, 5]),
    count=st.integers(1, 2),
    portion=st.sampled_from([3, 50, 2**11]),
)
def test_the_solution_is_that_of_the_inputs_laid_out(
    height: int, width: int, channels: int, side: int, count: int, portion: int
) -> None:
    pictures = [picture(key, height, width, channels) for key in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regression, "PORTION", portion)
        change, left, square = solved(side, pictures, ridge=0.1)
    size = channels * side**2 + 1
    matrix, right = torch.zeros(size, size).double(), torch.zeros(size, 3).double()
    rows = []
    for inputs, wanted, weights in pictures:
        x, y, w = laid_out(side, inputs), wanted.flatten(1).T.double(), weights.flatten()[:, None]
        rows.append((x, y, w))
        matrix += x.T @ (w * x)
        right += x.T @ (w * y)
    squares = matrix.diagonal()
    held = matrix + 0.1 * torch.diag(squares.clamp_min(1e-5 * float(squares.max()) + 1e-30))
    expected = torch.linalg.solve(held, right)
    assert torch.allclose(change, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    errors = sum(float((w * (x @ change - y).square()).sum()) for x, y, w in rows)
    assert left == pytest.approx(errors, rel=1e-3, abs=1e-4 * square + 1e-9)


def test_the_kernel_does_to_a_picture_what_the_solution_says() -> None:
    inputs, wanted, weights = picture(0, 12, 15, 4)
    made = ConvolutionRegression(4, 3, 3, CPU)
    made.add(inputs, wanted, weights)
    change = made.solution(1e-6)
    kernel, bias = (part.float() for part in made.kernel(change))
    by_kernel = F.conv2d(inputs[None], kernel, bias, padding=1)[0]
    by_rows = (laid_out(3, inputs) @ change).T.reshape(by_kernel.shape).float()
    assert torch.allclose(by_kernel, by_rows, atol=1e-4)


def test_a_kernel_that_is_there_is_found() -> None:
    inputs = picture(3, 40, 40, 3)[0]
    kernel, bias = Noise(1)((3, 3, 5, 5), "kernel"), Noise(1)((3,), "bias")
    wanted = F.conv2d(inputs[None], kernel, bias, padding=2)[0]
    made = ConvolutionRegression(3, 3, 5, CPU)
    made.add(inputs, wanted, torch.ones(1, 40, 40))
    change = made.solution(1e-9)
    found, offset = made.kernel(change)
    assert torch.allclose(found.float(), kernel, atol=1e-3)
    assert torch.allclose(offset.float(), bias, atol=1e-3)
    assert made.error(change) < 1e-5 * made.square
