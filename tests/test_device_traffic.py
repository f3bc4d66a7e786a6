"""What crosses between a device and main memory: the crop, the noise, the result, and CLIP once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import box_mask, photograph
from second_device import Move, SecondDevice

from msbd import memory, pipeline
from msbd.decoder import regression
from msbd.geometry import Box, Size
from msbd.keeping.folder import EditFolder
from msbd.memory import evict, size_of
from msbd.noise import Noise
from msbd.plan import StagePlan
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.progress import Callbacks
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE, MINIATURE_CLIP, MINIATURE_UPSCALER

SIZE, BOX = Size(150, 170), Box(20, 20, 130, 150)
NOISE = "noise.py:parts_of_fields"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[SecondDevice]:
    """It has room, and double precision, as CUDA's devices do."""
    monkeypatch.setattr(regression, "has_double", lambda place: True)
    with_memory(monkeypatch, 10**12)
    evict()
    with SecondDevice() as found:
        yield found
    evict()


def with_memory(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(memory, "room", lambda place: size)
    monkeypatch.setattr(memory, "capacity", lambda place: size)


@pytest.fixture
def model(device: SecondDevice) -> StandaloneModel:
    return StandaloneModel.load(MINIATURE, MINIATURE_UPSCALER, MINIATURE_CLIP, device.label)


def edited(
    model: StandaloneModel,
    device: SecondDevice,
    callbacks: Callbacks = Callbacks(),
    folder: EditFolder | None = None,
    **values: Any,
) -> pipeline.Edit:
    """An edit with everything at work; only what moves in it is counted."""
    quick = {"steps": 2, "candidates": 2, "tile_size": 1, **values}
    settings = preset("recommended").with_values(quick)
    backend = model.bind("a red star on grass", "", 4.0)
    mask = box_mask(SIZE, BOX)
    plan = plan_edit(SIZE, mask, settings, backend.spec)
    assert len(plan.stages[-1].tiles) > 1
    device.moves.clear()
    image = photograph(SIZE.height, SIZE.width)
    if folder is not None:
        folder.begin(plan, settings.feather)
        callbacks = replace(callbacks, keeper=folder)
    with folder or nullcontext():
        return pipeline.edit(image, mask, plan, settings, backend, Noise(1), callbacks)


def moved(moves: list[Move], down: bool) -> Counter[str]:
    """Bytes by place."""
    total: Counter[str] = Counter()
    for move in moves:
        if move.down == down:
            total[move.place] += move.bytes
    return total


@pytest.mark.edits
def test_nothing_crosses_that_fits_on_the_device(
    model: StandaloneModel, device: SecondDevice
) -> None:
    done = edited(model, device)
    crop = done.report.plan.crop.size.area * 4
    down, up = moved(device.moves, True), moved(device.moves, False)
    assert down == {"pipeline.py:_belonging": 3 * crop}, device
    judge = model.ranker._model
    assert judge is not None
    clip = size_of(*judge.network.parameters(), *judge.network.buffers())
    assert up.pop("pipeline.py:_edited") == 5 * crop, "picture, mask and its soft edge"
    assert up.pop("memory.py:_copied") == clip
    assert up.pop(NOISE) > 0
    assert up.total() < 1000, device
    edited(model, device)
    assert "memory.py:_copied" not in moved(device.moves, False), "CLIP stays"


@pytest.mark.edits
def test_nothing_but_noise_crosses_in_a_step(model: StandaloneModel, device: SecondDevice) -> None:
    """Twice the steps, and as many moves but for the noise; the schedule goes at once."""
    others, noise = [], []
    for steps in (2, 4):
        edited(model, device, steps=steps, resampling_steps=1, choose="first")
        others.append([move for move in device.moves if move.place != NOISE])
        noise.append(len(device.moves) - len(others[-1]))
    assert len(others[0]) == len(others[1])
    assert sum(move.bytes for move in others[1]) - sum(move.bytes for move in others[0]) < 100
    assert noise[0] < noise[1]


@pytest.mark.edits
def test_without_room_pictures_lie_in_main_memory(
    model: StandaloneModel, device: SecondDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same result, but for the rounding of other arithmetic."""
    expected = edited(model, device).image
    with_memory(monkeypatch, 0)
    evict()
    done = edited(model, device)
    assert float((done.image - expected).abs().max()) < 2 / 255
    down = moved(device.moves, True)
    assert "stage.py:_merged" in down, device
    assert moved(device.moves, False)["memory.py:_copied"] and not evict(), "CLIP leaves"


@pytest.mark.gpu
def test_a_gpus_memory_is_known() -> None:
    place = torch.device("cuda")
    torch.empty(1, device=place)  # CUDA itself takes memory with the first
    free, size = memory.room(place), 2**28
    held = torch.empty(size, dtype=torch.uint8, device=place)
    assert abs(free - memory.room(place) - size) < 2**25
    assert memory.capacity(place) >= free > size
    del held
    assert abs(free - memory.room(place)) < 2**25, "what PyTorch keeps is free"


@pytest.mark.edits
def test_a_kept_edit_goes_on_on_the_device(
    model: StandaloneModel, device: SecondDevice, tmp_path: Path
) -> None:
    """From its candidates, and from its first stage."""
    values = {"steps": 4, "early_selection": 0.5}
    whole = edited(model, device, **values)
    folder = EditFolder.create(tmp_path / "kept", {})
    folder.pauses = True
    assert not edited(model, device, folder=folder, **values).report.stages

    def killed(stage: StagePlan) -> None:
        if stage.index:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        again = EditFolder.open(tmp_path / "kept")
        edited(model, device, Callbacks(stage=killed), again, **values)
    done = edited(model, device, folder=EditFolder.open(tmp_path / "kept"), **values)
    assert torch.equal(done.image, whole.image)
