"""Resumable training in one process or in several that average their gradients.

A step's batch consists of ``SLOTS`` parts, each drawn from its own generator
(seed, step, slot): the data do not depend on the number of processes, nor on
where a run was interrupted.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

logger = logging.getLogger(__name__)
SLOTS = 2
LOG_EVERY, KEEP_EVERY = 25, 500


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train: warm-up, ``hold`` of the steps at ``peak``, then a cosine."""

    steps: int
    peak: float
    seed: int
    hold: float = 0.1
    floor: float = 0.02
    warmup: int = 50
    decay: float = 1e-2
    average: float = 0.998

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        progress = max(0.0, (step / self.steps - self.hold) / (1 - self.hold))
        return (
            self.peak
            * min(1.0, (step + 1) / self.warmup)
            * (self.floor + (1 - self.floor) * (1 + cos(pi * progress)) / 2)
        )


@dataclass(frozen=True)
class Team:
    """This process among those that train together."""

    rank: int
    size: int
    device: str

    @property
    def slots(self) -> range:
        """The parts of each batch that fall to this process."""
        return range(self.rank, SLOTS, self.size)


def _enter(
    rank: int,
    size: int,
    device: str,
    meeting: str,
    work: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(0)
    if size > 1:
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    work(Team(rank, size, device), *arguments)
    if size > 1:
        dist.destroy_process_group()


def run_team(work: Callable[..., None], device: str, *arguments: Any) -> None:
    """Call ``work(team, *arguments)``: once on a GPU, in two single-thread processes on a CPU."""
    if device != "cpu":
        _enter(0, 1, device, "", work, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_enter, (SLOTS, device, f"{folder}/meeting", work, arguments), nprocs=SLOTS)


def save(value: Any, path: Path) -> None:
    """Write a checkpoint whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save(value, partial)
    partial.replace(path)


def generators(seed: int, step: int, slot: int) -> tuple[np.random.Generator, torch.Generator]:
    """The random numbers of one part of one step's batch."""
    rng = np.random.default_rng([seed, step, slot])
    return rng, torch.Generator().manual_seed(int(rng.integers(2**62)))


class _Run:
    """A module's trainable parameters with their optimizer and their moving average."""

    def __init__(self, module: nn.Module, plan: Plan, team: Team) -> None:
        named = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.plan, self.team = plan, team
        self.names, self.parameters = list(named), list(named.values())
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=plan.peak, betas=(0.9, 0.99), weight_decay=plan.decay, fused=True
        )
        self.averaged = [p.detach().clone() for p in self.parameters]

    @property
    def values(self) -> list[torch.Tensor]:
        """The parameters without their gradients."""
        return [p.detach() for p in self.parameters]

    def store(self, path: Path, done: int) -> None:
        """Write a checkpoint after ``done`` steps."""
        state = {"step": done, "parameters": self.values, "averaged": self.averaged}
        save({**state, "optimizer": self.optimizer.state_dict()}, path)

    def restore(self, path: Path) -> int:
        """Continue from a checkpoint where there is one; returns the steps already done."""
        if not path.exists():
            return 0
        state = torch.load(path, map_location=self.team.device)
        self.optimizer.load_state_dict(state["optimizer"])
        torch._foreach_copy_(self.averaged, state["averaged"])
        torch._foreach_copy_(self.values, state["parameters"])
        return int(state["step"])

    def step(self, step: int, loss_of: Callable[[int, int], torch.Tensor]) -> list[float]:
        """One optimizer step; returns the losses of this process's parts of the batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(step)
        self.optimizer.zero_grad()
        losses = []
        for slot in self.team.slots:
            loss = loss_of(step, slot)
            (loss / SLOTS).backward()
            losses.append(loss.item())
        self._share_gradients()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        keep = min(self.plan.average, (step + 1) / (step + 12))
        torch._foreach_lerp_(self.averaged, self.values, 1 - keep)
        return losses

    def _share_gradients(self) -> None:
        """Sum the gradients over the processes."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        if self.team.size > 1:
            dist.all_reduce(flat)
        sizes = [p.numel() for p in self.parameters]
        for p, part in zip(self.parameters, flat.split(sizes), strict=True):
            p.grad = part.view_as(p)


def fit(
    module: nn.Module,
    loss_of: Callable[[int, int], torch.Tensor],
    plan: Plan,
    checkpoint: Path,
    team: Team,
    publish: Callable[[dict[str, torch.Tensor]], None] | None = None,
) -> None:
    """Train ``module``'s trainable parameters and leave their moving average in it.

    loss_of(step, slot) is the mean loss of one part of a batch.  publish receives
    the averaged parameters (name -> tensor) with every checkpoint.
    """
    run = _Run(module, plan, team)
    first = run.restore(checkpoint)
    losses: list[float] = []
    began = time.monotonic()
    for step in range(first, plan.steps):
        losses += run.step(step, loss_of)
        done = step + 1
        if team.rank == 0 and done % LOG_EVERY == 0:
            pace = (time.monotonic() - began) / (done - first)
            logger.info(
                "step %d/%d loss %.4f, %.3f s a step",
                done,
                plan.steps,
                np.mean(losses[-LOG_EVERY:]),
                pace,
            )
        if team.rank == 0 and (done % KEEP_EVERY == 0 or done == plan.steps):
            run.store(checkpoint, done)
            if publish is not None:
                publish(dict(zip(run.names, run.averaged, strict=True)))
    torch._foreach_copy_(run.values, run.averaged)
