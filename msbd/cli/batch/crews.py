"""Workers in processes and in threads; and what hands rows to them."""

from __future__ import annotations

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
from .. import stopping
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
        self._lost = [0] * crew.workers

    def outcomes(self) -> Iterator[Outcome]:
        """What becomes of each row, as it is known; after a stop of those in hand.

        Raises `EditError` if no worker can be had.
        """
        for worker in range(self._crew.workers):
            self._crew.begin(worker)
        while True:
            self._give()
            if not self._in_hand and (self._idle or self._stopped()):
                return
            for event in self._crew.events(_PATIENCE):
                outcome = self._outcome(event)
                if outcome is not None:
                    yield outcome

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
            self._lost[event.worker] = 0
        else:
            self._lost[event.worker] += held is None
            if self._lost[event.worker] < BEGINNINGS:
                self._crew.begin(event.worker)
            elif min(self._lost) >= BEGINNINGS:
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
    for name in stopping.NAMES:  # they are for who handed out the work, and ends this
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
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
