"""What the evaluation varies of the method, and users do not set."""

from __future__ import annotations

from dataclasses import dataclass

from .setting import Setting, collected, setting


@dataclass(frozen=True)
class Ablation:
    """Numbers of the method that the evaluation varies; users gain nothing by them (findings.md).

    minimum_crop: the crop's shortest side, in units of the training resolution. square_crop:
    whether later stages see all of it, and not what follows the mask's shape. repaint_from,
    repaint_until: between which shares of the first stage's steps RePaint repeats them. choose: by
    CLIP, by how they fit in, or the first candidate. growth: from one intermediate stage to the
    next (3.2). intermediate_strength: their share of the noise schedule (3.2: 0.4). tile_guidance:
    in place of `guidance_later` squared. tile_overlap: in units of the training resolution (3.2:
    128 of 512).
    lowpass_background: whether it is as soft as the draft (3.2, Figure 5 f). hold_tone: whether
    later stages keep their drafts' tone, see `tone.py`.
    decoder_iterations, decoder_rate, decoder_background_weight: steps, Adam's rate and lambda of
    fine-tuning (3.3).
    decoder_checkpointing: fine-tune with gradient checkpointing from the start, and not only when
    memory runs out. sampler: the command line's; euler_ancestral is DDIM with eta 1.
    """

    minimum_crop: float = setting(0.5, span=(0.1, 2.0))
    square_crop: bool = setting(False)
    repaint_from: float = setting(0.0, span=(0.0, 0.95))
    repaint_until: float = setting(1.0, span=(0.05, 1.0))
    choose: str = setting("clip", choices=("clip", "fit", "first"))
    growth: float = setting(1.414, span=(1.1, 4.0))
    intermediate_strength: float = setting(0.4, span=(0.0, 1.0))
    tile_guidance: float | None = setting(None, span=(0.0, 2.0))
    tile_overlap: float = setting(0.25, span=(0.0, 0.5))
    lowpass_background: bool = setting(True)
    hold_tone: bool = setting(False)
    decoder_iterations: int = setting(100, span=(1, 1000))
    decoder_rate: float = setting(1e-4, span=(1e-6, 1e-2))
    decoder_background_weight: float = setting(100.0, span=(0.0, 10000.0))
    decoder_checkpointing: bool = setting(False)
    sampler: str = setting(
        "euler_ancestral", choices=("euler_ancestral", "euler", "heun", "dpmpp_2m")
    )

    def __post_init__(self) -> None:
        for name, known in ABLATIONS.items():
            known.check(getattr(self, name))


ABLATIONS: dict[str, Setting] = collected(Ablation)
