"""The measurements as Markdown; every figure comes from the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Results = dict[str, Any]
OPENING = """\
# What an edit costs

Ours, the preset `recommended`, beside the published way, the preset `paper`: its stages and tiles,
50 steps with 5 RePaint repeats for each of five candidates, and 100 steps of Adam on the whole
decoder after each stage. An evaluation is one of the network at its training resolution, guided;
others count by their area. What quality each of them has is measured in
[the evaluation](evaluation/README.md).
"""
AIMS = {
    "network_evaluations": (
        "network evaluations, Stable Diffusion 1, 3000x2000, medium mask",
        0.2,
    ),
    "decoder_optimisation": ("seconds to fit the decoder to the same tiles", 0.05),
    "decoder_loss": ("loss after that", 1.0),
    "patches_seconds": ("seconds to train it on patches first, in a stage of many tiles", 0.05),
    "patches_loss": ("loss after that", 1.0),
    "peak_memory": ("peak memory with networks of Stable Diffusion 1's size", 1 / 3),
}
SHARE = 0.05
"""What part of an edit may be spent outside the networks on a GPU."""
GPU_GIB = 8.0
"""How much memory an edit of the largest picture may take on a GPU."""


def markdown(found: Results) -> str:
    """The whole document."""
    made = found["made"]
    parts = [
        OPENING,
        f"`{made['command']}`, {made['date']}, {made['machine']}, {made['threads']} threads, "
        f"{made['device']}, {made['model']}, msbd {made['version']}. Times are good for ratios "
        "within this page only, unless a GPU is named.\n",
        "## Ours over the published way\n",
        summary(found),
        *_counted(found),
        *_edits(found),
        *_fitting(found),
        *_parts(found),
        *_on_the_gpu(found),
        *_without_networks(found),
        *_growth(found),
    ]
    return "\n".join(parts)


def summary(found: Results) -> str:
    """The ratios alone, for the README."""
    outside = SHARE if found["made"]["device"] != "CPU" else 0.03
    aims = [(what, found["ratios"][name], aim) for name, (what, aim) in AIMS.items()]
    aims += [
        ("our time outside the networks, of all", found["shares"]["outside"], outside),
        (_largest(found), found["shares"]["largest_picture"], 1.05),
    ]
    rows = [
        (what, _number(figure, "{:.3f}"), f"{aim:.3f}", _verdict(figure, aim))
        for what, figure, aim in aims
    ]
    return _table(("ours over the published way", "ratio", "aim", ""), rows)


def _largest(found: Results) -> str:
    first, last = found["pictures"][0], found["pictures"][-1]
    return f"our cost in a picture of {last['image']} over that in one of {first['image']}"


def _verdict(figure: float | None, aim: float) -> str:
    return "–" if figure is None else "reached" if figure <= aim else "not reached"


def _counted(found: Results) -> list[str]:
    rows = [
        (
            *(row["model"], row["image"], f"{row['mask']}, {row['side']} px"),
            *(f"{row['evaluations'][way]:.0f}" for way in ("published", "ours")),
            f"{row['ratio']:.3f}",
            *(f"{row['decoder_steps'][way]:.0f}" for way in ("published", "ours")),
        )
        for row in found["counted"]
    ]
    head = (
        *("model", "picture", "mask", "evaluations, published", "ours", "ratio"),
        *("decoder passes, published", "ours"),
    )
    return [
        "## Evaluations\n\nKnown from the plan before anything runs, and kept to exactly (a test "
        "counts them). Decoder passes are weighted by area, too.\n",
        _table(head, rows),
    ]


def _edits(found: Results) -> list[str]:
    edits = found["edits"]
    parts = list(dict.fromkeys(part for edit in edits.values() for part in edit["seconds"]))
    rows = [
        (
            way,
            f"{edit['evaluations']:.0f}",
            *(_number(edit["seconds"].get(part), "{:.1f}") for part in parts),
            f"{100 * edit['outside']:.1f} %",
            _memory(edit["memory"]),
        )
        for way, edit in edits.items()
    ]
    one = edits["ours"]
    head = ("way", "evaluations", *(f"{part}, s" for part in parts), "other", "memory, MiB")
    return [
        f"## One edit, both ways\n\nA picture of {one['image']} with a mask of {one['side']} "
        f"pixels, a crop of {one['crop']}, each way in a process of its own. Fitting is the "
        "decoder's; other is the share of the time outside the networks and their fitting; memory "
        "is what the edit adds to the loaded model at its peak.\n",
        _table(head, rows),
    ]


def _fitting(found: Results) -> list[str]:
    ways = ("before", "published", "ours", "patches")
    rows = [
        (
            f"{row['ground']}, {row['side']} px",
            row["tiles"],
            *(f"{row['seconds'][way]:.2f}" for way in ways[1:]),
            *(_faster(row["seconds"], way) for way in ways[2:]),
            *(f"{1000 * row['loss'][way]:.2f}" for way in ways),
            *(_number(row["tone"][way], "{:.2f}") for way in ways),
        )
        for row in found["fitting"]
    ]
    head = (
        *("mask", "tiles", "published, s", "ours, s", "patches, s"),
        *("ours, times faster", "patches, times faster"),
        *("loss before, 1/1000", "published", "ours", "patches"),
        *("tone before, levels", "published", "ours", "patches"),
    )
    return [
        "## Fitting the decoder\n\nThe same tiles in all ways, a star painted into them, and the "
        "same loss on the same pixels (section 3.3, lambda 100): 100 steps of Adam on the whole "
        "decoder; ours, solving for the last layer, widened to 5x5; and the same after 300 steps "
        "of Adam on four patches of 32x32 pixels each (`decoder_patch`), as many whatever the "
        "tiles; only a few passes over the tiles come before and after, of which an edit makes one "
        "more to see that nothing got worse. Tone is what the fit is for: with nothing painted in, "
        "so that the truth is known inside the mask, too, the mean difference there from the true "
        "picture near the edge, of 9x9 pixels' averages, in levels of 255.\n",
        _table(head, rows),
        _on_losses(found),
    ]


def _on_losses(found: Results) -> str:
    if found["ratios"]["decoder_loss"] is None:
        return "With random weights these losses tell nothing; the seconds do.\n"
    return (
        "Training ends at a lower loss where the picture is full of outlines, as bricks are: one "
        "layer cannot redraw them. Deeper layers learn to on patches, too, in steps that do not "
        "grow with the tiles, nor do their gradients; in a stage of one tile of the miniature's "
        "that is no saving.\n"
    )


def _faster(seconds: dict[str, float], way: str) -> str:
    times = seconds["published"] / seconds[way]
    return f"{times:.0f}" if times >= 10 else f"{times:.1f}"


def _parts(found: Results) -> list[str]:
    memory = found.get("memory")
    if memory is None:
        return []
    rows = [
        (way, *(_memory(bytes_) for bytes_ in parts.values()), _memory(memory["largest"][way]))
        for way, parts in memory["parts"].items()
    ]
    names = next(iter(memory["parts"].values()))
    head = ("way", *(f"{name}, MiB" for name in names), "largest")
    sparing = memory["checkpointed"]
    return [
        "## Memory\n\nWhat a part of an edit adds to its network at its peak, with networks of "
        "Stable Diffusion 1's size, random weights, in single precision: all candidates denoised "
        f"together on {memory['cells']}x{memory['cells']} latents, a tile of "
        f"{memory['tile']}x{memory['tile']} pixels decoded, and the decoder fitted to it. The "
        "published way's tiles are up to 768x768, and its memory grows with their area.\n",
        _table(head, rows),
        "With gradient checkpointing (`decoder_checkpointing`, which is turned on where memory "
        f"does not suffice), the published fitting adds {_memory(sparing['bytes'])} MiB. Two steps "
        f"on this CPU took {sparing['times_as_long']:.2f} times as long, to the same decoder bit "
        "by bit (a test compares).\n",
        _estimate(memory["estimate"]),
    ]


def _estimate(estimate: dict[str, Any]) -> str:
    weights, part = estimate["weights"], estimate["part"]
    if part is None:
        return ""
    return (
        f"Weights in half precision take {weights / 2**30:.1f} GiB. With the largest part of ours, "
        f"in tiles of {estimate['tile']}x{estimate['tile']} pixels, {part / 2**30:.1f} GiB, that "
        f"makes about {(weights + part) / 2**30:.1f} GiB on a GPU, for a picture of any size. This "
        "has not been measured on one.\n"
    )


def _on_the_gpu(found: Results) -> list[str]:
    one = found.get("largest")
    if one is None:
        return []
    gib = (one["loaded"] + one["memory"]) / 2**30
    return [
        f"## Memory on the GPU\n\nIn our edit of a picture of {one['image']} with a mask of "
        f"{one['side']} pixels {gib:.1f} GiB were in use at its peak, {one['loaded'] / 2**30:.1f} "
        f"GiB of them for the networks in half precision. The aim is {GPU_GIB:.0f} GiB: "
        f"{_verdict(gib, GPU_GIB)}. What PyTorch and the driver hold besides is not part of it.\n"
    ]


def _without_networks(found: Results) -> list[str]:
    def per_evaluation(row: Results) -> float:
        return 1000 * float(row["seconds"]) / float(row["evaluations"])

    rows = [
        (
            *(row["image"], f"{row['side']} px", row["crop"], f"{row['evaluations']:.0f}"),
            f"{row['seconds']:.2f}",
            f"{per_evaluation(row):.1f}",
            f"{per_evaluation(row) * (1 / SHARE - 1):.0f}",
        )
        for row in found["without_networks"]
    ]
    head = (
        *("picture", "mask", "crop", "evaluations", "outside, s", "for an evaluation, ms"),
        f"{100 * SHARE:.0f} % from, ms",
    )
    return [
        "## Outside the networks\n\nOur edits for Stable Diffusion 1 with networks that take no "
        f"time, on {found['made']['threads']} threads of this CPU, where pixels are handled "
        "whatever the networks run on; fitting the decoder, and copies to a GPU and back, are not "
        f"part of it. It is {100 * SHARE:.0f} % of an edit where an evaluation, with its share in "
        "enlarging, encoding and decoding, takes as long as the last column says, and less where "
        "it takes longer.\n",
        _table(head, rows),
    ]


def _growth(found: Results) -> list[str]:
    with_picture, with_mask = found["growth"]["with_picture"], found["growth"]["with_mask"]
    head = ("picture", "mask", "evaluations")
    counted = [(r["image"], f"{r['side']} px", f"{r['evaluations']:.0f}") for r in with_picture]
    areas = [
        (r["image"], f"{r['side']} px", f"{r['evaluations']:.0f}", f"{_per_area(r):.0f}")
        for r in with_mask
    ]
    timed = [
        (
            r["image"],
            f"{r['side']} px",
            f"{r['evaluations']:.0f}",
            f"{r['seconds']['all']:.2f}",
            f"{r['seconds']['other']:.2f}",
        )
        for r in (*found["pictures"], *found["masks"])
    ]
    return [
        "## How the cost grows\n\nWith the picture, at the same mask, not at all (Stable Diffusion "
        "1, counted):\n",
        _table(head, counted),
        "With the mask, from where the first stage alone no longer does, with its area:\n",
        _table((*head, "per megapixel of mask"), areas),
        f"Measured with {found['made']['model']}, the quickest of {found['made']['repeats']}; "
        "reading and writing the file are not part of it:\n",
        _table((*head, "seconds", "of them outside the networks"), timed),
    ]


def _per_area(row: Results) -> float:
    return float(row["evaluations"]) / (row["side"] ** 2 / 1e6)


def _memory(bytes_: int | None) -> str:
    return _number(None if bytes_ is None else bytes_ / 2**20, "{:.0f}")


def _number(value: float | None, shown: str) -> str:
    return "–" if value is None else shown.format(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
