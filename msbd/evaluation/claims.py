"""The paper's claims and our aims."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .effects import Claim, clip_gain, less, level, more, ratio, ratio_of, worst_outside

POINTS = "difference of shares"
PIXELS = "outline, pixels narrower"
DOUBLINGS = "texture, doublings of Laplacian energy"
CLAIMS: Sequence[Claim] = (
    Claim(
        "Multi-stage paints what was asked more often than blended diffusion in one pass at the "
        "highest resolution",
        "A.3",
        f"one right object, {POINTS}",
        more("multi_stage", "one_pass", "one_right_object"),
    ),
    Claim(
        "Multi-stage does so also with a single candidate, as one pass has",
        "A.3",
        f"one right object, {POINTS}",
        more("one_candidate", "one_pass", "one_right_object"),
    ),
    Claim(
        "Multi-stage paints what was asked more often than separate segments of the training size",
        "A.3",
        f"one right object, {POINTS}",
        more("multi_stage", "segments", "one_right_object"),
    ),
    Claim(
        "Multi-stage is sharper than the first stage enlarged bilinearly",
        "A.3, Figure 5 a",
        PIXELS,
        less("multi_stage", "first_bilinear", "edge"),
    ),
    Claim(
        "Multi-stage is sharper than the first stage enlarged by Real-ESRGAN",
        "A.3, Figure 5 b",
        PIXELS,
        less("multi_stage", "first_esrgan", "edge"),
    ),
    Claim(
        "Multi-stage is sharper than the WebUI's inpainting of only the masked area",
        "(ours)",
        PIXELS,
        less("multi_stage", "only_masked", "edge"),
    ),
    Claim(
        "Real-ESRGAN is sharper than bilinear enlargement",
        "Figure 5 a, b",
        PIXELS,
        less("first_esrgan", "first_bilinear", "edge"),
    ),
    Claim(
        "Diffusion after Real-ESRGAN is sharper still, even unconditional",
        "Figure 5 b, c",
        PIXELS,
        less("unconditional", "first_esrgan", "edge"),
    ),
    Claim(
        "Diffusion after Real-ESRGAN is sharper with the prompt than without",
        "Figure 5 c, d",
        PIXELS,
        less("text", "unconditional", "edge"),
    ),
    Claim(
        "Blending in the later stages keeps the background",
        "Figure 5 d, f",
        "dB in the ring before the paste",
        more("multi_stage", "text", "ring_psnr"),
    ),
    Claim(
        "A low-passed background makes the edit sharper than an unfiltered one",
        "3.2, Figure 5 e, f",
        PIXELS,
        less("multi_stage", "sharp_background", "edge"),
    ),
    Claim(
        "A low-passed background gives the ground more texture than an unfiltered one",
        "3.2, Figure 5 e, f",
        DOUBLINGS,
        more("multi_stage", "sharp_background", "sharpness"),
    ),
    Claim(
        "Multi-stage gives the ground more texture than the first stage enlarged bilinearly",
        "A.3, Figure 5 a",
        DOUBLINGS,
        more("multi_stage", "first_bilinear", "sharpness"),
    ),
    Claim(
        "RePaint makes the edit continue its surroundings",
        "3.1, Figure 6",
        "seam, less with 5 repeats than with none",
        less("repaint_5", "repaint_0", "seam"),
    ),
    Claim(
        "RePaint paints what was asked more often",
        "3.1, Figure 6",
        f"right candidates, {POINTS}",
        more("repaint_5", "repaint_0", "candidates_right"),
    ),
    Claim(
        "More than 5 repeats gain little",
        "Figure 6",
        "right candidates, 20 repeats against 5, difference of shares within a tenth",
        more("repaint_20", "repaint_5", "candidates_right"),
        above=-0.1,
        below=0.1,
    ),
    Claim(
        "CLIP picks a right candidate more often than chance",
        "3.1",
        f"CLIP's pick of 5 against a blind one, {POINTS}",
        clip_gain,
    ),
    Claim(
        "Decoder optimisation brings the background back",
        "3.3",
        "dB in the ring before the paste, 100 iterations against none",
        more("decoder_100", "decoder_0", "ring_psnr"),
    ),
    Claim(
        "Decoder optimisation takes the step of tone from the mask's edge",
        "3.3",
        "step of tone, levels less with 100 iterations than with none",
        less("decoder_100", "decoder_0", "seam_tone"),
    ),
    Claim(
        "100 iterations of it are better than 30",
        "3.3",
        "dB in the ring before the paste",
        more("decoder_100", "decoder_30", "ring_psnr"),
    ),
    Claim(
        "Overlap hides the borders of tiles",
        "3.2",
        "seam of tiles, doublings less with 32 pixels than with none",
        less("overlap_32", "overlap_0", "tile_seam"),
    ),
    Claim(
        "The intermediate stages' strength of 0.4 makes the edit sharper than none",
        "3.2",
        PIXELS,
        less("multi_stage", "intermediate_0", "edge"),
    ),
    Claim(
        "The final stage's strength of 0.25 makes the edit sharper than none",
        "3.2",
        PIXELS,
        less("multi_stage", "final_0", "edge"),
    ),
    Claim(
        "Solving for the decoder's last layer matches the background better than 100 iterations",
        "(ours)",
        "dB in the ring before the paste",
        more("last_layer", "decoder_100", "ring_psnr"),
    ),
    Claim(
        "The preset recommended paints what was asked more often than the paper's procedure",
        "(ours)",
        f"one right object, {POINTS}",
        more("recommended", "multi_stage", "one_right_object"),
    ),
    Claim(
        "The preset recommended takes less than a fifth of the paper's network evaluations",
        "(ours)",
        "ratio",
        ratio_of("recommended", "multi_stage", "evaluations"),
        below=0.2,
    ),
    Claim(
        "The preset fast paints what was asked at most 10 points less often than the paper's "
        "procedure",
        "(ours)",
        f"one right object, {POINTS}",
        more("fast", "multi_stage", "one_right_object"),
        above=-0.1,
    ),
    Claim(
        "An edit that stays inside the mask shows what was asked more often",
        "(ours)",
        f"one right object, {POINTS}",
        more("inside", "multi_stage", "one_right_object"),
    ),
    Claim(
        "Edits of the preset recommended fit better than without decoder optimisation",
        "(ours)",
        "seam, less",
        less("recommended", "multi_stage", "seam"),
    ),
    Claim(
        "Edits of the preset recommended fit better than those of two passes",
        "(ours)",
        "seam, less",
        less("recommended", "two_passes", "seam"),
    ),
    Claim(
        "The preset recommended paints what was asked as often as two passes do",
        "(ours)",
        f"one right object, {POINTS}, at most a tenth less",
        more("recommended", "two_passes", "one_right_object"),
        above=-0.1,
    ),
    Claim(
        "Outside the mask and its feather nothing changes",
        "3",
        "largest difference in any edit, in 8-bit levels",
        worst_outside,
        above=-1,
        below=1,
    ),
)
AIMS: Sequence[Claim] = tuple(
    aim
    for method in ("multi_stage", "recommended")
    for aim in (
        Claim(
            f"`{method}` yields exactly one right object in at least 90 % of the edits",
            "",
            "share",
            partial(level, method=method, quantity="one_right_object"),
            above=0.9,
        ),
        Claim(
            f"`{method}` does so at least 2.5 times as often as one pass at the highest resolution",
            "",
            "ratio",
            partial(ratio, one=method, other="one_pass", quantity="one_right_object"),
            above=2.5,
        ),
    )
)
"""Judged by the figure itself: `reached` asks for `above`, the interval tells how sure that is."""
