"""What can be typed, and the help about it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .. import __version__
from ..evaluation.names import EXPERIMENTS
from ..presets import DEFAULT_PRESET, PRESETS
from ..settings import SETTINGS
from .settings_list import settings_in_short

_ABOUT = """\
High-resolution image editing with multi-stage blended diffusion (Ackermann & Li 2022).

  msbd demo                                     see it work, with nothing else needed
  msbd edit photo.png mask.png "a red star" -o out.png

Without --checkpoint the embedded miniature is used, a small model of coloured shapes on
textured grounds; give a Stable Diffusion 1.x checkpoint to edit real pictures."""
_EDIT = """\
Repaint the white part of MASK in IMAGE after PROMPT. Outside the mask, and its feather, the
picture keeps its pixels. Ctrl-C stops after the present step and keeps the best result so far."""
_NUMBERS = "which candidate goes on; for several parts of a mask as in 1:3,2:5"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; `command` names the subcommand."""
    parser = argparse.ArgumentParser(
        prog="msbd", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"msbd {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_edit(commands)
    _add_plan(commands)
    demo = commands.add_parser(
        "demo",
        help="edit a drawn megapixel picture with the embedded miniature",
        description="Draw a megapixel picture and a mask, edit it with the embedded miniature, and "
        "write input.png, mask.png, result.png, sheet.png and report.json.",
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("msbd-demo"),
        metavar="DIR",
        help="folder to write to; made if missing (default: %(default)s)",
    )
    _add_run(demo)
    _add_check(commands)
    _add_kept(commands)
    _add_batch(commands)
    _add_compare(commands)
    _add_evaluate(commands)
    _add_bench(commands)
    commands.add_parser(
        "settings", help="list every setting, its range and default", description="List settings."
    )
    return parser


def _with_settings() -> dict[str, Any]:
    """The settings below a command's help."""
    formatter = argparse.RawDescriptionHelpFormatter
    return {"epilog": settings_in_short(), "formatter_class": formatter}


def _add_edit(commands: Any) -> None:
    edit = commands.add_parser(
        "edit",
        help="repaint the masked part of a picture",
        description=_EDIT,
        **_with_settings(),
    )
    _add_what(edit)
    edit.add_argument("--candidate", metavar="N", help=_NUMBERS)
    edit.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep the work in a new folder, to go on from"
    )
    _add_outputs(edit)
    edit.add_argument("--plan-only", action="store_true", help="print what would be done, and end")
    _add_run(edit)
    _add_offload(edit)


def _add_what(edit: argparse.ArgumentParser) -> None:
    """What is to be painted, and how."""
    _add_pictures(edit)
    edit.add_argument(
        "prompt",
        nargs="?",
        metavar="PROMPT",
        help="what to paint, with its surroundings: 'a red star on grass'; emphasis is written as "
        "in the WebUI: (red:1.3), [star]",
    )
    edit.add_argument("--negative", metavar="TEXT", help="what not to paint")
    edit.add_argument(
        "--seed", type=int, metavar="N", help="names the result; random without, or -1"
    )
    _add_start(edit)
    _add_settings(edit)
    _add_models(edit)


def _add_outputs(edit: argparse.ArgumentParser) -> None:
    edit.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="picture to write: .png, .webp (both lossless) or .jpg",
    )
    edit.add_argument("--sheet", type=Path, metavar="FILE", help="picture of every step")
    edit.add_argument("--report", type=Path, metavar="FILE", help="what was done, as JSON")


def _add_kept(commands: Any) -> None:
    """Edits that are kept in a folder."""
    candidates = commands.add_parser(
        "candidates",
        help="paint the first stage's candidates, and stop for you to choose one",
        description="Paint the candidates of an edit, keep them in a new folder, and write a board "
        "of them with numbers and scores. 'msbd continue' goes on with one of them.",
        **_with_settings(),
    )
    _add_what(candidates)
    candidates.add_argument(
        "--keep", type=Path, metavar="DIR", required=True, help="new folder to keep them in"
    )
    candidates.add_argument(
        "--finish",
        action="store_true",
        help="show all of them finished, where the preset chooses one before that",
    )
    candidates.add_argument(
        "-o", "--output", type=Path, metavar="BOARD", help="where (default: in DIR)"
    )
    _add_run(candidates)
    _add_offload(candidates)
    going_on = commands.add_parser(
        "continue",
        help="go on with an edit that is kept",
        description="Go on with an edit from where it was stopped, was killed, or waits for your "
        "choice; with another candidate it goes on from that one.",
    )
    _add_folder(going_on)
    going_on.add_argument("--candidate", metavar="N", help=_NUMBERS)
    redo = commands.add_parser(
        "redo",
        help="do an edit that is kept again from a stage on",
        description="Do the later stages of a kept edit again, with other settings or another "
        "prompt. The stages before, and the folder, stay as they are.",
    )
    _add_folder(redo)
    redo.add_argument(
        "--from",
        type=int,
        metavar="N",
        required=True,
        dest="first",
        help="the first stage to be done again: 1 is that of the candidates",
    )
    _add_changes(redo)
    redo.add_argument("--prompt", metavar="PROMPT", help="what to paint instead")
    redo.add_argument("--negative", metavar="TEXT", help="what not to paint")
    redo.add_argument(
        "--keep", type=Path, metavar="NEW", help="keep the work in another new folder"
    )
    for parser in (going_on, redo):
        _add_outputs(parser)
        parser.add_argument(
            "--checkpoint", type=Path, metavar="FILE", help="where its model is now, if it moved"
        )
        _add_run(parser)
        _add_offload(parser)
    show = commands.add_parser(
        "show", help="say what is kept in a folder", description="Say what is kept in a folder."
    )
    _add_folder(show)


def _add_batch(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="make many edits: the rows of a manifest, or all pictures of a folder",
        description="Make every edit of a manifest (.csv, .jsonl or .parquet: image, mask, prompt, "
        "and any of negative, seed, output, preset, checkpoint, paint, or a setting's name), or of "
        "all pictures in a folder. What is made already by the same recipe is left as it is, so "
        "that the same command goes on where it was stopped. A row that cannot be made is told in "
        "the table of results, and does not end the others.",
        **_with_settings(),
    )
    batch.add_argument(
        "source", metavar="MANIFEST", help="a manifest; or a folder of pictures, with MASKS"
    )
    batch.add_argument(
        "masks",
        nargs="?",
        metavar="MASKS",
        help="with a folder of pictures: one of masks with the same names, or one mask for all",
    )
    batch.add_argument("prompt", nargs="?", metavar="PROMPT", help="of rows without one")
    batch.add_argument("--negative", metavar="TEXT", help="what not to paint")
    batch.add_argument("--seed", type=int, metavar="N", help="of rows without one; random without")
    batch.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the results, or its address"
    )
    batch.add_argument(
        "--results", type=Path, metavar="FILE", help="table of results (default: in DIR)"
    )
    batch.add_argument("--soft-mask", action="store_true", help="blend where masks are grey")
    for name in ("start", "strength"):
        batch.add_argument(f"--{name}", help=argparse.SUPPRESS)
    batch.add_argument(
        "--preset", choices=list(PRESETS), help=f"start from these (default: {DEFAULT_PRESET})"
    )
    _add_changes(batch)
    _add_models(batch)
    _add_run(batch)
    _add_offload(batch)
    batch.add_argument(
        "--workers", type=int, metavar="N", help="edits at a time (default: one a GPU, or one)"
    )
    where = batch.add_mutually_exclusive_group()
    where.add_argument(
        "--webui",
        action="append",
        default=[],
        metavar="URL",
        help="let a running WebUI make them; may be repeated",
    )
    where.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="let a Ray cluster make them; without ADDRESS Ray starts here",
    )
    batch.add_argument("--auth", metavar="USER:PASSWORD", help="of the WebUIs' API")


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder of an edit")


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="print what an edit would do, without a model",
        description="Print crop, stages, tiles and model calls of an edit without running it.",
        **_with_settings(),
    )
    _add_pictures(plan)
    _add_start(plan)
    _add_settings(plan)
    plan.add_argument("--checkpoint", type=Path, metavar="FILE", help="plan for this model")
    plan.add_argument("--draw", type=Path, metavar="FILE", help="picture of crop and tiles")


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        help="see whether everything works with your models on this machine",
        description="Edit a drawn megapixel picture by every preset, look whether model, "
        "autoencoder, upscaler, CLIP and memory do as they should, and print a block of text for a "
        "report, without folders, prompts and pictures. Exit code 0: all well, 1: something "
        "failed, 2: a file is missing, 130: Ctrl-C.",
    )
    _add_models(check)
    check.add_argument(
        "--preset",
        action="append",
        default=[],
        choices=list(PRESETS),
        dest="presets",
        help="check this one; may be repeated (default: all; paper takes far the longest)",
    )
    check.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the block here too")
    _add_run(check)
    _add_offload(check)


def _add_bench(commands: Any) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure what an edit costs, ours beside the paper's way",
        description="Make the same edits by the presets paper and recommended, with the embedded "
        "miniature on the CPU, and write what they cost as JSON, and as Markdown beside it.",
    )
    bench.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("performance.json"),
        metavar="FILE",
        help="where to write the figures (default: %(default)s)",
    )
    bench.add_argument(
        "--gpu",
        action="store_true",
        help="on CUDA, with networks of Stable Diffusion 1's size and random weights",
    )
    bench.add_argument(
        "--quick", action="store_true", help="hardly any steps, to see that everything works"
    )
    bench.add_argument(
        "--recount",
        action="store_true",
        help="only what plans alone tell; what was measured in FILE stays",
    )


def _add_compare(commands: Any) -> None:
    compare = commands.add_parser(
        "compare",
        help="show two results beside each other where they differ",
        description="Write a picture of the place where two pictures differ, of both at 100 %, and "
        "of the difference.",
    )
    compare.add_argument("one", type=Path, metavar="A", help="PNG, JPEG or WebP")
    compare.add_argument("other", type=Path, metavar="B", help="of the same size")
    compare.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="picture to write"
    )


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure the paper's claims with the embedded miniature",
        description="Edit fixed pictures in the paper's way, its baselines' and its ablations', "
        "and write tables, verdicts, plots and contact sheets. Stopped, it goes on where it was "
        "when started again.",
    )
    evaluate.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the documents"
    )
    evaluate.add_argument(
        "--records",
        type=Path,
        metavar="DIR",
        help="folder of every edit's figures and picture (default: records in the output's)",
    )
    evaluate.add_argument(
        "--only",
        action="append",
        default=[],
        choices=EXPERIMENTS,
        metavar="NAME",
        help=f"one experiment; may be repeated: {', '.join(EXPERIMENTS)}",
    )
    evaluate.add_argument(
        "--quick",
        action="store_true",
        help="one picture an experiment and few steps: shows that everything works, in minutes",
    )
    evaluate.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="pictures edited at a time (default: %(default)s, the number of cores)",
    )
    evaluate.add_argument(
        "--photographs",
        action="store_true",
        help="measure instead what photographs lose that go through the later stages",
    )
    evaluate.add_argument(
        "--upscaler", type=Path, metavar="FILE", help="with --photographs: a Real-ESRGAN model, too"
    )


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image", type=Path, metavar="IMAGE", help="picture to edit: PNG, JPEG or WebP"
    )
    parser.add_argument("mask", type=Path, metavar="MASK", help="of the same size, white = repaint")
    parser.add_argument(
        "--soft-mask",
        action="store_true",
        help="blend where the mask is grey, instead of cutting it at half",
    )


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start",
        choices=SETTINGS["start"].choices,
        help="what the first stage starts from (default: new, or the paint if there is one)",
    )
    parser.add_argument(
        "--strength",
        metavar="S",
        help=f"how much of that is changed, from 0 to 1 (default: {SETTINGS['strength'].default})",
    )
    parser.add_argument(
        "--paint",
        type=Path,
        metavar="FILE",
        help="the picture with colours painted inside the mask, of the same size, to start from",
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    base = parser.add_mutually_exclusive_group()
    base.add_argument(
        "--preset", choices=list(PRESETS), help=f"start from these (default: {DEFAULT_PRESET})"
    )
    base.add_argument(
        "--like",
        type=Path,
        metavar="FILE",
        help="start from the settings, prompt and seed stored in a result",
    )
    _add_changes(parser)


def _add_changes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="changes",
        help="change one setting; may be repeated; 'msbd settings' lists them",
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="Stable Diffusion 1.x, .safetensors or .ckpt (default: the embedded miniature)",
    )
    parser.add_argument(
        "--upscaler",
        metavar="FILE",
        help="super-resolution network such as RealESRGAN_x4plus.pth, or bilinear, "
        "bicubic, lanczos (default: the miniature's own, or lanczos)",
    )
    parser.add_argument(
        "--clip",
        metavar="NAME",
        help="CLIP that ranks the candidates: a name of open_clip's, a file, or none "
        "(default: the miniature's own, or ViT-L-14/openai)",
    )


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda or mps (default: the best)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_offload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--offload",
        action="store_true",
        help="for small GPUs: keep only that network there which is at work",
    )
