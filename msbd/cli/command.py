"""The command line: `python -m msbd`, or `msbd` where it is installed."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import EditError, Interrupted
from ..presets import DEFAULT_PRESET, preset
from . import stopping
from .arguments import build_parser
from .failures import in_a_line
from .settings_list import settings_in_full

if TYPE_CHECKING:
    from .editing import Outputs, Request
    from .kept import Files

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is what shells report for Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Errors a user can mend are one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A console that lacks a character shows its number.
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    try:
        with stopping.on_request(stopping.interrupt):
            return _COMMANDS[arguments.command](arguments)
    except EditError as error:
        _complain(str(error))
        return BAD_INPUT
    except (Interrupted, KeyboardInterrupt) as error:
        _complain(f"{str(error) or 'interrupted'}: nothing was written")
        return INTERRUPTED
    except Exception as error:
        text = in_a_line(error)
        if text is None:
            raise
        _complain(text)
        return FAILED


def _say(text: str) -> None:
    _print(text, sys.stdout)


def _complain(text: str) -> None:
    _print(f"msbd: {' '.join(text.split())}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    """What nobody hears any more, as behind a closed pipe, ends nothing."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        stopping.silence(stream.fileno())


def _edit(arguments: argparse.Namespace) -> int:
    from . import asked, editing

    if arguments.output is None and not arguments.plan_only:
        raise EditError("there is no output: say where the result goes with -o OUT.png")
    if arguments.candidate:
        arguments.changes.append(f"candidate={arguments.candidate}")
    outputs = editing.Outputs(arguments.output, arguments.sheet, arguments.report)
    request = asked.request(arguments, outputs, _complain)
    if arguments.plan_only:
        _say(editing.plan_in_words(request, request.plan()))
        return DONE
    if arguments.keep:
        from . import kept

        request = kept.begun(arguments.keep, request, _files(arguments))
    return _performed(request)


def _performed(request: Request) -> int:
    from . import editing

    done, stopped = editing.perform(request, _say)
    if stopped:
        return INTERRUPTED
    return FAILED if done.report.interrupted else DONE


def _files(arguments: argparse.Namespace) -> Files:
    from . import kept

    given = arguments.image, arguments.mask, arguments.paint
    return kept.Files(*given, arguments.soft_mask, arguments.checkpoint, arguments.clip)


def _candidates(arguments: argparse.Namespace) -> int:
    from . import asked, editing, kept, saving

    if arguments.output:
        saving.check_output(arguments.output)
    request = asked.request(arguments, editing.Outputs(drawing=arguments.output), _complain)
    request = kept.begun(arguments.keep, request, _files(arguments))
    stopped = kept.make_candidates(request, arguments.finish, arguments.output, _say)
    return INTERRUPTED if stopped else DONE


def _continue(arguments: argparse.Namespace) -> int:
    from ..keeping.folder import EditFolder
    from . import kept

    folder = EditFolder.open(arguments.folder)
    numbers = {"candidate": arguments.candidate} if arguments.candidate else {}
    changes = kept.Changes(
        settings=numbers,
        checkpoint=arguments.checkpoint,
        device=arguments.device,
        offload=arguments.offload,
    )
    request = kept.restored(folder, changes, _outputs(arguments), arguments.quiet)
    if arguments.candidate:
        kept.choose(folder, request, arguments.candidate)
    return _performed(request)


def _redo(arguments: argparse.Namespace) -> int:
    from ..keeping.folder import EditFolder
    from . import editing, kept

    folder = EditFolder.open(arguments.folder)
    changes = kept.Changes(
        arguments.prompt,
        arguments.negative,
        editing.assigned(arguments.changes),
        arguments.checkpoint,
        arguments.device,
        arguments.offload,
    )
    if arguments.first > 1 and "candidate" in (changes.settings or {}):
        raise EditError("the candidate is chosen in stage 1: redo from 1, or use continue")
    folder.redo_from, folder.reads_only = arguments.first, True
    request = kept.restored(folder, changes, _outputs(arguments), arguments.quiet)
    kept.check_redo(request)
    if arguments.keep:
        request = kept.copied(request, arguments.keep)
    if arguments.first > 1:
        _say(
            f"what is before stage {arguments.first} is the kept edit's: --like the result makes "
            "all of it anew"
        )
    return _performed(request)


def _show(arguments: argparse.Namespace) -> int:
    from ..keeping.folder import EditFolder
    from . import kept

    for line in kept.described(EditFolder.open(arguments.folder)):
        _say(line)
    return DONE


def _batch(arguments: argparse.Namespace) -> int:
    from .batch import run
    from .batch.places import whole
    from .batch.work import Options

    def found(name: Any) -> str | None:
        """A file's whole name, as workers are started elsewhere; another name as it is."""
        return whole(str(name)) if name and Path(name).exists() else name and str(name)

    masks, prompt = arguments.masks, arguments.prompt
    if prompt is None and not Path(arguments.source).is_dir():
        masks, prompt = None, masks  # a manifest names its own
    options = Options(
        prompt=prompt,
        negative=arguments.negative,
        seed=arguments.seed,
        preset=arguments.preset,
        changes=tuple(arguments.changes),
        checkpoint=found(arguments.checkpoint),
        upscaler=found(arguments.upscaler),
        start=arguments.start,
        strength=arguments.strength,
        clip=found(arguments.clip),
        offload=arguments.offload,
        soft_mask=arguments.soft_mask,
    )
    batch = run.Batch(
        *(arguments.source, masks, options, arguments.output, arguments.results),
        workers=arguments.workers,
        device=arguments.device,
        ray=arguments.ray,
        webuis=tuple(arguments.webui),
        auth=arguments.auth,
        quiet=arguments.quiet,
    )
    try:
        summary = run.perform(batch, _say)
    except KeyboardInterrupt:
        _complain("interrupted: what is finished is kept, the same command goes on with the rest")
        return INTERRUPTED
    if summary.stopped:
        return INTERRUPTED
    return DONE if summary.complete else FAILED


def _outputs(arguments: argparse.Namespace) -> Outputs:
    from . import editing

    if arguments.output is None:
        raise EditError("there is no output: say where the result goes with -o OUT.png")
    return editing.Outputs(arguments.output, arguments.sheet, arguments.report)


def _plan(arguments: argparse.Namespace) -> int:
    from ..standalone import models
    from . import asked, editing

    base = asked.begun(arguments)
    chosen = models.choose(base.settings, arguments.checkpoint)
    inputs = asked.inputs(arguments, base.settings)
    outputs = editing.Outputs(drawing=arguments.draw)
    outputs.check(inputs.picture, asked.given(arguments))
    request = editing.Request(inputs, base, chosen, outputs)
    plan = request.plan()
    _say(editing.plan_in_words(request, plan))
    if arguments.draw:
        editing.draw(arguments.draw, request, plan)
        _say(f"wrote {arguments.draw}")
    return DONE


def _compare(arguments: argparse.Namespace) -> int:
    from ..pictures.comparison import comparison, difference
    from ..standalone.pictures import read_picture
    from . import saving

    paths: tuple[Path, Path] = (arguments.one, arguments.other)
    saving.check_output(arguments.output)
    if arguments.output.resolve() in [path.resolve() for path in paths]:
        raise EditError(f"{arguments.output} is compared itself: write to another file")
    pictures = [read_picture(path).pixels for path in paths]
    found = difference(*pictures)
    if found is None:
        _say("the pictures are the same, pixel by pixel: nothing was written")
        return DONE
    box, levels = found
    page = comparison(pictures, [path.name for path in paths], box)
    saving.save_drawing(arguments.output, page)
    _say(
        f"they differ by up to {levels} levels of 255, in {box.size} pixels from {box.left}, "
        f"{box.top}: wrote {arguments.output}"
    )
    return DONE


def _demo(arguments: argparse.Namespace) -> int:
    from . import demo

    stopped = demo.run(arguments.output, arguments.device, arguments.quiet, _say)
    return INTERRUPTED if stopped else DONE


def _check(arguments: argparse.Namespace) -> int:
    from ..standalone import models
    from . import checking

    upscaler = {"upscaler": arguments.upscaler} if arguments.upscaler else {}
    settings = preset(DEFAULT_PRESET).with_values(upscaler)
    chosen = models.choose(settings, arguments.checkpoint, arguments.clip, arguments.device)
    chosen = replace(chosen, offload=arguments.offload)
    request = checking.Request(chosen, arguments.presets, arguments.output, arguments.quiet)
    examination = checking.perform(request, _say)
    if examination.stopped:
        return INTERRUPTED
    return FAILED if examination.failed else DONE


def _evaluate(arguments: argparse.Namespace) -> int:
    from ..evaluation import photographs_page
    from ..evaluation.evaluate import Evaluation, perform

    if arguments.workers < 1:
        raise EditError("--workers must be at least 1")
    if arguments.upscaler and not arguments.photographs:
        raise EditError("--upscaler is for --photographs")
    if arguments.photographs:
        folder, upscaler = arguments.output, arguments.upscaler
        photographs_page.perform(folder, arguments.workers, upscaler, _say)
        return DONE
    kept = arguments.records or arguments.output / "records"
    evaluation = Evaluation(
        arguments.output, kept, arguments.only, arguments.quick, arguments.workers
    )
    try:
        perform(evaluation, _say)
    except KeyboardInterrupt:
        _complain("interrupted: what is finished is kept, the same command goes on with the rest")
        return INTERRUPTED
    return DONE


def _bench(arguments: argparse.Namespace) -> int:
    from ..benchmark.bench import Bench, perform

    perform(Bench(arguments.output, arguments.gpu, arguments.quick, arguments.recount), _say)
    return DONE


def _settings(arguments: argparse.Namespace) -> int:
    _say(settings_in_full())
    return DONE


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "edit": _edit,
    "candidates": _candidates,
    "continue": _continue,
    "redo": _redo,
    "show": _show,
    "plan": _plan,
    "batch": _batch,
    "compare": _compare,
    "demo": _demo,
    "check": _check,
    "evaluate": _evaluate,
    "bench": _bench,
    "settings": _settings,
}
