"""The measurements as Markdown; every figure comes from the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ..decoder.last_layer import KEPT
from ..evaluation.markdown import table
from . import document_decoder as decoder
from .end_to_end import PASSES
from .figures import Results, mebibytes, number

OPENING = """\
# What an edit costs

Ours, the preset `recommended`, beside the paper: 50 steps with 5 RePaint repeats for each of five
candidates, and 100 steps of Adam on the whole decoder after each stage. *Published* is the plan of
the authors' code, counted by its own rules; `paper` is our preset of that name, which makes the
paper's procedure with this engine and is what is timed. An evaluation is one of the network at its
training resolution, guided; others count by their area. What quality each of them has is measured
in [the evaluation](evaluation/README.md).
"""
COUNTED = ("published", "paper", "ours")
AIMS = {
    "network_evaluations": (
        "network evaluations, of the published code's, Stable Diffusion 1, 3000x2000, medium mask",
        0.2,
    ),
    "decoder_optimisation": ("seconds to fit the decoder to the same tiles", 0.05),
    "decoder_loss": ("loss after that", 1.0),
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
        f"{made['device']}, {made['model']}, msbd {made['version']}; what plans tell was counted "
        f"on {made['counted']}. Times are good for ratios within this page only, unless a GPU is "
        "named.\n",
        "## Ours over the paper's way\n",
        summary(found),
        *_counted(found),
        *_edits(found),
        *_every(found),
        *decoder.fitting(found),
        *decoder.memory(found),
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
        (what, number(figure, "{:.3f}"), f"{aim:.3f}", _verdict(figure, aim))
        for what, figure, aim in aims
    ]
    return table(("ours over the paper's way", "ratio", "aim", ""), rows)


def _largest(found: Results) -> str:
    first, last = found["pictures"][0], found["pictures"][-1]
    return f"our cost in a picture of {last['image']} over that in one of {first['image']}"


def _verdict(figure: float | None, aim: float) -> str:
    return "–" if figure is None else "reached" if figure <= aim else "not reached"


def _counted(found: Results) -> list[str]:
    rows = [
        (
            *(row["model"], row["image"], f"{row['mask']}, {row['side']} px"),
            *(f"{row['evaluations'][way]:.0f}" for way in COUNTED),
            f"{row['ratio']:.3f}",
            *(f"{row['decoder_steps'][way]:.0f}" for way in COUNTED),
        )
        for row in found["counted"]
    ]
    head = (
        *("model", "picture", "mask", "evaluations, published", "`paper`", "ours", "ratio"),
        *("decoder passes, published", "`paper`", "ours"),
    )
    return [
        "## Evaluations\n\nKnown from the plan before anything runs, and kept to exactly (a test "
        "counts them). The ratio is ours over the published code's, whose later stages have twice "
        "the first one's steps. Decoder passes are weighted by area, too.\n",
        table(head, rows),
    ]


def _edits(found: Results) -> list[str]:
    edits = found["edits"]
    one, parts = edits["ours"], _parts_of([edits])
    rows = [(way, *_edit(edit, parts)) for way, edit in edits.items()]
    return [
        f"## One edit, both ways\n\nA picture of {one['image']} with a mask of {one['side']} "
        f"pixels, a crop of {one['crop']}, each way in a process of its own. Fitting is the "
        "decoder's; other is the share of the time outside the networks and their fitting; memory "
        "is what the edit adds to the loaded model at its peak.\n",
        table(("way", *_edit_head(parts)), rows),
    ]


def _parts_of(rows: Iterable[Results]) -> list[str]:
    """Parts of edits' time, from edits by way."""
    edits = [edit for row in rows for edit in row.values()]
    return list(dict.fromkeys(part for edit in edits for part in edit["seconds"]))


def _edit_head(parts: Sequence[str]) -> tuple[str, ...]:
    return ("evaluations", *(f"{part}, s" for part in parts), "other", "memory, MiB")


def _edit(edit: Results, parts: Sequence[str]) -> tuple[str, ...]:
    return (
        f"{edit['evaluations']:.0f}",
        *(number(edit["seconds"].get(part), "{:.1f}") for part in parts),
        f"{100 * edit['outside']:.1f} %",
        mebibytes(edit["memory"]),
    )


def _every(found: Results) -> list[str]:
    parts = _parts_of(found["every"])
    rows = [
        (edit["image"], f"{edit['side']} px", edit["crop"], way, *_edit(edit, parts))
        for row in found["every"]
        for way, edit in row.items()
    ]
    made = found["made"]
    texts = [
        f"## Every picture and mask\n\nEdits as above, with {made['model']}, each made once. Of "
        f"the paper's steps of fitting only so many are made that {PASSES} tiles of "
        "the training resolution are gone through, two at least; its seconds are told as if they "
        "all were, since each does the same.\n"
        if made["device"] == "CPU"
        else f"## Every picture and mask\n\nOur edits, with {made['model']}, each made once.\n",
        table(("picture", "mask", "crop", "way", *_edit_head(parts)), rows),
    ]
    if made["device"] == "CPU":
        texts.append(_saved(found))
    return texts


def _saved(found: Results) -> str:
    """What ours takes of the paper's."""

    def shares(figure: Callable[[Results], float | None]) -> str:
        pairs = [(figure(row["ours"]), figure(row["paper"])) for row in found["every"]]
        known = [ours / theirs for ours, theirs in pairs if ours and theirs]
        return f"{min(known):.2f} to {max(known):.2f}" if known else "an unknown part"

    whole, told = (
        row["paper"]["seconds"]["fitting"] for row in (found["edits"], found["every"][0])
    )
    return (
        f"Ours takes {shares(lambda edit: edit['evaluations'])} of the evaluations of `paper`, "
        f"{shares(lambda edit: edit['seconds']['all'])} of the seconds and "
        f"{shares(lambda edit: edit['memory'])} of the memory. The fitting told here for "
        f"the first picture, {told:.1f} s, took {whole:.1f} s when all of its steps were made. "
        "With networks as small as these, pictures, the enlarging network's tiles and what solving "
        f"for the last layer keeps (up to {KEPT / 2**20:.0f} MiB, in main memory) make the peak; "
        "with those of Stable Diffusion's size denoising and fitting do, see [Memory](#memory).\n"
    )


def _on_the_gpu(found: Results) -> list[str]:
    if found["made"]["device"] == "CPU":
        return []
    one = found["every"][-1]["ours"]
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
        table(head, rows),
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
        table(head, counted),
        "With the mask, from where the first stage alone no longer does, with its area:\n",
        table((*head, "per megapixel of mask"), areas),
        f"Measured with {found['made']['model']}, the quickest of {found['made']['repeats']}; "
        "reading and writing the file are not part of it:\n",
        table((*head, "seconds", "of them outside the networks"), timed),
    ]


def _per_area(row: Results) -> float:
    return float(row["evaluations"]) / (row["side"] ** 2 / 1e6)
