"""Workers as Ray's actors."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import EditError
from .crews import Done, Event, Lost, Ready
from .rows import Row
from .work import Outcome, Worker

_PATIENCE = 60.0
"""Seconds that the first worker may take to begin before something is said."""


class RayActors:
    """Each worker is an actor somewhere in a Ray cluster, with a GPU of its own if there are any.

    address: of the cluster; without one Ray is started here. workers: how many; as many as there
    are GPUs if None, and one a machine, with all its cores, where there are none. make: given the
    device, as Ray shows each worker its own. say: is told if no worker begins.
    """

    def __init__(
        self,
        make: Callable[[str | None], Worker],
        workers: int | None,
        address: str | None,
        say: Callable[[str], None],
    ) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise EditError("--ray needs Ray: pip install 'msbd[ray]'") from None
        self._ray = ray
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"there is no Ray at {address}" if address else "Ray cannot be started here"
            raise EditError(f"{where}: {' '.join(str(error).split())}") from None
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        cores = 1 if workers else max(1, int(min(node.get("CPU", 0) for node in nodes)))
        needs = {"num_gpus": 1} if gpus else {"num_cpus": cores}
        actor = ray.remote(_Actor).options(scheduling_strategy="SPREAD", **needs)
        self._begin = lambda: actor.remote(make, "cuda" if gpus else None)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self.workers = workers or gpus or len(nodes)
        self._say, self._waits_since = say, time.monotonic()

    def begin(self, worker: int) -> None:
        self._actors[worker] = self._begin()
        self._pending[self._actors[worker].ready.remote()] = worker

    def give(self, worker: int, row: Row) -> None:
        self._pending[self._actors[worker].perform.remote(row)] = worker

    def events(self, seconds: float) -> Sequence[Event]:
        there, _ = self._ray.wait(list(self._pending), timeout=seconds)
        if there:
            self._waits_since = float("inf")
        elif time.monotonic() - self._waits_since > _PATIENCE:
            self._waits_since = float("inf")
            self._say("no worker has begun yet: is the cluster busy, or has it nothing to give?")
        return [self._event(one) for one in there]

    def _event(self, there: Any) -> Event:
        worker = self._pending.pop(there)
        try:
            said = self._ray.get(there)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(self._actors[worker])
            return Lost(worker, str(error).strip().splitlines()[-1])
        return Ready(worker) if said is None else Done(worker, said)

    def close(self) -> None:
        self._ray.shutdown()


class _Actor:
    """A worker in Ray's hands."""

    def __init__(self, make: Callable[[str | None], Worker], device: str | None) -> None:
        self._worker = make(device)

    def ready(self) -> None:
        self._worker.ready()

    def perform(self, row: Row) -> Outcome:
        return self._worker.perform(row)
