"""Edits in two surroundings; and fixtures for the command line: a desk with a picture and a mask,
and a model that is instant."""

from __future__ import annotations

import gc
import os
import random
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import surroundings
import torch
from fakes import PointwiseBackend
from numpy.typing import NDArray
from PIL import Image
from surroundings import HOSTED, PLAINLY, SURROUNDINGS

from msbd import cost
from msbd.cli.command import main
from msbd.miniature.torchvision_patch import patch_torchvision
from msbd.standalone import models
from msbd.standalone.clip import ClipRanker

# Workers share the cores, with each other and with the programs that tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
patch_torchvision()  # tests import diffusers themselves
surroundings.install()
gc.collect()
gc.freeze()  # what is imported need not be looked through by every collection

QUICK = ("--set", "steps=3", "--set", "candidates=2", "--set", "resampling_steps=0",
         "--set", "decoder=fine-tune", "--set", "decoder_iterations=2", "--quiet")  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What is marked with `edits` runs in both surroundings."""
    if metafunc.definition.get_closest_marker("edits"):
        metafunc.parametrize("_how", [PLAINLY, HOSTED], indirect=True)


@pytest.fixture(autouse=True)
def _how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """One of both; seeds that nobody chose are then the same in both."""
    how = getattr(request, "param", None)
    if how:
        draws = random.Random(0)
        monkeypatch.setattr("secrets.randbelow", draws.randrange)
    return how


@pytest.fixture(autouse=True)
def _costs(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test learns from another, or writes into the user's home."""
    kept = tmp_path_factory.getbasetemp() / f"{secrets.token_hex(8)}.json"
    monkeypatch.setattr(cost, "_lessons", {})
    monkeypatch.setattr(cost, "file", lambda: kept)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    how = getattr(item, "funcargs", {}).get("_how")
    name = item.nodeid.replace(str(how), "")
    marker = item.get_closest_marker("edits")
    with SURROUNDINGS.of(name, how, marker is None or marker.kwargs.get("alike", True)):
        return (yield)


@dataclass
class Model:
    """Stands for a loaded model; remembers what was bound."""

    backend: PointwiseBackend
    bound: tuple[Any, ...] = ()
    details: str = ""
    loaded: int = 0
    notes: tuple[str, ...] = ()
    ranker: ClipRanker = field(default_factory=lambda: ClipRanker(None))

    def bind(self, *arguments: Any, details: str = "") -> PointwiseBackend:
        self.bound, self.details = arguments, details
        return self.backend


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The pointwise model in place of the embedded one."""
    fake = Model(PointwiseBackend())
    checkpoint = tmp_path_factory.mktemp("weights") / "fake.safetensors"
    checkpoint.write_bytes(b"weights")

    def load(chosen: models.Models) -> Model:
        fake.loaded += 1
        return fake

    for name in ("MINIATURE", "MINIATURE_UPSCALER", "MINIATURE_CLIP"):
        monkeypatch.setattr(models, name, checkpoint)
    monkeypatch.setattr(models, "load", load)
    monkeypatch.setattr(models, "spec", lambda chosen, settings: fake.backend.spec)
    return fake


class Desk:
    """A folder with a picture and a mask; runs `msbd edit` there as a user would."""

    def __init__(self, folder: Path, output: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.image = folder / "photo.png"
        self.mask = folder / "mask.png"
        self.out = folder / "out.png"
        self._output = output
        self.stdout = self.stderr = ""
        save(self.image, speckles(70, 96))
        save(self.mask, painted(70, 96, slice(20, 50), slice(30, 66)))

    def msbd(self, *arguments: object) -> int:
        """Run the command; its exit code. What it printed is in `stdout` and `stderr`."""
        self._output.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        self.stdout, self.stderr = self._output.readouterr()
        return code

    def edit(self, *more: object) -> int:
        """`msbd edit` with few steps."""
        arguments = (self.image, self.mask, "a red star", "-o", self.out, *QUICK, *more)
        return self.msbd("edit", *arguments)

    def refused(self, *words: str) -> bool:
        """Whether the last command ended with one line of complaint that has these words."""
        return self.stderr.count("\n") == 1 and all(word in self.stderr for word in words)


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Model) -> Desk:
    return Desk(tmp_path, capsys)


def speckles(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Random levels: nothing is as hard to leave untouched."""
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def painted(height: int, width: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[rows, columns] = 255
    return mask


def save(path: Path, pixels: NDArray[np.uint8], **options: Any) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def load(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)
