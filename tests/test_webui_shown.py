"""What a person sees meanwhile and below the result, for every report and picture there may be."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from standin import Host, installed
from standin.desk import THREE_STAGES, edited, inside, pixels, request

from msbd.geometry import Box, Size

NOTES = ("the tiles are smaller", "Tiling makes edges meet: turn it off.", "CLIP is away")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with installed() as started:
        yield started


@st.composite
def reports(draw: Any) -> dict[str, Any]:
    planned, parts = draw(st.integers(1, 6)), draw(st.sampled_from([1, 1, 3]))
    scores = draw(st.one_of(st.none(), st.lists(st.floats(0, 1), min_size=2, max_size=8)))
    return {
        "stages": [{"part": min(n, parts - 1)} for n in range(draw(st.integers(0, planned)))],
        "plan": {"stages": [{}] * planned, "parts": [{}] * parts},
        "settings": {
            "choose": draw(st.sampled_from(["clip", "fit"])),
            "candidate": draw(st.sampled_from(["best", "2"])),
        },
        "seconds": draw(st.floats(0, 90_000)),
        "outside_max_difference": draw(st.sampled_from([0, 0, 1, 255])),
        "parts": [
            {
                "scores": scores,
                "chosen": draw(st.integers(0, len(scores) - 1)) if scores else 0,
                "texture": draw(st.sampled_from([None, [0.1, 0.2, 0.0], [3.0, 4.0, 0.0]])),
            }
        ]
        * draw(st.integers(1, parts)),
        "notes": draw(st.lists(st.sampled_from(NOTES), unique=True)),
    }


@pytest.mark.usefixtures("host")
@settings(max_examples=300, deadline=None)
@given(st.lists(reports(), min_size=1, max_size=4))
def test_the_sentences_say_what_is_true_and_nothing_else(made: list[dict[str, Any]]) -> None:
    from msbd.webui.dry_run import in_words
    from msbd.webui.results import sentences

    lines = sentences(made)
    for number, report in enumerate(made, 1):
        which = f"Picture {number}: " if len(made) > 1 else ""
        own = [line for line in lines if line.startswith(f"{which}Painted ")]
        done, planned = len(report["stages"]), len(report["plan"]["stages"])
        assert len(own) == bool(done)
        if not done:
            continue
        (line,) = own
        stages = f"{planned} stage" + ("s" if planned > 1 else "")
        count = f"in {stages}" if done == planned else f"{done} of {stages}"
        begun, parts = report["parts"], len(report["plan"]["parts"])
        if parts > 1:
            count = f"{min(done, parts)} of {parts} parts of the mask, {count}"
        assert line.startswith(f"{which}Painted {count}, {in_words(report['seconds'])}. ")
        level = report["outside_max_difference"]
        assert ("Nothing outside the mask changed." in line) == (level == 0)
        assert (f"changed by up to {level} of 255 levels" in line) == (level > 0)
        why = {"clip": "was nearest to the prompt", "fit": "fitted in best"}
        for place, part in enumerate(begun, 1):
            which = "Candidate" if parts == 1 else f"Of part {place} candidate"
            best = f"{which} {part['chosen'] + 1} of {len(part['scores'] or ())} "
            named = report["settings"]["candidate"] != "best"
            best += "went on, as chosen" if named else why[report["settings"]["choose"]]
            assert (best in line) == (which in line) == bool(part["scores"])
    text = "\n".join(lines)
    for note in NOTES:
        told = text.count(note[1:])
        having = [report for report in made if note in report["notes"]]
        assert told == (1 if len(having) == len(made) else len(having))
    assert all(line.endswith((".", "!", "?")) and "  " not in line for line in lines)


@st.composite
def places(draw: Any) -> tuple[Size, Box, Box, int]:
    """A picture's size, a crop, a mask in it, and a longest side."""
    height, width = draw(st.integers(8, 90)), draw(st.integers(8, 90))

    def span(low: int, high: int) -> tuple[int, int]:
        first = draw(st.integers(low, high - 1))
        return first, draw(st.integers(first + 1, high))

    top, bottom = span(0, height)
    left, right = span(0, width)
    (a, b), (c, d) = span(top, bottom), span(left, right)
    crop, mask = Box(top, left, bottom, right), Box(a, c, b, d)
    return Size(height, width), crop, mask, draw(st.integers(4, 100))


def stage_of(crop: Box) -> Any:
    """As much of a stage as a preview needs: 64 pixels a side."""
    return SimpleNamespace(box=crop, size=Size(64, 64))


@pytest.mark.usefixtures("host")
@settings(max_examples=300, deadline=None)
@given(places(), st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=3), st.integers(1, 40))
def test_outside_the_mask_it_is_the_reduced_picture_and_inside_what_was_pasted(
    place: tuple[Size, Box, Box, int], parts: list[tuple[float, ...]], side: int
) -> None:
    from msbd.webui.previews import Placed

    size, crop, painted, longest = place
    rng = np.random.default_rng(1)
    levels = rng.integers(0, 128, (size.height, size.width, 3), np.uint8)
    mask = np.zeros((size.height, size.width), np.float32)
    mask[painted.rows, painted.columns] = 1
    picture = Image.fromarray(levels)
    placed = Placed(picture, mask, longest)
    small = picture.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    assert max(placed.plain.size) <= longest or longest >= max(picture.size)
    assert (pixels(placed.plain) == pixels(small)).all()
    assert (pixels(placed.picture()) == pixels(small)).all(), "nothing is pasted yet"
    white, at = Image.new("RGB", (side, side), "white"), stage_of(crop)
    for top, left, height, width in parts:
        rows, columns = (int(63 * one) for one in (top, left))
        box = Box(rows, columns, rows + 1 + int(63 * height), columns + 1 + int(63 * width))
        placed.paste(white, box, at)
    whole = np.asarray(Image.fromarray((mask * 255).astype(np.uint8)).resize(small.size, Image.BOX))
    shown = pixels(placed.picture())
    assert (shown[whole == 0] == pixels(small)[whole == 0]).all()
    placed.paste(white, Box.of(at.size), at)
    assert (pixels(placed.picture())[whole == 255] == 255).all(), "the crop covers the mask"


@pytest.mark.usefixtures("host")
@settings(max_examples=60, deadline=None)
@given(places(), st.integers(1, 63), st.booleans())
def test_parts_lie_side_by_side(place: tuple[Size, Box, Box, int], cut: int, across: bool) -> None:
    """Two parts of the crop, pasted in any order, leave no gap and hide nothing of each other."""
    from msbd.webui.previews import Placed

    size, crop, _, longest = place
    longest = max(longest, 64)
    assume(min(crop.size.height, crop.size.width) > 4)
    mask = np.zeros((size.height, size.width), np.float32)
    mask[crop.rows, crop.columns] = 1
    at = stage_of(crop)
    first = Box(0, 0, 64, cut) if across else Box(0, 0, cut, 64)
    second = Box(0, cut, 64, 64) if across else Box(cut, 0, 64, 64)
    shown = []
    for order in ((first, second), (second, first)):
        placed = Placed(Image.new("RGB", (size.width, size.height)), mask, longest)
        for box in order:
            level = 100 if box is first else 200
            placed.paste(Image.new("RGB", (8, 8), (level,) * 3), box, at)
        shown.append(pixels(placed.picture()))
    length = (crop.size.width if across else crop.size.height) * min(1, longest / size.longest)
    if 1 < cut * length / 64 < length - 1:  # each is a pixel wide at least
        assert (shown[0] == shown[1]).all()


class TestWords:
    def said(self, host: Host, **fields: Any) -> list[str]:
        """All that was said in an edit, in order."""
        state = type(host.shared.state)
        texts: list[str] = []

        def told(self: Any, value: Any) -> None:
            vars(self)["textinfo"] = value
            texts.append(value)

        kept = state.textinfo
        state.textinfo = property(lambda self: vars(self).get("textinfo"), told)
        try:
            edited(host, request(host, **THREE_STAGES), **fields)
        finally:
            state.textinfo = kept
            vars(host.shared.state).pop("textinfo", None)
        return [text for text in texts if text]

    @pytest.mark.edits
    @pytest.mark.parametrize("early", [1.0, 0.5])
    def test_steps_candidates_and_tiles_are_counted(self, host: Host, early: float) -> None:
        said = self.said(host, candidates=3, early_selection=early, decoder="off")
        first = [text for text in said if text.startswith("Stage 1 of 3: Painting")]
        for step in range(1, 5):
            crowd = " 3 candidates" if early == 1 or step <= 2 else ""
            assert f"Stage 1 of 3: Painting{crowd}, step {step} of 4" in first
        assert list(dict.fromkeys(first)) == sorted(set(first), key=lambda t: t.split("step ")[1])
        last = [text for text in said if "3 of 3: Adding detail" in text]
        steps = [int(text.split("step ")[1].split(" ")[0]) for text in last]
        assert steps == sorted(steps) and set(steps) == set(range(1, max(steps) + 1))
        back = [text.split(": ")[1] for text in said if "3 of 3: Putting it back" in text]
        count = len(back)
        assert back == [f"Putting it back, tile {n} of {count}" for n in range(1, count + 1)]
        assert said[0] == "Getting ready"

    @pytest.mark.edits
    def test_fitting_the_decoder_counts_all_its_passes(self, host: Host) -> None:
        said = self.said(host, decoder="fine-tune", decoder_iterations=2)
        first = [t.split(": ")[1] for t in said if t.startswith("Stage 1 of 3: Matching")]
        assert first == ["Matching tones", *(f"Matching tones, {n} of 3" for n in (1, 2, 3))]
        assert not any("nothing" in text for text in said)


@pytest.mark.edits
@pytest.mark.parametrize("every", [-1, 0, 3])
def test_the_hosts_own_strips_are_never_seen(host: Host, every: int) -> None:
    """Whatever is shown is the whole picture, with medvram too, where the host draws at once."""
    state, shown = host.shared.state, []
    host.shared.opts.live_preview_refresh_period = 0
    host.shared.opts.show_progress_every_n_steps = every

    def happens(calls: int) -> None:
        state.set_current_image()
        shown.append(state.current_image)

    for parallel in (True, False):
        host.shared.parallel_processing_allowed = parallel
        host.before_call(happens)
        p = request(host, **THREE_STAGES)
        edited(host, p)
        state.set_current_image()
        shown.append(state.current_image)
    host.shared.parallel_processing_allowed = True
    plain, painted = pixels(p.init_images[0]), inside(p)
    assert all(one.size == (140, 120) for one in shown)
    assert all((pixels(one)[~painted] == plain[~painted]).all() for one in shown)
    kinds = {pixels(one).tobytes() for one in shown}
    assert len(kinds) > 6 if every >= 0 else len(kinds) <= 4
    assert host.shared.opts.show_progress_every_n_steps == every
    assert "show_progress_every_n_steps" not in vars(host.shared.opts)


@pytest.mark.edits
def test_a_preview_that_fails_does_not_end_the_edit(host: Host, monkeypatch: Any) -> None:
    plain = pixels(edited(host, request(host)).images[0])
    failing, asked = itertools.count(), host.sd_samplers_common

    def broken(*_: Any) -> torch.Tensor:
        next(failing)
        raise RuntimeError("no such approximation")

    host.shared.opts.live_preview_refresh_period = 0
    host.shared.opts.show_progress_every_n_steps = 0
    monkeypatch.setattr(asked, "samples_to_images_tensor", broken)
    # The host itself decodes by the same function.
    for module in (asked, host.processing):
        decode = "decode_first_stage"
        monkeypatch.setattr(module, decode, lambda model, z: model.decode_first_stage(z))
    assert (pixels(edited(host, request(host)).images[0]) == plain).all()
    assert next(failing) == 1, "it is asked once, and then no more"
