"""What was measured of the decoder, and the memory, as Markdown."""

from __future__ import annotations

from typing import Any

from ..evaluation.markdown import table
from .components import LARGEST
from .figures import Results, mebibytes, number


def fitting(found: Results) -> list[str]:
    ways = ("before", "published", "ours")
    rows = [
        (
            f"{row['ground']}, {row['side']} px",
            row["tiles"],
            *(f"{row['seconds'][way]:.2f}" for way in ways[1:]),
            f"{row['seconds']['published'] / row['seconds']['ours']:.0f}",
            *(f"{1000 * row['loss'][way]:.2f}" for way in ways),
            *(number(row["tone"][way], "{:.2f}") for way in ways),
        )
        for row in found["fitting"]
    ]
    head = (
        *("mask", "tiles", "published, s", "ours, s", "times faster"),
        *("loss before, 1/1000", "published", "ours"),
        *("tone before, levels", "published", "ours"),
    )
    return [
        "## Fitting the decoder\n\nThe same tiles both ways, a star painted into them, and the "
        "same loss on the same pixels (section 3.3, lambda 100): 100 steps of Adam on the whole "
        "decoder; and ours, solving for the last layer, widened to 5x5. Tone is what the fit is "
        "for: with nothing painted in, so that the truth is known inside the mask, too, the mean "
        "difference there from the true picture near the edge, of 9x9 pixels' averages, in levels "
        "of 255.\n",
        table(head, rows),
        _on_losses(found),
    ]


def _on_losses(found: Results) -> str:
    if found["ratios"]["decoder_loss"] is None:
        return "With random weights these losses tell nothing; the seconds do.\n"
    tiles = found["fitting"][-1]["tiles"]
    return (
        "Training ends at a lower loss where the picture is full of outlines, as bricks are: one "
        f"layer cannot redraw them. {tiles} pixels together are {_megapixels(tiles):.2f} "
        "megapixels; a single tile of the paper's for Stable Diffusion, "
        f"{LARGEST}x{LARGEST}, is {LARGEST**2 / 1e6:.2f}.\n"
    )


def _megapixels(tiles: str) -> float:
    """Of "16 of 192x192"."""
    count, size = tiles.split(" of ")
    width, height = map(int, size.split("x"))
    return int(count) * width * height / 1e6


def memory(found: Results) -> list[str]:
    measured = found.get("memory")
    if measured is None:
        return []
    rows = [
        (
            way,
            *(mebibytes(bytes_) for bytes_ in parts.values()),
            mebibytes(measured["largest"][way]),
        )
        for way, parts in measured["parts"].items()
    ]
    names = next(iter(measured["parts"].values()))
    head = ("way", *(f"{name}, MiB" for name in names), "largest")
    sparing = measured["sparing"]
    return [
        "## Memory\n\nWhat a part of an edit adds to its network at its peak, with networks of "
        "Stable Diffusion 1's size, random weights, in single precision: all candidates denoised "
        f"together on {measured['cells']}x{measured['cells']} latents, a tile of "
        f"{measured['tile']}x{measured['tile']} pixels decoded, and the decoder fitted to it. The "
        "paper's tiles are up to 768x768, and its memory grows with their area.\n",
        table(head, rows),
        "With gradient checkpointing, which leads to the same decoder bit by bit (a test compares) "
        "and is turned on where memory does not suffice, the published fitting adds "
        f"{mebibytes(sparing['bytes'])} MiB and two steps take {sparing['times_as_long']:.2f} "
        "times as long.\n",
        _estimate(measured["estimate"]),
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
