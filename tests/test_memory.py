"""Smaller portions when memory runs out: the same samples, each once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from msbd.memory import Portions, is_out_of_memory


class Network:
    """Doubles its input. fails: the numbers of the calls in which memory runs out."""

    def __init__(self, most: int = 99, fails: tuple[int, ...] = ()) -> None:
        self.most, self.fails = most, fails
        self.calls = self.samples = 0

    def __call__(self, z: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        self.calls += 1
        if len(z) > self.most or self.calls in self.fails:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        self.samples += len(z)
        return 2 * z * sigma + (0 if condition is None else condition)


Z, SIGMA = torch.arange(7.0), torch.arange(7.0) + 1


@pytest.mark.parametrize("most", range(1, 8))
def test_the_result_is_the_same_in_any_portions(most: int) -> None:
    network = Network(most)
    portions = Portions(network, None, 99)
    for _ in range(2):
        assert torch.equal(portions(Z, SIGMA), 2 * Z * SIGMA)
    assert network.samples == 2 * len(Z)


@pytest.mark.parametrize("most", range(1, 8))
def test_no_batch_is_larger_than_it_may_be_and_each_has_its_conditions(most: int) -> None:
    network, conditions = Network(most), 10 * torch.arange(7.0)
    given = Portions(network, conditions, most)(Z, SIGMA)
    assert torch.equal(given, 2 * Z * SIGMA + conditions) and network.calls == -(-7 // most)
    shared = Portions(Network(), torch.tensor([5.0]), most)(Z, SIGMA)
    assert torch.equal(shared, 2 * Z * SIGMA + 5)


def test_what_is_done_is_not_done_again() -> None:
    """Also when memory runs out in the middle: other programs take some, too."""
    network = Network(fails=(1, 3))
    assert torch.equal(Portions(network, None, 99)(Z, SIGMA), 2 * Z * SIGMA)
    assert network.samples == len(Z)


def test_it_is_not_tried_again_with_what_failed() -> None:
    network = Network(most=2)
    portions = Portions(network, None, 99)
    portions(Z, SIGMA)
    calls = network.calls
    portions(Z, SIGMA)
    assert network.calls - calls == 7 and portions.most == 1


def test_one_sample_that_does_not_fit_and_other_errors_are_the_callers() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Portions(Network(most=0), None, 99)(Z, SIGMA)

    def broken(z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        raise RuntimeError("another thing")

    with pytest.raises(RuntimeError, match="another thing"):
        Portions(broken, None, 99)(Z, SIGMA)


def test_what_counts_as_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.cuda.OutOfMemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
