"""Every setting of an edit: its default, range, label and place in the paper, written once.

Controls, infotext keys, API fields, command-line options and documentation are generated from
`SETTINGS`; nothing else in the project states a default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import EditError
from .masks import AS_PAINTED, CLOSED, FILLED
from .setting import ABLATIONS, BEST, NUMBERS, Ablation, Setting, collected, setting

WHOLE_CROP = 4.0
"""The context from which on later stages denoise all of the crop."""
OFF, LAST_LAYER, FINE_TUNE = "off", "last layer", "fine-tune"
"""Ways to optimise the decoder."""
APART, TOGETHER = "apart", "together"
"""Ways to edit parts of a mask that lie far from each other."""
AUTOMATIC, NEW, PICTURE = "automatic", "new", "picture"
PAINT, SURROUNDINGS = "paint", "surroundings"
"""What the first stage starts from."""
LATENT_NOISE, LATENT_NOTHING = "latent noise", "latent nothing"
"""The same; in the WebUI these two are chosen as Masked content."""


@dataclass(frozen=True)
class EditSettings:
    """All settings of one edit."""

    margin: float = setting(
        1.3,
        "Context around the mask",
        "How much the model sees: 1.3 is a square 1.3 times as wide as the mask's longer side. "
        "More helps the edit fit in, but it is first painted from fewer pixels.",
        span=(1.0, 4.0, 0.05),
        paper="3.1: the crop's margin, between 1.1 and 1.4",
    )
    feather: int = setting(
        4,
        "Feather",
        "Width in pixels of the soft edge outside the mask. Beyond it the picture is untouched.",
        span=(0, 128, 1),
    )
    candidates: int = setting(
        5,
        "Candidates",
        "How many versions are painted; what fits the prompt best is kept. Each takes time.",
        span=(1, 16, 1),
        paper="3.1: a batch, reranked by CLIP",
    )
    candidate: str = setting(
        BEST,
        "Candidate",
        "Which one goes on: the best, or the one of this number, which alone is then painted. "
        "1:3,2:5 names those of two parts of the mask.",
        pattern=NUMBERS,
    )
    steps: int = setting(
        50,
        "Steps",
        "Sampling steps of a whole schedule; later stages run their share of it.",
        span=(1, 150, 1),
        paper="4: 50",
    )
    resampling_steps: int = setting(
        5,
        "Repeats of each step",
        "How often a step is done again, to grow into the picture around: 1 takes twice as long.",
        span=(0, 20, 1),
        paper="3.1, RePaint; Figure 6: little gain beyond 5",
    )
    whole_cells: bool = setting(
        False,
        "Keep clear of the mask's edge",
        "Paint first what lies wholly inside the mask, so that its edge cuts nothing off. The rim "
        "is filled in by later stages, softly; of a mask too thin for that, all at once.",
    )
    early_selection: float = setting(
        1.0,
        "Choose the candidate after",
        "After which share of the steps the best candidate is chosen: sooner is faster and less "
        "certain. 1 finishes all of them first.",
        span=(0.1, 1.0, 0.05),
        paper="3.1: chosen when all are finished",
    )
    final_strength: float = setting(
        0.25,
        "Detail",
        "How much new detail is painted at full size. More gives more texture and takes "
        "longer, and shapes may change.",
        span=(0.0, 1.0, 0.05),
        paper="3.2: the final stage's share of the noise schedule, 0.25",
    )
    guidance_later: float = setting(
        1.0,
        "Prompt in later stages",
        "How strongly later stages follow the prompt, as a share of the CFG scale; 0 ignores it. "
        "Squared in stages of several tiles, so that no tile paints the whole object again.",
        span=(0.0, 2.0, 0.05),
        paper="3.2: full guidance throughout; Figure 5 c without",
    )
    start: str = setting(
        AUTOMATIC,
        "Start from",
        "What the first stage starts from. automatic: anew, or from your paint where you painted "
        "colours. new: anew. picture: what is there, as for another colour or a repair. paint: "
        "your colours and shapes. surroundings: what is around, as to remove something.",
        choices=(AUTOMATIC, NEW, PICTURE, PAINT, SURROUNDINGS, LATENT_NOISE, LATENT_NOTHING),
        paper="3.1: pure noise",
    )
    strength: float = setting(
        0.75,
        "Denoising strength",
        "How much the first stage changes what it starts from, unless it starts anew.",
        span=(0.0, 1.0, 0.05),
    )
    context: float = setting(
        WHOLE_CROP,
        "Surroundings in later stages",
        "How much around the mask later stages work on with it; less is faster. In sizes that the "
        "model was trained at: 0.25 of 512 is 128 pixels, 4 is as much as the margin shows.",
        span=(0.0625, WHOLE_CROP, 0.0625),
        paper="3.2: tiles, of all of the crop",
    )
    tile_size: float = setting(
        1.5,
        "Tile size",
        "Largest side denoised in one pass, in units of the training resolution; larger stages "
        "are split into tiles of this side. Less takes less memory.",
        span=(1.0, 4.0, 0.25),
        paper="3.2: 768 for a model trained at 512",
    )
    mask_shape: str = setting(
        AS_PAINTED,
        "Mask shape",
        "as painted; closed fills narrow gaps, as between the strokes of a scribble; filled also "
        "what they surround, as a ring of paint does.",
        choices=(AS_PAINTED, CLOSED, FILLED),
    )
    grow: int = setting(
        0,
        "Grow mask",
        "Pixels that are added to the mask on every side; below 0 they are taken away.",
        span=(-128, 128, 1),
    )
    parts: str = setting(
        TOGETHER,
        "Parts of the mask",
        "Parts that lie far from each other: apart edits one after the other, each at the model's "
        "full resolution; together paints them all at once, smaller.",
        choices=(APART, TOGETHER),
    )
    upscaler: str = setting(
        "R-ESRGAN 4x+",
        "Upscaler",
        "Enlarges the edit from stage to stage. A super-resolution model by name keeps it sharp; "
        "Bilinear, Bicubic and Lanczos are quick and soft.",
        paper="3.2, Figure 5: Real-ESRGAN x4plus",
    )
    decoder: str = setting(
        FINE_TUNE,
        "Tone",
        "Matches the edit's colours to the picture: last layer in seconds, fine-tune more closely "
        "in minutes, off not at all. Try fine-tune where an edge is left.",
        choices=(OFF, LAST_LAYER, FINE_TUNE),
        paper="3.3: the decoder is fine-tuned",
    )
    texture: float = setting(
        0.0,
        "Texture",
        "Grain, canvas or film that the model cannot paint is measured round the mask and put back "
        "inside: 1 as strong as around, 0 none.",
        span=(0.0, 1.0, 0.05),
        paper="6: fine detail is lost in the autoencoder",
    )
    details: str = setting(
        "",
        "Prompt for details",
        "What later stages paint instead: a tile of a large object shows fur, not a dog. Empty: "
        "the prompt.",
    )
    guidance: float = setting(
        7.5,
        "Guidance",
        "Classifier-free guidance scale.",
        span=(1.0, 30.0, 0.5),
        paper="4: 7.5",
    )
    ablation: Ablation = Ablation()

    def __post_init__(self) -> None:
        for name, known in SETTINGS.items():
            known.check(getattr(self, name))

    @property
    def ranks_by_clip(self) -> bool:
        """Whether CLIP chooses among candidates."""
        return self.candidates > 1 and self.ablation.choose == "clip"

    @property
    def tile_guidance(self) -> float:
        """Guidance of stages that are split into tiles."""
        given = self.ablation.tile_guidance
        return self.guidance_later**2 if given is None else given

    def decided(self, paints: bool, prompt: str) -> EditSettings:
        """A copy for an edit. paints: whether the user painted colours, which `AUTOMATIC` starts
        from. Without a prompt candidates are ranked by how they fit in, as CLIP has no say."""
        changes = dict[str, Any]()
        if self.start == AUTOMATIC:
            changes["start"] = PAINT if paints else NEW
        if not prompt.strip() and self.ranks_by_clip:
            changes["choose"] = "fit"
        return self.with_values(changes)

    def flat(self) -> dict[str, Any]:
        """All settings and ablations as one dictionary, in their order of definition."""
        own = {name: getattr(self, name) for name in SETTINGS}
        return own | {name: getattr(self.ablation, name) for name in ABLATIONS}

    def changed(self) -> dict[str, Any]:
        """Only what differs from the defaults."""
        known = SETTINGS | ABLATIONS
        return {k: v for k, v in self.flat().items() if v != known[k].default}

    def with_values(self, values: Mapping[str, Any]) -> EditSettings:
        """A copy with some settings and ablations replaced.

        values: by name; strings, and floats that are whole numbers, are converted to the setting's
        type. Raises `EditError` for an unknown name or a value that is not allowed.
        """
        unknown = [name for name in values if name not in SETTINGS | ABLATIONS]
        if unknown:
            raise EditError(f"unknown setting {unknown[0]!r}; known are {', '.join(SETTINGS)}")
        own, ablated = (
            {name: kind[name].converted(value) for name, value in values.items() if name in kind}
            for kind in (SETTINGS, ABLATIONS)
        )
        ablation = dataclasses.replace(self.ablation, **ablated)
        return dataclasses.replace(self, **own, ablation=ablation)


SETTINGS: dict[str, Setting] = collected(EditSettings)
"""What users set, by name, in their order of definition."""
