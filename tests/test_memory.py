"""Smaller batches when memory runs out: the same samples, each once. That it ran out is recognised
by what libraries really say, under a limit."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import subprocess
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Desk, load, painted, save, speckles
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from msbd import memory
from msbd.cli.command import main
from msbd.errors import EditError, Interrupted
from msbd.memory import AdaptiveBatches, is_out_of_memory
from msbd.standalone import clip, models, pictures
from msbd.standalone.upscaler import load_upscaler
from msbd.standalone.weights import read_weights


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
def test_the_result_is_the_same_in_any_batches(most: int) -> None:
    network = Network(most)
    batches = AdaptiveBatches(network, None, 99)
    for _ in range(2):
        assert torch.equal(batches(Z, SIGMA), 2 * Z * SIGMA)
    assert network.samples == 2 * len(Z)


@pytest.mark.parametrize("most", range(1, 8))
def test_no_batch_is_larger_than_it_may_be_and_each_has_its_conditions(most: int) -> None:
    network, conditions = Network(most), 10 * torch.arange(7.0)
    given = AdaptiveBatches(network, conditions, most)(Z, SIGMA)
    assert torch.equal(given, 2 * Z * SIGMA + conditions) and network.calls == -(-7 // most)
    shared = AdaptiveBatches(Network(), torch.tensor([5.0]), most)(Z, SIGMA)
    assert torch.equal(shared, 2 * Z * SIGMA + 5)


def test_what_is_done_is_not_done_again() -> None:
    """Also when memory runs out in the middle: other programs take some, too."""
    network = Network(fails=(1, 3))
    assert torch.equal(AdaptiveBatches(network, None, 99)(Z, SIGMA), 2 * Z * SIGMA)
    assert network.samples == len(Z)


def test_it_is_not_tried_again_with_what_failed() -> None:
    network = Network(most=2)
    batches = AdaptiveBatches(network, None, 99)
    batches(Z, SIGMA)
    calls = network.calls
    batches(Z, SIGMA)
    assert network.calls - calls == 7 and batches.most == 1


def test_one_sample_that_does_not_fit_and_other_errors_are_the_callers() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        AdaptiveBatches(Network(most=0), None, 99)(Z, SIGMA)

    def broken(z: Tensor, sigma: Tensor, condition: Tensor | None) -> Tensor:
        raise RuntimeError("another thing")

    with pytest.raises(RuntimeError, match="another thing"):
        AdaptiveBatches(broken, None, 99)(Z, SIGMA)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes"),
        RuntimeError("could not create a primitive"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, max allowed: 9.07 GB)"),
        RuntimeError("Invalid buffer size: 11.25 GB"),
        RuntimeError("There is not enough GPU video memory available!"),
        RuntimeError("UR error: 39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
        OSError(12, "Cannot allocate memory"),
        OSError("页面文件太小，无法完成操作。 (os error 1455)"),
        OSError("out of memory error when reading image file"),
        ImportError("libscipy_openblas.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
        ValueError("encoding error 1"),
    ],
    ids=str,
)
def test_what_counts_as_out_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("shapes do not match"),
        RuntimeError("unsupported memory format option Preserve"),
        RuntimeError("could not create a primitive descriptor for a matmul primitive"),
        RuntimeError("unable to mmap 8 bytes from file <a>: Invalid argument (22)"),
        RuntimeError("can't start new thread"),
        OSError(28, "No space left on device"),
        ImportError("No module named 'spandrel'"),
        ValueError("encoding error 6"),
        KeyError("memory"),
    ],
    ids=str,
)
def test_what_does_not_count_as_out_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_what_a_failed_allocation_caused_counts() -> None:
    """As a first import under a limit fails, which diffusers tells in words of its own."""
    failed, other = RuntimeError("Failed to import diffusers.models"), RuntimeError("other")
    failed.__cause__ = MemoryError()
    assert is_out_of_memory(failed)
    other.__context__ = MemoryError()  # only happened before
    assert not is_out_of_memory(other)
    other.__cause__ = other
    assert not is_out_of_memory(other)


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
MIB = 2**20
LIMITS = 4 * MIB, 16 * MIB, 48 * MIB
"""Room that suffices for no operation below."""
LARGE = 64 * MIB
"""Bytes of their largest tensors, files and pictures."""


def operations(folder: Path) -> dict[str, Callable[[], object]]:
    """What allocates, by name, after what can be prepared."""
    weights = {"weight": torch.zeros(LARGE // 4)}
    save_file(weights, folder / "a.safetensors")
    for name in ("a.ckpt", "a.pth", "a.pt"):
        torch.save(weights, folder / name)
    Image.new("RGB", (5000, 5000)).save(folder / "a.png", compress_level=1)
    load_upscaler(models.MINIATURE_UPSCALER)
    image, kernel = torch.zeros(1, 16, 512, 512), torch.zeros(128, 16, 3, 3)
    flat = torch.zeros(4096, 1)
    return {
        "empty": lambda: torch.empty(LARGE, dtype=torch.uint8),
        "convolution": lambda: F.conv2d(image, kernel),
        "convolution in bfloat16": lambda: F.conv2d(image.bfloat16(), kernel.bfloat16()),
        "product": lambda: flat @ flat.T,
        "concatenation": lambda: torch.cat([image] * 5),
        "interpolation": lambda: F.interpolate(image, scale_factor=4.0, mode="bilinear"),
        "NumPy": lambda: np.ones(LARGE, np.uint8),
        "Pillow": lambda: Image.new("RGB", (5000, 5000)),
        "Python": lambda: bytearray(LARGE),
        "safetensors": lambda: load_file(folder / "a.safetensors"),
        "PyTorch's files": lambda: torch.load(folder / "a.ckpt"),
        "PyTorch's files, mapped": lambda: torch.load(str(folder / "a.ckpt"), mmap=True),
        "a checkpoint": lambda: read_weights(folder / "a.safetensors"),
        "an old checkpoint": lambda: read_weights(folder / "a.ckpt"),
        "an upscaler": lambda: load_upscaler(folder / "a.safetensors"),
        "an old upscaler": lambda: load_upscaler(folder / "a.pth"),
        "an upscaler that might be a program": lambda: load_upscaler(folder / "a.pt"),
        "a picture": lambda: pictures.read_picture(folder / "a.png"),
    }


def within(room: int, run: Callable[[], Any]) -> Any:
    """The result of `run` in a copy of this process that gets `room` more bytes of addresses.

    None if the copy dies. Results must go through JSON.
    """
    import resource

    into, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
            os.write(out, json.dumps(run()).encode())
        finally:
            os._exit(0)
    os.close(out)
    with os.fdopen(into) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return json.loads(told) if told else None


def failures(folder: Path) -> list[Any]:
    """How every operation ends within every limit: name, error, and whether it counts; or None."""

    def end(name: str, operation: Callable[[], object]) -> tuple[str, str, bool]:
        try:
            operation()
        except Exception as error:
            counts = is_out_of_memory(error) and not isinstance(error, EditError)
            return name, f"{type(error).__name__}: {error}"[:1000], counts
        return name, "no error", False

    return [
        within(room, partial(end, name, operation))
        for name, operation in operations(folder).items()
        for room in LIMITS
    ]


def edited(*arguments: object) -> tuple[int, str, str]:
    """The exit code of the command line and what it wrote, or the traceback."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()) as complained:
        try:
            code = main([str(argument) for argument in arguments])
        except Exception:
            return 99, "", traceback.format_exc()[-2000:]
    return code, said.getvalue(), complained.getvalue()


def edits(folder: Path) -> list[Any]:
    """How edits end within limits: some in which no model can be loaded, then one in which a stage
    is finished and another is not.

    A small edit goes ahead without a limit, so that all libraries are imported.
    """
    save(folder / "small.png", speckles(64, 64))
    save(folder / "small_mask.png", painted(64, 64, slice(9, 50), slice(9, 50)))
    save(folder / "photo.png", speckles(800, 800))
    save(folder / "mask.png", painted(800, 800, slice(100, 700), slice(100, 700)))
    result = folder / "out.png"

    def edit(name: str = "photo.png", mask: str = "mask.png") -> tuple[int, str, str]:
        files = folder / name, folder / mask, "a red star", "-o", result
        quick = "--preset", "draft", "--set", "steps=2", "--upscaler", "lanczos"
        return edited("edit", *files, *quick, "--quiet")

    assert edit("small.png", "small_mask.png")[0] == 0
    result.unlink()
    ends = [within(room, edit) for room in (MIB, 8 * MIB, 24 * MIB)]
    least, most = 64 * MIB, 512 * MIB
    while most - least > MIB:
        room = int((least * most) ** 0.5)
        end = within(room, edit)
        if end and end[0] != 0 and result.exists():
            return [*ends, end]
        result.unlink(missing_ok=True)
        least, most = (least, room) if end and end[0] == 0 else (room, most)
    raise AssertionError(end)


def alone(run: Callable[[Path], list[Any]], folder: Path) -> list[Any]:
    """The result of a function of this module in a process of its own, with a single thread."""
    call = f"test_memory.{run.__name__}(pathlib.Path({str(folder)!r}))"
    code = f"import json, pathlib, test_memory; print(json.dumps({call}))"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    ends: list[Any] = json.loads(ran.stdout.splitlines()[-1])
    return ends


@linux
def test_every_real_failure_counts(tmp_path: Path) -> None:
    """Whatever the class and the words; none is taken for a damaged file."""
    ends = alone(failures, tmp_path)
    assert ends and not [end for end in ends if end is None or not end[2]]


@linux
@pytest.mark.slow
def test_an_edit_that_does_not_fit_keeps_what_it_has(tmp_path: Path) -> None:
    *unloaded, (code, said, complained) = alone(edits, tmp_path)
    for end in unloaded:
        assert end[0] == 2 and end[2].count("\n") == 1, end
        assert "not enough memory to load the model: close other programs" in end[2]
    assert code == 1 and not complained, complained
    assert "memory ran out" in said and "stopped after stage" in said
    before, after = load(tmp_path / "photo.png"), load(tmp_path / "out.png")
    assert (before[200:600, 200:600] != after[200:600, 200:600]).mean() > 0.9
    assert (before[:80] == after[:80]).all()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        OSError(12, "Cannot allocate memory"),
        ValueError("encoding error 1"),
    ],
    ids=str,
)
def test_the_command_line_tells_it_in_a_line(desk: Desk, monkeypatch, error: Exception) -> None:
    monkeypatch.setattr(models, "load", raising(error))
    assert desk.edit() == 1 and desk.refused("not enough memory", "close other programs")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
    ],
    ids=str,
)
def test_so_it_does_while_libraries_are_imported(desk: Desk, monkeypatch, error: Exception) -> None:
    monkeypatch.setattr(models, "load", raising(error))
    monkeypatch.delitem(sys.modules, "msbd.memory")
    assert desk.edit() == 1 and desk.refused("not enough memory", "close other programs")


def test_faults_keep_their_traceback(desk: Desk, monkeypatch) -> None:
    monkeypatch.setattr(models, "load", raising(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes"):
        desk.edit()


@pytest.mark.parametrize(
    "device, offload, advice",
    [
        ("cpu", False, "choose a smaller checkpoint"),
        ("meta", False, "give --offload or --device cpu"),
        ("meta", True, "or give --device cpu"),
    ],
)
@pytest.mark.parametrize("where", ["msbd.standalone.model.load_checkpoint", "torch.empty"])
def test_advice_fits_the_device(
    monkeypatch, device: str, offload: bool, advice: str, where: str
) -> None:
    chosen = models.Models(models.MINIATURE, "lanczos", None, device, offload)
    monkeypatch.setattr(where, raising(RuntimeError("CUDA error: out of memory")))
    with pytest.raises(EditError, match=f"not enough memory to load the model: .*{advice}$"):
        models.load(chosen)


def test_clip_without_room_says_so(monkeypatch) -> None:
    monkeypatch.setattr(clip, "load_clip", raising(RuntimeError("std::bad_alloc")))
    judge = clip.ClipRanker("any.pt")
    assert judge.score(torch.zeros(1, 3, 8, 8), "x") is None
    assert judge.reason == "CLIP cannot be used: there is not enough memory for it"


def test_a_picture_without_room_is_not_damaged(desk: Desk, monkeypatch) -> None:
    error = OSError("out of memory error when reading image file")
    monkeypatch.setattr(pictures, "unfit", raising(error))
    assert desk.edit() == 1 and desk.refused("not enough memory")
    monkeypatch.setattr(pictures, "unfit", raising(OSError("failed to read next frame")))
    assert desk.edit() == 2 and desk.refused("damaged", "too large for the memory")


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def in_attempts(work: Callable[[], Any]) -> Any:
    """`work()`, once more without the lodged networks if memory runs out in it."""
    for _, attempt in memory.attempts(None):
        with attempt:
            result = work()
    return result


class TestLodging:
    """What stays on a device for later leaves it when something else needs the room."""

    @pytest.fixture(autouse=True)
    def _lodger(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        network = torch.nn.Linear(2, 2)
        monkeypatch.setattr(memory, "room", lambda device: 10**9)
        with memory.lodged(network, torch.device("meta")):
            pass
        yield
        memory.evict()

    @pytest.mark.parametrize("fails", [0, 1, 2])
    def test_work_is_done_again_once_without_it(self, fails: int) -> None:
        done = []

        def work() -> str:
            done.append(1)
            if len(done) <= fails:
                raise torch.cuda.OutOfMemoryError
            return "done"

        if fails < 2:
            assert in_attempts(work) == "done"
        else:
            with pytest.raises(torch.cuda.OutOfMemoryError):
                in_attempts(work)
        assert len(done) == min(fails + 1, 2) and memory.evict() == (fails == 0)

    def test_other_errors_are_the_callers(self) -> None:
        with pytest.raises(ZeroDivisionError):
            in_attempts(lambda: 1 / 0)
        assert memory.evict()

    def test_a_batch_is_not_halved_where_the_room_was_made_otherwise(self) -> None:
        network = Network(fails=(1, 3))
        batches = AdaptiveBatches(network, None, 4)
        assert torch.equal(batches(Z, SIGMA), 2 * Z * SIGMA)
        assert network.samples == len(Z) and batches.most == 1
        assert network.calls == 2 + 1 + 3, "four, and then three one by one"

    def test_one_sample_is_tried_again_where_room_was_made(self) -> None:
        network = Network(fails=(1,))
        batches = AdaptiveBatches(network, None, 1)
        assert torch.equal(batches(Z, SIGMA), 2 * Z * SIGMA)
        assert network.calls == len(Z) + 1 and not memory.evict()

    def test_what_fails_while_it_is_used_stays_until_room_is_made(self) -> None:
        network = torch.nn.Linear(2, 2)
        with pytest.raises(ZeroDivisionError), memory.lodged(network, torch.device("meta")):
            assert 1 / 0
        assert memory.evict() and network not in memory._lodgers

    def test_under_a_limit_nothing_stays(self) -> None:
        device = torch.device("meta")
        with memory.sparing():
            assert not memory.may_stay(1, device) and not memory.suits(0, device)
        assert memory.may_stay(1, device)


class Held:
    """Something that a failed attempt has on its hands."""


class TestAttempts:
    """As it is, without lodged networks, by lesser ways; then the error is the caller's."""

    @pytest.fixture(autouse=True)
    def _room(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setattr(memory, "room", lambda device: 10**9)
        memory.evict()
        yield
        memory.evict()

    def lodge(self) -> None:
        self.network = torch.nn.Linear(2, 2)  # its copy leaves with it
        with memory.lodged(self.network, torch.device("meta")):
            pass

    def test_what_it_held_is_free_as_soon_as_the_error_is(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without waiting for Python's collector, when there is no further way, too."""
        monkeypatch.setattr("gc.collect", lambda: 0)
        held: list[weakref.ref[torch.Tensor]] = []

        def work() -> None:
            tensor = torch.zeros(3)
            held.append(weakref.ref(tensor))
            raise MemoryError

        gc.disable()
        try:
            with contextlib.suppress(MemoryError):
                in_attempts(work)
            assert held[0]() is None
        finally:
            gc.enable()

    @pytest.mark.parametrize("ways", [1, 2, 4])
    @pytest.mark.parametrize("lodging", ["nothing", "before", "in every attempt"])
    @pytest.mark.parametrize("fails", range(10))
    def test_the_order_of_ways(
        self, ways: int, lodging: str, fails: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory runs out so often."""
        monkeypatch.setattr("gc.collect", lambda: 0)  # takes long
        again = {"nothing": 0, "before": 1, "in every attempt": ways}[lodging]
        order = [way for way in range(ways) for _ in range(2 if way < again else 1)]
        asked: list[int] = []
        tried: list[tuple[int, bool]] = []
        errors: list[MemoryError] = []

        def lesser(way: int) -> int | None:
            asked.append(way)
            return way + 1 if way + 1 < ways else None

        def all_of_them() -> None:
            for way, attempt in memory.attempts(0, lesser):
                with attempt:
                    tried.append((way, bool(memory._lodgers)))
                    assert len(tried) <= len(order), "it goes round in circles"
                    if lodging == "in every attempt":
                        self.lodge()
                    if len(tried) <= fails:
                        errors.append(MemoryError())
                        raise errors[-1]

        if lodging == "before":
            self.lodge()
        if fails < len(order):
            all_of_them()
        else:
            with pytest.raises(MemoryError) as caught:
                all_of_them()
            assert caught.value is errors[-1], "the very error"
        assert [way for way, _ in tried] == order[: fails + 1]
        assert [crowded for _, crowded in tried] == [
            lodging == "before" and index == 0 for index in range(len(tried))
        ]
        left = order[fails] if fails < len(order) else ways
        assert asked == list(range(left)), "once for each way that failed"

    def test_what_a_failed_attempt_held_is_freed_before_the_next(self) -> None:
        """Where its frames hold it, and where it holds itself."""
        held: list[weakref.ref[Held]] = []

        def work() -> None:
            here, itself = Held(), Held()
            itself.me = itself  # type: ignore[attr-defined]
            held.extend((weakref.ref(here), weakref.ref(itself)))
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")

        def lesser(way: int) -> int | None:
            return way + 1 if way < 3 else None

        tried = 0
        with pytest.raises(torch.cuda.OutOfMemoryError):
            for _, attempt in memory.attempts(0, lesser):
                with attempt:
                    assert all(one() is None for one in held)
                    tried += 1
                    work()
        assert tried == 4 and len(held) == 8

    @pytest.mark.parametrize(
        "error",
        [RuntimeError("boom"), KeyError("memory"), EditError("no"), Interrupted(),
         KeyboardInterrupt(), OSError(12, "Cannot allocate memory")],
        ids=repr,
    )  # fmt: skip
    def test_other_errors_pass_at_once(self, error: BaseException) -> None:
        """Those that have nothing to do with memory, and those that no work on tensors raises."""
        self.lodge()
        tried = []
        with pytest.raises(type(error)) as caught:
            for way, attempt in memory.attempts(0, lambda way: way + 1):
                with attempt:
                    tried.append(way)
                    raise error
        assert caught.value is error and tried == [0] and memory.evict()

    def test_what_is_wrong_with_a_lesser_way_is_told(self) -> None:
        def lesser(way: int) -> int | None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            for _, attempt in memory.attempts(0, lesser):
                with attempt:
                    raise MemoryError


@pytest.mark.parametrize("index", [None, 1])
def test_the_room_of_a_device_is_asked_by_its_index(
    monkeypatch: pytest.MonkeyPatch, index: int | None
) -> None:
    """Which PyTorch 2.1 wants; 8 of 10 free, 5 kept, of those 3 in use."""
    told = {"mem_get_info": (8, 10), "memory_reserved": 5, "memory_allocated": 3,
            "current_device": 0, "get_per_process_memory_fraction": 0.9}  # fmt: skip

    def telling(name: str) -> Any:
        def ask(*given: Any) -> Any:
            assert all(isinstance(one, int) for one in given), f"{name}{given}"
            return told[name]

        return ask

    for name in told:
        monkeypatch.setattr(torch.cuda, name, telling(name), raising=False)
    assert memory.room(torch.device("cuda", index) if index else torch.device("cuda")) == 4 + 2
