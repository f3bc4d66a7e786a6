"""A second device on the CPU: refuses what CUDA would refuse, and counts what moves.

    device = SecondDevice()
    with device:
        ones = torch.ones(3, device=device.label)
        ones + torch.ones(3)  # RuntimeError: two devices
        ones.sum().item()  # a wait
        ones.cpu()  # a move
    print(device)

Its tensors report `device.label` and hold ordinary tensors on the CPU, on which every operation
runs below autograd. Results are the CPU's bit by bit, apart from attention and SiLU's gradient,
which PyTorch composes of simpler operations here: to compare exactly, let the CPU use
`sdpa_kernel(SDPBackend.MATH)` too. An operation takes some 30 microseconds more.

The label is "meta": the one device besides the CPU that autograd, checkpointing and `nn.Module.to`
know in every build of PyTorch. Its usual meaning, a tensor without data, is suspended inside the
context: `with torch.device("meta")` makes tensors with data there.

Limits: `tensor.data = other` keeps to one device; autocast can be disabled for the label, but not
enabled; saving wants tensors that are on the CPU; work is done at once, where CUDA would queue it;
memory stays uncounted. Needs PyTorch 2.4 or later.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

import msbd

PACKAGE = str(Path(msbd.__file__).parent) + os.sep
CPU, LABEL = torch.device("cpu"), torch.device("meta")
OUTSIDE = "outside the package"
aten = torch.ops.aten

INDEXING = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""Operations for which CUDA fetches indices from the CPU."""
WAITS = {
    aten._local_scalar_dense.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten._linalg_check_errors.default,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
    aten.repeat_interleave.Tensor,
}
"""Operations whose result, or its size, the CPU must know: it waits for the device."""
EXACT = {
    aten.cat.default,
    aten.stack.default,
    aten.index_select.default,
    aten.gather.default,
    aten.embedding.default,
}
"""Operations that want all their tensors on CUDA; others take a single number from the CPU."""


@dataclass(frozen=True)
class Move:
    """Bytes that went to the CPU (down) or to the device, and the function that moved them.

    place: the innermost function of the package on the stack, as "stage.py:refined"; OUTSIDE if
    there is none. From Python 3.11 on a method comes with its class, and a lambda, generator or
    inner function counts for the function round it.
    """

    bytes: int
    down: bool
    place: str


class SecondDevice:
    """A device, and the context in which tensors can be made on it or moved to it.

    moves: in order. waits: the place of each synchronisation, named as in `Move`. Both go on when
    the context is entered again, and may be cleared. Tensors that leave the context stay what they
    are, and what is done with them is still checked and counted.
    """

    label = LABEL

    def __init__(self) -> None:
        self.moves: list[Move] = []
        self.waits: list[str] = []
        self._entered: list[ExitStack] = []

    def __enter__(self) -> SecondDevice:
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(torch, "autocast", _Autocast))
            stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
            stack.enter_context(_modules_keep_their_parameters())
            stack.enter_context(_Dispatch(self))
            stack.enter_context(_Construction())
            self._entered.append(stack.pop_all())
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.pop().close()

    def __deepcopy__(self, memo: dict[int, Any]) -> SecondDevice:
        return self

    @property
    def bytes_down(self) -> int:
        return sum(move.bytes for move in self.moves if move.down)

    @property
    def bytes_up(self) -> int:
        return sum(move.bytes for move in self.moves if not move.down)

    @property
    def synchronisations(self) -> int:
        return len(self.waits)

    def __str__(self) -> str:
        """Who moved how much, in how many moves, and who waited how often; the most first."""
        lines = []
        times = Counter((move.place, move.down) for move in self.moves)
        sizes: Counter[tuple[str, bool]] = Counter()
        for move in self.moves:
            sizes[move.place, move.down] += move.bytes
        for (place, down), size in sizes.most_common():
            way = "down" if down else "up"
            lines.append(f"{size:12,} bytes {way:4} in {times[place, down]:5} moves: {place}")
        for place, count in Counter(self.waits).most_common():
            lines.append(f"{count:23} waits: {place}")
        return "\n".join(lines)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Carry out an operation that has tensors on this device or makes one there."""
        if func is aten._to_copy.default:
            return self._converted(*args, **kwargs)
        if func is aten.copy_.default:
            return self._copied(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        ours = [one for one in tensors if isinstance(one, SecondTensor)]
        if ours and len(ours) < len(tensors):
            _refuse_two_devices(func, args, kwargs)
        if func in INDEXING:
            self._count_indexing(*args[:3])
        elif func in WAITS:
            self.waits.append(_place())
        target = torch.device(kwargs.get("device") or (LABEL if ours else CPU))
        if kwargs.get("device"):
            kwargs = {**kwargs, "device": CPU}
        result = func(*_mapped(_held, args), **_mapped(_held, kwargs))
        if target == CPU:
            return result
        for one in ours:
            one.follow()
        # What was changed in place is the very tensor that was given.
        known = {id(one.held): one for one in ours}
        return _mapped(lambda one: known[id(one)] if id(one) in known else self._own(one), result)

    def _own(self, held: Tensor) -> SecondTensor:
        return SecondTensor(held, self)

    def _converted(self, source: Tensor, *, device: Any = None, **options: Any) -> Tensor:
        """`aten::_to_copy`. As for CUDA, numbers of another type are converted on the CPU's side
        of the move."""
        target = source.device if device is None else torch.device(device)
        result = aten._to_copy.default(_held(source), device=CPU, **options)
        if source.device != target:
            self._count_move(source if target == CPU else result, result.numel(), target == CPU)
        return self._own(result) if target == LABEL else result

    def _copied(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        """`aten::copy_`; what moves has been broadcast."""
        aten.copy_.default(_held(target), _held(source))
        if source.device != target.device:
            down = target.device == CPU
            self._count_move(source if down else target, target.numel(), down)
        return target

    def _count_move(self, kind: Tensor, numbers: int, down: bool) -> None:
        self.moves.append(Move(kind.element_size() * numbers, down, _place()))

    def _count_indexing(
        self, indexed: Tensor, indices: Sequence[Tensor | None], put: Tensor | None = None
    ) -> None:
        """`x[indices]`, or `x[indices] = put`: indices come up, and a mask's size is waited for."""
        given = [one for one in indices if one is not None]
        for index in given:
            if index.device == CPU:
                found = index.nonzero() if index.dtype == torch.bool else index
                self._count_move(found, found.numel(), down=False)
        # A single number fills the mask, whatever its size.
        filled = put is not None and put.device == CPU and len(given) == 1
        if not filled and any(one.dtype == torch.bool and one.device == LABEL for one in given):
            self.waits.append(_place())


def _refuse_two_devices(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """As CUDA does, which takes indices and a single number from the CPU, but writes to neither."""
    spared = 1 if func in INDEXING and args[0].device == LABEL else None
    numbers = 0
    for place, (argument, value) in enumerate(_arguments(func, args, kwargs)):
        for one in _tensors(value):
            if isinstance(one, SecondTensor) or (place == spared and one.device == CPU):
                continue
            numbers += 1
            written = argument.alias_info is not None and argument.alias_info.is_write
            many = numbers > 1 and func is not aten.where.self
            if one.dim() or one.device != CPU or written or many or func in EXACT:
                found = f"{LABEL} and {one.device}" + " (without data)" * one.is_meta
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two "
                    f"devices, {found}! ({func} in {_place()}: {argument.name} of "
                    f"shape {tuple(one.shape)})"
                )


@cache
def _is_composite(func: Any) -> bool:
    """Whether an operation consists of others on the CPU: inference mode leaves them whole."""
    known = partial(torch._C._dispatch_has_kernel_for_dispatch_key, func.name())
    return bool(known("CompositeImplicitAutograd") and not known("CPU"))


def _arguments(
    func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Any, Any]]:
    """An operation's arguments, each with its declaration."""
    declared = func._schema.arguments
    yield from zip(declared, args, strict=False)
    yield from ((one, kwargs[one.name]) for one in declared if one.name in kwargs)


class SecondTensor(Tensor):
    """A tensor on a second device. held: its data, on the CPU. owner: the device."""

    held: Tensor
    owner: SecondDevice
    is_meta = False
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor, owner: SecondDevice) -> SecondTensor:
        tensor: SecondTensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=LABEL,
        )
        tensor.held, tensor.owner = held, owner
        return tensor

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_composite(func):
            return func.decompose(*args, **kwargs)
        ours = (one for one in _tensors((args, kwargs)) if isinstance(one, SecondTensor))
        return next(ours).owner.run(func, args, kwargs)

    def follow(self) -> None:
        """Take over the shape of `held`, which some operations change in place."""
        shape, strides, offset = self.held.shape, self.held.stride(), self.held.storage_offset()
        if (self.shape, self.stride(), self.storage_offset()) == (shape, strides, offset):
            return
        before = torch._C._meta_in_tls_dispatch_include()
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            with no_dispatch():
                change = aten.set_.source_Storage_storage_offset
                change(self, self.untyped_storage(), offset, shape, strides)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(before)

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {LABEL} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": LABEL, **options})

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_with_data(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(value, (bool, int, float)):  # as PyTorch does for CUDA
            value = torch.tensor(value, dtype=self.dtype, device=CPU)
        super().__setitem__(_with_data(index), value)

    def __deepcopy__(self, memo: dict[int, Any]) -> SecondTensor:
        if not self.is_leaf:
            raise RuntimeError("Only leaf tensors support the deepcopy protocol")
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            if isinstance(self, torch.nn.Parameter):
                copied = torch.nn.Parameter(copied, self.requires_grad)
            if self.grad is not None:
                copied.grad = self.grad.__deepcopy__(memo)
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise NotImplementedError("move it to the CPU to save it")

    def __format__(self, wanted: str) -> str:
        return format(self.item(), wanted) if self.dim() == 0 else str(self)

    def __repr__(self, **options: Any) -> str:
        return f"{self.held!r} on the second device"


class _Dispatch(TorchDispatchMode):
    """Sends a device's operations to it; all others pass."""

    def __init__(self, owner: SecondDevice) -> None:
        super().__init__()
        self._owner = owner

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if _is_composite(func):
            with self:
                return func.decompose(*args, **kwargs)
        there = kwargs.get("device") == LABEL
        if there or any(isinstance(one, SecondTensor) for one in _tensors((args, kwargs))):
            return self._owner.run(func, args, kwargs)
        return func(*args, **kwargs)


class _Construction(TorchFunctionMode):
    """Makes tensors of Python's numbers, which PyTorch does without a visible operation, and
    compares a random generator's device with its numbers'."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is not None:
            _refuse_other_generator(kwargs["generator"], args, kwargs)
        made = func in (torch.tensor, torch.as_tensor, torch.asarray)
        if not made or torch.device(kwargs.get("device") or CPU) != LABEL:
            return func(*args, **kwargs)
        del kwargs["device"]
        needs_gradient = kwargs.pop("requires_grad", False)
        there = isinstance(args[0], SecondTensor)
        on_cpu = args[0].clone() if there and func is torch.tensor else func(*args, **kwargs)
        return on_cpu.to(LABEL).requires_grad_(needs_gradient)


def _refuse_other_generator(
    generator: torch.Generator, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> None:
    tensor = next(_tensors(args), None)
    target = torch.device(kwargs.get("device") or (CPU if tensor is None else tensor.device))
    if generator.device != target:
        raise RuntimeError(
            f"Expected a '{target}' device type for generator but found '{generator.device}'"
        )


class _Autocast(torch.autocast):
    """Can be disabled for the label, where nothing is cast anyway."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        if device_type == LABEL.type and kwargs.get("enabled") is False:
            device_type, args = CPU.type, (torch.get_autocast_dtype(CPU.type),)
            kwargs = {"enabled": torch.is_autocast_enabled(CPU.type)}
        super().__init__(device_type, *args, **kwargs)


class _Generator(torch.Generator):
    """A random generator that reports the device it was made for."""

    def __new__(cls, device: torch.device | str = CPU) -> _Generator:
        return super().__new__(cls, CPU if torch.device(device) == LABEL else device)

    def __init__(self, device: torch.device | str = CPU) -> None:
        self._device = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self._device


@contextmanager
def _modules_keep_their_parameters() -> Iterator[None]:
    """`nn.Module.to` keeps a parameter's identity, as it does between the CPU and CUDA."""
    settings = torch.__future__
    before = settings.get_swap_module_params_on_conversion()
    settings.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        settings.set_swap_module_params_on_conversion(before)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _tensors(one)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _mapped(change: Callable[[Tensor], Any], value: Any) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(change, one) for one in value)
    if isinstance(value, dict):
        return {name: _mapped(change, one) for name, one in value.items()}
    return value


def _held(tensor: Tensor) -> Tensor:
    return tensor.held if isinstance(tensor, SecondTensor) else tensor


def _with_data(index: Any) -> Any:
    """An index with tensors for lists and arrays, as PyTorch would make them, but with data."""
    if isinstance(index, (list, np.ndarray)):
        return torch.as_tensor(index).to(LABEL)
    return tuple(map(_with_data, index)) if isinstance(index, tuple) else index


def _place() -> str:
    """Who is at work, see `Move`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            file = Path(code.co_filename).relative_to(PACKAGE).as_posix()
            name = getattr(code, "co_qualname", code.co_name)
            return f"{file}:{name.split('.<locals>')[0]}"
        frame = frame.f_back
    return OUTSIDE
