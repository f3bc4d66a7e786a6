"""`check`: does this installation edit as it should, with the models it will be used with?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Interrupted
from ..presets import PRESETS, preset
from ..standalone import downloads, models
from . import saving
from .progress import Progress

if TYPE_CHECKING:
    from ..check.examination import Made, Wrap
    from ..check.finding import Examination
    from ..check.subject import Subject
    from ..standalone.model import StandaloneModel

SEED = 7
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is to be checked. presets: names, in order; all if there are none. output: where the
    block of text goes besides."""

    models: models.Models
    presets: Sequence[str] = ()
    output: Path | None = None
    quiet: bool = False


def perform(request: Request, say: Say) -> Examination:
    """Check, then say and write the block of text, also of what was checked before the user
    stopped it. Raises `EditError` for what cannot be examined at all."""
    from ..check.block import block
    from ..check.examination import examine
    from ..check.finding import Examination, found
    from ..check.subject import drawn

    if request.output:
        saving.check_writable(request.output)
    names = list(dict.fromkeys(request.presets)) or list(PRESETS)
    subject = drawn(models.spec(request.models, preset(names[0])).resolution)
    desk = _Desk(request, subject)
    say(f"loading {request.models.checkpoint.name}")
    loaded = found("model", desk.load)
    if loaded.ok:
        downloads.fetch_clip(request.models.clip, desk.model.ranker.prepare, say)
        examination = examine(names, subject, desk.edit, say, [loaded])
    else:
        examination = Examination([loaded], [], len(names))
    text = block(examination, desk.about())
    say(text)
    if request.output:
        with saving.replacing(request.output) as temporary:
            temporary.write_text(f"{text}\n", encoding="ascii")
        say(f"wrote {request.output}")
    return examination


class _Desk:
    """The model, loaded once, and edits of the subject with it."""

    def __init__(self, request: Request, subject: Subject) -> None:
        self.request = request
        self.subject = subject
        self.model: StandaloneModel

    def load(self) -> str:
        """Load the model; its name."""
        self.model = models.load(self.request.models)
        return self.request.models.checkpoint.name

    def about(self) -> list[str]:
        """Versions, device and options."""
        from ..check.environment import device_in_words, versions

        chosen, model = self.request.models, getattr(self, "model", None)
        options = [f"{name} {value}" for name, value in chosen.to_dict().items() if value]
        options += ["no CLIP"] if chosen.clip is None else []
        options += ["offload"] if chosen.offload else []
        lines = [*versions(), f"options: {', '.join(options)}"]
        if model is not None:
            precision = str(model.checkpoint.unet.dtype).removeprefix("torch.")
            lines.append(f"device {device_in_words(model.device, precision)}")
        return lines

    def edit(self, name: str, wrap: Wrap) -> Made:
        """Edit the subject by a preset. Raises `Interrupted` if there was a Ctrl-C."""
        from ..check.examination import Made
        from ..noise import Noise
        from ..pipeline import edit
        from ..planning import plan_edit

        settings, mask = preset(name), self.subject.painted()
        sampler = settings.ablation.sampler
        bound = self.model.bind(self.subject.prompt, "", settings.guidance, sampler)
        plan = plan_edit(self.subject.size, mask, settings, bound.spec)
        progress = Progress(self.request.quiet)
        with progress.running():
            backend = wrap(bound, self.model.ranker)
            callbacks, noise = progress.callbacks(), Noise(SEED)
            done = edit(self.subject.image(), mask, plan, settings, backend, noise, callbacks)
        if progress.stopped and done.report.interrupted:
            raise Interrupted
        return Made(done.image, done.report.to_dict())
