"""The benchmark's counts, clocks and losses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Desk
from engine import box_mask
from fakes import PointwiseBackend, PointwiseDecoder

from msbd.backend import Backend, ModelSpec
from msbd.benchmark import (
    bench,
    call_counts,
    document,
    end_to_end,
    fitting,
    random_model,
    runs,
)
from msbd.benchmark.bench import Bench
from msbd.benchmark.published import published
from msbd.benchmark.runs import Run
from msbd.benchmark.setups import MASKS, MODELS, SIZES, Setup, setup
from msbd.check.timed import TimedBackend
from msbd.decoder.last_layer import LastLayer
from msbd.geometry import Box, Size
from msbd.planning import plan_edit
from msbd.presets import preset
from msbd.settings import FINE_TUNE, EditSettings
from msbd.standalone.model import StandaloneModel
from msbd.standalone.models import MINIATURE

ZERO = torch.zeros(1, 4, 12, 12)
DOCS = Path(__file__).parent.parent / "docs"


def test_the_masks_are_what_their_names_say() -> None:
    what = setup(Size(2000, 3000), "medium")
    assert what.side == 800
    mask = what.mask()
    assert mask.sum() == 800**2 and mask[600, 1100] == 1 and mask[599, 1100] == 0


def test_a_growing_picture_looks_the_same_round_its_mask() -> None:
    def surroundings(size: Size) -> torch.Tensor:
        what, margin = Setup(size, 100), 40
        picture = torch.from_numpy(what.picture())
        box = what.box
        return picture[
            box.top - margin : box.bottom + margin, box.left - margin : box.right + margin
        ]

    small = surroundings(Size(300, 400))
    assert small.float().std() > 1
    assert torch.equal(small, surroundings(Size(1500, 2000)))


def test_ours_takes_a_fifth_of_the_published_evaluations_at_most() -> None:
    """With Stable Diffusion 1, in the picture of 3000x2000 with a medium mask."""
    rows = {(r["model"], r["image"], r["mask"]): r for r in call_counts.comparison()}
    assert len(rows) == 2 * len(SIZES) * len(MASKS)
    row = rows["Stable Diffusion 1", "3000x2000", "medium"]
    assert row["evaluations"]["published"] > 1500 and row["ratio"] <= 0.2
    assert row["ratio"] == pytest.approx(
        row["evaluations"]["ours"] / row["evaluations"]["published"], abs=1e-3
    )
    assert all(r["ratio"] < 0.5 for r in rows.values())


@pytest.mark.parametrize(
    ("mask", "evaluations", "passes", "segments"),
    [
        (Size(800, 800), 1500 + 40 * 2.25 + 25 * 6.25, 900, 9),
        (Size(900, 1200), 1500 + 40 * 1.875 + 25 * 10.5, 1200, 12),
        (Size(300, 300), 1500 + 40, 100, 1),
    ],
    ids=str,
)
def test_the_published_plan_is_that_of_its_code(
    mask: Size, evaluations: float, passes: float, segments: int
) -> None:
    """Counted by hand from `MSBDGenerator.multi_scale_generation`, in a picture of 3000x2000. A
    mask that fits the first stage is refined once more at the same size."""
    plan = published(Size(2000, 3000), Box.of(mask, 500, 500), preset("paper"), ModelSpec())
    assert plan.network_evaluations == evaluations
    last = plan.stages[-1].segments
    assert len(last) == segments
    assert 100 * sum(one.area for one in last) / 512**2 == passes


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("across", [1.0, 0.75, 0.5, 0.33])
@pytest.mark.parametrize("long", [300, 500, 800, 1200, 1800])
def test_our_paper_takes_no_more_than_the_published_code(
    name: str, across: float, long: int
) -> None:
    facts, settings, image = MODELS[name], preset("paper"), Size(4000, 6000)
    box = Box.of(Size(round(across * long), long), 800, 900)
    ours = plan_edit(image, box_mask(image, box), settings, facts)
    theirs = published(image, box, settings, facts)
    assert ours.network_evaluations <= theirs.network_evaluations


def test_cost_grows_with_the_mask_and_not_with_the_picture() -> None:
    found = call_counts.growth()
    assert len({row["evaluations"] for row in found["with_picture"]}) == 1
    by_mask = [row["evaluations"] for row in found["with_mask"]]
    assert by_mask == sorted(by_mask) and by_mask[0] < by_mask[-1]


def test_the_clock_counts_each_network_and_changes_nothing() -> None:
    class Slow(PointwiseBackend):
        def encode(self, image: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return super().encode(image)

    slow = Slow()
    timed, image = TimedBackend(slow), torch.rand(1, 3, 32, 32)
    assert torch.equal(timed.encode(image), slow.encode(image))
    z, sigma = torch.rand(2, 4, 4, 4), torch.ones(2)
    assert torch.equal(timed.denoise(z, sigma), slow.denoise(z, sigma))
    assert 0.05 <= timed.seconds["encoding"] < 1 and timed.seconds["denoising"] < 0.05


@pytest.mark.edits
def test_no_second_is_told_twice() -> None:
    """Neither what candidates' decoding takes, nor what tiles' does that no fit reaches."""

    class Slow(PointwiseBackend):
        """Takes its time to decode by itself."""

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05 * len(z))
            calls.append(len(z))
            return super().decode(z)

    class Model:
        def bind(self, prompt: str, negative: str, guidance: float, sampler: str) -> Backend:
            return Slow()

    calls: list[int] = []
    few = {"steps": 2, "resampling_steps": 0, "candidates": 3, "tile_size": 1.0, "growth": 4.0}
    run = Run(Setup(Size(300, 400), 200), preset("recommended").with_values(few))
    seconds = runs.once(run, Model())["seconds"]
    assert sum(calls) > 3 and seconds["judging"] > 0.15
    # Unreached tiles' decoding is slow enough to leave less than nothing for the rest.
    assert seconds["decoding"] > 0.05 * (sum(calls) - 3) > seconds["other"] > 0
    assert seconds["all"] == pytest.approx(sum(seconds.values()) - seconds["all"], rel=0.02)


def test_the_losses_are_those_the_fit_reports() -> None:
    """On a decoder whose error is a tint, which both ways can undo."""
    backend = PointwiseBackend(tint=0.1)
    settings = preset("paper")
    what = Setup(Size(150, 200), 60)
    segments = fitting.tiles(what, settings, backend)
    as_is = PointwiseDecoder(0.1, "nearest")
    with torch.no_grad():
        kept = [as_is(segment.z) for segment in segments]
    solved = LastLayer(as_is, segments, 100.0, lambda: None)
    images = [solved.decoded(index) for index in range(len(segments))]
    assert fitting.loss(kept, segments, kept) == pytest.approx(solved.loss[0], rel=1e-3)
    # What is told is of the change at its full strength, which fades out inside the mask.
    assert 0.8 * solved.loss[1] < fitting.loss(images, segments, kept) <= solved.loss[1]
    row = fitting.compared(what, settings, backend, iterations=3)
    losses = row["loss"]
    assert max(losses["ours"], losses["published"]) < losses["before"]
    tones = row["tone"]
    assert tones["ours"] < 0.3 * tones["before"] and tones["published"] < tones["before"]
    assert row["iterations"] == 3 and min(row["seconds"].values()) > 0


def test_bad_requests_are_refused_at_once(desk: Desk, tmp_path: Path) -> None:
    for arguments, words in (
        (["-o", tmp_path / "x.txt"], "JSON"),
        (["--gpu", "-o", tmp_path / "x.json"], "--gpu"),
    ):
        if "--gpu" in arguments and torch.cuda.is_available():
            continue
        assert desk.msbd("bench", *arguments) != 0 and desk.refused(words)


def test_seconds_of_few_steps_are_told_as_of_all() -> None:
    """Where a pass takes 1 s, and a step 3."""

    def edit(what: Setup, settings: EditSettings) -> dict[str, Any]:
        steps = settings.ablation.decoder_iterations if settings.decoder == FINE_TUNE else 0
        seconds = {"fitting": 1.0 + 3.0 * steps, "denoising": 20.0, "other": 4.0}
        told = {"notes": ["undone"], "steps": steps}
        return {"seconds": seconds | {"all": sum(seconds.values())}, **told}

    what = Setup(Size(800, 800), 400)
    rows = end_to_end.both(what, {"paper": preset("paper"), "ours": preset("recommended")}, edit)
    paper, ours = rows["paper"], rows["ours"]
    assert paper["steps"] == end_to_end.steps_made(what, preset("paper")) < 100
    assert ours["steps"] == 0 and "notes" not in paper
    assert paper["seconds"] == {"fitting": 301, "denoising": 20, "other": 4, "all": 325}
    assert paper["outside"] == pytest.approx(4 / 325, abs=1e-4)
    assert ours["seconds"]["all"] == 25 and ours["outside"] == pytest.approx(4 / 25)


@pytest.mark.edits
@pytest.mark.slow
def test_the_quick_benchmark_writes_figures_and_their_document(tmp_path: Path) -> None:
    said: list[str] = []
    file = tmp_path / "new" / "performance.json"
    bench.perform(Bench(file, quick=True), said.append)
    found = json.loads(file.read_text())
    assert set(found["ratios"]) == {
        *("network_evaluations", "decoder_optimisation", "decoder_loss", "peak_memory"),
    }
    for way in ("paper", "ours"):
        seconds = dict(found["edits"][way]["seconds"])
        assert seconds.pop("all") == pytest.approx(sum(seconds.values()), rel=0.02)
    assert file.with_suffix(".md").read_text() == document.markdown(found)
    (edits,) = found["every"]
    assert edits["ours"]["evaluations"] < edits["paper"]["evaluations"]
    assert f"| {edits['ours']['image']} | 60 px |" in document.markdown(found)
    (row,) = found["without_networks"]
    assert row["image"] == "800x600" and row["evaluations"] > 100 and 0 < row["seconds"] < 5


def test_the_share_outside_the_networks_is_told_by_the_time_of_an_evaluation() -> None:
    """Half a second beside 100 evaluations of 95 ms, which take 9.5 s, is 5 % of all."""
    found = json.loads((DOCS / "performance.json").read_text())
    row = {"image": "8x6", "side": 3, "crop": "4x4", "evaluations": 100.0, "seconds": 0.5}
    text = document.markdown(found | {"without_networks": [row]})
    assert "| 8x6 | 3 px | 4x4 | 100 | 0.50 | 5.0 | 95 |" in text


def test_where_the_system_tells_no_memory_the_rest_is_told() -> None:
    found = json.loads((DOCS / "performance.json").read_text())
    for edit in (*found["edits"].values(), *(e for row in found["every"] for e in row.values())):
        edit["memory"] = None
    found["memory"]["sparing"]["bytes"] = None
    text = document.markdown(found)
    assert "an unknown part of the memory" in text and "| – |" in text
    assert "adds – MiB" in text


@pytest.mark.edits
@pytest.mark.slow
def test_on_a_gpu_the_document_says_what_only_a_gpu_can_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very same path without the device, on the miniature and in one process."""
    gib = 2**30
    for name, value in {
        "get_device_name": "A card",
        "memory_allocated": 2 * gib,
        "max_memory_allocated": 7 * gib,
        "reset_peak_memory_stats": None,
    }.items():
        monkeypatch.setattr(bench.torch.cuda, name, lambda value=value: value)
    for module in (bench, runs):
        monkeypatch.setattr(module, "alone", lambda work, threads, *given: work(*given))
    model = StandaloneModel.load(MINIATURE, clip=None, device="cpu")
    monkeypatch.setattr(random_model, "random_stable_diffusion", lambda device, dtype: model)
    monkeypatch.setattr(bench, "SIDE_BY_SIDE_GPU", (Size(300, 400), "small"))
    found = bench.results(Bench(tmp_path / "x.json", gpu=True, quick=True), lambda _: None)
    assert found["made"]["device"] == "A card" and "--gpu" in found["made"]["command"]
    assert found["ratios"]["decoder_loss"] is None and found["ratios"]["peak_memory"] == 1
    text = document.markdown(json.loads(json.dumps(found)))
    assert "picture of 400x300" in text and "A card" in text
    assert "7.0 GiB were in use at its peak, 2.0 GiB of them" in text
    assert "The aim is 8 GiB: reached" in text and "losses tell nothing" in text
    assert list(found["every"][-1]) == ["ours"]
    found["every"][-1]["ours"]["memory"] = 6.5 * gib
    assert "The aim is 8 GiB: not reached" in document.markdown(found)


class TestTheCommittedFigures:
    """docs/performance is what the code of today writes and counts."""

    @pytest.fixture(scope="class")
    def committed(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((DOCS / "performance.json").read_text())
        return found

    def test_the_document_is_made_of_them(self, committed: dict[str, Any]) -> None:
        assert (DOCS / "performance.md").read_text() == document.markdown(committed)
        assert committed["made"]["quick"] is False

    def test_the_readme_quotes_them(self, committed: dict[str, Any]) -> None:
        assert document.summary(committed) in (DOCS.parent / "README.md").read_text()

    def test_todays_plans_count_the_same(self, committed: dict[str, Any]) -> None:
        assert committed["counted"] == call_counts.comparison()
        assert committed["growth"] == call_counts.growth()

    def test_the_ratios_are_within_their_aims(self, committed: dict[str, Any]) -> None:
        ratios = committed["ratios"]
        assert ratios["network_evaluations"] <= 0.2 and ratios["decoder_optimisation"] <= 0.05
        assert ratios["peak_memory"] <= 1 / 3
        shares = committed["shares"]
        assert shares["outside"] <= 0.03 and shares["largest_picture"] <= 1.05
