"""From records to verdicts and documents; and the committed documents against their JSON."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Desk

from msbd.evaluation import document, evaluate, workers
from msbd.evaluation.cases import Case, all_cases, draw
from msbd.evaluation.claims import AIMS, CLAIMS
from msbd.evaluation.effects import Claim, by_clip
from msbd.evaluation.errands import Errand, plan_of
from msbd.evaluation.evaluate import Evaluation
from msbd.evaluation.memory import PeakMemory
from msbd.evaluation.methods import EXPERIMENTS, METHODS, MULTI_STAGE, Method
from msbd.evaluation.metrics import QUANTITIES
from msbd.evaluation.plots import plot
from msbd.evaluation.records import MEASURED, Records, recipe
from msbd.evaluation.results import as_csv, assembled
from msbd.evaluation.sheets import sheet
from msbd.evaluation.statistics import Estimate, estimate, estimate_ratio
from msbd.evaluation.table import Table

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "docs" / "evaluation"
BASELINES = EXPERIMENTS[0]
METHODS_IN_ORDER = list(METHODS)


def test_an_interval_holds_the_true_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = estimate(rng.normal(3, 1, 40).tolist())
        hits += found.low < 3 < found.high
    assert 0.88 < hits / 200 < 0.99


def test_an_interval_is_reproducible_and_shrinks_with_the_root_of_n() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400).tolist()
    assert estimate(values) == estimate(values)
    width = [e.high - e.low for e in (estimate(values[:100]), estimate(values))]
    assert width[0] / width[1] == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("count", [4, 6, 10])
def test_intervals_of_few_cases_are_wide_enough(count: int) -> None:
    rng, hits = np.random.default_rng(3), 0
    for _ in range(150):
        found = estimate(rng.normal(3, 1, count).tolist())
        hits += found.low < 3 < found.high
    assert hits / 150 > 0.88


@pytest.mark.parametrize(("count", "low"), [(10, 0.6915), (60, 0.9404)])
def test_a_clean_sweep_is_not_certainty(count: int, low: float) -> None:
    """The exact binomial bounds, as tables have them."""
    assert estimate([1.0] * count, (0, 1)).low == pytest.approx(low, abs=1e-3)
    assert estimate([0.0] * count, (0, 1)).high == pytest.approx(1 - low, abs=1e-3)
    assert estimate([1.0] * count, (0, 1)).high == 1


def test_differences_that_are_all_alike_are_uncertain_both_ways() -> None:
    found = estimate([0.0] * 10, (-1, 1))
    assert found.low == -found.high and found.high == pytest.approx(0.3085, abs=1e-3)
    assert estimate([1.0], (-1, 1)).low == -1 and estimate([1.0]).low == -np.inf


def test_a_ratio_of_means_is_paired() -> None:
    below = np.random.default_rng(2).uniform(1, 9, 50)
    found = estimate_ratio((3 * below).tolist(), below.tolist())
    assert (found.mean, found.low, found.high) == pytest.approx((3, 3, 3))
    assert estimate_ratio([1.0, 1.0], [0.0, 0.0]).mean == np.inf
    assert np.isnan(estimate_ratio([0.0, 0.0], [0.0, 0.0]).mean)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "holds"), (-0.1, 0.2, "undecided"), (-0.2, -0.1, "does not hold")],
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, verdict: str) -> None:
    claim = Claim("", "", "", lambda table: None)
    assert claim.verdict(Estimate(0, low, high, 9)) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-0.05, 0.05, "holds"), (-0.05, 0.2, "undecided"), (0.2, 0.3, "does not hold")],
)
def test_that_two_are_alike_needs_a_narrow_interval(low: float, high: float, verdict: str) -> None:
    claim = Claim("", "", "", lambda table: None, above=-0.1, below=0.1)
    assert claim.verdict(Estimate(0, low, high, 9)) == verdict


def record(right: bool, **values: object) -> dict:
    """A record as a worker writes it."""
    made = {
        "objects": 1, "right_colour": True, "right_shape": right, "inside": True,
        "one_right": right, "candidates_right": [right] * 4 + [True] * 6,
        "scores": [0.9 - 0.1 * place for place in range(10)],
        "laplacian": 0.5, "edge": 2.0, "seam": 2.0, "seam_tone": 4.0, "seam_texture": 0.3,
        "seam_sharpness": -0.2,
        "tile_seam": 1.1, "ring_psnr": 35.0, "tone_shift": 1.0, "outside": 0,
        "decoder_loss": [None], "notes": [], "crop": [0, 0, 48, 64], "tiles": [],
        "measured": MEASURED, "machine": "a machine", "evaluations": 100.0,
        "seconds": 5.0, "memory": 2**28,
    }  # fmt: skip
    return {**made, **values}


def recorded(folder: Path, count: int) -> Records:
    """The first cases by every method: only one pass and segments are ever wrong."""
    kept = Records(folder)
    for method in METHODS.values():
        for case in all_cases()[:count]:
            wrong = method.name in ("one_pass", "segments") and case.number % 4 > 0
            width = {"first_bilinear": 5.0, "first_esrgan": 4.0}.get(method.name, 2.0)
            made = record(not wrong, edge=width, made_by=recipe(case, method))
            top = (case.box.top + case.box.bottom) // 2 - 24
            left = (case.box.left + case.box.right) // 2 - 32
            made["crop"] = [top, left, top + 48, left + 64]
            level = METHODS_IN_ORDER.index(method.name)
            kept.write_picture(case, method, np.full((48, 64, 3), level, np.uint8))
            kept.write(case, method, made)
    return kept


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """To be read only."""
    return recorded(tmp_path_factory.mktemp("records"), 12)


@pytest.fixture
def one_case(tmp_path: Path) -> Records:
    return recorded(tmp_path / "records", 1)


@pytest.fixture(scope="module")
def found(records: Records) -> dict[str, Any]:
    return assembled(table(records), records, EXPERIMENTS, False)


def table(records: Records) -> Table:
    return Table.read(records, EXPERIMENTS, quick=False)


def test_a_record_is_read_back_only_for_the_same_settings(records: Records) -> None:
    case = all_cases()[0]
    kept = records.read(case, MULTI_STAGE)
    assert kept is not None and kept["seam"] == 2.0
    assert records.read(case, replace(MULTI_STAGE, changes={"steps": 49})) is None
    assert records.read(all_cases()[25], MULTI_STAGE) is None


def test_what_is_recorded_is_not_made_again(
    one_case: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def painted(case: Case, methods: list[Method]) -> Iterator[Any]:
        asked.extend(method.name for method in methods)
        return iter(())

    monkeypatch.setattr(workers, "_painted", painted)
    records, errand = one_case, Errand(all_cases()[0], tuple(METHODS.values()))
    assert "0 looked at" in workers._work(errand, records) and asked == []
    records.path(errand.case, METHODS["one_pass"]).unlink()
    records.path(errand.case, METHODS["segments"], ".png").unlink()
    workers._work(errand, records)
    assert asked == ["one_pass", "segments"]


def test_pictures_are_looked_at_again_when_measures_change(
    one_case: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MEASURED", MEASURED + 1)
    records, case, method = one_case, all_cases()[0], METHODS["one_pass"]
    plan = plan_of(case, method)
    image, _ = draw(case)
    crop = plan.crop
    records.write_picture(case, method, image[crop.rows, crop.columns])
    made = record(True, made_by=recipe(case, method), evaluations=77.0)
    made["crop"] = [crop.top, crop.left, crop.bottom, crop.right]
    records.write(case, method, made)
    said = workers._work(Errand(case, (method,)), records)
    seen = records.read(case, method)
    assert "0 edits made, 1 looked at" in said and seen is not None
    assert seen["objects"] == 0 and not seen["one_right"] and seen["evaluations"] == 77.0


def test_shares_of_objects_leave_out_edits_that_ask_for_none(found: dict[str, Any]) -> None:
    figures = found["methods"]
    assert figures["one_pass"]["one_right_object"] == pytest.approx(3 / 11, abs=1e-3)
    assert figures["one_pass"]["as_asked"] == pytest.approx(3 / 12)
    assert figures["multi_stage"]["one_right_object"] == 1.0
    assert figures["multi_stage"]["intervals"]["one_right_object"][0] < 1


def test_claims_are_judged_by_their_intervals(found: dict[str, Any]) -> None:
    claims = {claim["claim"]: claim for claim in found["claims"]}
    assert len(claims) == len(CLAIMS)
    first, *_ = claims.values()
    assert first["holds"] and first["effect"] == pytest.approx(8 / 11, abs=1e-3)
    sharper = claims["Multi-stage is sharper than the first stage enlarged bilinearly"]
    assert sharper["holds"] and sharper["effect"] == pytest.approx(3)
    network = claims["Real-ESRGAN is sharper than bilinear enlargement"]
    assert network["effect"] == pytest.approx(1)
    alike = claims["Blending in the later stages keeps the background"]
    assert not alike["holds"] and alike["verdict"] == "undecided" and alike["effect"] == 0
    assert claims["Outside the mask and its feather nothing changes"]["holds"]


def test_aims_are_judged_by_their_figures(found: dict[str, Any]) -> None:
    right, ratio, *_ = found["aims"]
    assert right["reached"] and right["effect"] == 1.0
    assert ratio["reached"] and ratio["effect"] == pytest.approx(11 / 3, abs=1e-3)
    assert len(AIMS) == 4


def test_clip_picks_by_its_scores() -> None:
    rows = {
        all_cases()[0]: record(True, candidates_right=[False, True, True], scores=[0.1, 0.3, 0.2]),
        all_cases()[1]: record(True, candidates_right=[True, False, False], scores=[0.1, 0.3, 0.2]),
    }
    picks = by_clip(Table({"candidates_10": rows}), 3)
    assert picks == [(1.0, 2 / 3, 1.0), (0.0, 1 / 3, 1.0)]
    assert by_clip(Table({"candidates_10": rows}), 1) == [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0)]
    assert by_clip(Table({"candidates_10": rows}), 5) == []


def test_a_claim_without_its_methods_is_left_out(records: Records) -> None:
    decoder = Table({m: rows for m, rows in table(records).rows.items() if "decoder" in m})
    part = assembled(decoder, records, EXPERIMENTS, False)
    claims = {c["claim"] for c in part["claims"]}
    assert "Decoder optimisation brings the background back" in claims and len(claims) <= 5
    assert part["aims"] == [] and document.markdown(part)


def test_methods_are_compared_on_the_cases_of_their_experiment(found: dict[str, Any]) -> None:
    strengths = next(e for e in found["experiments"] if e["name"] == "strengths")
    assert strengths["methods"]["multi_stage"]["n"] == strengths["methods"]["final_0"]["n"]
    assert found["methods"]["multi_stage"]["n"] == 12


def test_how_much_seeds_differ(found: dict[str, Any]) -> None:
    """The pictures of the fixture are plain, and each a level brighter than the one before."""
    seeds = found["seeds"]
    apart = [b - a for a in range(8) for b in range(a + 1, 8)]
    assert seeds["difference"]["effect"] == pytest.approx(np.mean(apart), abs=1e-3)
    assert seeds["right"]["effect"] == 1 and seeds["n"] == 4


def test_results_are_json_and_the_document_tells_all_of_them(found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    text = document.markdown(found, ["repaint.png"])
    assert all(claim["claim"] in text for claim in found["claims"])
    assert all(f"`{name}`" in text for name in found["methods"])
    assert "(repaint.png)" in text and "(baselines.jpg)" not in text


def test_the_csv_has_a_line_for_every_edit(records: Records) -> None:
    lines = list(csv.DictReader(as_csv(table(records)).splitlines()))
    assert len(lines) == sum(len(rows) for rows in table(records).rows.values())
    assert set(lines[0]) == {"method", "case", *QUANTITIES}
    assert {line["seam"] for line in lines} == {"2"}


def test_sheets_and_plots_are_drawn(
    records: Records, found: dict[str, Any], tmp_path: Path
) -> None:
    paths = plot(found, tmp_path)
    assert {path.name for path in paths} >= {"baselines.png", "clip.png", "repaint.png"}
    assert all(path.stat().st_size > 5000 for path in paths)
    page = sheet(BASELINES, [method.name for method in BASELINES.methods], records)
    assert page is not None and page.width > page.height / 2 and len(page.getcolors(10**6)) > 100
    assert sheet(BASELINES, ["decoder_0"], Records(tmp_path / "nothing")) is None


def test_peak_memory_is_what_was_taken_and_given_back() -> None:
    memory = PeakMemory()
    taken = np.ones(2**24)
    del taken
    grown = memory.grown()
    assert grown is None or 0.9 * 2**27 < grown < 1.5 * 2**27


def test_an_evaluation_that_is_stopped_says_how_to_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "run", stopped)
    assert desk.msbd("evaluate", "-o", desk.folder / "found") == 130
    assert desk.refused("goes on")


def test_bad_input_of_an_evaluation(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "file").write_text("")
    assert desk.msbd("evaluate", "-o", desk.folder / "file") == 2 and desk.refused("file")
    assert desk.msbd("evaluate", "-o", desk.folder, "--workers", 0) == 2 and desk.refused("workers")
    assert desk.msbd("evaluate", "-o", desk.folder, "--only", "nothing") == 2
    monkeypatch.setattr(evaluate, "find_spec", lambda name: None)
    assert desk.msbd("evaluate", "-o", desk.folder) == 2 and desk.refused("matplotlib")


def test_documents_are_written_from_the_records(records: Records, tmp_path: Path) -> None:
    said: list[str] = []
    evaluate.write(Evaluation(tmp_path, records.folder), said.append)
    written = json.loads((tmp_path / "results.json").read_text())
    pictures = [path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".jpg")]
    assert (tmp_path / "README.md").read_text() == document.markdown(written, pictures)
    assert any("reached" in line for line in said)


@pytest.fixture(scope="module")
def committed() -> dict:
    return json.loads((COMMITTED / "results.json").read_text())


def test_the_committed_document_is_that_of_the_committed_results(committed: dict) -> None:
    pictures = [path.name for path in COMMITTED.iterdir() if path.suffix in (".png", ".jpg")]
    assert (COMMITTED / "README.md").read_text() == document.markdown(committed, pictures)


def test_the_committed_results_are_of_a_full_run(committed: dict) -> None:
    assert committed["made"]["command"] == "python -m msbd evaluate"
    assert {e["name"] for e in committed["experiments"]} == {e.name for e in EXPERIMENTS}
    assert committed["methods"]["multi_stage"]["n"] == len(all_cases())
    assert set(committed["methods"]) == set(METHODS)


def test_the_readme_quotes_the_committed_results(committed: dict) -> None:
    readme = (ROOT / "README.md").read_text()
    assert document.summary(committed) in readme


def figures_of(committed: dict) -> set[str]:
    """Every figure of the committed results as the document writes it."""
    told = document.markdown(committed)
    return set(re.findall(r"-?\d+(?:\.\d+)?", told))


def test_the_findings_quote_only_figures_of_the_results(committed: dict) -> None:
    text = (COMMITTED / "findings.md").read_text()
    quoted = re.findall(r"\*\*(-?\d+(?:\.\d+)?)", text)
    assert len(quoted) > 10
    assert set(quoted) <= figures_of(committed)


def test_pictures_of_the_evaluation_are_small_enough() -> None:
    sizes = [p.stat().st_size for p in COMMITTED.iterdir() if p.suffix in (".png", ".jpg")]
    assert sizes and sum(sizes) <= 8 * 2**20


def test_the_miniatures_figures_are_those_of_its_measurement() -> None:
    """Each row of docs/miniature.md quotes docs/miniature.json, rounded."""
    told = (ROOT / "docs" / "miniature.md").read_text()
    found = json.loads((ROOT / "docs" / "miniature.json").read_text())
    expected = {
        "128 px samples right": 100 * found["base"]["right"],
        "of pairs never seen": 100 * found["base"]["right_held_out_pairs"],
        "SDEdit at 2× and 3×": 100 * found["sdedit"]["kept"],
        "at 2× with the prompt": 100 * found["sdedit"]["prompted_2x_strength_0.25"],
        "blended inpainting": 100 * found["inpainting"]["right_5_passes"],
        "without RePaint": 100 * found["inpainting"]["right_1_passes"],
        "autoencoder on the world": found["autoencoder"]["psnr_frames"],
        "autoencoder on held-out": found["autoencoder"]["psnr_photos"],
        "mean colour drift": found["autoencoder"]["drift_frames"],
        "super-resolution better": found["upscaler"]["world_gain"],
        "CLIP ranks the true": 100 * found["clip"]["captions"],
        "pictures the model painted": 100 * found["clip"]["painted"],
        "blind sampling at 3×": 100 * found["blind"]["more_than_one"],
    }
    rows = [line.split("|") for line in told.splitlines() if line.startswith("| ")]
    for words, figure in expected.items():
        (cell,) = (cells[2] for cells in rows if words in cells[1])
        quoted = re.search(r"\d+(\.\d+)?", cell)
        assert quoted is not None
        assert float(quoted[0]) == pytest.approx(figure, abs=0.051), words
