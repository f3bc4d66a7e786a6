"""Workers in processes, in threads, and as Ray's actors; and what hands rows to them."""

from __future__ import annotations

import logging
import os
import queue
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context
from threading import RLock, Thread
from typing import Any, Protocol

from tqdm import tqdm

from ...errors import EditError
from .rows import Row
from .work import Gone, Outcome, Worker

RETRIES = 3
"""How often a row is tried again that may pass, or whose worker was lost."""
BEGINNINGS = 3
"""How often a worker is begun that is lost each time before it is ready."""
_PATIENCE = 0.5
"""Seconds after which a request to stop is looked for."""


@dataclass(frozen=True)
class Ready:
    """A worker waits for its first row."""

    worker: int


@dataclass(frozen=True)
class Done:
    """A worker has made a row, and waits for the next."""

    worker: int
    outcome: Outcome


@dataclass(frozen=True)
class Lost:
    """A worker is gone, with what it had in hand."""

    worker: int
    why: str


Event = Ready | Done | Lost


class Crew(Protocol):
    """Workers with numbers from 0, of one kind or another."""

    workers: int

    def begin(self, worker: int) -> None:
        """Begin a worker, for the first time or after it was lost."""

    def give(self, worker: int, row: Row) -> None:
        """Let a worker that waits make a row."""

    def events(self, seconds: float) -> Sequence[Event]:
        """What has happened since; waits so long if nothing has."""

    def close(self) -> None:
        """End all, whatever they have in hand."""


class Dispatch:
    """Hands each row to a worker that waits.

    A row that may pass another time, or whose worker is lost, is tried again. stopped: whether no
    more rows are to be begun.
    """

    def __init__(
        self, rows: Iterable[Row], crew: Crew, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._rows, self._crew, self._stopped = iter(rows), crew, stopped
        self._again, self._tries = deque[Row](), dict[int, int]()
        self._idle, self._in_hand = set[int](), dict[int, Row]()
        self._beginnings = [0] * crew.workers

    def outcomes(self) -> Iterator[Outcome]:
        """What becomes of each row, as it is known; after a stop of those in hand.

        Raises `EditError` if no worker can be had.
        """
        for worker in range(self._crew.workers):
            self._begin(worker)
        while True:
            self._give()
            if not self._in_hand and (self._idle or self._stopped()):
                return
            for event in self._crew.events(_PATIENCE):
                outcome = self._outcome(event)
                if outcome is not None:
                    yield outcome

    def _begin(self, worker: int) -> None:
        """Unless it was lost too often."""
        if self._beginnings[worker] < BEGINNINGS:
            self._beginnings[worker] += 1
            self._crew.begin(worker)

    def _give(self) -> None:
        """Something to do to all who wait, as long as there is."""
        for worker in sorted(self._idle):
            if self._stopped():
                return
            # What may pass has the time that all others take.
            row = next(self._rows, None) or (self._again.popleft() if self._again else None)
            if row is None:
                return
            self._idle.discard(worker)
            self._in_hand[worker] = row
            self._crew.give(worker, row)

    def _outcome(self, event: Event) -> Outcome | None:
        """What became of a row for good."""
        held = self._in_hand.pop(event.worker, None)
        if not isinstance(event, Lost):
            self._idle.add(event.worker)
            self._beginnings[event.worker] = 0
        elif min(self._beginnings) < BEGINNINGS:
            self._begin(event.worker)
        else:
            raise EditError(f"no worker can be started: {event.why}")
        if held is None or isinstance(event, Ready):
            return None
        if isinstance(event, Lost):
            why = f"its worker was lost {RETRIES + 1} times: {event.why}"
            outcome = Outcome(held.number, held.values["output"], error=why, may_pass=True)
        else:
            outcome = event.outcome
        tried = self._tries.pop(held.number, 0)
        if outcome.error and outcome.may_pass and tried < RETRIES:
            self._tries[held.number] = tried + 1
            self._again.append(held)
            return None
        return outcome


class Processes:
    """Each worker is a process of this machine, made there by its callable."""

    def __init__(self, make: Sequence[Callable[[], Worker]]) -> None:
        self._make, self.workers = make, len(make)
        self._running: dict[int, tuple[Any, Any]] = {}

    def begin(self, worker: int) -> None:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._make[worker]), daemon=True)
        process.start()
        theirs.close()  # so that its end is heard of
        self._running[worker] = process, ours

    def give(self, worker: int, row: Row) -> None:
        try:
            self._running[worker][1].send(row)
        except OSError:  # it is gone, of which `events` will tell
            return

    def events(self, seconds: float) -> Sequence[Event]:
        ends = {ours: worker for worker, (_, ours) in self._running.items()}
        return [self._event(ends[ours]) for ours in connection.wait(list(ends), seconds)]

    def _event(self, worker: int) -> Event:
        process, ours = self._running[worker]
        try:
            said = ours.recv()
        except (EOFError, OSError):
            process.join()
            said = f"its process ended with code {process.exitcode}"
        if isinstance(said, str):
            self._end(*self._running.pop(worker))
            return Lost(worker, said)
        return Ready(worker) if said is None else Done(worker, said)

    def close(self) -> None:
        for process, ours in self._running.values():
            self._end(process, ours)

    @staticmethod
    def _end(process: Any, ours: Any) -> None:
        ours.close()
        process.kill()
        process.join()


def _serve(theirs: Any, make: Callable[[], Worker]) -> None:
    """A worker's process: it says None when it is ready, outcomes, and texts when it is lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who handed out the work
    tqdm.set_lock(RLock())  # its own, between processes, would be left behind by one that is killed
    try:
        worker = make()
        worker.ready()
        theirs.send(None)
        while True:
            theirs.send(worker.perform(theirs.recv()))
    except EOFError:
        return
    except Exception as error:
        theirs.send(f"{type(error).__name__}: {error}")


class Threads:
    """Each worker is a thread, for those that only wait for others' work."""

    def __init__(self, make: Sequence[Callable[[], Worker]]) -> None:
        self._make, self.workers = make, len(make)
        self._said = queue.SimpleQueue[Event]()
        self._tasks: dict[int, queue.SimpleQueue[Row | None]] = {}

    def begin(self, worker: int) -> None:
        self._tasks[worker] = queue.SimpleQueue()
        Thread(target=self._serve, args=(worker, self._tasks[worker]), daemon=True).start()

    def _serve(self, worker: int, tasks: queue.SimpleQueue[Row | None]) -> None:
        try:
            made = self._make[worker]()
            made.ready()
            self._said.put(Ready(worker))
            while (row := tasks.get()) is not None:
                self._said.put(Done(worker, made.perform(row)))
        except Exception as error:  # whatever it is, somebody waits for this thread
            why = str(error) if isinstance(error, Gone) else f"{type(error).__name__}: {error}"
            self._said.put(Lost(worker, why))

    def give(self, worker: int, row: Row) -> None:
        self._tasks[worker].put(row)

    def events(self, seconds: float) -> Sequence[Event]:
        try:
            return [self._said.get(timeout=seconds)]
        except queue.Empty:
            return []

    def close(self) -> None:
        """They end after what they have in hand, or with the program."""
        for tasks in self._tasks.values():
            tasks.put(None)


class RayActors:
    """Each worker is an actor somewhere in a Ray cluster, with a GPU of its own if there are any.

    address: of the cluster; without one Ray is started here. workers: how many; as many as there
    are GPUs if None, and one a machine where there are none. make: given the device, as Ray shows
    each worker its own.
    """

    def __init__(
        self, make: Callable[[str | None], Worker], workers: int | None, address: str | None
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
            raise EditError(f"there is no Ray at {address}: {error}") from None
        gpus = int(ray.cluster_resources().get("GPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())
        needs = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        actor = ray.remote(_Actor).options(scheduling_strategy="SPREAD", **needs)
        self._begin = lambda: actor.remote(make, "cuda" if gpus else None)
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, int] = {}
        self.workers = workers or gpus or nodes

    def begin(self, worker: int) -> None:
        self._actors[worker] = self._begin()
        self._pending[self._actors[worker].ready.remote()] = worker

    def give(self, worker: int, row: Row) -> None:
        self._pending[self._actors[worker].perform.remote(row)] = worker

    def events(self, seconds: float) -> Sequence[Event]:
        there, _ = self._ray.wait(list(self._pending), timeout=seconds)
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
