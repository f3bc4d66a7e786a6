"""Rows and workers: every row ends once, whatever becomes of the workers."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msbd.cli.batch.crews import (
    BEGINNINGS,
    RETRIES,
    Dispatch,
    Done,
    Event,
    Lost,
    Processes,
    Ready,
    Threads,
)
from msbd.cli.batch.rows import Row
from msbd.cli.batch.work import Gone, Outcome
from msbd.errors import EditError


def rows(many: int) -> list[Row]:
    return [Row(number, {"output": f"{number}.png"}) for number in range(1, many + 1)]


class Chance:
    """A crew whose workers do what chance has them do. given: numbers of rows, as they are given.

    lost: with this probability a worker is gone; passing, failing: a row fails in passing, or for
    good.
    """

    def __init__(
        self, workers: int, seed: int, lost: float, passing: float, failing: float
    ) -> None:
        self.workers, self._chance = workers, random.Random(seed)
        self._odds = lost, passing, failing
        self._events = deque[Event]()
        self.given: Counter[int] = Counter()
        self.waiting: set[int] = set()
        self.most = 0

    def begin(self, worker: int) -> None:
        assert worker not in self.waiting
        self._events.append(Ready(worker))

    def give(self, worker: int, row: Row) -> None:
        assert worker in self.waiting
        self.waiting.discard(worker)
        self.given[row.number] += 1
        self.most = max(self.most, self.workers - len(self.waiting))
        lost, passing, failing = self._odds
        drawn = self._chance.random()
        outcome = Outcome(row.number, row.values["output"])
        if drawn < lost:
            self._events.append(Lost(worker, "gone"))
        elif drawn < lost + passing:
            self._events.append(Done(worker, replace(outcome, error="later", may_pass=True)))
        elif drawn < lost + passing + failing:
            self._events.append(Done(worker, replace(outcome, error="never")))
        else:
            self._events.append(Done(worker, outcome))
        self._chance.shuffle(self._events)

    def events(self, seconds: float) -> Sequence[Event]:
        assert self._events, "it waits for nothing"
        taken = [self._events.popleft() for _ in range(self._chance.randint(1, len(self._events)))]
        for event in taken:
            if not isinstance(event, Lost):
                self.waiting.add(event.worker)
        return taken

    def close(self) -> None:
        """Nothing to end."""


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 10**6),
    st.sampled_from([0, 0.1, 0.4]),
    st.sampled_from([0, 0.2]),
    st.sampled_from([0, 0.3]),
)
def test_every_row_ends_once(
    workers: int, many: int, seed: int, lost: float, passing: float, failing: float
) -> None:
    crew = Chance(workers, seed, lost, passing, failing)
    outcomes = list(Dispatch(rows(many), crew).outcomes())
    assert sorted(outcome.row for outcome in outcomes) == list(range(1, many + 1))
    for outcome in outcomes:
        tried = crew.given[outcome.row]
        assert 1 <= tried <= RETRIES + 1
        if outcome.error and outcome.may_pass:
            assert tried == RETRIES + 1
    assert crew.most <= workers


def test_what_cannot_pass_is_not_tried_again() -> None:
    crew = Chance(2, 0, 0, 0, 1)
    assert all(outcome.error == "never" for outcome in Dispatch(rows(9), crew).outcomes())
    assert set(crew.given.values()) == {1}


def test_after_a_stop_only_what_is_in_hand_is_finished() -> None:
    crew, seen = Chance(3, 1, 0, 0, 0), list[int]()
    for outcome in Dispatch(rows(50), crew, lambda: len(seen) >= 10).outcomes():
        seen.append(outcome.row)
    assert 10 <= len(seen) <= 12 and set(crew.given) == set(seen)


def test_rows_are_taken_as_they_are_needed() -> None:
    taken = list[int]()

    def endless() -> Iterator[Row]:
        for number in count(1):
            taken.append(number)
            yield Row(number, {"output": f"{number}.png"})

    crew = Chance(3, 1, 0, 0, 0)
    outcomes = Dispatch(endless(), crew).outcomes()
    for _ in range(20):
        next(outcomes)
    assert len(taken) <= 20 + 3 + 3


class Maker:
    """Writes its process's number into the row's file. Told so, it dies, refuses, or is slow."""

    def __init__(self, folder: Path, sick: bool = False) -> None:
        self._folder, self._sick = folder, sick

    def ready(self) -> None:
        if self._sick:
            with (self._folder / "begun").open("a") as file:
                file.write("x")
            raise ValueError("no card")

    def perform(self, row: Row) -> Outcome:
        wish, mark = row.values.get("wish"), self._folder / f"tried{row.number}"
        mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
        if wish == "die" or (wish == "die once" and len(mark.read_text()) == 1):
            if isinstance(self, Leaver):
                raise Gone("left")
            os.kill(os.getpid(), signal.SIGKILL)
        if wish == "wait":
            time.sleep(1)
        (self._folder / row.values["output"]).write_text(str(os.getpid()))
        return Outcome(row.number, row.values["output"])


class Leaver(Maker):
    """One in a thread, which cannot be killed."""


@pytest.mark.parametrize("crew, maker", [(Processes, Maker), (Threads, Leaver)])
def test_lost_workers_are_replaced(tmp_path: Path, crew: type, maker: type) -> None:
    asked = rows(8)
    asked[2].values["wish"] = "die once"
    asked[5].values["wish"] = "die"
    workers = crew([partial(maker, tmp_path)] * 2)
    try:
        outcomes = {one.row: one for one in Dispatch(asked, workers).outcomes()}
    finally:
        workers.close()
    assert sorted(outcomes) == list(range(1, 9))
    wrong = outcomes.pop(6)
    assert f"worker was lost {RETRIES + 1} times" in wrong.error
    assert (tmp_path / "tried6").read_text() == "x" * (RETRIES + 1)
    assert (tmp_path / "tried3").read_text() == "xx"
    assert not any(outcome.error for outcome in outcomes.values())
    assert all((tmp_path / outcome.output).exists() for outcome in outcomes.values())


@pytest.mark.parametrize("crew", [Processes, Threads])
def test_where_no_worker_can_begin_it_ends(tmp_path: Path, crew: type) -> None:
    workers = crew([partial(Maker, tmp_path, sick=True)])
    try:
        with pytest.raises(EditError, match="no worker can be started: ValueError: no card"):
            list(Dispatch(rows(3), workers).outcomes())
    finally:
        workers.close()
    begun = (tmp_path / "begun").read_text()
    assert begun == "x" * BEGINNINGS


def test_one_worker_that_cannot_begin_leaves_the_work_to_others(tmp_path: Path) -> None:
    workers = Processes([partial(Maker, tmp_path, sick=True), partial(Maker, tmp_path)])
    asked = rows(3)
    for row in asked:
        row.values["wish"] = "wait"
    try:
        outcomes = list(Dispatch(asked, workers).outcomes())
    finally:
        workers.close()
    assert len(outcomes) == 3 and not any(outcome.error for outcome in outcomes)
    assert len((tmp_path / "begun").read_text()) <= BEGINNINGS


def test_processes_end_with_their_crew(tmp_path: Path) -> None:
    workers = Processes([partial(Maker, tmp_path)] * 2)
    asked = rows(4)
    for row in asked:
        row.values["wish"] = "wait"
    outcomes = Dispatch(asked, workers).outcomes()
    first = next(outcomes)
    running = [process for process, _ in workers._running.values()]
    workers.close()
    assert not any(process.is_alive() for process in running)
    assert (tmp_path / first.output).exists()
