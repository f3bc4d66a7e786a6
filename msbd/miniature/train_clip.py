"""Training of the miniature's judge: a small CLIP that tells which caption fits a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .clip_model import UNKNOWN, build_clip, to_input
from .clip_pictures import Pictures, draw_views, load_painted, say, truth
from .training import Plan, Team, fit, generators, save
from .vocabulary import encode_rows, known_tokens

if TYPE_CHECKING:
    from open_clip import CLIP

FIRST = Plan(steps=800, peak=2e-3, seed=42, decay=0.0)
SECOND = Plan(steps=400, peak=8e-4, seed=43, decay=0.0, hold=0.0)
BATCH = 64
VIEWS = 8000
PAINTED_SHARE = 0.35
"""Share of the second run's pictures that the diffusion model painted."""
TRAINED_POSITIONS = 24
"""No caption of the world is longer; training does not look at later positions."""
MAX_SCALE = float(np.log(100.0))


def _vary(images: Tensor, noise: torch.Generator) -> Tensor:
    """Normalised pictures mirrored, tinted, shifted by a few pixels and made noisy at random."""
    count = len(images)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=noise)

    images = torch.where(uniform(0, 1, count, 1, 1, 1) < 0.5, images.flip(-1), images)
    images = images * uniform(0.88, 1.12, count, 3, 1, 1) + uniform(-0.15, 0.15, count, 3, 1, 1)
    shift = (int(torch.randint(-5, 6, (), generator=noise)) for _ in range(2))
    images = images.roll(tuple(shift), (-2, -1))
    return images + uniform(0, 0.2, count, 1, 1, 1) * torch.randn(images.shape, generator=noise)


def contrast(images: Tensor, texts: Tensor, true: Tensor, scale: Tensor) -> Tensor:
    """Contrastive loss of embeddings [B,D] in both directions with several true partners each.

    CLIP's loss (Radford et al. 2021, figure 3) where the target is spread over all true
    captions of a picture and all true pictures of a caption (Khosla et al. 2020, equation 2).
    true: bool [pictures, captions]; a picture without a true caption only serves as a wrong one.
    """
    logits = (
        scale * nn.functional.normalize(images, dim=-1) @ nn.functional.normalize(texts, dim=-1).T
    )
    losses = []
    for scores, target in ((logits, true), (logits.T, true.T)):
        right = (scores.log_softmax(-1) * target).sum(-1) / target.sum(-1).clamp(min=1)
        losses.append(-right.sum() / target.any(-1).sum())
    return (losses[0] + losses[1]) / 2


def _loss(
    model: CLIP, sources: list[tuple[Pictures, float]], team: Team, seed: int, step: int, slot: int
) -> Tensor:
    rng, noise = generators(seed, step, slot)
    images, shown = [], []
    for source, share in sources:
        which = rng.integers(len(source.facts), size=round(share * BATCH))
        images.append(source.images[which])
        shown += [source.facts[i] for i in which]
    said = [say(rng, facts) for facts in shown if facts is not None]
    rows = encode_rows([words for words, _ in said], rng)
    tokens = torch.tensor([*known_tokens(), UNKNOWN])[rows[:, :TRAINED_POSITIONS]]
    pictures = _vary(to_input(np.concatenate(images)), noise)
    true = truth([facts for _, facts in said], shown).to(team.device)
    embedded = (
        model.encode_image(pictures.to(team.device)),
        model.encode_text(tokens.to(team.device)),
    )
    return contrast(*embedded, true, model.logit_scale.clamp(max=MAX_SCALE).exp())


@torch.no_grad()
def calibrate(model: CLIP, images: np.ndarray) -> None:
    """Set the batch norms' statistics to those of ``images``, for the averaged weights had none."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    for part in to_input(images).split(128):
        model.encode_image(part)
    model.eval()


def _train(
    team: Team,
    out: Path,
    plan: Plan,
    sources: list[tuple[Pictures, float]],
    before: Path | None,
    after: Path,
) -> None:
    model = build_clip(TRAINED_POSITIONS).to(team.device, memory_format=torch.channels_last).train()
    if before is not None:
        model.load_state_dict(torch.load(before))
    fit(
        model,
        lambda step, slot: _loss(model, sources, team, plan.seed, step, slot),
        plan,
        out / f"{after.stem}_run.pt",
        team,
    )
    if team.rank == 0:
        calibrate(
            model.cpu(), np.concatenate([p.images[: round(2048 * share)] for p, share in sources])
        )
        save(model.state_dict(), after)


def train_first(team: Team, out: Path) -> None:
    """Train on renderings; writes ``clip_first.pt``."""
    _train(team, out, FIRST, [(draw_views(FIRST.seed, VIEWS), 1.0)], None, out / "clip_first.pt")


def train_second(team: Team, out: Path) -> None:
    """Go on with renderings and painted pictures; writes ``clip.pt``.

    Wants ``clip_first.pt`` and ``painted.pt`` in ``out``.
    """
    sources = [
        (draw_views(SECOND.seed, VIEWS), 1 - PAINTED_SHARE),
        (load_painted(out), PAINTED_SHARE),
    ]
    _train(team, out, SECOND, sources, out / "clip_first.pt", out / "clip.pt")
